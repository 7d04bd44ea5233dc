"""`slimjobs health`: its arguments, and a line for each check."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from slimjobs.backlog.growth import Growth
from slimjobs.backlog.health import CRITICAL, OK, WARNING, Bounds, Check, Health
from slimjobs.backlog.keys import KEY_PREFIX
from slimjobs.cli import kinds, parsers
from slimjobs.cli.connecting import add_redis_url, connect, explain
from slimjobs.cli.visible import visible

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from redis import Redis

DESCRIPTION = """\
Tell whether jobs run, for a monitor outside RQ: workers, schedulers, late jobs, cron, and what waits.

It goes by what RQ's processes leave in Redis, so that it works on any RQ, and speaks when all of them are dead.
"""
EPILOG = """\
checks, a line each:
  workers     CRITICAL where jobs wait and there is no worker, or workers are suspended; WARNING without a worker
  scheduler   CRITICAL where jobs are scheduled and no scheduler has the queue's lock; WARNING where the one that has it
              has not told for 20 s that it is alive
  late        how late the oldest due job is: CRITICAL above --max-late, WARNING above a fifth of it
  finished    for how long the first queued job has waited, and none was taken or ended: held against the same
  cron        CRITICAL where no cron scheduler was seen for 150 s, or no cron job enqueued within --max-silence
  backlog     what the waiting jobs take in Redis: CRITICAL above --max-backlog, WARNING above four fifths of it
  growth      WARNING where more jobs have waited at every look of the last 10 minutes than at the first of them

examples:
  slimjobs health                                       once; the exit status is for the monitor
  slimjobs health --max-silence 5m --max-backlog 256MB
  slimjobs health --watch 30 --ping https://hc.example/uuid   in a process of its own, with a heartbeat monitor
  */1 * * * *  slimjobs health || mail -s "RQ" ops@example.org     in cron, not in rq cron

The looks of the last 10 minutes are kept in a file for the next run: --state FILE, else in ~/.cache/slimjobs, or where
XDG_CACHE_HOME says. Without one that can be written, or with --state /dev/null, growth is told with
--watch alone.

exit status, as monitoring plugins have it:
  0 all is well; 1 a warning; 2 critical, Redis cannot be reached, or the arguments are wrong.
"""
PING_SECONDS = 10
LEVELS = {OK: "OK", WARNING: "WARNING", CRITICAL: "CRITICAL"}


def add_parser(commands: parsers.Commands[argparse.ArgumentParser]) -> None:
    """Add the command and its arguments."""
    parser = parsers.add_command(
        commands, "health", "tell whether jobs run, for a monitor outside RQ", DESCRIPTION, EPILOG
    )
    parsers.add_queue(parser)
    parser.add_argument(
        "--max-late",
        type=kinds.seconds,
        default=Bounds.late_seconds,
        metavar="TIME",
        help="how late a due job may be, or for how long a queue may stand still (default: 5m)",
    )
    parser.add_argument(
        "--max-silence",
        type=kinds.seconds,
        metavar="TIME",
        help="how long cron may have enqueued nothing, such as 5m",
    )
    parser.add_argument(
        "--max-backlog", type=kinds.size, metavar="SIZE", help="what waiting jobs may take in Redis, such as 256MB"
    )
    parser.add_argument("--ping", metavar="URL", help="ask for this URL whenever all is well")
    parser.add_argument("--watch", type=kinds.seconds, metavar="TIME", help="go on, with a look each time, such as 30")
    parser.add_argument(
        "--state",
        type=Path,
        metavar="FILE",
        help="where looks are kept for the next run (default: in ~/.cache/slimjobs)",
    )
    parsers.add_json(parser, "print JSON, one line a look")
    add_redis_url(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Look once, or again and again until Ctrl-C.

    Returns:
        The exit status.
    """
    if arguments.state is not None and arguments.state.is_dir():
        arguments.fail(f"--state: {arguments.state} is a folder; name a file")
    connection = connect(arguments)
    growth = Growth(arguments.state or _state_path(connection, arguments.queue))
    level = _look(connection, arguments, growth)
    while arguments.watch:
        time.sleep(arguments.watch)
        level = _look(connection, arguments, growth)
    return level


def _state_path(connection: Redis, queues: Sequence[str]) -> Path | None:
    """Return the file for these queues of this Redis, or None where there is no home to put it."""
    kwargs = connection.connection_pool.connection_kwargs
    names = [str(kwargs.get(name)) for name in ("host", "port", "path", "db")]
    key = hashlib.sha256("\n".join([*names, KEY_PREFIX, *sorted(queues)]).encode()).hexdigest()[:16]
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return None
    return folder / "slimjobs" / f"health-{key}.json"


def _look(connection: Redis, arguments: argparse.Namespace, growth: Growth) -> int:
    bounds = Bounds(arguments.max_late, arguments.max_silence, arguments.max_backlog)
    try:
        health = Health(connection, bounds, arguments.queue)
        checks = list(health.checks())
        grown = growth.check(health.waiting)
        checks += [grown] if grown else []
    except RedisError as error:
        checks = [Check("redis", "", CRITICAL, f"{type(error).__name__}: {explain(error)}")]
    if arguments.ping and not any(check.level for check in checks):
        checks += _ping(arguments.ping)
    level = max(check.level for check in checks)
    if arguments.json:
        found = [{**check._asdict(), "level": LEVELS[check.level]} for check in checks]
        print(json.dumps({"level": LEVELS[level], "checks": found}), flush=True)
    else:
        for check in checks:
            print(visible(f"{LEVELS[check.level]:8} {' '.join(filter(None, check[:2]))}: {check.text}"))
        sys.stdout.flush()
    return level


def _ping(url: str) -> list[Check]:
    """Tell a heartbeat monitor that all is well; a ping that fails is a warning."""
    if not url.startswith(("http://", "https://")):
        return [Check("ping", "", WARNING, "the URL begins with neither http:// nor https://")]
    try:
        with urllib.request.urlopen(url, timeout=PING_SECONDS):  # noqa: S310  # checked above
            return []
    # A URL that is none, and an answer that is not HTTP, come as the last two.
    except (OSError, ValueError, HTTPException) as error:
        return [Check("ping", "", WARNING, f"the monitor could not be told ({type(error).__name__}: {error})")]
