"""`slimjobs quarantine`: its arguments, and what became of the jobs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slimjobs.backlog.audit import Audit
from slimjobs.backlog.quarantine import Quarantine, find_dependents
from slimjobs.backlog.selection import MOST_JOBS, Selection
from slimjobs.cli import outcomes, parsers, selecting, tables
from slimjobs.cli.connecting import add_redis_url, connect
from slimjobs.cli.manners import stand_back
from slimjobs.cli.watching import watch
from slimjobs.sizes import format_size

if TYPE_CHECKING:
    import argparse

    from redis import Redis

    from slimjobs.backlog.rows import JobRow

DESCRIPTION = """\
Set jobs aside: write each whole to a file, and only then remove it from Redis, in one step that sees that nothing has
changed. `slimjobs restore FILE` puts them back as they were. Without --apply nothing is written and nothing removed.

Jobs that run are never touched. Stop RQ's own schedulers first: due jobs are left while one has their queue's lock.
"""
EPILOG = """\
examples:
  slimjobs quarantine --larger-than 1MB                          which would it be?
  slimjobs quarantine --larger-than 1MB --to big.jobs --apply
  slimjobs quarantine --task 'app.mail.*' --state scheduled --to mail.jobs --apply
  slimjobs quarantine --state failed --older-than 7d --to failed.jobs --apply

It can be killed at any moment: a job is in Redis or in the file, and `slimjobs restore` knows which.

Redis finds a queued job by passing all that stand before it, and serves nobody meanwhile. So jobs that are more than
60,000 places from both ends of their queue stay there, unless --deep is given: each then takes 5 ms or more.

exit status:
  0; 1 when a job was left where it is; 2 when the arguments are wrong, the file cannot be
  written, or Redis cannot be reached or refuses, 130 after Ctrl-C; what was set aside by then is told, and in the file.
"""


def add_parser(commands: parsers.Commands[argparse.ArgumentParser]) -> None:
    """Add the command and its arguments."""
    parser = parsers.add_command(commands, "quarantine", "set jobs aside, into a file", DESCRIPTION, EPILOG)
    selecting.add_selection(parser)
    parser.add_argument("--to", type=Path, metavar="FILE", help="the file, which must not exist")
    parsers.add_deep(parser)
    parsers.add_apply(parser)
    parsers.add_json(parser)
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
    audit = Audit(0)
    for row in rows:
        audit.add_job(row.measured)
    audit.finish()
    if not arguments.json:
        _show(audit, more)
    if arguments.apply and rows:
        tally = _set_aside(connection, rows, arguments)
    else:
        tally = outcomes.Tally(waited_for=list(find_dependents(connection, [row.id for row in rows])))
    if arguments.json:
        print(json.dumps({**_as_json(audit, more), "applied": arguments.apply, **tally.as_json()}, indent=2))
    elif arguments.apply and rows:
        outcomes.show(tally, f"set aside in {arguments.to}")
        print(f"`slimjobs restore {arguments.to} --apply` puts them back")
    elif rows:
        outcomes.show_others(tally.waited_for)
        print("\nnothing was changed; --to FILE --apply sets them aside")
    return tally.end()


def _set_aside(connection: Redis, rows: list[JobRow], arguments: argparse.Namespace) -> outcomes.Tally:
    quarantine = Quarantine(connection, arguments.to, deep=arguments.deep)
    try:
        with watch("quarantine").scene("jobs", len(rows)) as scene:
            return outcomes.count(quarantine.set_aside(rows), scene)
    finally:
        quarantine.close()


def _as_json(audit: Audit, more: bool) -> dict[str, Any]:
    groups = [
        {**name._asdict(), "jobs": group.stored.count, "stored_bytes": group.stored.total_bytes}
        for name, group in audit.groups.items()
    ]
    return {"jobs": audit.all.count, "stored_bytes": audit.all.total_bytes, "more": more, "groups": groups}


def _show(audit: Audit, more: bool) -> None:
    if not audit.all.count:
        print("there are no such jobs")
        return
    cells = []
    for name, group in audit.by("queue", "state", "task"):
        stored = group.stored
        sizes = (format_size(stored.total_bytes), format_size(stored.largest_bytes))
        cells.append([*name, f"{stored.count:,}", *sizes])
    columns = [*tables.texts("queue", "state", "task"), *tables.numbers("jobs", "bytes", "largest")]
    first = f"The first {MOST_JOBS:,} such jobs" if more else f"{audit.all.count:,} jobs"
    tables.show(f"{first}, {format_size(audit.all.total_bytes)}", columns, cells)
