"""Decorated tasks on a stock `rq.Queue`: their jobs wait for transactions too."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from rq.job import JobStatus
from rq.queue import EnqueueData
from rq.queue import Queue as RQQueue

from slimjobs import commit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from redis.client import Pipeline
    from rq.job import Job as RQJob

    from slimjobs.locators import Transaction


class Prepared(EnqueueData):
    """A call for `enqueue_many`, with the transactions that its rows may be part of."""

    transactions: tuple[Transaction, ...] = ()


def prepared(data: EnqueueData, transactions: tuple[Transaction, ...]) -> EnqueueData:
    """Return a call for `enqueue_many` that remembers its transactions."""
    if not transactions:
        return data
    remembering = Prepared(*data)
    remembering.transactions = transactions
    return remembering


def write(
    queue: RQQueue,
    transactions: tuple[Transaction, ...],
    method: Callable[..., Any],
    func: Callable[..., Any],
    options: dict[str, Any],
) -> RQJob:
    """Enqueue a call by one of a stock queue's methods, now or when its transactions have committed.

    Returns:
        The job; of one that waits only its id is known to Redis later.
    """
    if not (transactions or commit.has_waiting()):
        return cast("RQJob", method(func, **options))
    named = {**options, "job_id": options.get("job_id") or str(uuid4())}
    job = _made(queue, func, named)
    write_now = partial(method, func, **named)
    unique, pipeline = options.get("unique", False), options.get("pipeline")
    return job if _waits(queue, [(job, transactions)], write_now, pipeline, unique=unique) else write_now()


def write_many(
    queue: RQQueue, calls: Sequence[EnqueueData], pipeline: Pipeline | None, group_id: str | None
) -> list[RQJob]:
    """Enqueue what `prepared` returned, all of it together."""
    named = [EnqueueData(*call)._replace(job_id=call.job_id or str(uuid4())) for call in calls]
    write_now = partial(queue.enqueue_many, named, pipeline=pipeline, group_id=group_id)
    if not any(getattr(call, "transactions", ()) for call in calls) and not commit.has_waiting():
        return write_now()
    jobs = [
        (_made(queue, call.func, {**call._asdict(), "group_id": group_id}), getattr(before, "transactions", ()))
        for before, call in zip(calls, named, strict=True)
    ]
    return [job for job, _ in jobs] if _waits(queue, jobs, write_now, pipeline) else write_now()


def _made(queue: RQQueue, func: Any, options: dict[str, Any]) -> RQJob:
    kept = {name: value for name, value in options.items() if name not in _NOT_OF_JOBS}
    if "job_timeout" in kept:
        kept["timeout"] = kept.pop("job_timeout")
    status = JobStatus.DEFERRED if kept.get("depends_on") else JobStatus.QUEUED
    return queue.create_job(func, **kept, status=status)


def _waits(
    queue: RQQueue,
    jobs: Sequence[tuple[RQJob, tuple[Transaction, ...]]],
    write_now: Callable[[], object],
    pipeline: Pipeline | None,
    *,
    unique: bool = False,
) -> bool:
    return commit.wait(
        queue, [job for job, _ in jobs], commit.transactions_of(jobs), write_now, pipeline, unique=unique
    )


# What RQ's methods take that `create_job` does not.
_NOT_OF_JOBS = frozenset({"func", "at_front", "pipeline", "unique"})
