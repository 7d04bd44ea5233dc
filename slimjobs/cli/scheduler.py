"""`slimjobs scheduler`: its arguments, and how it ends."""

from __future__ import annotations

import argparse
import inspect
import logging
import os
import signal
from typing import Any

from rq.scheduler import RQScheduler

from slimjobs.cli import parsers
from slimjobs.cli.connecting import add_redis_url, connect
from slimjobs.scheduler import Scheduler

DESCRIPTION = """\
Move jobs to their queues when they are due: those of enqueue_at and enqueue_in,
retries with an interval, and repeats.

A worker does so too when it runs with with_scheduler=True; this is the same in a
process of its own. It never reads a payload, so its memory depends neither on their
size nor on how many jobs are due. Of all schedulers, RQ's own among them, one works
on a queue at a time, and another takes over when it ends.
"""
EPILOG = """\
examples:
  slimjobs scheduler default newsletter      until it is told to stop
  slimjobs scheduler -u redis://10.0.0.5 default
  slimjobs scheduler --name mailer default   started again after a crash, it has its locks back at once
  slimjobs scheduler --burst default         move what is due now, and leave

It ends on SIGTERM and Ctrl-C, and releases its locks. Where Redis goes away meanwhile it waits until it is back.

exit status:
  0 when it was told to stop, or with --burst when what was due is moved or left to the scheduler that has the lock;
  2 when the arguments are wrong, or Redis cannot be reached at the start or refuses.
"""


def add_parser(commands: parsers.Commands[argparse.ArgumentParser]) -> None:
    """Add the command and its arguments."""
    parser = parsers.add_command(
        commands, "scheduler", "move due jobs to their queues, without reading their payloads", DESCRIPTION, EPILOG
    )
    parser.add_argument("queues", nargs="+", metavar="QUEUE", help="the name of a queue")
    add_redis_url(parser)
    parser.add_argument(
        "--interval", type=_seconds, default=1, metavar="SECONDS", help="how often to look for due jobs (default: 1)"
    )
    parser.add_argument("--burst", action="store_true", help="move what is due and leave")
    parser.add_argument(
        "--name", help="what it is called in Redis, and owns its locks by; no two at a time may have the same"
    )
    level = parser.add_mutually_exclusive_group()
    level.add_argument("--verbose", "-v", dest="level", action="store_const", const=logging.DEBUG, help="log more")
    level.add_argument("--quiet", "-q", dest="level", action="store_const", const=logging.WARNING, help="log less")
    parser.set_defaults(run=run, level=logging.INFO)


def run(arguments: argparse.Namespace) -> int:
    """Run a scheduler in this process.

    Returns:
        0, once it was told to stop or all that was due is moved.
    """
    options: dict[str, Any] = {"interval": arguments.interval, "logging_level": arguments.level}
    if arguments.name is not None:
        if "name" not in inspect.signature(RQScheduler).parameters:
            arguments.fail("--name: schedulers have names since RQ 2.11 only")
        options["name"] = arguments.name
    connection = connect(arguments)
    connection.ping()
    connection.close()  # the scheduler opens its own
    scheduler = Scheduler(arguments.queues, connection, **options)
    names = ", ".join(sorted(set(arguments.queues)))
    if not arguments.burst:
        scheduler.log.info("Scheduler for %s started with PID %s", names, os.getpid())
        scheduler.work()
        return 0
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, scheduler.request_stop)
    locked = scheduler.work_once()
    others = ", ".join(sorted(set(arguments.queues) - locked))
    if others:
        scheduler.log.warning("Scheduler left %s to another scheduler, which has the lock", others)
    return 0


def _seconds(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds; write 1 or more")
    return number
