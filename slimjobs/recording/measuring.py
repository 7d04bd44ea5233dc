"""What is recorded of a job: its size, what makes it large, whole models in it, whether it can be read back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rq.job import UNEVALUATED

from slimjobs import parts
from slimjobs.calls import task_of
from slimjobs.fields import find_task
from slimjobs.limits import for_task
from slimjobs.recording.jobs import RecordedJob
from slimjobs.recording.places import find_place
from slimjobs.recording.whole_models import find_models
from slimjobs.serializer import format_of

if TYPE_CHECKING:
    from rq.job import Job as RQJob

    from slimjobs.errors import SlimjobsError

_MOST_CHARACTERS = 120
_UNKNOWN = "a task whose name cannot be read"

# What a job calls: (function's name, instance, args, kwargs).
Call = tuple[Any, Any, Any, Any]


def measure(job: RQJob) -> RecordedJob:
    """Return what is to be recorded of a job of ours or of RQ's own that was just written.

    Of one that will not be looked at, that is its size alone: the application was right to enqueue it.
    """
    try:
        return _measure(job)
    except Exception:  # noqa: BLE001  # of the objects that it was given
        limits = for_task(None)
        size_bytes, place = len(job.data), find_place()
        return RecordedJob(_UNKNOWN, size_bytes, limits.max_bytes, limits.warn_bytes, job.id, job.origin or "", place)


def _measure(job: RQJob) -> RecordedJob:
    form = format_of(job.serializer)
    payload = getattr(job, "payload", None)
    size_bytes = len(job.data) + (len(form.dump(job.meta) or b"") if job.meta else 0)
    call, task = _given_call(job), None
    if call is not None:
        task = task_of(call[0], call[1])
    limits = payload.limits if payload is not None else for_task(task)
    is_too_large = size_bytes > limits.max_bytes
    decoded, problem = (None, "") if is_too_large and call is not None else _decode(job)
    call = call or decoded
    if payload is not None:
        task = payload.task
    elif task is None:
        found = find_task(job.data, job.description)
        task = task_of(call[0], call[1]) if call is not None else found[0] if found else _UNKNOWN
    named = {} if call is None else parts.call_parts(*call[1:], job.meta)
    return RecordedJob(
        task=task,
        size_bytes=size_bytes,
        limit_bytes=limits.max_bytes,
        warn_bytes=limits.warn_bytes,
        id=job.id,
        queue=job.origin or "",
        place=find_place(),
        parts=tuple(parts.measure(named, form.is_opaque)[1]) if is_too_large else (),
        models=find_models(named) if form.keeps_calls else (),
        problem=problem,
        is_importable="<" not in task,
    )


def refused(error: SlimjobsError) -> RecordedJob:
    """Return what is to be recorded of a payload or a batch that is over its limit."""
    limits = for_task(error.task)
    return RecordedJob(
        task=error.task or _UNKNOWN,
        size_bytes=error.size_bytes or 0,
        limit_bytes=error.limit_bytes or 0,
        warn_bytes=limits.warn_bytes,
        place=find_place(),
        parts=error.parts,
        refusal=error,
    )


def _given_call(job: RQJob) -> Call | None:
    """Return what a new job was given, or None where that is gone: ours keep their payload alone."""
    call: Call = (job._func_name, job._instance, job._args, job._kwargs)
    return None if any(value is UNEVALUATED for value in call) else call


def _decode(job: RQJob) -> tuple[Call | None, str]:
    """Return what a worker will read of a job, or why it cannot."""
    try:
        function, instance, args, kwargs = job.serializer.loads(job.data)
    except Exception as error:  # noqa: BLE001  # of many kinds, one for each serializer
        first, *_ = str(error).splitlines() or [""]
        return None, f"{type(error).__name__}: {first[:_MOST_CHARACTERS]}"
    return (function, instance, args, kwargs), ""
