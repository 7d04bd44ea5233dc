"""Takes a job apart that is large, of ours, or carries objects: its largest parts, and whole models in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slimjobs import parts
from slimjobs.calls import task_of
from slimjobs.fields import find_task
from slimjobs.limits import for_task
from slimjobs.recording.jobs import RecordedJob
from slimjobs.recording.measuring import UNKNOWN, decode, given_call, is_importable
from slimjobs.recording.places import find_place
from slimjobs.recording.whole_models import find_models
from slimjobs.serializer import format_of

if TYPE_CHECKING:
    from rq.job import Job as RQJob


def dissect(job: RQJob) -> RecordedJob:
    """Return what is to be recorded of a job that was just written, whatever it carries."""
    form = format_of(job.serializer)
    payload = getattr(job, "payload", None)
    size_bytes = len(job.data) + (len(form.dump(job.meta) or b"") if job.meta else 0)
    call, task = given_call(job), None
    if call is not None:
        task = task_of(call[0], call[1])
    limits = payload.limits if payload is not None else for_task(task)
    is_too_large = size_bytes > limits.max_bytes
    decoded, problem = (None, "") if is_too_large and call is not None else decode(job)
    call = call or decoded
    if payload is not None:
        task = payload.task
    elif task is None:
        found = find_task(job.data, job.description)
        task = task_of(call[0], call[1]) if call is not None else found[0] if found else UNKNOWN
    named = {} if call is None else parts.call_parts(*call[1:], job.meta)
    return RecordedJob(
        task=task,
        size_bytes=size_bytes,
        limit_bytes=limits.max_bytes,
        warn_bytes=limits.warn_bytes,
        id=job.id,
        queue=job.origin or "",
        place=find_place(),
        parts=tuple(parts.measure(named, form.travels_as, writes_once=form.writes_once)[1]) if is_too_large else (),
        models=find_models(named) if form.keeps_calls else (),
        problem=problem,
        is_importable=is_importable(task),
    )
