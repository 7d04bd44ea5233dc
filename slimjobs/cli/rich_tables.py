"""Show tables on a terminal, with rich."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence


def show_rich(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; see `slimjobs.cli.tables.show`."""
    table = Table(title=escape(title), title_justify="left", title_style="bold", header_style="bold")
    for column in columns:
        table.add_column(escape(column.removeprefix("<")), justify="left" if column.startswith("<") else "right")
    for row in rows:
        table.add_row(*map(escape, row))
    Console().print(table)
