"""Show tables: with rich on a terminal, as aligned plain text in a pipe."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from slimjobs.cli.visible import visible

if TYPE_CHECKING:
    from collections.abc import Sequence


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        title: What stands above it.
        is_text: Whether it holds texts, which stand left, or numbers.
        is_optional: Whether it may be left out where a terminal is narrow.
    """

    title: str
    is_text: bool = False
    is_optional: bool = False


def texts(*titles: str) -> list[Column]:
    """Return columns of texts."""
    return [Column(title, is_text=True) for title in titles]


def numbers(*titles: str) -> list[Column]:
    """Return columns of numbers."""
    return [Column(title) for title in titles]


def optional(columns: Sequence[Column]) -> list[Column]:
    """Return columns that may be left out where a terminal is narrow."""
    return [column._replace(is_optional=True) for column in columns]


def show(title: str, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Print a table.

    Args:
        title: What stands above it.
        columns: The columns.
        rows: The cells, as many a row as there are columns.
    """
    if sys.stdout.isatty():
        with suppress(ImportError):
            # rich comes with an extra, and only a terminal needs it.
            from slimjobs.cli.rich_tables import show_rich

            show_rich(title, columns, rows)
            return
    cells = [[column.title for column in columns], *([visible(cell) for cell in row] for row in rows)]
    widths = [max(len(row[place]) for row in cells) for place in range(len(columns))]
    print(f"\n{visible(title)}")
    for row in cells:
        aligned = [
            cell.ljust(width) if column.is_text else cell.rjust(width)
            for cell, width, column in zip(row, widths, columns, strict=True)
        ]
        print(f"  {'  '.join(aligned)}".rstrip())
