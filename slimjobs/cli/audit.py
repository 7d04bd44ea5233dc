"""`slimjobs audit`: its arguments, and a backlog as tables, JSON or a page."""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slimjobs.backlog.audit import Audit
from slimjobs.backlog.due import most_due
from slimjobs.backlog.orphans import Orphans
from slimjobs.backlog.scan import NO_ROWS, Scan
from slimjobs.backlog.whole_files import check_writable, write_whole
from slimjobs.cli import kinds, parsers, tables
from slimjobs.cli.audit_page import page_of
from slimjobs.cli.audit_report import Report
from slimjobs.cli.audit_tables import tables_of
from slimjobs.cli.connecting import add_redis_url, connect, name_of
from slimjobs.cli.manners import standing_aside
from slimjobs.cli.visible import visible
from slimjobs.cli.watching import watch
from slimjobs.ledger import Ledger
from slimjobs.sizes import format_size

if TYPE_CHECKING:
    import argparse

    from redis import Redis

DESCRIPTION = """\
Show what the jobs in Redis weigh: by queue, state and task, and the largest by id.

It measures payloads in Redis and fetches none, changes nothing, and can run beside production: Redis is asked in steps
of a millisecond or two, and left alone between them, for longer while others use it. It works on any RQ, with or
without slimjobs.
"""
EPILOG = """\
examples:
  slimjobs audit                                   all queues of the Redis in REDIS_URL
  slimjobs audit --queue mail --top 30             one queue, and more rows
  slimjobs audit --larger-than 64KiB               for an alert: exit status 1 if there is such a job
  slimjobs audit --memory 256MB                    will RQ's scheduler fit, when it reads what is due?
  slimjobs audit --orphans                         also queued, scheduled and deferred jobs that no list has
  slimjobs audit --html backlog.html               also a page with a treemap, for a browser on a desk or a phone
  slimjobs audit --json | jq '.largest[0]'         for scripts

"bytes" are what Redis holds: payloads after compression, meta, description, results and error texts. Medians and
the 99th percentile are exact to 1 percent. "inflated" is about what payloads are before compression, for tasks that
slimjobs has counted.

exit status:
  0; 1 when a job is larger than --larger-than; 2 when the arguments are wrong, Redis cannot be reached, or the file of
  --html cannot be written.
"""
HOUR_SECONDS = 3600


def add_parser(commands: parsers.Commands[argparse.ArgumentParser]) -> None:
    """Add the command and its arguments."""
    parser = parsers.add_command(commands, "audit", "show what the jobs in Redis weigh", DESCRIPTION, EPILOG)
    parsers.add_queue(parser)
    parser.add_argument("--top", type=int, default=10, metavar="N", help="rows a table, and largest jobs (default: 10)")
    parser.add_argument(
        "--larger-than", type=kinds.size, metavar="SIZE", help="exit with 1 if a job is larger than this, such as 64KiB"
    )
    parser.add_argument(
        "--memory",
        type=kinds.size,
        default="512MB",
        metavar="SIZE",
        help="what the process of the scheduler may use (default: 512MB)",
    )
    parser.add_argument(
        "--orphans", action="store_true", help="look for jobs that no list has; takes up to 100 bytes a job"
    )
    parsers.add_json(parser)
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="also write a page for a browser, in one file that needs no network"
    )
    add_redis_url(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Read the backlog and show what it holds.

    Returns:
        The exit status.
    """
    if arguments.html is not None:
        check_writable(arguments.html)
    began = datetime.now(timezone.utc)
    connection = connect(arguments)
    report = _read(connection, arguments)
    if arguments.json:
        print(json.dumps(report.as_json(), indent=2))
    else:
        _show(report, arguments.top)
    if arguments.html is not None:
        write_whole(arguments.html, page_of(report, name_of(connection), began))
        print(f"wrote {arguments.html}", file=sys.stderr)
    return 1 if report.audit.over else 0


def _read(connection: Redis, arguments: argparse.Namespace) -> Report:
    audit = Audit(max(arguments.top, 1))
    orphans = Orphans(connection, arguments.queue) if arguments.orphans else None
    too_large_from = NO_ROWS if arguments.larger_than is None else arguments.larger_than
    scan = Scan(connection, arguments.queue, audit.least_kept, too_large_from=too_large_from)
    keys: Any = connection.dbsize()
    with watch("audit").scene("keys", keys) as scene:
        for step in standing_aside(scan):
            audit.add(step)
            if orphans is None:
                scan.more_than = audit.least_kept
            else:
                orphans.look_at(step.rows)
            scene.update(min(scan.keys_seen, keys))
    audit.finish(Ledger(connection).totals())
    if orphans is not None:
        orphans.finish()
    queues = sorted({name.queue for name in audit.groups if name.state == "scheduled"})
    now = time.time()
    due_now, due_within_the_hour = (most_due(connection, now + seconds, queues) for seconds in (0, HOUR_SECONDS))
    return Report(
        audit, due_now, due_within_the_hour, orphans, arguments.queue, arguments.memory, arguments.larger_than
    )


def _show(report: Report, most_rows: int) -> None:
    audit = report.audit
    if not audit.all.count:
        print("there are no jobs" + (f" of {', '.join(report.queues)}" if report.queues else ""))
        return
    print(f"{audit.all.count:,} jobs, {format_size(audit.all.total_bytes)}")
    for table in tables_of(audit, most_rows):
        tables.show(table.full_title, table.columns, table.rows)
    print()
    for finding in report.findings():
        print(visible(finding.text))
