"""Draws the modules as their test has them: `python .ci/draw_rooms.py` writes docs/architecture.svg."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

import slimjobs

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
DRAWING = ROOT / "docs" / "architecture.svg"
# What a storey is called, by its highest room: it goes down to the next one's. Drawn from the top.
STOREYS = {
    "cli": "commands",
    "pytest_plugin": "tests of applications",
    "__init__": "the public names",
    "doctor": "other products, what Redis holds, and whether all agree",
    "worker": "processes",
    "decorator": "what an application calls",
    "writing": "jobs in Redis",
    "results": "the call in the worker",
    "payload": "a call becomes bytes",
    "orm": "models and values",
    "refs": "numbers, names, errors",
}
WIDTH, MARGIN, TITLE, ROOM, GAP, CHARACTER = 560, 14, 22, 30, 8, 8.2
COLOURS = ("#e0f2f1", "#f1f8e9")
STYLE = (
    "text { font: 13.5px ui-monospace, Menlo, Consolas, monospace; fill: #1b2b29 } "
    ".title { font: 13.5px system-ui, sans-serif; fill: #00695c }"
)


def rooms() -> list[str]:
    """Return the rooms, each importing only from those before it."""
    tree = ast.parse((ROOT / "tests" / "unit" / "test_architecture.py").read_text())
    (assigned,) = (
        node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "ROOMS"
    )
    return [name for floor in ast.literal_eval(assigned) for name in floor]


def storeys(order: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield what each storey is called and its rooms, from the top."""
    ends = sorted((order.index(name), title) for name, title in STOREYS.items())
    starts = [0, *(end + 1 for end, _ in ends)]
    parts = [(title, order[start : end + 1]) for start, (end, title) in zip(starts, ends, strict=False)]
    yield from reversed(parts)


def label(room: str) -> str:
    """Return what a room is called: a package ends in a slash."""
    if room == "__init__":
        return "slimjobs"
    return f"{room}/" if Path(slimjobs.__file__).with_name(room).is_dir() else room


def draw() -> str:
    """Return the drawing as SVG."""
    shapes: list[str] = []
    y = MARGIN
    for number, (title, names) in enumerate(storeys(rooms())):
        top, x = y, MARGIN * 2
        y += TITLE + GAP
        boxes = []
        for name in reversed(names):
            text = label(name)
            width = round(len(text) * CHARACTER + 18)
            if x + width > WIDTH - MARGIN * 2:
                x, y = MARGIN * 2, y + ROOM + GAP
            boxes.append(
                f'<rect x="{x}" y="{y}" width="{width}" height="{ROOM}" rx="5" fill="#fff" stroke="#00796b"/>'
                f'<text x="{x + width / 2:g}" y="{y + 20}" text-anchor="middle">{escape(text)}</text>'
            )
            x += width + GAP
        y += ROOM + GAP
        shapes.append(
            f'<rect x="{MARGIN}" y="{top}" width="{WIDTH - 2 * MARGIN}" height="{y - top}" rx="8" '
            f'fill="{COLOURS[number % 2]}"/>'
            f'<text x="{MARGIN * 2}" y="{top + 20}" class="title">{escape(title)}</text>'
        )
        shapes += boxes
        y += GAP
    height = y - GAP + MARGIN
    size = f'width="{WIDTH}" height="{height}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" {size}>',
            "<title>The modules of slimjobs, in storeys: each imports only what stands below it</title>",
            f"<style>{STYLE}</style>",
            f'<rect {size} rx="10" fill="#fafafa"/>',
            *shapes,
            "</svg>\n",
        ]
    )


if __name__ == "__main__":
    DRAWING.write_text(draw())
