"""The page of an audit: one HTML file that needs nothing else, for a browser on a desk or a phone."""

from __future__ import annotations

from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING

import slimjobs
from slimjobs.cli.audit_charts import GREY, breaking, clip, colours_of, histogram, treemap
from slimjobs.cli.audit_tables import tables_of
from slimjobs.sizes import format_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from slimjobs.cli.audit_report import Report
    from slimjobs.cli.audit_tables import Table

# A page with more would be slow on a phone, and nobody would read them.
_MOST_ROWS = 1_000
_LONGEST_FINDING = 2_000
_ANCHORS = {"By queue and state": "queues", "By task": "tasks", "Largest jobs": "largest"}


def page_of(report: Report, redis_name: str, began: datetime) -> str:
    """Return the page.

    Args:
        report: What the audit has found.
        redis_name: Which Redis it was, without a password.
        began: When the audit began, in UTC.
    """
    skeleton = files("slimjobs.cli").joinpath("audit_page.html").read_text(encoding="utf-8")
    queues = f"<li>{'queues' if len(report.queues) > 1 else 'queue'} {clip(', '.join(report.queues))}</li>"
    return Template(skeleton).substitute(
        began_iso=began.isoformat(timespec="seconds"),
        began=f"{began:%Y-%m-%d %H:%M} UTC",
        redis=clip(redis_name),
        queues=queues if report.queues else "",
        content="".join(_content(report)),
        version=slimjobs.__version__,
    )


def _content(report: Report) -> Iterator[str]:
    audit = report.audit
    if not audit.all.count:
        yield '<p class="empty">There are no jobs.</p>'
        return
    yield from _totals(report)
    yield from _findings(report)
    tables = list(tables_of(audit, _MOST_ROWS))
    tasks = [task for (task,), _ in audit.by("task")[:_MOST_ROWS]]
    links = {task: f"#task-{number}" for number, task in enumerate(tasks, 1)}
    colours = colours_of(audit)
    if audit.all.total_bytes:
        note = "Areas are in proportion to bytes. A box leads to its row in the table."
        yield from _section("map", "Bytes by queue and task", note, treemap(audit, colours, links))
    rows = histogram(audit, colours)
    head = '<thead><tr><th scope="col">up to</th><td></td><th scope="col">jobs</th></tr></thead>'
    note = "Jobs by their bytes, in powers of two, coloured by queue as above."
    yield from _section("sizes", "Jobs by size", note, f'<table class="sizes">{head}<tbody>{rows}</tbody></table>')
    for table in tables:
        anchor = _ANCHORS[table.title]
        body = "".join(_table(table, colours, "task" if anchor == "tasks" else ""))
        scrolled = f'<div class="scroll" tabindex="0" role="region" aria-labelledby="{anchor}-title">{body}</div>'
        yield from _section(anchor, table.full_title, "", scrolled)


def _section(anchor: str, title: str, note: str, body: str) -> Iterator[str]:
    yield f'<section id="{anchor}" aria-labelledby="{anchor}-title"><h2 id="{anchor}-title">{title}</h2>'
    if note:
        yield f'<figure role="group" aria-labelledby="{anchor}-title"><figcaption>{note}</figcaption>{body}</figure>'
    else:
        yield body
    yield "</section>"


def _totals(report: Report) -> Iterator[str]:
    stored = report.audit.all
    yield '<dl class="totals">'
    for name, value in (
        ("jobs", f"{stored.count:,}"),
        ("bytes", format_size(stored.total_bytes)),
        ("median", format_size(stored.quantile(0.5))),
        ("p99", format_size(stored.quantile(0.99))),
        ("largest", format_size(stored.largest_bytes)),
    ):
        yield f"<div><dt>{name}</dt><dd>{value}</dd></div>"
    yield "</dl>"


def _findings(report: Report) -> Iterator[str]:
    yield '<ul class="findings" aria-label="Findings">'
    for text, is_problem in report.findings():
        yield f"<li{' class=problem' if is_problem else ''}>{clip(text, _LONGEST_FINDING)}</li>"
    yield "</ul>"


def _table(table: Table, colours: Mapping[str, str], row_name: str) -> Iterator[str]:
    yield "<table><thead><tr>"
    for column in table.columns:
        yield f'<th scope="col"{"" if column.is_text else " class=number"}>{column.title}</th>'
    yield "</tr></thead><tbody>"
    for number, cells in enumerate(table.rows, 1):
        yield f'<tr id="{row_name}-{number}">' if row_name else "<tr>"
        for place, (column, cell) in enumerate(zip(table.columns, cells, strict=True)):
            yield _cell(column.title, cell, colours, is_text=column.is_text, is_first=place == 0)
        yield "</tr>"
    yield "</tbody></table>"


def _cell(title: str, cell: str, colours: Mapping[str, str], *, is_text: bool, is_first: bool) -> str:
    if title == "share":
        return f'<td class="number share" style="--share:{cell.replace(" ", "")}">{cell}</td>'
    if not is_text:
        return f'<td class="number">{cell}</td>'
    swatch = f'<i class="swatch {colours.get(cell, GREY)}"></i>' if title == "queue" else ""
    tag = 'th scope="row"' if is_first else "td"
    return f'<{tag} class="{title.partition(" ")[0]}">{swatch}{breaking(cell)}</{tag[:2]}>'
