"""`slimjobs restore`: its arguments, and what became of the jobs."""

from __future__ import annotations

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

A queued job goes back between its neighbours; where they have had their turn, it is next.

exit status:
  0; 1 when a job was left in the file, it cannot be read, or Redis cannot be reached; 2 when the arguments are wrong.
"""


def add_parser(commands: parsers.Commands[argparse.ArgumentParser]) -> None:
    """Add the command and its arguments."""
    parser = parsers.add_command(commands, "restore", "put back jobs that were set aside", DESCRIPTION, EPILOG)
    parser.add_argument("file", type=Path, metavar="FILE", help="what `slimjobs quarantine` has written")
    parser.add_argument("--apply", action="store_true", help="do it; without, only show what it would be")
    add_redis_url(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Put the jobs back where that was asked for.

    Returns:
        The exit status.
    """
    stand_back()
    connection = connect(arguments)
    count, size_bytes = waiting_in(connection, arguments.file)
    print(f"{count:,} jobs of {arguments.file} are not in Redis, {format_size(size_bytes)}")
    if not arguments.apply or not count:
        if count:
            print("nothing was changed; --apply puts them back")
        return 0
    with watch("restore").scene("jobs", count) as scene:
        return outcomes.show(restore(connection, arguments.file), scene, "put back")
