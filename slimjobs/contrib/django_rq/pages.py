"""django-rq's pages in the admin, reading jobs as their queues do where django-rq names RQ's own classes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from django_rq import cron_views, utils, views
from django_rq.queues import get_queue
from rq.command import send_stop_job_command
from rq.registry import StartedJobRegistry
from rq.utils import as_text

from slimjobs.contrib.django_rq.queue import Queue
from slimjobs.jobs import Job
from slimjobs.worker import Worker

if TYPE_CHECKING:
    from rq.executions import Execution
    from rq.job import Job as RQJob
    from rq.queue import Queue as RQQueue

# What these modules have imported is replaced there.
_cron_views: Any = cron_views
_utils: Any = utils
_views: Any = views


class _StartedJobs(StartedJobRegistry):
    """The registry of jobs that run, as it is: workers clean it up, and django-rq's first page does."""

    def cleanup(self, *_: Any, **__: Any) -> None:
        """Leave jobs whose workers are gone: RQ would read them with pickle here, and run their callbacks."""


class _PageWorker(Worker):
    """A worker as the pages read it."""

    def get_current_job(self) -> RQJob | None:
        """Return the job that the worker runs, as its queue reads it."""
        job_id = self.get_current_job_id()
        if job_id is None:
            return None
        name = as_text(self.connection.hget(Job.key_for(job_id), "origin") or b"")
        try:
            queue = get_queue(name, connection=self.connection)
        except KeyError:  # it is not in RQ_QUEUES
            queue = Queue(name, connection=self.connection)
        return queue.fetch_job(job_id)


class _Unread:
    """A serializer for who wants nothing of what is serialized."""

    @staticmethod
    def dumps(_: Any) -> bytes:
        return b""

    @staticmethod
    def loads(_: bytes) -> Any:
        return {}


def install() -> None:
    """Let the pages read with slimjobs' classes; jobs that stock RQ wrote are shown as before."""
    _cron_views.Job = _utils.Job = _views.Job = Job
    _utils.StartedJobRegistry = _views.StartedJobRegistry = _StartedJobs
    _views.Worker = _PageWorker
    _views.get_executions = _get_executions
    _utils.send_stop_job_command = partial(send_stop_job_command, serializer=_Unread)


def _get_executions(queue: RQQueue, composite_keys: list[tuple[str, str]]) -> list[Execution]:
    executions: list[Execution] = utils.get_executions(queue, composite_keys)
    for execution in executions:
        execution._job = queue.fetch_job(execution.job_id)  # noqa: SLF001  # RQ would fetch it with pickle
    return [execution for execution in executions if execution._job is not None]  # noqa: SLF001  # it has just been set
