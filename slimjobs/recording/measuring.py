"""What is recorded of a job: its size and whether it can be read back; what is in it where that can matter.

A job of stock RQ that carries plain values within its limit needs no more than RQ itself. All that takes other jobs
apart is imported at the first of them: most runs of tests have none, and each would wait for it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rq.job import UNEVALUATED
from rq.serializers import DefaultSerializer, JSONSerializer

from slimjobs.limits import for_task
from slimjobs.recording.jobs import RecordedJob
from slimjobs.recording.places import find_place

if TYPE_CHECKING:
    from rq.job import Job as RQJob

    from slimjobs.errors import SlimjobsError

UNKNOWN = "a task whose name cannot be read"
_MOST_CHARACTERS = 120

_STOCK_SERIALIZERS = (DefaultSerializer, JSONSerializer)
_LEAVES = frozenset({str, bytes, int, float, bool, type(None)})
_CONTAINERS = frozenset({list, tuple, set, frozenset})
_MOST_NODES = 10_000

# What a job calls: (function's name, instance, args, kwargs).
Call = tuple[Any, Any, Any, Any]


def measure(job: RQJob) -> RecordedJob:
    """Return what is to be recorded of a job of ours or of RQ's own that was just written.

    Of one that will not be looked at, that is its size alone: the application was right to enqueue it.
    """
    try:
        recorded: RecordedJob = _measure_plain(job) or import_module("slimjobs.recording.dissecting").dissect(job)
    except Exception:  # noqa: BLE001  # of the objects that it was given
        limits = for_task(None)
        size_bytes, place = len(job.data), find_place()
        return RecordedJob(UNKNOWN, size_bytes, limits.max_bytes, limits.warn_bytes, job.id, job.origin or "", place)
    return recorded


def refused(error: SlimjobsError) -> RecordedJob:
    """Return what is to be recorded of a payload or a batch that is over its limit."""
    limits = for_task(error.task)
    return RecordedJob(
        task=error.task or UNKNOWN,
        size_bytes=error.size_bytes or 0,
        limit_bytes=error.limit_bytes or 0,
        warn_bytes=limits.warn_bytes,
        place=find_place(),
        parts=error.parts,
        refusal=error,
    )


def given_call(job: RQJob) -> Call | None:
    """Return what a new job was given, or None where that is gone: ours keep their payload alone."""
    call: Call = (job._func_name, job._instance, job._args, job._kwargs)
    return None if any(value is UNEVALUATED for value in call) else call


def decode(job: RQJob) -> tuple[Call | None, str]:
    """Return what a worker will read of a job, or why it cannot."""
    try:
        function, instance, args, kwargs = job.serializer.loads(job.data)
    except Exception as error:  # noqa: BLE001  # of many kinds, one for each serializer
        first, *_ = str(error).splitlines() or [""]
        return None, f"{type(error).__name__}: {first[:_MOST_CHARACTERS]}"
    return (function, instance, args, kwargs), ""


def is_importable(task: str) -> bool:
    """Return whether a worker could import a function, which then is no lambda and not inside another."""
    return "<" not in task


def _measure_plain(job: RQJob) -> RecordedJob | None:
    """Return what is to be recorded of a function's job with plain values within its limit, or None for any other."""
    call = given_call(job)
    is_stock = job.serializer in _STOCK_SERIALIZERS and not hasattr(job, "payload")
    if not is_stock or call is None or not _are_plain(*call, job.meta):
        return None
    task, limits = str(call[0]), for_task(str(call[0]))
    size_bytes = len(job.data) + (len(job.serializer.dumps(job.meta)) if job.meta else 0)
    if size_bytes > limits.max_bytes:
        return None
    return RecordedJob(
        task=task,
        size_bytes=size_bytes,
        limit_bytes=limits.max_bytes,
        warn_bytes=limits.warn_bytes,
        id=job.id,
        queue=job.origin or "",
        place=find_place(),
        problem=decode(job)[1],
        is_importable=is_importable(task),
    )


def _are_plain(*values: Any) -> bool:
    """Return whether values hold no object that could be a model, as far as that is soon seen."""
    pending = list(values)
    for value in pending:  # which grows meanwhile
        if type(value) is dict:
            pending += value
            pending += value.values()
        elif type(value) in _CONTAINERS:
            pending += value
        elif type(value) not in _LEAVES:
            return False
        if len(pending) > _MOST_NODES:
            return False
    return True
