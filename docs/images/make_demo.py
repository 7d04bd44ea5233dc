"""Make demo.svg: the terminal of a real run of `slimjobs demo`, played back faster.

    pip install pyte && python docs/images/make_demo.py

Needs a machine with nothing else to do, since the times that the demo shows are its own.
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import sys
import termios
import time
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

import pyte

TARGET = Path(__file__).with_name("demo.svg")
COMMAND = "slimjobs demo"
COLUMNS, LINES = 114, 36
# Of the recording: a frame for each so many seconds in which something changed, and how fast it is played.
FRAME_SECONDS, SPEED, REST_SECONDS = 0.5, 4.0, 8.0
CELL_WIDTH, LINE_HEIGHT, MARGIN = 8.4, 19, 16
COLORS = {
    "default": "#d8dee9", "red": "#ff7b85", "green": "#9ece8a", "brown": "#ebcb8b", "yellow": "#ebcb8b",
    "blue": "#82aaff", "magenta": "#d59df2", "cyan": "#7fd5e0", "black": "#7a859b", "white": "#eceff4",
    "brightblack": "#7a859b",
}  # fmt: skip

Row = tuple[tuple[int, str, str, bool], ...]


def record() -> tuple[list[tuple[float, list[Row]]], float]:
    """Run the command on a terminal, and return its screens with the second of each, and how long it took."""
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(screen)
    child, terminal = pty.fork()
    if child == 0:
        os.execvpe(
            sys.executable,
            [sys.executable, "-m", "slimjobs.cli", *COMMAND.split()[1:]],
            {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "LINES": str(LINES)},
        )
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    began = time.monotonic()
    frames: list[tuple[float, list[Row]]] = []
    while True:
        if select.select([terminal], [], [], FRAME_SECONDS)[0]:
            try:
                stream.feed(os.read(terminal, 65536))
            except OSError:  # the process has closed its end
                break
        now = time.monotonic() - began
        if not frames or now - frames[-1][0] >= FRAME_SECONDS:
            frames.append((now, rows_of(screen)))
    _, status = os.waitpid(child, 0)
    assert status == 0, "the demo failed"
    took = time.monotonic() - began
    return [*frames, (took, rows_of(screen))], took


def rows_of(screen: Any) -> list[Row]:
    """Return what a screen shows: each row as its runs of equal looks, with the column that they begin in."""
    rows: list[Row] = []
    for number in range(screen.lines):
        cells = [screen.buffer[number][column] for column in range(screen.columns)]
        runs, column = [], 0
        for (color, is_bold), group in groupby(cells, key=lambda cell: (cell.fg, cell.bold)):
            text = "".join(cell.data for cell in group)
            if text.strip():
                runs.append((column, text, color, is_bold))
            column += len(text)
        rows.append(tuple(runs))
    return rows


def draw(frames: list[tuple[float, list[Row]]], took: float) -> str:
    """Return the SVG."""
    kept = [frame for place, frame in enumerate(frames) if not place or frame[1] != frames[place - 1][1]]
    lines = max(number + 1 for _, rows in kept for number, row in enumerate(rows) if row) + 2
    width, height = COLUMNS * CELL_WIDTH + 2 * MARGIN, lines * LINE_HEIGHT + 2 * MARGIN
    seconds = kept[-1][0] / SPEED + REST_SECONDS
    ids: dict[Row, int] = {}
    for _, rows in kept:
        for row in filter(None, rows):
            ids.setdefault(row, len(ids))
    steps = [f"{100 * at / SPEED / seconds:.2f}% {{ transform: translateY({-place * height:.0f}px) }}"
             for place, (at, _) in enumerate(kept)]  # fmt: skip
    last = f"transform: translateY({-(len(kept) - 1) * height:.0f}px)"
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
            'font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, monospace" font-size="14">'
        ),
        f"<title>A terminal that runs {COMMAND}</title>",
        f"<desc>{escape(text_of(kept[-1][1]))}</desc>",
        "<style>",
        f"@keyframes play {{ {' '.join(steps)} 100% {{ {last} }} }}",
        f".frames {{ {last}; animation: play {seconds:.1f}s steps(1, end) infinite }}",
        "@media (prefers-reduced-motion: reduce) { .frames { animation: none } }",
        "text { white-space: pre }",
        "</style>",
        '<rect width="100%" height="100%" rx="8" fill="#1f2430"/>',
        "<defs>",
        *(f'<g id="r{number}">{"".join(map(draw_run, row))}</g>' for row, number in ids.items()),
        "</defs>",
        f'<svg x="{MARGIN}" y="{MARGIN}" width="{width - 2 * MARGIN:.0f}" height="{height - 2 * MARGIN:.0f}">',
        '<g class="frames">',
    ]
    prompt = draw_run((0, f"$ {COMMAND}", "default", True))
    note = draw_run((COLUMNS - 22, f"{SPEED:.0f} times as fast".rjust(22), "black", False))
    for place, (_, rows) in enumerate(kept):
        parts.append(
            f'<g transform="translate(0 {place * height:.0f})"><g transform="translate(0 14)">{prompt}{note}</g>'
        )
        parts += [
            f'<use href="#r{ids[row]}" y="{14 + (number + 2) * LINE_HEIGHT}"/>'
            for number, row in enumerate(rows)
            if row
        ]
        parts.append("</g>")
    parts += ["</g>", "</svg>", f"<!-- a run of {took:.0f} seconds -->", "</svg>"]
    return "\n".join(parts) + "\n"


def draw_run(run: tuple[int, str, str, bool]) -> str:
    """Return a run of text, as wide as its cells whatever the font is."""
    column, text, color, is_bold = run
    start = column + len(text) - len(text.lstrip())
    text = text.strip()
    fill = COLORS.get(color, f"#{color}" if len(color) == 6 else COLORS["default"])
    weight = ' font-weight="bold"' if is_bold else ""
    return (
        f'<text x="{start * CELL_WIDTH:.1f}" fill="{fill}"{weight} textLength="{len(text) * CELL_WIDTH:.1f}" '
        f'lengthAdjust="spacingAndGlyphs">{escape(text)}</text>'
    )


def text_of(rows: list[Row]) -> str:
    """Return what a screen shows as text."""
    lines = []
    for row in rows:
        line = ""
        for column, text, _, _ in row:
            line = line.ljust(column) + text
        lines.append(line.rstrip())
    return "\n".join(lines).strip("\n")


if __name__ == "__main__":
    TARGET.write_text(draw(*record()))
    print(f"{TARGET.name}: {TARGET.stat().st_size:,} bytes")
