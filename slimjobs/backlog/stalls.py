"""Since when a queue has stood still: told by the first jobs that wait in it, and by those that run or have ended."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

from redis.exceptions import ResponseError
from rq.defaults import DEFAULT_FAILURE_TTL, DEFAULT_RESULT_TTL

from slimjobs.backlog.keys import JOB_PREFIX, QUEUE_PREFIX, REGISTRY_PREFIXES, STARTED_PREFIX, text

if TYPE_CHECKING:
    from redis import Redis

# The first ones: a job may be gone from Redis, or have been put before others that wait for longer.
_FIRST_JOBS = 10
_RUNNING_JOBS = 200
# Registries are in the order of expiry. Jobs that ended last stand last, or, where they are kept for less time than
# others, first, or, with what RQ gives all of them, at that distance from now.
_ENDED_JOBS = 5
_KEPT_SECONDS = {"finished": DEFAULT_RESULT_TTL, "failed": DEFAULT_FAILURE_TTL}
_TIMES = ("enqueued_at", "started_at", "ended_at")
# A worker that goes from one job to the next has taken another one by then, or shows that one runs.
_PAUSE_SECONDS = 0.5


class Look(NamedTuple):
    """A look at a queue. All times are in seconds since 1970, UTC, and None where Redis does not tell.

    Attributes:
        at: When.
        first: The ids of the first jobs that wait.
        queued: How many jobs wait for a worker.
        running: How many run.
        waits_since: When the one was enqueued that has waited longest of the first ones and the last one.
        moved_at: When a job was last seen to start or end, as far as jobs are kept.
        ended_at: When the last of the jobs ended that are kept.
    """

    at: float
    first: list[Any]
    queued: int
    running: int
    waits_since: float | None
    moved_at: float | None
    ended_at: float | None

    @property
    def still_seconds(self) -> float | None:
        """For how long jobs have waited and none has moved; None where Redis tells nothing of it."""
        if not self.queued:
            return 0.0
        known = [each for each in (self.waits_since, self.moved_at) if each is not None]
        return max(self.at - max(known), 0.0) if known else None


def look_at(connection: Redis, queue: str) -> Look:
    """Return what a queue looks like now, in two round trips and without payloads.

    Args:
        connection: The Redis.
        queue: The queue's name.
    """
    now = time.time()
    with connection.pipeline(transaction=False) as pipeline:
        pipeline.llen(QUEUE_PREFIX + queue)
        pipeline.lrange(QUEUE_PREFIX + queue, 0, _FIRST_JOBS - 1)
        pipeline.lrange(QUEUE_PREFIX + queue, -1, -1)
        pipeline.zcard(STARTED_PREFIX + queue)
        pipeline.zrevrange(STARTED_PREFIX + queue, 0, _RUNNING_JOBS - 1)
        for state, kept_seconds in _KEPT_SECONDS.items():
            key = REGISTRY_PREFIXES[state] + queue
            pipeline.zrange(key, 0, _ENDED_JOBS - 1)
            pipeline.zrange(key, -_ENDED_JOBS, -1)
            pipeline.zrevrangebyscore(key, now + kept_seconds, "-inf", 0, _ENDED_JOBS)
        queued, first, last, running, executions, *ended = pipeline.execute()
    waiting = {text(job_id) for job_id in (*first, *last)}
    # A running job is listed with the id of its execution behind its own.
    others = {text(each).rpartition(":")[0] for each in executions} | {text(each) for some in ended for each in some}
    ids = [*waiting, *(others - waiting)]
    with connection.pipeline(transaction=False) as pipeline:
        for job_id in ids:
            pipeline.hmget(JOB_PREFIX + job_id, _TIMES)
        times = [_read_times(answer) for answer in pipeline.execute(raise_on_error=False)]
    return Look(
        at=now,
        first=first,
        queued=queued,
        running=running,
        waits_since=min(_known(enqueued for enqueued, _, _ in times[: len(waiting)]), default=None),
        moved_at=max(_known(each for _, *moved in times for each in moved), default=None),
        ended_at=max(_known(ended for _, _, ended in times), default=None),
    )


def look_again(connection: Redis, queue: str, before: Look) -> Look:
    """Return a second look, half a second after the first one: the first job may have been taken meanwhile.

    Args:
        connection: The Redis.
        queue: The queue's name.
        before: The first look.
    """
    time.sleep(max(before.at + _PAUSE_SECONDS - time.time(), 0))
    now = look_at(connection, queue)
    has_moved = bool(before.first) and before.first[0] not in now.first
    return now._replace(moved_at=now.at) if has_moved else now


def _known(times: Any) -> list[float]:
    return [each for each in times if each is not None]


def _read_times(answer: Any) -> list[float | None]:
    """Return the times of a job's hash, of which a key that another program uses has none."""
    if isinstance(answer, ResponseError) and "WRONGTYPE" in str(answer):
        return [None] * len(_TIMES)
    if isinstance(answer, Exception):
        raise answer
    return [_read_time(value) for value in answer]


def _read_time(value: bytes | None) -> float | None:
    try:
        return datetime.strptime(text(value), "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        return None
