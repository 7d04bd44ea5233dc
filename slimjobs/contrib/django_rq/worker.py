"""Workers to name as WORKER_CLASS: the serializer of their queues, and no shared database connections."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import django
from django.conf import settings
from django.db import connections
from django_rq import thread_queue
from django_rq.queues import get_queue
from rq.queue import Queue as RQQueue
from rq.serializers import DefaultSerializer
from rq.worker import BaseWorker as RQBaseWorker

from slimjobs import worker as slim
from slimjobs.choices import PICKLE, chosen_for_worker, chosen_queue_class
from slimjobs.contrib.django_rq.queue import Queue
from slimjobs.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rq.job import Job as RQJob


class _DjangoDefaults(RQBaseWorker):
    """What our workers share under django-rq.

    Raises:
        ConfigurationError: No serializer was named, and the queues have different ones.
    """

    queue_class = Queue

    def __init__(self, queues: Any, *args: Any, **options: Any) -> None:
        given = queues if isinstance(queues, (list, tuple)) else [queues]
        configured: list[Any] = [_configured(queue, options) for queue in given]
        first = next((queue for queue in configured if isinstance(queue, RQQueue)), None)
        if first is not None and chosen_queue_class(options.get("queue_class")) is None:
            options["queue_class"] = type(first)
        if chosen_for_worker(options.get("serializer")) is None:
            options["serializer"] = _serializer_of(configured)
        super().__init__(configured, *args, **options)

    def work(self, *args: Any, **kwargs: Any) -> bool:
        """Work; see `rq.worker.BaseWorker.work`."""
        _close_connections()  # a scheduler is forked first
        return super().work(*args, **kwargs)

    def run_maintenance_tasks(self) -> None:
        """Clean up, which may fork a scheduler again; see `rq.worker.BaseWorker.run_maintenance_tasks`."""
        _close_connections()
        super().run_maintenance_tasks()  # type: ignore[no-untyped-call]

    def perform_job(self, job: RQJob, *args: Any, **kwargs: Any) -> bool:
        """Run a job as if it were a request: what it left for a request's end is enqueued, unless it failed."""
        _close_old_connections()
        is_done = False
        try:
            is_done = super().perform_job(job, *args, **kwargs)
        finally:
            (thread_queue.commit if is_done else thread_queue.clear)()
            _close_old_connections()
        return is_done


class _ForkingDefaults(_DjangoDefaults):
    def fork_work_horse(self, *args: Any, **kwargs: Any) -> None:
        # Handlers of killed work horses and failure callbacks of abandoned jobs run in the worker, and may query.
        _close_connections()
        super().fork_work_horse(*args, **kwargs)  # type: ignore[misc]  # of the class beside this one


class Worker(_ForkingDefaults, slim.Worker):
    """A `slimjobs.Worker` with the queues' settings; see `rq.Worker`."""


class SimpleWorker(_DjangoDefaults, slim.SimpleWorker):
    """A `slimjobs.SimpleWorker` with the queues' settings; see `rq.SimpleWorker`."""


class SpawnWorker(_ForkingDefaults, slim.SpawnWorker):
    """A `slimjobs.SpawnWorker` with the queues' settings, whose processes set Django up; see `rq.SpawnWorker`."""

    def _told(self) -> Any:
        # It names classes and handlers, whose modules may need the models.
        return _AfterSetUp(pickle.dumps(super()._told()))


class _AfterSetUp:
    """A pickle that is loaded once Django is set up."""

    def __init__(self, pickled: bytes) -> None:
        self._pickled = pickled

    def __reduce__(self) -> tuple[Any, ...]:
        return _load_after_set_up, (self._pickled,)


def _load_after_set_up(pickled: bytes) -> Any:
    django.setup()
    return pickle.loads(pickled)  # noqa: S301  # the worker's own


def _configured(queue: RQQueue | str, options: dict[str, Any]) -> RQQueue | str:
    """Return a queue as RQ_QUEUES has it; in the processes of `rqworker-pool` RQ makes its own of the name."""
    is_name = isinstance(queue, str)
    name = queue if isinstance(queue, str) else queue.name
    if not (is_name or type(queue) is RQQueue) or name not in getattr(settings, "RQ_QUEUES", {}):
        return queue
    connection = options.get("connection") or getattr(queue, "connection", None)
    return get_queue(name, connection=connection, job_class=options.get("job_class"))


def _serializer_of(queues: Sequence[RQQueue | str]) -> Any:
    """Return the serializer of all queues, or None where there are only names.

    Raises:
        ConfigurationError: They have different ones.
    """
    known = [queue for queue in queues if isinstance(queue, RQQueue)]
    if not known:
        return None
    serializer = known[0].serializer
    others = [queue.name for queue in known if queue.serializer is not serializer]
    if others:
        raise ConfigurationError(
            f"queue {known[0].name!r} has another serializer than {', '.join(map(repr, others))}, and a worker has one",
            hint='Give them the same "SERIALIZER" in RQ_QUEUES, or start a worker for each.',
        )
    return PICKLE if serializer is DefaultSerializer else serializer


def _close_old_connections() -> None:
    """Do what Django does around a request, save that a test's transaction goes on."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()


def _close_connections() -> None:
    for connection in connections.all(initialized_only=True):
        # A test's transaction goes on; no worker of its own process is in one.
        if not connection.in_atomic_block:
            connection.close()
