"""Show tables in their place on a terminal, with rich."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from slimjobs.cli.rich_tables import make_table
from slimjobs.cli.screens import Part, Screen, wait_for_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_QUIT = ("q", "Q")
# What a table has besides its rows: title, header, a line below it, and an empty line.
_TABLE_LINES = 4


class RichScreen(Screen):
    """The whole terminal.

    Args:
        console: The terminal.
        live: What shows on it.
    """

    def __init__(self, console: Console, live: Live) -> None:
        self._console = console
        self._live = live

    def show(self, heading: str, parts: Sequence[Part]) -> None:
        """Show tables below a line, in the place of those before."""
        room = self._console.height - 2
        shown = []
        for number, part in enumerate(parts):
            # Each table that follows needs some rows too.
            kept = room - _TABLE_LINES - (len(parts) - number - 1) * 2 * _TABLE_LINES
            rows = part.rows[: max(kept, 1)]
            more = f" ({len(rows)} of {len(part.rows)})" if len(rows) < len(part.rows) else ""
            shown.append(make_table(self._console, part.title + more, part.columns, rows))
            room -= len(rows) + _TABLE_LINES
        heading_line = Text.from_markup(f"{escape(heading)}  [dim]q quits[/dim]", overflow="ellipsis")
        heading_line.no_wrap = True
        self._live.update(Group(heading_line, *shown), refresh=True)

    def wait(self, seconds: float) -> bool:
        """Wait for the next screen; q ends it all, and any other key shows the next one at once."""
        return wait_for_key(seconds) not in _QUIT


@contextmanager
def open_rich_screen() -> Iterator[RichScreen]:
    """Yield the whole terminal, which is as it was afterwards."""
    console = Console()
    with Live(console=console, screen=True, auto_refresh=False) as live:
        yield RichScreen(console, live)
