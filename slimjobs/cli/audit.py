"""`slimjobs audit`: its arguments, and what it prints of a backlog."""

from __future__ import annotations

import argparse
import json
import time
from typing import TYPE_CHECKING, Any

from slimjobs.backlog.audit import Audit
from slimjobs.backlog.due import Due, most_due
from slimjobs.backlog.orphans import Orphans
from slimjobs.backlog.scan import Scan
from slimjobs.cli import kinds, tables
from slimjobs.cli.connecting import add_redis_url, connect
from slimjobs.cli.manners import stand_back
from slimjobs.cli.watching import watch
from slimjobs.sizes import format_size

if TYPE_CHECKING:
    from collections.abc import Iterable

    from redis import Redis

    from slimjobs.backlog.audit import Group
    from slimjobs.backlog.sums import Sizes

DESCRIPTION = """\
Show what the jobs in Redis weigh: by queue, state and task, and the largest by id.

It reads sizes and no payloads, changes nothing, and can run beside production: Redis is asked in steps of a
millisecond, and left alone for twice as long between them. It works on any RQ, with or without slimjobs.
"""
EPILOG = """\
examples:
  slimjobs audit                                   all queues of the Redis in REDIS_URL
  slimjobs audit --queue mail --top 30             one queue, and more rows
  slimjobs audit --larger-than 64KiB               for an alert: exit status 1 if there is such a job
  slimjobs audit --memory 256MB                    will RQ's scheduler fit, when it reads what is due?
  slimjobs audit --orphans                         also queued, scheduled and deferred jobs that no list has
  slimjobs audit --json | jq '.largest[0]'         for scripts

"bytes" are what Redis holds: payloads after compression, meta, description, results and error texts. Medians and
the 99th percentile are exact to 1 percent.

exit status:
  0; 1 when a job is larger than --larger-than, or Redis cannot be reached; 2 when the arguments are wrong.
"""
HOUR_SECONDS = 3600


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its arguments."""
    parser = subparsers.add_parser(
        "audit",
        help="show what the jobs in Redis weigh",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--queue", "-q", action="append", default=[], metavar="NAME", help="only this queue; may be given several times"
    )
    parser.add_argument("--top", type=int, default=10, metavar="N", help="rows a table, and largest jobs (default: 10)")
    parser.add_argument(
        "--larger-than", type=kinds.size, metavar="SIZE", help="exit with 1 if a job is larger than this, such as 64KiB"
    )
    parser.add_argument(
        "--memory",
        type=kinds.size,
        default="512MB",
        metavar="SIZE",
        help="what the process of the scheduler may use (default: 512MB)",
    )
    parser.add_argument(
        "--orphans", action="store_true", help="look for jobs that no list has; takes up to 100 bytes a job"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_redis_url(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Read the backlog and print what it holds.

    Returns:
        The exit status.
    """
    stand_back()
    connection = connect(arguments)
    audit = Audit(max(arguments.top, 1), arguments.larger_than)
    orphans = Orphans(connection, arguments.queue) if arguments.orphans else None
    scan = Scan(connection, arguments.queue, audit.least_kept)
    keys: Any = connection.dbsize()
    with watch("audit").scene("keys", keys) as scene:
        for step in scan:
            audit.add(step)
            if orphans is None:
                scan.more_than = audit.least_kept
            else:
                orphans.look_at(step.rows)
            scene.update(min(scan.keys_seen, keys))
    audit.finish()
    if orphans is not None:
        orphans.finish()
    due = _due(connection, audit)
    if arguments.json:
        print(json.dumps(_as_json(audit, due, orphans, arguments), indent=2))
    else:
        _show(audit, due, orphans, arguments)
    return 1 if audit.over else 0


def _due(connection: Redis, audit: Audit) -> dict[str, Due | None]:
    queues = sorted({name.queue for name in audit.groups if name.state == "scheduled"})
    now = time.time()
    return {"now": most_due(connection, now, queues), "hour": most_due(connection, now + HOUR_SECONDS, queues)}


def _show(audit: Audit, due: dict[str, Due | None], orphans: Orphans | None, arguments: argparse.Namespace) -> None:
    if not audit.all.count:
        print("there are no jobs" + (f" of {', '.join(arguments.queue)}" if arguments.queue else ""))
        return
    print(f"{audit.all.count:,} jobs, {format_size(audit.all.total_bytes)}")
    for title, names in (("By queue and state", ("queue", "state")), ("By task", ("task",))):
        groups = audit.by(*names)
        shown = groups[: arguments.top]
        more = f" ({len(shown)} of {len(groups)})" if len(groups) > len(shown) else ""
        columns = [*tables.texts(*names), *tables.numbers("jobs", "bytes")]
        columns += tables.optional(tables.numbers("share", "median", "p99"))
        columns += tables.numbers("largest")
        columns += tables.optional(tables.numbers("payloads", "results", "errors"))
        rows = [[*(_shown(name) for name in key), *_cells(group, audit.all.total_bytes)] for key, group in shown]
        tables.show(title + more, columns, rows)
    largest = [
        [row.id, format_size(row.measured.stored_bytes), *map(_shown, row.measured.name), row.created_at[:19]]
        for row in audit.largest
    ]
    columns = [*tables.texts("id"), *tables.numbers("bytes"), *tables.texts("queue")]
    columns += [*tables.optional(tables.texts("state")), *tables.texts("task")]
    tables.show("Largest jobs", [*columns, *tables.optional(tables.texts("created (UTC)"))], largest)
    print()
    for line in _findings(audit, due, orphans, arguments):
        print(line)


def _cells(group: Group, all_bytes: int) -> list[str]:
    stored = group.stored
    share = f"{100 * stored.total_bytes / all_bytes:.1f} %" if all_bytes else ""
    sizes = (stored.quantile(0.5), stored.quantile(0.99), stored.largest_bytes)
    sums = (group.data_bytes, group.result_bytes, group.error_bytes)
    cells = [f"{stored.count:,}", format_size(stored.total_bytes), share]
    return [*cells, *map(format_size, sizes), *(format_size(size) if size else "-" for size in sums)]


def _shown(name: str) -> str:
    return name or "(none)"


def _findings(
    audit: Audit, due: dict[str, Due | None], orphans: Orphans | None, arguments: argparse.Namespace
) -> Iterable[str]:
    for when, words in (("now", "due now"), ("hour", "due within the hour")):
        found = due[when]
        if found is not None and not (when == "hour" and found == due["now"]):
            fits = "more than" if found.held_bytes > arguments.memory else "of"
            yield (
                f"RQ's scheduler would hold about {format_size(found.held_bytes)}, {fits} {arguments.memory.text}, "
                f"for the {found.jobs:,} jobs {words} on {found.queue}"
            )
    if due["hour"] is None:
        yield "no job is due within the hour"
    if audit.lasting.count:
        yield f"{_many(audit.lasting)} canceled and never expire: RQ cleans no registry of canceled jobs"
    for state, sizes in sorted(audit.unlisted.items()):
        yield f"{_many(sizes)} {_shown(state)}, and no registry has them"
    if audit.unlisted_lasting.count:
        yield f"{_many(audit.unlisted_lasting)} in no registry and never expire"
    if orphans is not None:
        shown = [f"{row.id} ({row.measured.name.state} on {row.measured.name.queue})" for row in orphans.found[:10]]
        more = f", and {len(orphans.found) - 10:,} more" if len(orphans.found) > 10 else ""
        many = f"{len(orphans.found):,} jobs are in no list of their state: {', '.join(shown)}{more}"
        yield many if orphans.found else "all queued, scheduled and deferred jobs are in their lists"
    if audit.over:
        yield f"{audit.over:,} {'job is' if audit.over == 1 else 'jobs are'} larger than {arguments.larger_than.text}"


def _many(sizes: Sizes) -> str:
    jobs = "job is" if sizes.count == 1 else "jobs are"
    return f"{sizes.count:,} ({format_size(sizes.total_bytes)}) {jobs}"


def _as_json(
    audit: Audit, due: dict[str, Due | None], orphans: Orphans | None, arguments: argparse.Namespace
) -> dict[str, Any]:
    return {
        "jobs": audit.all.count,
        "stored_bytes": audit.all.total_bytes,
        "groups": [
            {**name._asdict(), **_sizes(group.stored), "data_bytes": group.data_bytes}
            | {"result_bytes": group.result_bytes, "error_bytes": group.error_bytes}
            for name, group in sorted(audit.groups.items(), key=lambda pair: -pair[1].stored.total_bytes)
        ],
        "sizes": {str(size_bytes): count for size_bytes, count in audit.all.by_power().items()},
        "largest": [
            {"id": row.id, **row.measured.name._asdict(), "stored_bytes": row.measured.stored_bytes}
            | {"data_bytes": row.measured.data_bytes, "created_at": row.created_at}
            for row in audit.largest
        ],
        "due": {
            when: None if found is None else {**found._asdict(), "held_bytes": found.held_bytes}
            for when, found in due.items()
        },
        "memory_bytes": arguments.memory,
        "canceled_for_ever": _count(audit.lasting),
        "in_no_registry": {state: _count(sizes) for state, sizes in sorted(audit.unlisted.items())},
        "in_no_registry_for_ever": _count(audit.unlisted_lasting),
        "orphans": None if orphans is None else [row.id for row in orphans.found],
        "larger_than": None if arguments.larger_than is None else {"bytes": arguments.larger_than, "jobs": audit.over},
    }


def _count(sizes: Sizes) -> dict[str, int]:
    return {"jobs": sizes.count, "stored_bytes": sizes.total_bytes}


def _sizes(stored: Sizes) -> dict[str, int]:
    return {
        **_count(stored),
        "median_bytes": stored.quantile(0.5),
        "p99_bytes": stored.quantile(0.99),
        "largest_bytes": stored.largest_bytes,
    }
