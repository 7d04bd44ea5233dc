"""RQ's Queue, looking up the jobs that it holds, by itself and through its registries: as jobs of its own class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rq import registry
from rq.exceptions import NoSuchJobError
from rq.queue import Queue as RQQueue

if TYPE_CHECKING:
    from redis.client import Pipeline
    from rq.job import Job as RQJob


class _OwnJobs(registry.BaseRegistry):
    """A registry that deletes jobs as its own class reads them; RQ reads them as its own."""

    def remove(self, job: RQJob | str, pipeline: Pipeline | None = None, delete_job: bool = False) -> Any:
        """Take a job out; see `rq.registry.BaseRegistry.remove`."""
        if delete_job and isinstance(job, str):
            job = self.job_class.fetch(job, connection=self.connection, serializer=self.serializer)
        return super().remove(job, pipeline=pipeline, delete_job=delete_job)


class FinishedJobRegistry(_OwnJobs, registry.FinishedJobRegistry):
    """See `rq.registry.FinishedJobRegistry`."""


class FailedJobRegistry(_OwnJobs, registry.FailedJobRegistry):
    """See `rq.registry.FailedJobRegistry`."""


class DeferredJobRegistry(_OwnJobs, registry.DeferredJobRegistry):
    """See `rq.registry.DeferredJobRegistry`."""


class ScheduledJobRegistry(_OwnJobs, registry.ScheduledJobRegistry):
    """See `rq.registry.ScheduledJobRegistry`."""


class CanceledJobRegistry(_OwnJobs, registry.CanceledJobRegistry):
    """See `rq.registry.CanceledJobRegistry`."""


class HoldingQueue(RQQueue):
    """The part of our queue that is asked what it holds."""

    def fetch_job(self, job_id: str) -> RQJob | None:
        """Return a job of this queue, or None; see `rq.Queue.fetch_job`."""
        try:
            job = self.job_class.fetch(job_id, connection=self.connection, serializer=self.serializer)
        except NoSuchJobError:
            self.remove(job_id)
            return None
        job.origin = job.origin or self.name  # RQ would overlook one that does not say where it belongs
        return job if job.origin == self.name else None

    @property
    def finished_job_registry(self) -> FinishedJobRegistry:
        """The registry of jobs that have run."""
        return FinishedJobRegistry(queue=self, job_class=self.job_class)

    @property
    def failed_job_registry(self) -> FailedJobRegistry:
        """The registry of jobs that failed."""
        return FailedJobRegistry(queue=self, job_class=self.job_class)

    @property
    def deferred_job_registry(self) -> DeferredJobRegistry:
        """The registry of jobs that wait for others."""
        return DeferredJobRegistry(queue=self, job_class=self.job_class)

    @property
    def scheduled_job_registry(self) -> ScheduledJobRegistry:
        """The registry of jobs that wait for their time."""
        return ScheduledJobRegistry(queue=self, job_class=self.job_class)  # type: ignore[no-untyped-call]

    @property
    def canceled_job_registry(self) -> CanceledJobRegistry:
        """The registry of jobs that were cancelled."""
        return CanceledJobRegistry(queue=self, job_class=self.job_class)
