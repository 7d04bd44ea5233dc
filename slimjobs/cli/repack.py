"""`slimjobs repack`: its arguments, and what became of the jobs."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from redis.exceptions import RedisError

from slimjobs.backlog.repack import Converter, Repacked, repack
from slimjobs.cli import kinds, parsers, selecting, tables
from slimjobs.cli.connecting import add_redis_url, connect
from slimjobs.cli.manners import stand_back
from slimjobs.cli.visible import visible
from slimjobs.cli.watching import watch
from slimjobs.errors import SlimjobsError
from slimjobs.sizes import format_size

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

DESCRIPTION = """\
Rewrite jobs that carry pickled models, in place and one at a time, so that they carry IDs and are loaded in the worker.

Workers have to read slimjobs' payloads by then. A job stays as it is, and the reason is told, where it carries no
model, where its row is gone, so that the job has the only copy, or where it cannot be unpickled. Jobs that run are
never touched. Without --apply nothing is changed.
"""
EPILOG = """\
examples:
  slimjobs repack --app myproject.tasks --trust-pickle                         what would it save?
  slimjobs repack --app myproject.tasks --trust-pickle --larger-than 64KiB --apply
  DJANGO_SETTINGS_MODULE=myproject.settings slimjobs repack --trust-pickle     Django's models need no --app

A pickle runs whatever code it names. --trust-pickle says that you trust everybody who can write to this Redis; even so
jobs are unpickled in a process of its own, which may take --memory and a minute a job.

exit status:
  0; 1 when a job could not be rewritten that may carry models; 2 when the arguments are wrong, the application cannot
  be imported or does not fit in --memory, or Redis cannot be reached or refuses; what was rewritten by then is told.
"""
NOTHING_TO_DO = ("it is slim already", "it carries no registered model")
_MOST_REASONS = 10


def add_parser(commands: parsers.Commands[argparse.ArgumentParser]) -> None:
    """Add the command and its arguments."""
    parser = parsers.add_command(
        commands, "repack", "rewrite jobs with pickled models, so that they carry IDs", DESCRIPTION, EPILOG
    )
    parser.add_argument(
        "--app",
        action="append",
        default=[],
        metavar="MODULE",
        help="a module that registers models; can be given again",
    )
    parser.add_argument("--trust-pickle", action="store_true", help="unpickle what is in this Redis")
    parser.add_argument(
        "--all", action="store_true", help="rewrite jobs without models too, so that no pickle is left to be read"
    )
    selecting.add_selection(parser)
    parser.add_argument(
        "--memory", type=kinds.size, default="512MB", metavar="SIZE", help="what unpickling may take (default: 512MB)"
    )
    parsers.add_apply(parser)
    parsers.add_json(parser)
    add_redis_url(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Find the jobs, and rewrite them where that was asked for.

    Returns:
        The exit status.
    """
    if not arguments.trust_pickle:
        arguments.fail(
            "jobs are unpickled, which runs whatever code they name: --trust-pickle says that you trust them"
        )
    stand_back()
    connection = connect(arguments)
    rows, more = selecting.find(selecting.selection_of(arguments), connection, "repack")
    converter = Converter(arguments.app, arguments.memory, every=arguments.all)
    outcomes: list[Repacked] = []
    error: SlimjobsError | RedisError | None = None
    try:
        with watch("repack").scene("jobs", len(rows)) as scene:
            for outcome in repack(connection, rows, converter, writes=arguments.apply):
                outcomes.append(outcome)
                scene.update(len(outcomes))
    except (SlimjobsError, RedisError) as caught:
        if not outcomes:
            raise
        error = caught
    finally:
        converter.close()
    if arguments.json:
        print(json.dumps({**_as_json(outcomes), "more": more, "applied": arguments.apply}, indent=2))
    else:
        _show(outcomes)
        if more:
            print("there are more such jobs: run it again")
        if not arguments.apply and any(not outcome.problem for outcome in outcomes):
            print("nothing was changed; --apply rewrites them")
    if error:
        raise error
    return int(any(outcome.problem and outcome.problem not in NOTHING_TO_DO for outcome in outcomes))


class _Row(NamedTuple):
    """What became of the jobs of a task."""

    task: str
    jobs: int
    rewritten: int
    before_bytes: int
    after_bytes: int


def _rows(outcomes: Sequence[Repacked]) -> list[_Row]:
    """Return the tasks, those of the most bytes first."""
    by_task: dict[str, list[Repacked]] = {}
    for outcome in outcomes:
        by_task.setdefault(outcome.task, []).append(outcome)
    rows = []
    for task, of_task in by_task.items():
        rewritten = sum(not each.problem for each in of_task)
        before_bytes = sum(each.before_bytes for each in of_task)
        after_bytes = sum(each.after_bytes for each in of_task)
        rows.append(_Row(task, len(of_task), rewritten, before_bytes, after_bytes))
    return sorted(rows, key=lambda row: -row.before_bytes)


def _as_json(outcomes: Sequence[Repacked]) -> dict[str, Any]:
    left = [{"id": outcome.id, "reason": outcome.problem} for outcome in outcomes if outcome.problem]
    return {"tasks": [row._asdict() for row in _rows(outcomes)], "left": left}


def _show(outcomes: Sequence[Repacked]) -> None:
    if not outcomes:
        print("there are no such jobs")
        return
    columns = [*tables.texts("task"), *tables.numbers("jobs", "rewritten", "bytes before", "bytes after")]
    cells = [
        [row.task, f"{row.jobs:,}", f"{row.rewritten:,}", format_size(row.before_bytes), format_size(row.after_bytes)]
        for row in _rows(outcomes)
    ]
    tables.show("Payloads in Redis", columns, cells)
    reasons = Counter(outcome.problem for outcome in outcomes if outcome.problem)
    print()
    for reason, jobs in reasons.most_common(_MOST_REASONS):
        first = next(outcome.id for outcome in outcomes if outcome.problem == reason)
        print(visible(f"{jobs:,} as they were: {reason} ({first})"))
    if len(reasons) > _MOST_REASONS:
        print(f"and {len(reasons) - _MOST_REASONS:,} more reasons")
