"""RQ's Queue, writing jobs that are checked: each with its count, in as few commands as can be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rq.job import JobStatus

from slimjobs import entries, refusals
from slimjobs.holdings import HoldingQueue
from slimjobs.jobs import Job
from slimjobs.unique import counted
from slimjobs.versions import has_rate_limit

if TYPE_CHECKING:
    from datetime import datetime

    from redis.client import Pipeline
    from rq.job import Job as RQJob
    from rq.queue import EnqueueData

    from slimjobs.payload import Payload


class WritingQueue(HoldingQueue):
    """The part of our queue that writes."""

    def _write_job(
        self, job: RQJob, stray: entries.Entry | None, pipeline: Pipeline | None, at_front: bool, unique: bool
    ) -> RQJob:
        is_plain = not (unique or job._dependency_ids or has_rate_limit(job))
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

    def _write_scheduled(
        self, job: RQJob, stray: entries.Entry | None, datetime: datetime, pipeline: Pipeline | None, unique: bool
    ) -> RQJob:
        with counted(self.connection, job, unique) as unique_option:
            job = super().schedule_job(job, datetime, pipeline=pipeline, **unique_option)
        self._settle(job, stray, pipeline)
        return job

    def _write_many(
        self,
        prepared: list[EnqueueData],
        batch: list[tuple[EnqueueData, Payload]],
        pipeline: Pipeline | None,
        group_id: str | None,
    ) -> list[RQJob]:
        if not all(payload.is_counted for _, payload in batch):
            return super().enqueue_many(prepared, group_id=group_id)
        pipe = self.connection.pipeline() if pipeline is None else pipeline
        jobs: list[RQJob] = super().enqueue_many(prepared, pipeline=pipe, group_id=group_id)
        counts = [entries.Entry.of_payload(self.name, payload) for _, payload in batch]
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

    def _settle(self, job: RQJob, stray: entries.Entry | None, pipeline: Pipeline | None) -> None:
        """Count what could not be counted as it was written, such as a job of RQ's own class."""
        if isinstance(job, Job):
            stray = job.settle(is_written=pipeline is None)
        if stray is not None and pipeline is not None:
            entries.record(pipeline, [stray])
        elif stray is not None:
            entries.send(self.connection, [stray])

    def _persist_job(self, job: RQJob, pipeline: Pipeline, status: JobStatus = JobStatus.QUEUED) -> None:
        # RQ writes the status by itself first, and again with the job.
        job._status = status
        job.save(pipeline=pipeline)
        job.cleanup(ttl=job.ttl, pipeline=pipeline)
