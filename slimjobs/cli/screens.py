"""Show tables again and again: in their place on a terminal, one after the other elsewhere."""

from __future__ import annotations

import os
import select
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from slimjobs.cli import tables

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from slimjobs.cli.tables import Column


class Part(NamedTuple):
    """A table of a screen, see `tables.show`; the last rows of the last one are left out where there is no room."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]


class Screen:
    """Prints one screen after the other."""

    def show(self, heading: str, parts: Sequence[Part]) -> None:
        """Show tables below a line.

        Args:
            heading: The line.
            parts: The tables.
        """
        print(heading)
        for part in parts:
            tables.show(*part)
        print(flush=True)

    def wait(self, seconds: float) -> bool:
        """Wait for the next screen, and return whether there is to be one."""
        time.sleep(seconds)
        return True


@contextmanager
def open_screen() -> Iterator[Screen]:
    """Yield the whole terminal, where there is one and rich is installed, else what prints one after the other."""
    if sys.stdout.isatty():
        with suppress(ImportError):
            # rich comes with an extra, and only a terminal needs it.
            from slimjobs.cli.rich_screens import open_rich_screen

            with _keys_at_once(), open_rich_screen() as screen:
                yield screen
            return
    yield Screen()


def wait_for_key(seconds: float) -> str:
    """Return the key that was pressed within a time, or ""."""
    if not sys.stdin.isatty():
        time.sleep(seconds)
        return ""
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    return os.read(sys.stdin.fileno(), 16).decode(errors="replace") if ready else ""


@contextmanager
def _keys_at_once() -> Iterator[None]:
    """Let keys be read without Enter, where the terminal can."""
    try:
        import termios  # Windows has none
        import tty
    except ImportError:
        yield
        return
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin.fileno())
    tty.setcbreak(sys.stdin.fileno())
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, before)
