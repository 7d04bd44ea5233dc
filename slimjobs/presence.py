"""RQ's Job, found, cancelled and deleted whatever Redis holds under its key, as its status and as its group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError
from rq import registry
from rq.exceptions import InvalidJobOperation, NoSuchGroupError, NoSuchJobError
from rq.job import Job as RQJob
from rq.job import JobStatus
from rq.utils import as_text

from slimjobs.logs import logger
from slimjobs.versions import GuardedJob

if TYPE_CHECKING:
    from collections.abc import Iterable

    from redis import Redis
    from redis.client import Pipeline
    from rq.serializers import Serializer as RQSerializer

# RQ before 3.0 knows no registry of ready jobs.
_REGISTRIES = [
    getattr(registry, f"{state}JobRegistry")
    for state in ("Finished", "Deferred", "Scheduled", "Failed", "Canceled", "Ready")
    if hasattr(registry, f"{state}JobRegistry")
]


class PresentJob(GuardedJob):
    """The part of our job that knows whether it is there, and takes it out of wherever it is."""

    # Whether the status that was last read is one of RQ's.
    _has_status = True

    @classmethod
    def fetch_many(
        cls, job_ids: Iterable[str], connection: Redis, serializer: RQSerializer | str | None = None
    ) -> list[RQJob | None]:
        """Return jobs, None for each that is not there; see `rq.job.Job.fetch_many`."""
        ids = list(job_ids)
        try:
            return super().fetch_many(ids, connection, serializer)
        except (NoSuchJobError, ResponseError):  # for one of them
            return [cls._fetch_if_any(each, connection, serializer) for each in ids]

    @classmethod
    def _fetch_if_any(cls, job_id: str, connection: Redis, serializer: Any) -> RQJob | None:
        try:
            return cls.fetch(job_id, connection=connection, serializer=serializer)
        except NoSuchJobError:
            return None

    def refresh(self) -> None:
        """Read the job's hash again; see `rq.job.Job.refresh`.

        Raises:
            NoSuchJobError: There is none.
        """
        try:
            super().refresh()  # type: ignore[no-untyped-call]
        except ResponseError as error:
            if not str(error).startswith("WRONGTYPE"):
                raise
            logger.error("job %s: what Redis holds under its key is no job", self.id, extra={"job_id": self.id})
            raise NoSuchJobError(f"what Redis holds under {self.key} is no job") from None

    def _fetch_status(self) -> JobStatus:
        """Return the stored status; one that cannot be read is "created", as RQ takes one that is missing."""
        stored: Any = self.connection.hget(self.key, "status")
        try:
            status = JobStatus(as_text(stored))
        except ValueError:
            if not stored and not self.connection.exists(self.key):
                raise InvalidJobOperation(f"Failed to retrieve status for job: {self.id}") from None
            self._has_status = False
            return JobStatus.CREATED
        self._has_status = True
        return status

    def get_status(self, refresh: bool = True) -> JobStatus:
        """Return the job's status; see `rq.job.Job.get_status`."""
        if refresh:  # RQ before 3.0 reads it here
            self._status = self._fetch_status()
        return self._status

    def _remove_from_registries(self, pipeline: Pipeline | None = None, remove_from_queue: bool = True) -> None:
        super()._remove_from_registries(pipeline=pipeline, remove_from_queue=remove_from_queue)
        if self._has_status:
            return
        # Nothing says in which of them the job is.
        options: Any = {"connection": self.connection, "job_class": type(self), "serializer": self.serializer}
        for registry_class in _REGISTRIES:
            registry_class(self.origin, **options).remove(self, pipeline=pipeline)
        registry.StartedJobRegistry(self.origin, **options).remove_executions(self, pipeline=pipeline)

    def delete(
        self, pipeline: Pipeline | None = None, remove_from_queue: bool = True, delete_dependents: bool = False
    ) -> None:
        """Delete the job; see `rq.job.Job.delete`."""
        try:
            super().delete(pipeline, remove_from_queue, delete_dependents)
        except NoSuchGroupError:
            self.group_id = None
            super().delete(pipeline, remove_from_queue, delete_dependents)

    def delete_dependents(self, pipeline: Pipeline | None = None) -> None:
        """Delete the jobs that depend on this one; RQ would read them as jobs of its own class."""
        for dependent_id in self.dependent_ids:
            try:
                dependent = self.fetch(dependent_id, connection=self.connection, serializer=self.serializer)
            except NoSuchJobError:
                continue
            dependent.delete(pipeline=pipeline, remove_from_queue=False)
        (self.connection if pipeline is None else pipeline).delete(self.dependents_key)
