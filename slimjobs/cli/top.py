"""`slimjobs top`: its arguments, and queues and tasks as they are now."""

from __future__ import annotations

import json
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from slimjobs.backlog.live import Live
from slimjobs.cli import kinds, parsers, tables
from slimjobs.cli.connecting import add_redis_url, connect
from slimjobs.cli.screens import Part, Screen, open_screen
from slimjobs.cli.stats import sparkline
from slimjobs.sizes import format_size

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence

    from slimjobs.backlog.live import Look, QueueRow, TaskRow

DESCRIPTION = """\
Show queues and tasks as they are now, again and again: how many jobs wait and what they take, what runs, which queue
has no worker or scheduler, and what is enqueued.
"""
EPILOG = """\
examples:
  slimjobs top                              every 2 seconds, until q or Ctrl-C
  slimjobs top --queue mail --interval 10
  slimjobs top --count 1                    once
  slimjobs top --json --interval 60 >> queues.jsonl

"growth" is how many more jobs wait than at the look before, by the minute. Tasks, and what comes in of them, are what
slimjobs enqueued. Of a queue with more than 2,000 jobs of a kind the bytes are of a sample, with a ~ before them.

exit status:
  0; 2 when the arguments are wrong, or Redis cannot be reached at the start.
"""


def add_parser(commands: parsers.Commands[argparse.ArgumentParser]) -> None:
    """Add the command and its arguments."""
    parser = parsers.add_command(
        commands, "top", "show queues and tasks as they are now, again and again", DESCRIPTION, EPILOG
    )
    parsers.add_queue(parser)
    parser.add_argument(
        "--interval", "-i", type=kinds.seconds, default=2.0, metavar="TIME", help="how often to look (default: 2s)"
    )
    parser.add_argument("--count", "-n", type=int, default=0, metavar="N", help="end after so many looks")
    parsers.add_json(parser, "print JSON, one line a look")
    add_redis_url(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Look again and again, and show what there is.

    Returns:
        0, when it was told to end.
    """
    live = Live(connect(arguments), arguments.queue)
    try:
        if arguments.json:
            for look, problem in _looks(live, arguments, _sleep):
                print(json.dumps(_as_json(look, problem)), flush=True)
        else:
            with open_screen() as screen:
                for look, problem in _looks(live, arguments, screen.wait):
                    _show(screen, look, problem)
    except KeyboardInterrupt:
        pass  # as it is ended
    return 0


def _looks(live: Live, arguments: argparse.Namespace, wait: Callable[[float], bool]) -> Iterator[tuple[Look, str]]:
    """Yield one look after the other; where Redis cannot be reached the last one again, and why it is old."""
    look, problem, looks = live.look(), "", 1
    yield look, problem
    while looks != arguments.count and wait(arguments.interval):
        try:
            look, problem = live.look(), ""
        except RedisError as error:
            problem = f"Redis cannot be reached ({type(error).__name__})"
        looks += 1
        yield look, problem


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return True


def _show(screen: Screen, look: Look, problem: str) -> None:
    waiting, waiting_bytes = (sum(getattr(row, name) for row in look.queues) for name in ("waiting", "waiting_bytes"))
    heading = f"{_when(look.at)}  {waiting:,} jobs wait, {format_size(waiting_bytes)}"
    old = f"  {problem}, this is old" if problem else ""
    screen.show(heading + old, [_queues(look.queues), _tasks(look.tasks)])


def _queues(queues: Sequence[QueueRow]) -> Part:
    columns = [*tables.texts("queue"), *tables.numbers("queued", "due", "bytes", "growth")]
    columns += tables.optional([*tables.numbers("workers"), *tables.texts("scheduler")])
    columns += tables.optional(tables.numbers("running", "scheduled", "deferred", "failed"))
    rows = [
        [
            row.queue,
            f"{row.queued:,}",
            f"{row.due:,}",
            ("" if row.is_exact else "~") + format_size(row.waiting_bytes),
            _rate(row.growth_per_minute, "+"),
            f"{row.workers:,}" if row.workers else "none",
            "up" if row.has_scheduler else "NONE" if row.scheduled else "-",
            *(f"{number:,}" for number in (row.started, row.scheduled, row.deferred, row.failed)),
        ]
        for row in queues
    ]
    return Part("Queues", columns, rows)


def _tasks(tasks: Sequence[TaskRow]) -> Part:
    columns = [*tables.texts("queue", "task"), *tables.numbers("jobs/min")]
    columns += tables.optional(tables.numbers("payloads/min", "largest", "last hour"))
    columns += tables.optional([*tables.texts("by hour"), *tables.numbers("warned", "refused", "missing")])
    rows = [
        [
            row.summary["queue"],
            row.summary["task"],
            _rate(row.jobs_per_minute),
            "-" if row.bytes_per_minute is None else format_size(round(row.bytes_per_minute)),
            *(format_size(row.summary[name]) for name in ("largest_bytes", "last_hour_bytes")),
            sparkline(row.summary["hourly_bytes"]),
            *(f"{row.summary[name]:,}" if row.summary[name] else "-" for name in ("warned", "refused", "missing")),
        ]
        for row in sorted(tasks, key=lambda row: -(row.bytes_per_minute or 0))
    ]
    return Part("Enqueued by slimjobs", columns, rows)


def _rate(by_minute: float | None, sign: str = "") -> str:
    return "-" if by_minute is None else f"{by_minute:{sign},.0f}"


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def _as_json(look: Look, problem: str) -> dict[str, Any]:
    return {
        "at": _when(look.at),
        "problem": problem,
        "queues": [row._asdict() for row in look.queues],
        "tasks": [
            {**row.summary, "jobs_per_minute": row.jobs_per_minute, "bytes_per_minute": row.bytes_per_minute}
            for row in look.tasks
        ],
    }
