"""Decorated tasks on a stock `rq.Queue`: refs, limits and waiting for transactions, as on a queue of ours."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from rq.job import JobStatus
from rq.queue import EnqueueData
from rq.queue import Queue as RQQueue

from slimjobs import commit, refusals, tagging
from slimjobs.batches import Batch, Known, Prepared
from slimjobs.calls import TASK_ATTRIBUTE, Call
from slimjobs.codec import Refused
from slimjobs.descriptions import describe_call
from slimjobs.errors import ConfigurationError, PayloadTooLargeError
from slimjobs.limits import for_task, settings
from slimjobs.options import split
from slimjobs.payload import build, locate, too_large
from slimjobs.registry import transactions_of
from slimjobs.serializer import format_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from redis.client import Pipeline
    from rq.job import Job as RQJob
    from rq.serializers import Serializer as RQSerializer

    from slimjobs.locators import Transaction


def slim_down(
    queue: RQQueue, task: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any], dict[str, Any], Known]:
    """Return a call's arguments with refs in place of models, its options, and what is known of it.

    Raises:
        PayloadTooLargeError: The payload is over its limit.
        UnsupportedTypeError: Something in it cannot travel.
        UnsavedModelError: A model in it has no primary key.
    """
    meta, told = split(options.get("meta"))
    call = Call(task, task, None, args, kwargs, meta, is_task=True)
    models: list[Any] = []
    try:
        args, kwargs = _with_refs(queue, call, models)
        payload = build(
            Call(task, task, None, args, kwargs, meta), for_task(task), format_of(queue.serializer), queue.name
        )
    except PayloadTooLargeError:
        refusals.note(queue.connection, queue.name, task)
        raise
    is_waiting = commit.commit_for(task, told, "auto") == "auto"
    # The models were found here, and by the serializer those inside of value types.
    waits = (*transactions_of(models), *payload.transactions) if is_waiting else ()
    known = Known(task, payload.size_bytes, waits, queue.serializer)
    # Of what was given: a ref may be a dict by now.
    description = describe_call(task, call.args, call.kwargs, with_values=settings().describe == "values")
    return args, kwargs, {"description": description, **options, "meta": meta}, known


def _with_refs(queue: RQQueue, call: Call, models: list[Any]) -> Any:
    """Return a call's arguments with refs in place of models, which are added to a list; raises as `slim_down`."""
    form, room = format_of(queue.serializer), for_task(str(call.task)).room
    # Before the models are looked for, since that walks all there is.
    if form.exceeds(call, room):
        raise too_large(call, None, room, form)
    try:
        return tagging.dehydrate((call.args, call.kwargs), queue.serializer, room, models)
    except Refused as refused:
        raise locate(refused, call.task, call.parts(), room) from None


def _writes_alike(serializer: RQSerializer, other: RQSerializer) -> bool:
    """Return whether what was prepared for one serializer is what another writes."""
    if serializer is other or isinstance(serializer, type) or type(serializer) is not type(other):
        return serializer is other
    # A queue that is a function may have an instance of its own at each call. Of modules the type alone tells nothing.
    return tagging.knows_refs(serializer) == tagging.knows_refs(other)


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
        ConfigurationError: One of them was not prepared for such a queue, and so is neither slim nor checked.
    """
    batch = Batch(queue, settings().limits)
    named: list[EnqueueData] = []
    waits: list[tuple[Transaction, ...]] = []
    for call in calls:
        if not isinstance(call, Prepared) or not _writes_alike(call.known.serializer, queue.serializer):
            name = getattr(queue.serializer, "__name__", type(queue.serializer).__name__)
            raise ConfigurationError(
                f"a call for the stock queue {queue.name!r} was not prepared for a stock queue with {name}",
                hint="Let enqueue_many of a task on its own queue take it.",
                task=getattr(call.func, TASK_ATTRIBUTE, None),
            )
        batch.add(call.known.task, call.known.payload_bytes)
        waits.append(call.known.transactions)
        named.append(EnqueueData(*call)._replace(job_id=call.job_id or str(uuid4())))
    batch.end()
    write_now = partial(queue.enqueue_many, named, pipeline=pipeline, group_id=group_id)
    is_waiting = any(waits) or commit.has_waiting()
    # RQ writes those without dependencies before it makes the others, and so finds out too late what it refuses.
    if not is_waiting and not any(call.depends_on for call in named):
        return write_now()
    made = [_made(queue, call.func, {**call._asdict(), "group_id": group_id}) for call in named]
    if not is_waiting:
        return write_now()
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
