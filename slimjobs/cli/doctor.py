"""`slimjobs doctor`: its arguments, and what it found with the fix of each."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from slimjobs.backlog import application, processes
from slimjobs.backlog.due import queue_names
from slimjobs.backlog.formats import REQUEUEABLE, Formats, FormatScan
from slimjobs.cli import parsers, tables
from slimjobs.cli.connecting import NAME_IT, add_redis_url, connect, said
from slimjobs.cli.manners import standing_aside
from slimjobs.cli.visible import visible
from slimjobs.cli.watching import watch
from slimjobs.doctor.agreement import Fleet, check_processes, check_queue
from slimjobs.doctor.findings import CRITICAL, OK, Finding
from slimjobs.doctor.limit_sources import NAMES, Place, check_limits, places, shown
from slimjobs.doctor.tasks import check_tasks
from slimjobs.doctor.writers import Application, Writer, check_places

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Sequence

    from redis import Redis

DESCRIPTION = """\
Tell whether an application and the processes of its Redis agree: which format jobs are written in, in flight in and
read in, which tasks cannot be imported, and which limits hold where. Each finding comes with its fix.

It imports the application and the tasks that jobs name, as a worker does, so run it where the application runs and in
its environment. It changes nothing.
"""
EPILOG = """\
examples:
  slimjobs doctor --app myproject.tasks
  slimjobs doctor --app myproject.tasks --app myproject.web --queue mail
  DJANGO_SETTINGS_MODULE=myproject.settings slimjobs doctor       django-rq's settings, admin and cron as well; the
                                                                  Redis is that of REDIS_URL, not of RQ_QUEUES
  slimjobs doctor --app myproject.tasks --json | jq '.findings[] | select(.level != "OK")'

What the application enqueues with are the rq.Queue objects and the functions with @slimjobs.job or @rq.job that its
modules hold. Workers and schedulers of slimjobs tell Redis what they read; of those of RQ's own classes only the class
is known. Payloads are told by their first bytes. Of those above 1 MiB a few of each task are looked at.

exit status:
  0 when all agree; 1 when there is something to fix, a Redis that cannot be reached among it; 2 when the arguments are
  wrong.
"""
LEVELS = ("OK", "WARNING", "CRITICAL")


def add_parser(commands: parsers.Commands[argparse.ArgumentParser]) -> None:
    """Add the command and its arguments."""
    parser = parsers.add_command(
        commands, "doctor", "tell whether queues, workers, schedulers and jobs agree", DESCRIPTION, EPILOG
    )
    parser.add_argument(
        "--app",
        action="append",
        default=[],
        metavar="MODULE",
        help="a module with queues or tasks; can be given again",
    )
    parsers.add_queue(parser)
    parsers.add_json(parser)
    add_redis_url(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Look at the application and at its Redis, and print what was found.

    Returns:
        The exit status.
    """
    if not arguments.app and not os.environ.get("DJANGO_SETTINGS_MODULE"):
        arguments.fail("name a module with the application's queues or tasks: --app myproject.tasks")
    connection = connect(arguments)
    with application.printing_to_stderr():
        findings, writers = _look_at_application(arguments.app)
    formats = Formats()
    try:
        formats = _look_at_jobs(connection, arguments.queue)
        with application.printing_to_stderr():
            findings += _look_at_redis(connection, arguments, writers, formats)
    except RedisError as error:
        of_settings = " (RQ_QUEUES is not asked for it)" if os.environ.get("DJANGO_SETTINGS_MODULE") else ""
        fix = f"{NAME_IT}{of_settings}; the application alone was looked at."
        findings.append(Finding("redis", CRITICAL, f"{type(error).__name__}: {said(error)}", fix))
    limits = places(writers)
    if arguments.json:
        print(json.dumps(_as_json(findings, formats, limits), indent=2))
    else:
        _show(findings, formats, limits)
    return int(any(finding.level != OK for finding in findings))


def _look_at_application(modules: Sequence[str]) -> tuple[list[Finding], list[Writer]]:
    settings, problem = os.environ.get("DJANGO_SETTINGS_MODULE"), ""
    try:
        application.prepare()
    except (Exception, SystemExit) as error:  # noqa: BLE001  # settings and applications raise what they like
        problem = f"Django cannot be set up: {type(error).__name__}: {error}"
    found = Application(modules)
    findings, writers = ([found.summarize()] if modules else []) + found.findings, found.writers
    if problem:
        fix = "Run it where `python -c 'import django; django.setup()'` works, in the environment of the application."
        findings.append(Finding(f"settings {settings}", CRITICAL, problem, fix))
    elif settings:
        for each in _look_at_settings():
            if isinstance(each, Finding):
                findings.append(each)
            else:
                writers.append(each)
    return findings, writers


def _look_at_settings() -> Iterable[Finding | Writer]:
    try:
        # Django comes with an application of Django's.
        from slimjobs.doctor.django_settings import look
    except ImportError:
        return ()  # without django-rq
    return look()


def _look_at_jobs(connection: Redis, queues: Sequence[str]) -> Formats:
    scan = FormatScan(connection, queues)
    keys: Any = connection.dbsize()
    with watch("doctor").scene("keys", keys) as scene:
        for _ in standing_aside(scan):
            scene.update(min(scan.keys_seen, keys))
    return scan.formats


def _look_at_redis(
    connection: Redis, arguments: argparse.Namespace, writers: Sequence[Writer], formats: Formats
) -> list[Finding]:
    workers, crons = list(processes.workers(connection)), list(processes.cron_schedulers(connection))
    known = {*queue_names(connection), *(writer.queue.name for writer in writers)}
    known |= {queue for process in (*workers, *(cron for cron, _ in crons)) for queue in process.queues}
    queues = sorted(known.intersection(arguments.queue) if arguments.queue else known)
    fleet = Fleet(writers, workers, list(processes.schedulers(connection, queues)), crons, formats)
    tasks = {task.task: 0 for _, cron_tasks in crons for task in cron_tasks}
    return [
        *check_places([writer for writer in writers if writer.queue.name in queues], connection),
        *(finding for queue in queues for finding in check_queue(queue, fleet)),
        *check_processes(fleet),
        *check_limits([worker for worker in workers if set(worker.queues) & set(queues)]),
        *check_tasks({**tasks, **formats.tasks()}),
    ]


def _show(findings: Sequence[Finding], formats: Formats, limits: Sequence[Place]) -> None:
    for finding in sorted(findings, key=lambda each: -each.level):
        print(visible(f"{LEVELS[finding.level]:8} {finding.subject}: {finding.text}"))
        if finding.fix:
            print(visible(f"         fix: {finding.fix}"))
    rows = [
        [name.queue, name.state, name.task, shown_format, f"{jobs:,}"]
        for name, counts in sorted(formats.by_name.items())
        for found, all_jobs in counts.most_common()
        for shown_format, jobs in _by_certainty(found, all_jobs, formats.likely[name, found])
    ]
    if rows:
        title = f"Payloads of jobs that will be run, or can be requeued ({', '.join(REQUEUEABLE)})"
        tables.show(title, [*tables.texts("queue", "state", "task", "format"), *tables.numbers("jobs")], rows)
    if formats.likely:
        print("\nlikely: too large to be looked at, and others of their task are so; `slimjobs repack` looks at each")
    cells = [
        [place.where, *(f"{shown(place.values[name])} ({place.sources[name]})" for name in NAMES)] for place in limits
    ]
    tables.show("Limits, and where they come from", tables.texts("where", *NAMES), cells)


def _by_certainty(found: str, jobs: int, likely: int) -> list[tuple[str, int]]:
    return [row for row in ((found, jobs - likely), (f"{found}, likely", likely)) if row[1]]


def _as_json(findings: Sequence[Finding], formats: Formats, limits: Sequence[Place]) -> dict[str, Any]:
    return {
        "findings": [{**finding._asdict(), "level": LEVELS[finding.level]} for finding in findings],
        "payloads": [
            {**name._asdict(), "format": found, "jobs": jobs, "likely": formats.likely[name, found]}
            for name, counts in sorted(formats.by_name.items())
            for found, jobs in counts.items()
        ],
        "limits": [place._asdict() for place in limits],
    }
