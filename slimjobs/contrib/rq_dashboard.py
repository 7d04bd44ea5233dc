"""rq-dashboard, showing slim jobs and stock ones: `python -m slimjobs.contrib.rq_dashboard`, with its options."""

from __future__ import annotations

import json
from datetime import date, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

from rq.exceptions import DeserializationError
from rq_dashboard import cli, web

from slimjobs.descriptions import describe_arguments
from slimjobs.jobs import Job
from slimjobs.queue import Queue
from slimjobs.worker import Worker

if TYPE_CHECKING:
    from redis import Redis


class _Id(str):
    """An id that can be decoded, as the dashboard does; RQ has ids as texts since 2.0."""

    __slots__ = ()

    def decode(self, *_: Any) -> str:
        """Return the id."""
        return self


class DashboardJob(Job):
    """A job as the dashboard reads it."""

    @property
    def dependency_ids(self) -> list[str]:
        """The ids of the jobs that this one depends on."""
        return [_Id(each) for each in super().dependency_ids]

    def get_call_string(self) -> str | None:
        """Return the description, which shows no value and needs no payload."""
        return self.description

    def return_value(self, refresh: bool = False) -> Any:
        """Return the result as JSON has it, with text for what JSON does not know or nobody can read."""
        try:
            return _as_json(super().return_value(refresh))
        except DeserializationError as error:
            return f"<{error}>"

    def get_meta(self, refresh: bool = True) -> dict[str, Any]:  # noqa: ARG002  # the job was just read
        """Return the meta as JSON has it, with text for what JSON does not know."""
        shown = _as_json(self.meta)
        return shown if isinstance(shown, dict) else {"meta": shown}


class DashboardQueue(Queue):
    """A queue as the dashboard reads it."""

    job_class = DashboardJob


class DashboardWorker(Worker):
    """A worker as the dashboard reads it."""

    job_class = DashboardJob
    queue_class = DashboardQueue


def install() -> None:
    """Let rq-dashboard read with slimjobs' classes; jobs that stock RQ wrote are shown as before.

    rq-dashboard has a setting for JSON, and none for classes.
    """
    web.Job, web.Queue, web.Worker = DashboardJob, DashboardQueue, DashboardWorker
    web.requeue_job = _requeue_job
    web.format_job_description = _format_job_description


def _requeue_job(job_id: str, connection: Redis) -> Any:
    return DashboardJob.fetch(job_id, connection=connection, serializer=web.config.serializer).requeue()


def _format_job_description(job: Job) -> Any:
    try:
        return _described(job)
    except DeserializationError:  # it was to show all arguments, of a payload that cannot be read
        return job.description


def _as_json(value: Any) -> Any:
    try:
        return json.loads(json.dumps(value, default=_text))
    except (TypeError, ValueError):  # keys that JSON does not know
        return _text(value)


def _text(value: Any) -> str:
    if isinstance(value, (date, time, Decimal, UUID)):
        return str(value)
    return describe_arguments([value], {})[0][0]


_described = web.format_job_description

if __name__ == "__main__":
    install()
    cli.main()
