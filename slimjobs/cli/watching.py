"""Show long work to whoever watches: bars on a terminal, plain lines elsewhere, nothing beside JSON."""

from __future__ import annotations

import sys
from contextlib import contextmanager, suppress
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


def watch(name: str) -> Lines:
    """Return bars where standard output is a terminal and rich is installed, else lines."""
    if sys.stdout.isatty():
        with suppress(ImportError):
            # rich comes with an extra, and only a terminal needs it.
            from slimjobs.cli.bars import Bars  # noqa: PLC0415

            return Bars(name)
    return Lines(name)
