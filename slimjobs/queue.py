"""RQ's Queue: every way in ends in the same check, before anything is written."""

from __future__ import annotations

from functools import partial
from inspect import signature
from typing import TYPE_CHECKING, Any, ClassVar, cast

from rq.job import JobStatus
from rq.queue import Queue as RQQueue
from rq.utils import get_call_string

from slimjobs import commit
from slimjobs.checks import Checks
from slimjobs.choices import chosen_for_queue, chosen_job_class
from slimjobs.errors import ConfigurationError
from slimjobs.jobs import Job
from slimjobs.limits import Limits, for_task
from slimjobs.options import checked_commit, fold_call, fold_options
from slimjobs.payload import Payload
from slimjobs.serializer import Serializer
from slimjobs.writing import WritingQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from redis.client import Pipeline
    from rq.job import Job as RQJob
    from rq.queue import EnqueueData

    from slimjobs.locators import Transaction
    from slimjobs.options import Commit


class Queue(WritingQueue):
    """An `rq.Queue` that takes models, refuses what is too large, and counts.

    Args:
        *args: As `rq.Queue`: `name`, `connection`, ...
        limits: Limits for the jobs of this queue; tasks may have their own.
        commit: When a job is written whose rows are part of an open database transaction: "auto"
            (when it commits, and never if it is rolled back) or "now". Jobs and tasks may say otherwise.
        **kwargs: As `rq.Queue`: `is_async`, `default_timeout`, `serializer`, ...

    Raises:
        ConfigurationError: `limits` or `commit` cannot be read, or `job_class` is no `slimjobs.Job`. RQ's own
            `Job` counts as not given: its command line hands it over where nobody chose.

    Attributes:
        default_serializer: What payloads are written with where no serializer is given.
    """

    default_serializer: ClassVar[Any] = Serializer
    job_class = Job

    def __init__(
        self, *args: Any, limits: Limits | dict[str, Any] | None = None, commit: Commit = "auto", **kwargs: Any
    ) -> None:
        if len(args) < 6:  # else it is given by position
            kwargs["serializer"] = chosen_for_queue(kwargs.get("serializer")) or self.default_serializer
        if len(args) < 5:
            kwargs["job_class"] = chosen_job_class(kwargs.get("job_class"))
        for name in Limits.__slots__:  # RQ would ignore it
            if name in kwargs:
                raise ConfigurationError(f"a queue has no {name}=", hint=f"Write limits=slimjobs.Limits({name}=...).")
        super().__init__(*args, **kwargs)
        try:
            self.limits = limits if isinstance(limits, Limits) else Limits(**(limits or {}))
        except TypeError as error:
            raise ConfigurationError(f'limits: {error}; write Limits(max_bytes="64 KiB")') from None
        self.commit: Commit = checked_commit(commit)
        self._checks = Checks(self, self.limits)
        if not issubclass(self.job_class, Job):
            raise ConfigurationError(f"job_class must be a slimjobs.Job, not {self.job_class.__qualname__}")

    def create_job(  # RQ's other options are handed on as they are
        self,
        func: Any,
        args: tuple[Any, ...] | list[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        *more: Any,
        **options: Any,
    ) -> RQJob:
        """Return a job whose payload is made and checked; see `rq.Queue.create_job`.

        Raises:
            PayloadTooLargeError: The payload is over its limit.
            UnsupportedTypeError: Something in it cannot travel.
            UnsavedModelError: A model in it has no row.
        """
        if isinstance(func, Job):  # made already, when its transaction was still open
            return func
        if more:  # the command line of RQ gives its options by position
            options.update(_CREATE_JOB.bind(None, func, args, kwargs, *more).arguments)
            return self.create_job(**{name: value for name, value in options.items() if name != "self"})
        is_made = isinstance(func, Payload)
        payload = func if is_made else self._checks.build(func, args, kwargs, options.get("meta"))
        described = options.get("description")
        if (
            described
            and described.startswith(f"{payload.function}(")
            and described == get_call_string(payload.function, args or (), kwargs or {})
        ):
            options["description"] = None  # of RQ's command line, with all values
        return super().create_job(cast("Any", payload), args, kwargs, **options)

    def enqueue(self, f: Any, *args: Any, **kwargs: Any) -> RQJob:
        """Enqueue a call, see `rq.Queue.enqueue`; also takes `on_missing`, `wait_for_row` and `commit`.

        Raises:
            PayloadTooLargeError: The payload is over its limit.
            UnsupportedTypeError: Something in it cannot travel.
            UnsavedModelError: A model in it has no row.
        """
        return super().enqueue(f, *args, **fold_call(f, kwargs))

    def enqueue_at(self, datetime: datetime, f: Any, *args: Any, **kwargs: Any) -> Any:
        """Schedule a call, see `rq.Queue.enqueue_at`; options and errors as `enqueue`."""
        return super().enqueue_at(datetime, f, *args, **fold_call(f, kwargs))

    def enqueue_call(self, *args: Any, **kwargs: Any) -> RQJob:
        """Enqueue a call, see `rq.Queue.enqueue_call`; options and errors as `enqueue`."""
        return super().enqueue_call(*args, **fold_options(kwargs))

    @staticmethod
    def prepare_data(*args: Any, **kwargs: Any) -> EnqueueData:
        """Return a call for `enqueue_many`, see `rq.Queue.prepare_data`; also takes the options of `enqueue`."""
        return RQQueue.prepare_data(*args, **fold_options(kwargs))

    def enqueue_job(
        self, job: RQJob, pipeline: Pipeline | None = None, at_front: bool = False, unique: bool = False
    ) -> RQJob:
        """Enqueue a job; one round trip where RQ makes two.

        Raises:
            PayloadTooLargeError: The job was made elsewhere, and is over the limit here.
        """
        payload, stray = self._checks.check(job)
        if job._dependency_ids or (payload is not None and self.may_wait((payload,))):
            write = partial(self._write_job, job, stray, pipeline, at_front, unique)
            if self._waits([(job, payload)], write, pipeline, unique):
                return job
        return self._write_job(job, stray, pipeline, at_front, unique)

    def schedule_job(
        self, job: RQJob, datetime: datetime, pipeline: Pipeline | None = None, unique: bool = False
    ) -> RQJob:
        """Put a job on the schedule of this queue.

        Raises:
            PayloadTooLargeError: The job was made elsewhere, and is over the limit here.
        """
        payload, stray = self._checks.check(job)
        write = partial(self._write_scheduled, job, stray, datetime, pipeline, unique)
        return job if self._waits([(job, payload)], write, pipeline, unique) else write()

    def enqueue_many(
        self, job_datas: Iterable[EnqueueData], pipeline: Pipeline | None = None, group_id: str | None = None
    ) -> list[RQJob]:
        """Enqueue many jobs, all of them or none; they wait together for the transactions of all their rows.

        Raises:
            BatchTooLargeError: Together they are over `max_batch_bytes`.
            PayloadTooLargeError: One of them is over its limit.
            UnsupportedTypeError: Something in one of them cannot travel.
            UnsavedModelError: A model in one of them has no row.
        """
        batch = self._checks.build_batch(job_datas)
        # Else RQ runs several transactions, or the jobs themselves: each job is counted by itself.
        is_one_command = pipeline is not None or (self._is_async and not any(data.depends_on for data, _ in batch))
        for _, payload in batch:
            payload.is_counted = is_one_command
        if not any(data.depends_on for data, _ in batch) and not self.may_wait([payload for _, payload in batch]):
            return self._write_many([data for data, _ in batch], batch, pipeline, group_id)
        made = [(data, self.create_job(**_job_options(data), group_id=group_id), payload) for data, payload in batch]
        # RQ asks for a job to be made of each: it is handed back.
        prepared = [data._replace(func=job, job_id=job.id) for data, job, _ in made]
        if len({job.id for _, job, _ in made}) < len(made):
            raise ValueError("a job id appears more than once in enqueue_many()")
        write = partial(self._write_many, prepared, batch, pipeline, group_id)
        if self._waits([(job, payload) for _, job, payload in made], write, pipeline):
            return sorted((job for _, job, _ in made), key=lambda job: bool(job._dependency_ids))
        return write()

    def may_wait(self, payloads: Sequence[Payload]) -> bool:
        """Return whether new jobs may have transactions to wait for; those that have none need not be made before."""
        return any(payload.transactions for payload in payloads)

    def transactions_of(self, jobs: Sequence[tuple[RQJob, Payload | None]]) -> tuple[Transaction, ...]:
        """Return the open transactions that jobs wait for; each comes with its payload, if it is new."""
        return commit.transactions_of((job, self._own_transactions(payload)) for job, payload in jobs)

    def _own_transactions(self, payload: Payload | None) -> tuple[Transaction, ...]:
        if payload is None or commit.commit_for(payload.task, payload.commit, self.commit) == "now":
            return ()
        return payload.transactions

    def _waits(
        self,
        jobs: Sequence[tuple[RQJob, Payload | None]],
        write: Callable[[], object],
        pipeline: Pipeline | None,
        unique: bool = False,
    ) -> bool:
        """Let jobs be written after the transactions of their rows, if any is open, and return whether they wait."""
        transactions = self.transactions_of(jobs)
        is_waiting = commit.wait(self, [job for job, _ in jobs], transactions, write, pipeline, unique=unique)
        for _, payload in jobs:
            if payload is not None:
                payload.transactions = ()  # a job that somebody keeps would keep sessions and their connections
        return is_waiting

    def limits_for(self, task: str) -> Limits:
        """Return the limits that hold for a task on this queue.

        Args:
            task: The task's import path.
        """
        return for_task(task, self.limits)

    def run_job(self, job: RQJob) -> RQJob:
        """Run a job of a synchronous queue; see `rq.Queue.run_job`."""
        if isinstance(job, Job):
            job.queue_limits = self.limits
            job.data = job.data  # RQ's setter: it is read anew, as a worker reads it
        return super().run_job(job)


_CREATE_JOB = signature(RQQueue.create_job)


def _job_options(data: EnqueueData) -> dict[str, Any]:
    """Return what RQ hands to `create_job` for one of `enqueue_many`."""
    status = JobStatus.DEFERRED if data.depends_on else JobStatus.QUEUED
    return {**{name: value for name, value in data._asdict().items() if name != "at_front"}, "status": status}
