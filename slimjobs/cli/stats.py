"""`slimjobs stats`: its arguments, and what was counted at the enqueue calls."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from slimjobs.backlog.report import DAY_HOURS, summarize
from slimjobs.cli import parsers, tables
from slimjobs.cli.connecting import add_redis_url, connect
from slimjobs.entries import KEPT_HOURS
from slimjobs.ledger import Ledger
from slimjobs.sizes import format_size

if TYPE_CHECKING:
    from slimjobs.backlog.report import Summary

DESCRIPTION = """\
Show what was counted of the jobs that slimjobs enqueued, by queue and task: jobs and payload bytes of the last hour
against the day before, the largest, and how many were warned about, refused, or had rows missing.
"""
EPILOG = """\
examples:
  slimjobs stats                          the last day
  slimjobs stats --hours 168 --top 50     the last week
  slimjobs stats --queue mail --json

"before" is the mean hour of the day before this one. "by hour" are the payload bytes of the last 24 hours, up to this
one. Counts are kept for 14 days; "all time" goes back to the first job.

exit status:
  0; 2 when the arguments are wrong, or Redis cannot be reached.
"""
BARS = "▁▂▃▄▅▆▇█"


def add_parser(commands: parsers.Commands[argparse.ArgumentParser]) -> None:
    """Add the command and its arguments."""
    parser = parsers.add_command(
        commands, "stats", "show what was counted of jobs, by queue and task", DESCRIPTION, EPILOG
    )
    parsers.add_queue(parser)
    parser.add_argument(
        "--hours", type=_hours, default=DAY_HOURS, metavar="N", help="hours that are shown (default: 24)"
    )
    parser.add_argument("--top", type=int, default=20, metavar="N", help="rows of a table (default: 20)")
    parsers.add_json(parser)
    add_redis_url(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Read the ledger and print it.

    Returns:
        The exit status.
    """
    report = summarize(Ledger(connect(arguments)), arguments.hours, arguments.queue)
    if arguments.json:
        print(json.dumps(report, indent=2))
    else:
        _show(report, arguments)
    return 0


def _hours(value: str) -> int:
    if not value.isdecimal() or not 1 <= int(value) <= KEPT_HOURS:
        raise argparse.ArgumentTypeError(f"{value!r} is no number of hours from 1 to {KEPT_HOURS}")
    return int(value)


def _show(report: list[Summary], arguments: argparse.Namespace) -> None:
    if not report:
        print("nothing was counted: the queues that enqueue are none of slimjobs', or Redis has no EVAL for them")
        return
    shown = report[: arguments.top]
    more = f" ({len(shown)} of {len(report)})" if len(report) > len(shown) else ""
    columns = [*tables.texts("queue", "task"), *tables.numbers("jobs", "payloads", "largest", "last hour")]
    columns += tables.optional([*tables.numbers("before"), *tables.texts("by hour")])
    columns += tables.optional(tables.numbers("warned", "refused", "missing"))
    sizes = ("payload_bytes", "largest_bytes", "last_hour_bytes", "hour_before_bytes")
    rows = [
        [
            row["queue"],
            row["task"],
            f"{row['jobs']:,}",
            *(format_size(row[name]) for name in sizes),
            sparkline(row["hourly_bytes"][-DAY_HOURS:]),
            *(f"{row[name]:,}" if row[name] else "-" for name in ("warned", "refused", "missing")),
        ]
        for row in shown
    ]
    tables.show(f"The last {arguments.hours} hours{more}", columns, rows)
    jobs, payload_bytes = (sum(row[name] for row in report) for name in ("jobs", "payload_bytes"))
    always = sum(row["all_time"]["payload_bytes"] for row in report)
    print(f"\n{jobs:,} jobs, {format_size(payload_bytes)}; {format_size(always)} in all time")


def sparkline(numbers: list[int]) -> str:
    """Return numbers as bars of text, a character each; those that are 0 as a space."""
    largest = max(numbers, default=0)
    return "".join(BARS[max(-(-number * len(BARS) // largest) - 1, 0)] if number else " " for number in numbers)
