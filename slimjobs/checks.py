"""Payloads held against the limits of the queue that is to write them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rq.job import UNEVALUATED
from rq.queue import EnqueueData

from slimjobs import refusals, tagging
from slimjobs.batches import Batch, Prepared
from slimjobs.calls import Call, call_of, named_task, task_of
from slimjobs.codec import Refused
from slimjobs.entries import Entry
from slimjobs.errors import ConfigurationError, PayloadTooLargeError
from slimjobs.jobs import Job
from slimjobs.limits import for_task, settings
from slimjobs.payload import Payload, build
from slimjobs.serializer import format_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rq.job import Job as RQJob
    from rq.queue import Queue as RQQueue

    from slimjobs.limits import Limits
    from slimjobs.payload import Format


class Checks:
    """What one queue asks of payloads.

    Args:
        queue: The queue; its name, connection and serializer are used.
        limits: The queue's own limits.
    """

    def __init__(self, queue: RQQueue, limits: Limits) -> None:
        self._queue = queue
        self._limits = limits

    def build(self, func: Callable[..., Any] | str, args: Any, kwargs: Any, meta: Any) -> Payload:
        """Return the payload of what RQ was asked to call, checked; a refusal is counted.

        Raises:
            PayloadTooLargeError: The payload is over its limit.
            UnsupportedTypeError: Something in it cannot travel.
            UnsavedModelError: A model in it has no row.
        """
        return self._build(call_of(func, args, kwargs, meta), format_of(self._queue.serializer))

    def build_batch(self, job_datas: Iterable[EnqueueData]) -> list[tuple[EnqueueData, Payload]]:
        """Return what is to be enqueued together, each with its payload; raises as `build`.

        Raises:
            BatchTooLargeError: Together they are over `max_batch_bytes`.
        """
        batch = Batch(self._queue, self._limits.over(settings().limits))
        built: list[tuple[EnqueueData, Payload]] = []
        for data in job_datas:
            args, kwargs = data.args, data.kwargs
            if isinstance(data, Prepared):  # for a stock queue, whose refs may be tagged dicts
                args, kwargs = tagging.revive(args), tagging.revive(kwargs)
            payload = self.build(data.func, args, kwargs, data.meta)
            if isinstance(data, Prepared):  # its refs do not tell what its models were part of
                payload.transactions += data.known.transactions
            # What is known of a prepared call stays behind: a job that waits would hold its transactions.
            built.append((EnqueueData(*data)._replace(func=payload, args=None, kwargs=None), payload))
            batch.add(payload.task, payload.size_bytes)
        batch.end()
        return built

    def check(self, job: RQJob) -> tuple[Payload | None, Entry | None]:
        """Hold a new job that was made or changed elsewhere against the limits here, before it is written.

        Returns:
            The payload of a job that is new, and what is to be counted of one of RQ's own class, which
            does not count itself.
        """
        queue = self._queue
        payload = job.payload if isinstance(job, Job) else None
        if payload is not None and payload.queue == queue.name and not job.meta:
            return payload, None  # made by `create_job`, and not changed since
        if (payload is not None or job._data is UNEVALUATED) and job.serializer is not queue.serializer:
            raise ConfigurationError(f"job {job.id} has another serializer than the queue {queue.name!r}")
        if job._data is UNEVALUATED:  # RQ's sign that it was made or changed, and not encoded since
            form, args, kwargs = format_of(job.serializer), job.args, job.kwargs
            decorated = named_task(job.func_name) if job.instance is None else None
            if decorated is not None and form.keeps_calls:  # what was not changed may hold refs as tagged dicts
                args, kwargs = tagging.revive(args), tagging.revive(kwargs)
            task = decorated or task_of(job.func_name, job.instance)
            is_task = decorated is not None
            call = Call(task, job.func_name, job.instance, args, kwargs, job.meta, is_task=is_task)
            payload = self._build(call, form)
            if not isinstance(job, Job):
                job._data = payload.data
                if job.description == job.get_call_string():  # which shows the arguments' values
                    job.description = payload.description
                return payload, Entry.of_payload(queue.name, payload)
            job.take(payload, is_new_id=False, is_counted=job.enqueued_at is not None)
        elif payload is not None and not self._is_checked(job, payload):
            told, is_task = payload.commit, payload.kept is not None and payload.kept.is_task
            call = Call(payload.task, payload.function, job.instance, job.args, job.kwargs, job.meta, told, is_task)
            checked = self._build(call, format_of(job.serializer))
            checked.transactions = payload.transactions  # the models are not there any more, only their refs
            payload = checked
            if isinstance(job, Job):
                job.take(checked, is_new_id=False, is_counted=job.uncounted is None)
        if isinstance(job, Job) and job.uncounted is not None:
            job.uncounted.queue = queue.name
        return payload, None

    def _build(self, call: Call, form: Format) -> Payload:
        try:
            return build(call, for_task(call.task, self._limits), form, self._queue.name)
        except PayloadTooLargeError:
            refusals.note(self._queue.connection, self._queue.name, str(call.task))
            raise

    def _is_checked(self, job: RQJob, payload: Payload) -> bool:
        limits = for_task(payload.task, self._limits)
        if limits is not payload.limits and limits != payload.limits:
            return False
        try:
            meta = format_of(job.serializer).dump(job.meta) if job.meta else b""
        except Refused:
            return False
        return len(meta or b"") == payload.meta_bytes
