"""`slimjobs restore`: its arguments, and what became of the jobs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from slimjobs.backlog.restoring import restore, waiting_in
from slimjobs.cli import outcomes, parsers
from slimjobs.cli.connecting import add_redis_url, connect
from slimjobs.cli.manners import stand_back
from slimjobs.cli.watching import watch
from slimjobs.sizes import format_size

if TYPE_CHECKING:
    import argparse

DESCRIPTION = """\
Put back the jobs that `slimjobs quarantine` set aside: hash, place and score, expiry, results, and who waits for whom.
Without --apply it shows how many that would be.

It can be killed, and run as often as you like: Redis knows which jobs are in the file alone.
"""
EPILOG = """\
examples:
  slimjobs restore big.jobs
  slimjobs restore big.jobs --apply
  slimjobs restore big.jobs --queue mail --apply

A queued job goes back between its neighbours; where they have had their turn, it is next. Where they are more than
30,000 places from the head of a very long queue, it stays in the file, unless --deep is given: Redis serves nobody
while it looks for them, 5 ms or more.

exit status:
  0; 1 when a job was left in the file, or is missing there; 2 when the arguments are wrong, the file cannot be read, or
  Redis cannot be reached; 130 after Ctrl-C. What was put back by then is told.
"""


def add_parser(commands: parsers.Commands[argparse.ArgumentParser]) -> None:
    """Add the command and its arguments."""
    parser = parsers.add_command(commands, "restore", "put back jobs that were set aside", DESCRIPTION, EPILOG)
    parser.add_argument("file", type=Path, metavar="FILE", help="what `slimjobs quarantine` has written")
    parsers.add_queue(parser, "jobs of this queue")
    parsers.add_deep(parser)
    parsers.add_apply(parser)
    parsers.add_json(parser)
    add_redis_url(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Put the jobs back where that was asked for.

    Returns:
        The exit status.
    """
    stand_back()
    connection = connect(arguments)
    contents = waiting_in(connection, arguments.file, arguments.queue)
    if not arguments.json:
        print(f"{contents.jobs:,} jobs of {arguments.file} are not in Redis, {format_size(contents.stored_bytes)}")
        if contents.lost:
            print(f"{contents.lost:,} more were set aside into it and are not in it: was it cut, or damaged?")
    tally = outcomes.Tally()
    if arguments.apply:
        jobs = restore(connection, arguments.file, arguments.queue, deep=arguments.deep)
        with watch("restore").scene("jobs", contents.jobs) as scene:
            tally = outcomes.count(jobs, scene)
    if arguments.json:
        print(json.dumps({**contents._asdict(), "applied": arguments.apply, **tally.as_json()}, indent=2))
    elif arguments.apply and contents.jobs:
        outcomes.show(tally, "put back")
    elif contents.jobs:
        print("nothing was changed; --apply puts them back")
    return tally.end() or int(bool(contents.lost))
