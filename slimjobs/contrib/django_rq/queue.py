"""The queue to name as QUEUE_CLASS: django-rq's settings and commit modes, on every path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_rq.queues import get_result_ttl
from rq.defaults import DEFAULT_SERIALIZER_CLASS
from rq.job import JobStatus

from slimjobs import queue as slim
from slimjobs.choices import PICKLE
from slimjobs.commit import commit_for
from slimjobs.contrib.django_rq.modes import end_of, mode_of
from slimjobs.errors import ConfigurationError
from slimjobs.jobs import Job

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rq.job import Job as RQJob

    from slimjobs.locators import Transaction
    from slimjobs.options import Commit
    from slimjobs.payload import Payload


class Queue(slim.Queue):
    """A `slimjobs.Queue` that django-rq makes from RQ_QUEUES.

    Args:
        *args: As `slimjobs.Queue`.
        commit_mode: When new jobs are written: "on_db_commit" (after the open transactions of the default
            database and of their rows), "request_finished" (after the request, and those of their rows) or
            "auto" (at once). Default: as the settings say. The call returns the job in each of them.
        autocommit: django-rq's deprecated word for it.
        commit: slimjobs' own: "auto" (after the transactions of their rows) or "now". It replaces the mode,
            as does that of a job or of a task.
        **kwargs: As `slimjobs.Queue`.

    Raises:
        ImproperlyConfigured: There is no such mode.
        ConfigurationError: JOB_CLASS is no `slimjobs.Job`.
    """

    def __init__(
        self,
        *args: Any,
        commit_mode: str | None = None,
        autocommit: bool | None = None,
        commit: Commit | None = None,
        **kwargs: Any,
    ) -> None:
        self._end: Transaction | None = None
        if commit is None:
            mode = mode_of(commit_mode, autocommit)
            self._end = end_of(mode)
            commit = "now" if mode == "auto" else "auto"
        job_class = kwargs.get("job_class")
        if isinstance(job_class, type) and not issubclass(job_class, Job):
            raise ConfigurationError(
                f"JOB_CLASS is {job_class.__module__}.{job_class.__qualname__}, which is no slimjobs.Job",
                hint='Set RQ = {"JOB_CLASS": "slimjobs.contrib.django_rq.Job"}.',
            )
        if kwargs.get("serializer") == DEFAULT_SERIALIZER_CLASS:
            kwargs["serializer"] = PICKLE  # of the settings, where it is a choice
        super().__init__(*args, commit=commit, **kwargs)

    def create_job(self, func: Any, *args: Any, **options: Any) -> RQJob:
        """Return a job, with the result's lifetime that the settings name; raises as `slimjobs.Queue.create_job`."""
        if options.get("result_ttl") is None:
            options["result_ttl"] = _default_result_ttl(self.name)
        return super().create_job(func, *args, **options)

    def _enqueue_job(self, job: RQJob, *args: Any, **kwargs: Any) -> RQJob:
        # The admin's pages fetch jobs of RQ's own class, which the registries of ours take for an id.
        if job.get_status(refresh=False) == JobStatus.DEFERRED and not isinstance(job, self.job_class):
            job = self.job_class.fetch(job.id, self.connection, self.serializer)
        return super()._enqueue_job(job, *args, **kwargs)

    def may_wait(self, payloads: Sequence[Payload]) -> bool:
        """Return whether new jobs may have something to wait for."""
        return super().may_wait(payloads) or (self._end is not None and self._end.is_open())

    def transactions_of(self, jobs: Sequence[tuple[RQJob, Payload | None]]) -> tuple[Transaction, ...]:
        """Return the open transactions that jobs wait for: those of their rows, and that of the commit mode."""
        transactions = super().transactions_of(jobs)
        end = self._end
        if end is None or end in transactions or not end.is_open():
            return transactions
        return (*transactions, end) if any(_follows_mode(*job) for job in jobs) else transactions


def _follows_mode(job: RQJob, payload: Payload | None) -> bool:
    """Return whether a job is new, and was not told when to be written, nor its task."""
    return payload is not None and job.enqueued_at is None and commit_for(payload.task, payload.commit) is None


def _default_result_ttl(name: str) -> int | None:
    try:
        return get_result_ttl(name)
    except KeyError:  # a queue that is not in RQ_QUEUES
        return None
