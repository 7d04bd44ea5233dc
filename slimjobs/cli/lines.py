"""Show long work as plain lines, or not at all."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Nobody:
    """Shows nothing."""

    @contextmanager
    def scene(self, _title: str, _total: int, /) -> Iterator[Nobody]:
        """Show nothing of a part."""
        yield self

    def update(self, _done: int, /) -> None:
        """Show nothing of its progress."""

    def end(self, _outcome: str, /) -> None:
        """Show nothing of its outcome."""


class Lines(Nobody):
    """Shows a line for each part when it ends.

    Args:
        name: Whose work it is; begins every line.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._title = ""

    @contextmanager
    def scene(self, title: str, _total: int, /) -> Iterator[Lines]:
        """Show a part as a line."""
        self._title = title
        yield self

    def end(self, outcome: str, /) -> None:
        """Show the line."""
        print(f"  {self.name}: {self._title}: {outcome}", flush=True)
