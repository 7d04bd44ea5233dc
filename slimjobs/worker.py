"""RQ's workers, with slimjobs' classes and serializer where none are given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from rq.defaults import DEFAULT_LOGGING_DATE_FORMAT, DEFAULT_LOGGING_FORMAT
from rq.worker import BaseWorker as RQBaseWorker
from rq.worker import SimpleWorker as RQSimpleWorker
from rq.worker import SpawnWorker as RQSpawnWorker
from rq.worker import Worker as RQWorker

from slimjobs import refusals
from slimjobs.job import Job
from slimjobs.queue import Queue
from slimjobs.scheduler import Scheduler
from slimjobs.serializer import Serializer

if TYPE_CHECKING:
    from rq.job import Job as RQJob
    from rq.queue import Queue as RQQueue


class _SlimDefaults(RQBaseWorker):
    """What all our workers share.

    Attributes:
        default_serializer: What payloads are read with where no serializer is given.
        scheduler_class: What `work(with_scheduler=True)` runs.
    """

    default_serializer: ClassVar[Any] = Serializer
    queue_class = Queue
    job_class: type[RQJob] = Job
    scheduler_class: ClassVar[type[Scheduler]] = Scheduler

    def __init__(self, queues: Any, *args: Any, **options: Any) -> None:
        given = options.get("serializer")
        options["serializer"] = given or self.default_serializer
        super().__init__(queues, *args, **options)
        if given is None:
            self._serializer_arg = None  # a SpawnWorker's processes take their class's default too

    def _start_scheduler(
        self,
        burst: bool = False,
        logging_level: Any = "INFO",
        date_format: str = DEFAULT_LOGGING_DATE_FORMAT,
        log_format: str = DEFAULT_LOGGING_FORMAT,
    ) -> None:
        # As RQ's own, which names its class.
        self.scheduler = self.scheduler_class(
            self.queues,
            self.connection,
            serializer=self.serializer,
            logging_level=self.log.level if logging_level is None else logging_level,
            date_format=date_format,
            log_format=log_format,
        )
        if burst:
            self.scheduler.work_once()
        elif self.scheduler.acquire_locks():  # type: ignore[no-untyped-call]
            self.scheduler.start()  # type: ignore[no-untyped-call]

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
