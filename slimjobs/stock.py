"""Decorated tasks on a stock `rq.Queue`: their batches have a limit, and their jobs wait for transactions too."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from uuid import uuid4

from rq.job import JobStatus
from rq.queue import EnqueueData
from rq.queue import Queue as RQQueue

from slimjobs import commit
from slimjobs.batches import Batch
from slimjobs.limits import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from redis.client import Pipeline
    from rq.job import Job as RQJob

    from slimjobs.locators import Transaction


class Known(NamedTuple):
    """What is known of a checked call, and has no place in RQ.

    Attributes:
        task: The import path of its task.
        payload_bytes: What a worker holds in memory of it.
        transactions: Those that its rows may be part of.
    """

    task: str
    payload_bytes: int
    transactions: tuple[Transaction, ...]


class Prepared(EnqueueData):
    """A call for `enqueue_many`, with what is known of it."""

    known: Known

    # The tuple's own leaves behind what is known.
    def _replace(self, **changes: Any) -> Prepared:  # pyright: ignore[reportIncompatibleMethodOverride]  # Python lets one
        return prepared(super()._replace(**changes), self.known)


def prepared(data: EnqueueData, known: Known) -> Prepared:
    """Return a call for `enqueue_many` that remembers what is known of it."""
    remembering = Prepared(*data)
    remembering.known = known
    return remembering


def write(
    queue: RQQueue,
    known: Known | None,
    method: Callable[..., Any],
    func: Callable[..., Any],
    options: dict[str, Any],
) -> RQJob:
    """Enqueue a call by one of a stock queue's methods, now or when its transactions have committed.

    Returns:
        The job; of one that waits only its id is known to Redis later.
    """
    transactions = known.transactions if known is not None else ()
    if not (transactions or commit.has_waiting()):
        return cast("RQJob", method(func, **options))
    named = {**options, "job_id": options.get("job_id") or str(uuid4())}
    job = _made(queue, func, named)
    write_now = partial(method, func, **named)
    unique, pipeline = options.get("unique", False), options.get("pipeline")
    return job if _waits(queue, [(job, transactions)], write_now, pipeline, unique=unique) else write_now()


def write_many(
    queue: RQQueue, calls: Iterable[EnqueueData], pipeline: Pipeline | None, group_id: str | None
) -> list[RQJob]:
    """Enqueue what `prepared` returned, all of it together or nothing.

    Raises:
        BatchTooLargeError: Together they are over `max_batch_bytes`.
    """
    batch = Batch(queue, settings().limits)
    named: list[EnqueueData] = []
    waits: list[tuple[Transaction, ...]] = []
    for call in calls:
        known = call.known if isinstance(call, Prepared) else None
        if known is not None:
            batch.add(known.task, known.payload_bytes)
        waits.append(known.transactions if known is not None else ())
        named.append(EnqueueData(*call)._replace(job_id=call.job_id or str(uuid4())))
    batch.end()
    write_now = partial(queue.enqueue_many, named, pipeline=pipeline, group_id=group_id)
    if not any(waits) and not commit.has_waiting():
        return write_now()
    made = [_made(queue, call.func, {**call._asdict(), "group_id": group_id}) for call in named]
    jobs = list(zip(made, waits, strict=True))
    return made if _waits(queue, jobs, write_now, pipeline) else write_now()


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
