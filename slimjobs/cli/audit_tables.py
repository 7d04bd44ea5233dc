"""The tables of an audit: by queue and state, by task, and the largest jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from slimjobs.cli import tables
from slimjobs.cli.audit_report import shown
from slimjobs.sizes import format_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slimjobs.backlog.audit import Audit, Group


class Table(NamedTuple):
    """A table of texts.

    Attributes:
        title: What stands above it.
        columns: Its columns.
        rows: The cells of its rows.
        all_rows: How many rows there are, with those that were left out.
    """

    title: str
    columns: list[tables.Column]
    rows: list[list[str]]
    all_rows: int

    @property
    def full_title(self) -> str:
        """The title, and how many rows are shown where there are more."""
        more = f" ({len(self.rows):,} of {self.all_rows:,})" if self.all_rows > len(self.rows) else ""
        return self.title + more


def tables_of(audit: Audit, most_rows: int) -> Iterator[Table]:
    """Yield the tables.

    Args:
        audit: The jobs, added up.
        most_rows: Rows of a table by groups; jobs are shown as many as the audit has kept.
    """
    for title, names in (("By queue and state", ("queue", "state")), ("By task", ("task",))):
        groups = audit.by(*names)
        columns = [*tables.texts(*names), *tables.numbers("jobs", "bytes")]
        columns += tables.optional(tables.numbers("share", "median", "p99"))
        columns += tables.numbers("largest")
        columns += tables.optional(tables.numbers("payloads", "results", "errors", "inflated"))
        rows = [[*map(shown, key), *_cells(group, audit.all.total_bytes)] for key, group in groups[:most_rows]]
        yield Table(title, columns, rows, len(groups))
    rows = [
        [row.id, format_size(row.measured.stored_bytes), *map(shown, row.measured.name), row.created_at[:19]]
        for row in audit.largest
    ]
    columns = [*tables.texts("id"), *tables.numbers("bytes"), *tables.texts("queue")]
    columns += [*tables.optional(tables.texts("state")), *tables.texts("task")]
    yield Table("Largest jobs", [*columns, *tables.optional(tables.texts("created (UTC)"))], rows, len(rows))


def _cells(group: Group, all_bytes: int) -> list[str]:
    stored = group.stored
    share = f"{100 * stored.total_bytes / all_bytes:.1f} %" if all_bytes else ""
    sizes = (stored.quantile(0.5), stored.quantile(0.99), stored.largest_bytes)
    sums = (group.data_bytes, group.result_bytes, group.error_bytes)
    cells = [f"{stored.count:,}", format_size(stored.total_bytes), share]
    cells += [*map(format_size, sizes), *(format_size(size) if size else "-" for size in sums)]
    return [*cells, f"~{format_size(group.payload_bytes)}" if group.payload_bytes else "-"]
