"""Show tables: with rich on a terminal, as aligned plain text in a pipe."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; columns whose title begins with "<" are texts, the others numbers.

    Args:
        title: What stands above it.
        columns: The titles of the columns.
        rows: The cells, as many a row as there are columns.
    """
    if sys.stdout.isatty():
        with suppress(ImportError):
            # rich comes with an extra, and only a terminal needs it.
            from slimjobs.cli.rich_tables import show_rich  # noqa: PLC0415

            show_rich(title, columns, rows)
            return
    names = [column.removeprefix("<") for column in columns]
    cells = [names, *rows]
    widths = [max(len(row[place]) for row in cells) for place in range(len(columns))]
    print(f"\n{title}")
    for row in cells:
        aligned = [
            cell.ljust(width) if column.startswith("<") else cell.rjust(width)
            for cell, width, column in zip(row, widths, columns, strict=True)
        ]
        print(f"  {'  '.join(aligned)}".rstrip())
