"""`slimjobs cron`: its arguments, and how it begins and ends."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from slimjobs.cli import parsers
from slimjobs.cli.connecting import add_redis_url, connect

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

DESCRIPTION = """\
Enqueue jobs at intervals or by cron strings, as `rq cron` does with the same configuration.

Every job is checked when it starts: an argument that cannot travel, a model without a row or
a payload over its limit is told in a line, and nothing is started.
"""
EPILOG = """\
examples:
  slimjobs cron cron_config.py           a file, in or below this folder or by its whole path
  slimjobs cron app.cron_config          a module

exit status:
  0 after SIGTERM or Ctrl-C; 2 when the arguments are wrong, jobs are refused, the configuration cannot be imported or
  Redis cannot be reached at the start.
"""


def add_parser(commands: parsers.Commands[argparse.ArgumentParser]) -> None:
    """Add the command and its arguments."""
    parser = parsers.add_command(commands, "cron", "enqueue jobs at intervals or by cron strings", DESCRIPTION, EPILOG)
    parser.add_argument("config_path", metavar="CONFIG", help="the configuration: a file, or a module by its path")
    parser.add_argument(
        "--logging-level", "-l", type=str.upper, choices=LEVELS, default="INFO", help="what is logged (default: INFO)"
    )
    parser.add_argument(
        "--path", "-P", action="append", metavar="FOLDER", help="where modules are imported from too (default: .)"
    )
    add_redis_url(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the scheduler until it is told to stop.

    Returns:
        The exit status.
    """
    # The one command that wants a later RQ than the others.
    from slimjobs.cron import CronScheduler

    paths: Sequence[str] = arguments.path or (".",)
    sys.path.extend(paths)
    scheduler = CronScheduler(connection=connect(arguments), logging_level=arguments.logging_level)
    try:
        scheduler.load_config_from_file(arguments.config_path)
    except Exception as error:
        if not isinstance(error.__cause__, Exception):
            raise  # a refusal, which `main` prints
        print(f"slimjobs: {error}", file=sys.stderr)
        return 2
    scheduler.start()  # type: ignore[no-untyped-call]  # RQ's
    return 0
