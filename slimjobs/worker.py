"""RQ's workers, with slimjobs' classes and serializer where none are given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from rq.worker import BaseWorker as RQBaseWorker
from rq.worker import SimpleWorker as RQSimpleWorker
from rq.worker import SpawnWorker as RQSpawnWorker
from rq.worker import Worker as RQWorker

from slimjobs.job import Job
from slimjobs.queue import Queue
from slimjobs.serializer import Serializer

if TYPE_CHECKING:
    from rq.job import Job as RQJob


class _SlimDefaults(RQBaseWorker):
    """What all our workers share.

    Attributes:
        default_serializer: What payloads are read with where no serializer is given.
    """

    default_serializer: ClassVar[Any] = Serializer
    queue_class = Queue
    job_class: type[RQJob] = Job

    def __init__(self, queues: Any, *args: Any, **options: Any) -> None:
        options["serializer"] = options.get("serializer") or self.default_serializer
        super().__init__(queues, *args, **options)


class Worker(_SlimDefaults, RQWorker):
    """RQ's worker, which forks a process for each job; see `rq.Worker`."""


class SimpleWorker(_SlimDefaults, RQSimpleWorker):
    """RQ's worker that runs jobs in its own process; see `rq.SimpleWorker`."""


class SpawnWorker(_SlimDefaults, RQSpawnWorker):
    """RQ's worker that spawns a process for each job; see `rq.SpawnWorker`."""
