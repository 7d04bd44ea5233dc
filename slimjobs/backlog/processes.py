"""The workers, schedulers and cron schedulers that are known to Redis, and what ours tell of themselves."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from slimjobs.backlog.keys import (
    CRON_SCHEDULER_PREFIX,
    CRON_SCHEDULERS_KEY,
    SCHEDULER_LOCK_PREFIX,
    SCHEDULER_PREFIX,
    WORKERS_KEY,
    text,
)
from slimjobs.marks import FIELD, Mark, read_mark

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from redis import Redis


class Process(NamedTuple):
    """A process that RQ knows.

    Attributes:
        name: Its name.
        queues: The names of its queues.
        mark: What it tells of itself, or None of a process of RQ's own classes.
        is_told: Whether a process of slimjobs would have told of itself; schedulers do since RQ 2.11.
    """

    name: str
    queues: tuple[str, ...]
    mark: Mark | None
    is_told: bool = True


class CronTask(NamedTuple):
    """A task that cron enqueues.

    Attributes:
        queue: The name of its queue.
        task: The import path of the task.
    """

    queue: str
    task: str


def workers(connection: Redis) -> Iterator[Process]:
    """Yield the workers; the keys of those that were killed stay for up to eight minutes."""
    members: Any = connection.smembers(WORKERS_KEY)
    for key in sorted(members):
        queues, mark = _read(connection, text(key), "queues", FIELD)
        if queues is not None:
            yield Process(text(key).rpartition(":")[2], tuple(text(queues).split(",")), read_mark(mark))


def schedulers(connection: Redis, queues: Sequence[str]) -> Iterator[Process]:
    """Yield for each queue the scheduler that has its lock, if one has."""
    for queue in queues:
        name: Any = connection.get(SCHEDULER_LOCK_PREFIX + queue)
        if name is not None:
            known, mark = _read(connection, SCHEDULER_PREFIX + text(name), "name", FIELD)
            yield Process(text(name), (queue,), read_mark(mark), is_told=known is not None)


def cron_schedulers(connection: Redis) -> Iterator[tuple[Process, list[CronTask]]]:
    """Yield the schedulers of cron jobs, with what they enqueue."""
    names: Any = connection.zrange(CRON_SCHEDULERS_KEY, 0, -1)
    for name in names:
        jobs, mark = _read(connection, CRON_SCHEDULER_PREFIX + text(name), "cron_jobs", FIELD)
        if jobs is not None:
            tasks = _cron_tasks(jobs)
            yield Process(text(name), tuple(dict.fromkeys(task.queue for task in tasks)), read_mark(mark)), tasks


def _cron_tasks(jobs: bytes) -> list[CronTask]:
    try:
        return [CronTask(str(job["queue_name"]), str(job["func_name"])) for job in json.loads(jobs)]
    except (KeyError, TypeError, ValueError):
        return []


def _read(connection: Redis, key: str, *fields: str) -> list[Any]:
    values: Any = connection.hmget(key, list(fields))
    return list(values)
