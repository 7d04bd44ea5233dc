"""RQ's workers, with slimjobs' classes and serializer where none are given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from rq.worker import BaseWorker as RQBaseWorker
from rq.worker import SimpleWorker as RQSimpleWorker
from rq.worker import SpawnWorker as RQSpawnWorker
from rq.worker import Worker as RQWorker

from slimjobs import refusals
from slimjobs.job import Job
from slimjobs.queue import Queue
from slimjobs.serializer import Serializer

if TYPE_CHECKING:
    from redis.client import Pipeline
    from rq.job import Job as RQJob
    from rq.queue import Queue as RQQueue


class _SlimDefaults(RQBaseWorker):
    """What all our workers share.

    Attributes:
        default_serializer: What payloads are read with where no serializer is given.
    """

    default_serializer: ClassVar[Any] = Serializer
    queue_class = Queue
    job_class: type[RQJob] = Job

    def __init__(self, queues: Any, *args: Any, **options: Any) -> None:
        given = options.get("serializer")
        options["serializer"] = given or self.default_serializer
        super().__init__(queues, *args, **options)
        if given is None:
            self._serializer_arg = None  # a SpawnWorker's processes take their class's default too

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """Tell that the worker is alive, see `rq.Worker.heartbeat`; in one round trip where RQ takes three."""
        if pipeline is not None:
            super().heartbeat(timeout, pipeline)
            return
        with self.connection.pipeline(transaction=False) as own:
            super().heartbeat(timeout, own)
            own.execute()

    def perform_job(self, job: RQJob, queue: RQQueue, *args: Any) -> bool:
        """Run a job in the process that is there for it; see `rq.Worker.perform_job`."""
        if isinstance(job, Job):
            # The queue that comes with a job was made from its name; the worker's own has the limits.
            own = (each for each in self.queues if isinstance(each, Queue) and each.name == queue.name)
            job.queue_limits = next((each.limits for each in own), None)
        try:
            return super().perform_job(job, queue, *args)
        finally:
            refusals.flush_all()  # work horses end without running exit handlers


class Worker(_SlimDefaults, RQWorker):
    """RQ's worker, which forks a process for each job; see `rq.Worker`."""


class SimpleWorker(_SlimDefaults, RQSimpleWorker):
    """RQ's worker that runs jobs in its own process; see `rq.SimpleWorker`."""


class SpawnWorker(_SlimDefaults, RQSpawnWorker):
    """RQ's worker that spawns a process for each job; see `rq.SpawnWorker`."""
