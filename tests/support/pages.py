"""The documentation as code: the blocks of a page, and what of a command's output has to be as the page shows it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
# A test of the tests names one more.
_BESIDE = [Path(name) for name in os.environ.get("PAGES_BESIDE", "").split(os.pathsep) if name]
_DOCS = ROOT / "docs"
PAGES = {
    **{path.stem: path for path in (ROOT / "README.md", *_BESIDE)},
    **{path.relative_to(_DOCS).with_suffix("").as_posix(): path for path in sorted(_DOCS.rglob("*.md"))},
}

_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\S*)[^\n]*\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
_FILE = re.compile(r"# (?P<path>[\w./-]+\.(?:py|ini|service|timer|yml))\b")
# What differs from run to run: ids, moments, and numbers with their units.
_ID = re.compile(r"\b[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}\b")
_MOMENT = re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?\b")
_NUMBER = re.compile(r"\b\d[\d,.]*( ?(bytes|[KMG]i?B|%|ms|min|s|h|d))?(?!\w)")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        page: The page's name: its path in docs/, without its ending, or "README".
        line: The line of the page on which its text begins.
        language: What its fence says.
        text: The text.
        output: The text of the block that shows what this one prints, or "".
    """

    page: str
    line: int
    language: str
    text: str
    output: str = ""

    @property
    def place(self) -> str:
        return f"{self.page}.md:{self.line}"

    @property
    def file(self) -> str:
        """The file that its first comment names, or ""."""
        found = _FILE.match(self.text)
        return found["path"] if found else ""


def blocks_of(page: str) -> list[Block]:
    """Return the blocks of a page, each shell block with the output that follows it."""
    source = PAGES[page].read_text()
    blocks: list[Block] = []
    last_end = -1
    for found in _FENCE.finditer(source):
        indent = found["indent"]
        text = "".join(line.removeprefix(indent) for line in found["text"].splitlines(keepends=True))
        line = source.count("\n", 0, found.start("text")) + 1
        is_output = found["language"] == "text" and not source[last_end : found.start()].strip()
        if is_output and blocks and blocks[-1].language == "sh":
            before = blocks.pop()
            blocks.append(Block(page, before.line, "sh", before.text, text))
        else:
            blocks.append(Block(page, line, found["language"], text))
        last_end = found.end()
    return blocks


def missing_lines(shown: str, printed: str) -> list[str]:
    """Return the lines that a page shows and a command has not printed, in this order, numbers and ids left aside."""
    left = [_shape(line) for line in printed.splitlines()]
    missing = []
    for line in shown.splitlines():
        shape = _shape(line)
        if shape in left:
            del left[: left.index(shape) + 1]
        elif shape not in ("", "..."):
            missing.append(line)
    return missing


def _shape(line: str) -> str:
    line = _NUMBER.sub("#", _MOMENT.sub("#", _ID.sub("#", line)))
    return " ".join(line.split())
