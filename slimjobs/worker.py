"""RQ's workers, with slimjobs' classes and serializer where none are given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from rq.queue import Queue as RQQueue
from rq.serializers import DefaultSerializer
from rq.utils import ensure_job_list
from rq.worker import BaseWorker as RQBaseWorker
from rq.worker import SimpleWorker as RQSimpleWorker
from rq.worker import SpawnWorker as RQSpawnWorker
from rq.worker import Worker as RQWorker

from slimjobs import refusals
from slimjobs.choices import PICKLE, chosen_for_worker, chosen_job_class, chosen_queue_class
from slimjobs.job import Job
from slimjobs.queue import Queue
from slimjobs.serializer import Serializer
from slimjobs.versions import check_spawns_own_class

if TYPE_CHECKING:
    from rq.job import Job as RQJob


class _SlimDefaults(RQBaseWorker):
    """What all our workers share.

    RQ's command line and `WorkerPool` give a job class and a queue class whether somebody chose them or
    not. Where both are given, RQ's own `Job`, `Queue` and `PickleSerializer` count as not given, and a plain
    `rq.Queue` is replaced by a queue of `queue_class` with its name. Pickle is kept by a subclass with
    that `default_serializer`, by queues that have it, or as `serializer="pickle"`.

    Attributes:
        default_serializer: What payloads are read with where no serializer is given.
    """

    default_serializer: ClassVar[Any] = Serializer
    queue_class = Queue
    job_class: type[RQJob] = Job

    def __init__(self, queues: Any, *args: Any, **options: Any) -> None:
        serializer = options.get("serializer")
        if options.get("job_class") and options.get("queue_class"):
            queues = ensure_job_list(queues)
            serializer = chosen_for_worker(serializer, queues)
            options["job_class"] = chosen_job_class(options["job_class"])
            options["queue_class"] = chosen_queue_class(options["queue_class"])
            if (options["queue_class"] or self.queue_class) is not RQQueue:
                queues = [queue.name if type(queue) is RQQueue else queue for queue in queues]
        elif serializer is DefaultSerializer:
            serializer = PICKLE  # a SpawnWorker's processes get it with both classes
        options["serializer"] = serializer or self.default_serializer
        super().__init__(queues, *args, **options)
        if serializer is None:
            self._serializer_arg = None  # a SpawnWorker's processes take their class's default too

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
    """RQ's worker that spawns a process for each job; see `rq.SpawnWorker`.

    Raises:
        ConfigurationError: RQ is older than 3.0.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        check_spawns_own_class()
        super().__init__(*args, **options)
