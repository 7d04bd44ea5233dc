"""RQ's Queue: every way in ends in the same check, before anything is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

from rq.job import JobStatus
from rq.queue import Queue as RQQueue

from slimjobs import entries, refusals
from slimjobs.calls import call_of
from slimjobs.errors import BatchTooLargeError, ConfigurationError, PayloadTooLargeError
from slimjobs.job import Job
from slimjobs.limits import Limits, for_task, settings
from slimjobs.logs import logger
from slimjobs.payload import Call, Payload, build, check
from slimjobs.serializer import Serializer, format_of
from slimjobs.sizes import format_pair

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
        self._check(job)
        entry = job.uncounted if isinstance(job, Job) else None
        # RQ before 3.0 knows neither rate limits nor unique jobs.
        is_plain = not (unique or job._dependency_ids or getattr(job, "has_rate_limit", False))
        if pipeline is None and self._is_async and is_plain and entry is not None:
            self._enqueue_plain(job, entry, at_front)
        else:
            unique_option = {"unique": True} if unique else {}
            job = super().enqueue_job(job, pipeline=pipeline, at_front=at_front, **unique_option)
        self._settle(job)
        return job

    def _enqueue_plain(self, job: RQJob, entry: entries.Entry, at_front: bool) -> None:
        """Enqueue a new job without dependencies: what RQ writes, and its count, in one command."""
        assert isinstance(job, Job)
        with self.connection.pipeline() as own:
            job.uncounted = None  # or its save would add a command to count it
            try:
                super().enqueue_job(job, pipeline=own, at_front=at_front)
                entries.execute(self.connection, own, [entry, *refusals.take(self.connection)])
            except BaseException:
                job.uncounted = entry
                raise

    def schedule_job(
        self, job: RQJob, datetime: datetime, pipeline: Pipeline | None = None, unique: bool = False
    ) -> RQJob:
        """Put a job on the schedule of this queue.

        Raises:
            PayloadTooLargeError: The job was made elsewhere, and is over the limit here.
        """
        self._check(job)
        unique_option = {"unique": True} if unique else {}
        job = super().schedule_job(job, datetime, pipeline=pipeline, **unique_option)
        self._settle(job)
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
        counted = [entries.Entry.of_payload(self.name, payload) for payload in payloads]
        if pipeline is not None:
            entries.record(pipeline, counted)
        else:
            entries.record(pipe, counted + refusals.take(self.connection))
            pipe.execute()
        return jobs

    def limits_for(self, task: str) -> Limits:
        """Return the limits that hold for a task on this queue."""
        return for_task(task, self.limits)

    def _build(self, func: Callable[..., Any] | str, args: Any, kwargs: Any, meta: Any) -> Payload:
        call = call_of(func, args, kwargs, meta)
        try:
            return build(call, for_task(call.task, self.limits), format_of(self.serializer), self.name)
        except PayloadTooLargeError:
            refusals.note(self.connection, self.name, str(call.task))
            raise

    def _check(self, job: RQJob) -> None:
        """Hold a job that was made elsewhere against the limits here, before it is written."""
        if not isinstance(job, Job) or job.payload is None or job.uncounted is None:
            return
        payload = job.payload
        form = format_of(job.serializer)
        limits = self.limits_for(payload.task)
        meta_bytes = len(form.dump(job.meta) or b"") if job.meta else 0
        is_checked = limits is payload.limits or limits == payload.limits
        if not is_checked or meta_bytes != payload.meta_bytes:
            call = Call(payload.task, payload.function, job.instance, job.args, job.kwargs, job.meta)
            try:
                payload.is_warned = check(call, len(payload.data) + meta_bytes, limits, form, self.name)
            except PayloadTooLargeError:
                refusals.note(self.connection, self.name, payload.task)
                raise
            payload.limits, payload.meta_bytes = limits, meta_bytes
            job.uncounted = entries.Entry.of_payload(self.name, payload)
        job.uncounted.queue = self.name

    def _refuse_batch(self, payloads: list[Payload], total_bytes: int, limits: Limits) -> BatchTooLargeError:
        for payload in payloads:
            refusals.note(self.connection, self.name, payload.task)
        error = BatchTooLargeError(task=payloads[-1].task, size_bytes=total_bytes, limit_bytes=limits.max_batch_bytes)
        error.jobs = len(payloads)
        return error

    def _settle(self, job: RQJob) -> None:
        """Count a job that RQ has written by a script of its own, as it does for unique jobs."""
        if isinstance(job, Job) and job.uncounted is not None:
            entries.send(self.connection, [job.uncounted])
            job.uncounted = None

    def _persist_job(self, job: RQJob, pipeline: Pipeline, status: JobStatus = JobStatus.QUEUED) -> None:
        # RQ writes the status by itself first, and again with the job.
        job._status = status
        job.save(pipeline=pipeline)
        job.cleanup(ttl=job.ttl, pipeline=pipeline)
