"""RQ's Queue: every way in ends in the same check, before anything is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

from rq.job import UNEVALUATED, JobStatus
from rq.queue import Queue as RQQueue

from slimjobs import entries, refusals
from slimjobs.calls import call_of, task_of
from slimjobs.codec import Refused
from slimjobs.errors import BatchTooLargeError, ConfigurationError, PayloadTooLargeError
from slimjobs.job import Job
from slimjobs.limits import Limits, for_task, settings
from slimjobs.logs import logger
from slimjobs.payload import Call, Format, Payload, build
from slimjobs.serializer import Serializer, format_of
from slimjobs.sizes import format_pair
from slimjobs.unique import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from redis.client import Pipeline
    from rq.job import Job as RQJob
    from rq.queue import EnqueueData


class Queue(RQQueue):
    """A queue that takes models, refuses what is too large, and counts.

    Args:
        *args: As `rq.Queue`.
        limits: Limits for the jobs of this queue; tasks may have their own.
        **kwargs: As `rq.Queue`.

    Raises:
        ConfigurationError: `limits` cannot be read, or `job_class` is no `slimjobs.Job`.

    Attributes:
        default_serializer: What payloads are written with where no serializer is given.
    """

    default_serializer: ClassVar[Any] = Serializer
    job_class = Job

    def __init__(self, *args: Any, limits: Limits | dict[str, Any] | None = None, **kwargs: Any) -> None:
        if len(args) < 6:  # else it is given by position
            kwargs["serializer"] = kwargs.get("serializer") or self.default_serializer
        super().__init__(*args, **kwargs)
        try:
            self.limits = limits if isinstance(limits, Limits) else Limits(**(limits or {}))
        except TypeError as error:
            raise ConfigurationError(f'limits: {error}; write Limits(max_bytes="64 KiB")') from None
        if not issubclass(self.job_class, Job):
            raise ConfigurationError(f"job_class must be a slimjobs.Job, not {self.job_class.__qualname__}")

    def create_job(  # type: ignore[override]  # RQ's other options are handed on as they are
        self,
        func: Any,
        args: tuple[Any, ...] | list[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        **options: Any,
    ) -> RQJob:
        """Return a job whose payload is made and checked; see `rq.Queue.create_job`.

        Raises:
            PayloadTooLargeError: The payload is over its limit.
            UnsupportedTypeError: Something in it cannot travel.
            UnsavedModelError: A model in it has no primary key.
        """
        payload = func if isinstance(func, Payload) else self._build(func, args, kwargs, options.get("meta"))
        return super().create_job(cast("Any", payload), **options)

    def enqueue_job(
        self, job: RQJob, pipeline: Pipeline | None = None, at_front: bool = False, unique: bool = False
    ) -> RQJob:
        """Enqueue a job; one round trip where RQ makes two.

        Raises:
            PayloadTooLargeError: The job was made elsewhere, and is over the limit here.
        """
        stray = self._check(job)
        # RQ before 3.0 knows neither rate limits nor unique jobs.
        is_plain = not (unique or job._dependency_ids or getattr(job, "has_rate_limit", False))
        if pipeline is None and self._is_async and is_plain and isinstance(job, Job) and job.uncounted is not None:
            self._enqueue_plain(job, job.uncounted, at_front)
        else:
            with counted(self.connection, job, unique) as unique_option:
                job = super().enqueue_job(job, pipeline=pipeline, at_front=at_front, **unique_option)
        self._settle(job, stray, pipeline)
        return job

    def _enqueue_plain(self, job: Job, entry: entries.Entry, at_front: bool) -> None:
        """Enqueue a new job without dependencies: what RQ writes, and its count, in one command."""
        taken = refusals.take(self.connection)
        with self.connection.pipeline() as own:
            job.uncounted = None  # or its save would add a command to count it
            try:
                super().enqueue_job(job, pipeline=own, at_front=at_front)
                entries.execute(self.connection, own, [entry, *taken])
            except BaseException:
                job.uncounted = entry
                refusals.give_back(self.connection, taken)
                raise

    def schedule_job(
        self, job: RQJob, datetime: datetime, pipeline: Pipeline | None = None, unique: bool = False
    ) -> RQJob:
        """Put a job on the schedule of this queue.

        Raises:
            PayloadTooLargeError: The job was made elsewhere, and is over the limit here.
        """
        stray = self._check(job)
        with counted(self.connection, job, unique) as unique_option:
            job = super().schedule_job(job, datetime, pipeline=pipeline, **unique_option)
        self._settle(job, stray, pipeline)
        return job

    def enqueue_many(
        self, job_datas: Iterable[EnqueueData], pipeline: Pipeline | None = None, group_id: str | None = None
    ) -> list[RQJob]:
        """Enqueue many jobs, all of them or none.

        Raises:
            BatchTooLargeError: Together they are over `max_batch_bytes`.
            PayloadTooLargeError: One of them is over its limit.
            UnsupportedTypeError: Something in one of them cannot travel.
            UnsavedModelError: A model in one of them has no primary key.
        """
        limits = self.limits.over(settings().limits)
        payloads: list[Payload] = []
        prepared: list[EnqueueData] = []
        total_bytes = 0
        for data in job_datas:
            payload = self._build(data.func, data.args, data.kwargs, data.meta)
            payloads.append(payload)
            prepared.append(data._replace(func=payload, args=None, kwargs=None))
            total_bytes += payload.size_bytes
            if total_bytes > limits.max_batch_bytes and limits.mode == "reject":
                raise self._refuse_batch(payloads, total_bytes, limits)
        if total_bytes > limits.max_batch_bytes and limits.mode == "warn":
            size, limit = format_pair(total_bytes, limits.max_batch_bytes)
            logger.warning(
                "%s: %d payloads of one enqueue_many are %s, limit is %s", self.name, len(payloads), size, limit
            )
        if pipeline is None and (not self._is_async or any(data.depends_on for data in prepared)):
            # RQ runs several transactions, or the jobs themselves: each job is counted by itself.
            return super().enqueue_many(prepared, group_id=group_id)
        for payload in payloads:
            payload.is_counted = True  # all of them in one command, below
        pipe = self.connection.pipeline() if pipeline is None else pipeline
        jobs: list[RQJob] = super().enqueue_many(prepared, pipeline=pipe, group_id=group_id)
        counts = [entries.Entry.of_payload(self.name, payload) for payload in payloads]
        if pipeline is not None:
            entries.record(pipeline, counts)
        else:
            taken = refusals.take(self.connection)
            entries.record(pipe, counts + taken)
            try:
                pipe.execute()
            except BaseException:
                refusals.give_back(self.connection, taken)
                raise
        return jobs

    def limits_for(self, task: str) -> Limits:
        """Return the limits that hold for a task on this queue."""
        return for_task(task, self.limits)

    def _build(self, func: Callable[..., Any] | str, args: Any, kwargs: Any, meta: Any) -> Payload:
        return self._build_call(call_of(func, args, kwargs, meta), format_of(self.serializer))

    def _build_call(self, call: Call, form: Format) -> Payload:
        try:
            return build(call, for_task(call.task, self.limits), form, self.name)
        except PayloadTooLargeError:
            refusals.note(self.connection, self.name, str(call.task))
            raise

    def _check(self, job: RQJob) -> entries.Entry | None:
        """Hold a new job that was made or changed elsewhere against the limits here, before it is written.

        Returns:
            What is to be counted of a job of RQ's own class, which does not count itself.
        """
        payload = job.payload if isinstance(job, Job) else None
        if payload is not None and payload.queue == self.name and not job.meta:
            return None  # made by `create_job`, and not changed since
        if (payload is not None or job._data is UNEVALUATED) and job.serializer is not self.serializer:
            raise ConfigurationError(f"job {job.id} has another serializer than the queue {self.name!r}")
        if job._data is UNEVALUATED:  # RQ's sign that it was made or changed, and not encoded since
            task = task_of(job.func_name, job.instance)
            call = Call(task, job.func_name, job.instance, tuple(job.args), job.kwargs, job.meta)
            payload = self._build_call(call, format_of(job.serializer))
            if not isinstance(job, Job):
                job._data = payload.data
                if job.description == job.get_call_string():  # which shows the arguments' values
                    job.description = payload.description
                return entries.Entry.of_payload(self.name, payload)
            job.take(payload, is_new_id=False, is_counted=job.enqueued_at is not None)
        elif payload is not None and not self._is_checked(job, payload):
            call = Call(payload.task, payload.function, job.instance, tuple(job.args), job.kwargs, job.meta)
            checked = self._build_call(call, format_of(job.serializer))
            if isinstance(job, Job):
                job.take(checked, is_new_id=False, is_counted=job.uncounted is None)
        if isinstance(job, Job) and job.uncounted is not None:
            job.uncounted.queue = self.name
        return None

    def _is_checked(self, job: RQJob, payload: Payload) -> bool:
        limits = self.limits_for(payload.task)
        if limits is not payload.limits and limits != payload.limits:
            return False
        try:
            meta = format_of(job.serializer).dump(job.meta) if job.meta else b""
        except Refused:
            return False
        return len(meta or b"") == payload.meta_bytes

    def _refuse_batch(self, payloads: list[Payload], total_bytes: int, limits: Limits) -> BatchTooLargeError:
        for payload in payloads:
            refusals.note(self.connection, self.name, payload.task)
        error = BatchTooLargeError(task=payloads[-1].task, size_bytes=total_bytes, limit_bytes=limits.max_batch_bytes)
        error.jobs = len(payloads)
        return error

    def _settle(self, job: RQJob, stray: entries.Entry | None, pipeline: Pipeline | None) -> None:
        """Count what could not be counted as it was written, such as a job of RQ's own class."""
        if isinstance(job, Job):
            stray = job.settle(is_written=pipeline is None)
        if stray is not None and pipeline is not None:
            entries.record(pipeline, [stray])
        elif stray is not None:
            entries.send(self.connection, [stray])

    def run_job(self, job: RQJob) -> RQJob:
        """Run a job of a synchronous queue; see `rq.Queue.run_job`."""
        if isinstance(job, Job):
            job.queue_limits = self.limits
        return super().run_job(job)

    def _persist_job(self, job: RQJob, pipeline: Pipeline, status: JobStatus = JobStatus.QUEUED) -> None:
        # RQ writes the status by itself first, and again with the job.
        job._status = status
        job.save(pipeline=pipeline)
        job.cleanup(ttl=job.ttl, pipeline=pipeline)
