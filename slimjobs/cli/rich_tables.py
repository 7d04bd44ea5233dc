"""Show tables on a terminal, with rich."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from slimjobs.cli.visible import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slimjobs.cli.tables import Column

_ANY_WIDTH = 10_000


def show_rich(title: str, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; see `tables.show`."""
    console = Console()
    console.print(make_table(console, title, columns, rows))


def make_table(console: Console, title: str, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> Table:
    """Return a table, without its last optional columns where the terminal is too narrow for all."""
    shown = list(range(len(columns)))
    table = _make(title, columns, rows, shown)
    unbounded = console.options.update(width=_ANY_WIDTH)
    while console.measure(table, options=unbounded).maximum > console.width:
        optional = [place for place in shown if columns[place].is_optional]
        if not optional:
            break
        shown.remove(optional[-1])
        table = _make(title, columns, rows, shown)
    return table


def _make(title: str, columns: Sequence[Column], rows: Sequence[Sequence[str]], shown: Sequence[int]) -> Table:
    table = Table(
        title=escape(visible(title)), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False
    )
    for place in shown:
        column = columns[place]
        # A name or an id that is cut can neither be searched for nor copied.
        table.add_column(
            escape(column.title),
            justify="left" if column.is_text else "right",
            overflow="fold",
            no_wrap=not column.is_text,
        )
    for row in rows:
        table.add_row(*(escape(visible(row[place])) for place in shown))
    return table
