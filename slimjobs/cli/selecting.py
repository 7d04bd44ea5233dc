"""The options that say which jobs a command is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slimjobs.backlog.keys import STATES
from slimjobs.backlog.selection import MOST_JOBS, Selection
from slimjobs.cli import kinds, parsers
from slimjobs.cli.watching import watch

if TYPE_CHECKING:
    import argparse

    from redis import Redis

    from slimjobs.backlog.rows import JobRow

_STATES = [state for state in STATES if state != "started"]


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--larger-than", type=kinds.size, metavar="SIZE", help="jobs of more bytes than this, such as 1MB"
    )
    parser.add_argument("--task", default="", metavar="GLOB", help="jobs of these tasks, such as 'app.mail.*'")
    parsers.add_queue(parser, "jobs of this queue")
    parser.add_argument(
        "--state",
        action="append",
        default=[],
        choices=_STATES,
        metavar="STATE",
        help=f"jobs in this state; can be given again: {', '.join(_STATES)}",
    )
    parser.add_argument("--older-than", type=kinds.seconds, metavar="TIME", help="jobs made longer ago, such as 7d")


def selection_of(arguments: argparse.Namespace) -> Selection:
    """Return which jobs were asked for."""
    queues, states = tuple(arguments.queue), tuple(arguments.state)
    return Selection(arguments.larger_than, arguments.task, queues, states, arguments.older_than)


def find(selection: Selection, connection: Redis, name: str) -> tuple[list[JobRow], bool]:
    """Return the jobs, and whether there are more than one run takes.

    Args:
        selection: Which jobs.
        connection: The Redis.
        name: The command, for the progress bar.
    """
    rows: dict[str, JobRow] = {}  # a scan may come by a job twice
    with watch(name).scene("jobs found", MOST_JOBS) as scene:
        for found in selection.rows(connection):
            rows.update((row.id, row) for row in found)
            scene.update(len(rows))
            if len(rows) >= MOST_JOBS:
                return list(rows.values())[:MOST_JOBS], True
    return list(rows.values()), False
