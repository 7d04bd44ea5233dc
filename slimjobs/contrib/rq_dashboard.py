"""rq-dashboard, showing slim jobs and stock ones: `python -m slimjobs.contrib.rq_dashboard`, with its options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rq.exceptions import DeserializationError
from rq_dashboard import cli, web

from slimjobs.job import Job
from slimjobs.queue import Queue
from slimjobs.worker import Worker

if TYPE_CHECKING:
    from redis import Redis


class ShownJob(Job):
    """A job as the dashboard reads it."""

    def get_call_string(self) -> str | None:
        """Return the description, which shows no value and needs no payload."""
        return self.description


class ShownQueue(Queue):
    """A queue as the dashboard reads it."""

    job_class = ShownJob


class ShownWorker(Worker):
    """A worker as the dashboard reads it."""

    job_class = ShownJob
    queue_class = ShownQueue


def install() -> None:
    """Let rq-dashboard read with slimjobs' classes; jobs that stock RQ wrote are shown as before.

    rq-dashboard has a setting for JSON, and none for classes.
    """
    web.Job, web.Queue, web.Worker = ShownJob, ShownQueue, ShownWorker
    web.requeue_job = _requeue_job
    web.format_job_description = _format_job_description


def _requeue_job(job_id: str, connection: Redis) -> Any:
    return ShownJob.fetch(job_id, connection=connection, serializer=web.config.serializer).requeue()


def _format_job_description(job: Job) -> Any:
    try:
        return _described(job)
    except DeserializationError:  # it was to show all arguments, of a payload that cannot be read
        return job.description


_described = web.format_job_description

if __name__ == "__main__":
    install()
    cli.main()
