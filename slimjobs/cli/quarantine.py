"""`slimjobs quarantine`: its arguments, and what became of the jobs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from slimjobs.backlog.audit import Audit
from slimjobs.backlog.quarantine import Quarantine
from slimjobs.backlog.rows import Step
from slimjobs.backlog.selection import MOST_JOBS, Selection
from slimjobs.cli import outcomes, parsers, selecting, tables
from slimjobs.cli.connecting import add_redis_url, connect
from slimjobs.cli.manners import stand_back
from slimjobs.cli.watching import watch
from slimjobs.sizes import format_size

if TYPE_CHECKING:
    import argparse

    from slimjobs.backlog.rows import JobRow

DESCRIPTION = """\
Set jobs aside: write each whole to a file, and only then remove it from Redis, in one step that sees that nothing has
changed. `slimjobs restore FILE` puts them back as they were. Without --apply nothing is written and nothing removed.

Jobs that run are never touched.
"""
EPILOG = """\
examples:
  slimjobs quarantine --larger-than 1MB                          which would it be?
  slimjobs quarantine --larger-than 1MB --to big.jobs --apply
  slimjobs quarantine --task 'app.mail.*' --state scheduled --to mail.jobs --apply
  slimjobs quarantine --state failed --older-than 7d --to failed.jobs --apply

It can be killed at any moment: a job is in Redis or in the file, and `slimjobs restore` knows which.

exit status:
  0; 1 when a job was left where it is, or Redis cannot be reached; 2 when the arguments are wrong.
"""


def add_parser(commands: parsers.Commands[argparse.ArgumentParser]) -> None:
    """Add the command and its arguments."""
    parser = parsers.add_command(commands, "quarantine", "set jobs aside, into a file", DESCRIPTION, EPILOG)
    selecting.add_selection(parser)
    parser.add_argument("--to", type=Path, metavar="FILE", help="the file, which must not exist")
    parser.add_argument("--apply", action="store_true", help="do it; without, only show what it would be")
    add_redis_url(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Find the jobs, and set them aside where that was asked for.

    Returns:
        The exit status.
    """
    selection = selecting.selection_of(arguments)
    if selection == Selection():
        arguments.fail("say which jobs: --larger-than, --task, --queue, --state or --older-than")
    if arguments.apply and not arguments.to:
        arguments.fail("--apply needs a file to write them to: --to FILE")
    stand_back()
    connection = connect(arguments)
    rows, more = selecting.find(selection, connection, "quarantine")
    _show(rows, more)
    if not arguments.apply:
        if rows:
            print("\nnothing was changed; --to FILE --apply sets them aside")
        return 0
    if not rows:
        return 0
    quarantine = Quarantine(connection, arguments.to)
    try:
        with watch("quarantine").scene("jobs", len(rows)) as scene:
            status = outcomes.show(quarantine.set_aside(rows), scene, f"set aside in {arguments.to}")
    finally:
        quarantine.close()
    print(f"`slimjobs restore {arguments.to} --apply` puts them back")
    return status


def _show(rows: list[JobRow], more: bool) -> None:
    audit = Audit(0)
    audit.add(Step([row.measured for row in rows], []))
    audit.finish()
    if not rows:
        print("there are no such jobs")
        return
    cells = []
    for name, group in audit.by("queue", "state", "task"):
        stored = group.stored
        sizes = (format_size(stored.total_bytes), format_size(stored.largest_bytes))
        cells.append([*name, f"{stored.count:,}", *sizes])
    columns = [*tables.texts("queue", "state", "task"), *tables.numbers("jobs", "bytes", "largest")]
    first = f"The first {MOST_JOBS:,} such jobs" if more else f"{len(rows):,} jobs"
    tables.show(f"{first}, {format_size(audit.all.total_bytes)}", columns, cells)
