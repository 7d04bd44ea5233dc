"""RQ's workers, with slimjobs' classes and serializer where none are given."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar

from redis.exceptions import ResponseError
from rq.defaults import DEFAULT_LOGGING_DATE_FORMAT, DEFAULT_LOGGING_FORMAT
from rq.exceptions import DeserializationError
from rq.queue import Queue as RQQueue
from rq.serializers import DefaultSerializer
from rq.utils import ensure_job_list
from rq.worker import BaseWorker as RQBaseWorker
from rq.worker import SimpleWorker as RQSimpleWorker
from rq.worker import Worker as RQWorker
from rq.worker import WorkerStatus

from slimjobs import refusals
from slimjobs.choices import PICKLE, chosen_for_worker, chosen_job_class, chosen_queue_class
from slimjobs.jobs import Job
from slimjobs.logs import logger
from slimjobs.marks import FIELD, make_mark
from slimjobs.queue import Queue
from slimjobs.scheduler import Scheduler
from slimjobs.serializer import Serializer
from slimjobs.spawning import SpawningWorker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from redis.client import Pipeline
    from rq.job import Job as RQJob

# RQ's workers tell three times within milliseconds that they are alive, and wait at least 60 seconds for a sign of one.
_SECONDS_BETWEEN_HEARTBEATS = 1.0


class _SlimDefaults(RQBaseWorker):
    """What all our workers share: what counts as chosen, and what is taken where nothing is.

    RQ's command line and `WorkerPool` give a job class and a queue class whether somebody chose them or
    not. Where both are given, RQ's own `Job`, `Queue` and `PickleSerializer` count as not given, and a plain
    `rq.Queue` is replaced by a queue of `queue_class` with its name. Pickle is kept by a subclass with
    that `default_serializer`, by queues that have it, or as `serializer="pickle"`.

    Attributes:
        default_serializer: What payloads are read with where no serializer is given.
        scheduler_class: What `work(with_scheduler=True)` runs.
    """

    default_serializer: ClassVar[Any] = Serializer
    queue_class = Queue
    job_class: type[RQJob] = Job
    scheduler_class: ClassVar[type[Scheduler]] = Scheduler

    # When Redis was last told that this worker is alive, and for how many seconds it has been told to believe it.
    _alive_told: tuple[float, int] = (0.0, 0)

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
            try:
                self.scheduler.work_once()
            except ResponseError as error:  # of a broken key; the worker can do its work
                self.log.error("The scheduler stopped at %s", error)  # noqa: TRY400  # it says all
        elif self.scheduler.acquire_locks():  # type: ignore[no-untyped-call]
            self.scheduler.start()  # type: ignore[no-untyped-call]

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """Tell that the worker is alive, see `rq.Worker.heartbeat`; in one round trip, and once a second at most."""
        if pipeline is not None:
            super().heartbeat(timeout, pipeline)
        elif not self._has_told(timeout or self._idle_seconds):
            with self.connection.pipeline(transaction=False) as own:
                self._tell(own, timeout)

    def set_state(self, state: str, pipeline: Pipeline | None = None) -> None:
        """Tell what the worker does, see `rq.Worker.set_state`; that it is idle goes along with a heartbeat."""
        if pipeline is not None or state != WorkerStatus.IDLE:
            super().set_state(state, pipeline)
        elif self.get_state() != state or not self._has_told(self._idle_seconds):
            with self.connection.pipeline(transaction=False) as own:
                super().set_state(state, own)
                self._tell(own)

    def register_birth(self) -> None:
        """Tell Redis that the worker is there, and how it reads payloads; see `rq.Worker.register_birth`."""
        super().register_birth()  # type: ignore[no-untyped-call]
        self.connection.hset(self.key, FIELD, make_mark(self.serializer))

    @property
    def _idle_seconds(self) -> int:
        return self.worker_ttl + 60  # as RQ's heartbeat has it

    def _has_told(self, seconds: int) -> bool:
        told_at, told_seconds = self._alive_told
        return told_seconds >= seconds and monotonic() - told_at < _SECONDS_BETWEEN_HEARTBEATS

    def _tell(self, pipeline: Pipeline, timeout: int | None = None) -> None:
        super().heartbeat(timeout, pipeline)
        pipeline.execute()
        self._alive_told = (monotonic(), timeout or self._idle_seconds)

    def execute_job(self, job: RQJob, queue: RQQueue) -> None:
        """Run a job, in a process of its own or in this one; see `rq.Worker.execute_job`."""
        job.origin = job.origin or queue.name  # or it would end in the registries of a queue without a name
        super().execute_job(job, queue)

    def handle_exception(self, job: RQJob, *exc_info: Any) -> None:
        """Let the handlers of exceptions see that of a job; see `rq.Worker.handle_exception`."""
        with self._handlers_guarded():
            super().handle_exception(job, *exc_info)

    def clean_registries(self) -> None:
        """Fail jobs whose workers are gone, and more; see `rq.Worker.clean_registries`."""
        with self._handlers_guarded():
            super().clean_registries()  # type: ignore[no-untyped-call]

    @contextmanager
    def _handlers_guarded(self) -> Iterator[None]:
        """Keep handlers that ask for arguments which cannot be read from ending the worker."""
        handlers = self._exc_handlers
        self._exc_handlers = [partial(_call_handler, handler) for handler in handlers]
        try:
            yield
        finally:
            self._exc_handlers = handlers

    def perform_job(self, job: RQJob, queue: RQQueue, *args: Any, **kwargs: Any) -> bool:
        """Run a job in the process that is there for it; see `rq.Worker.perform_job`."""
        job.origin = job.origin or queue.name
        if isinstance(job, Job):
            # The queue that comes with a job was made from its name; the worker's own has the limits.
            own = (each for each in self.queues if isinstance(each, Queue) and each.name == queue.name)
            job.queue_limits = next((each.limits for each in own), None)
        try:
            return super().perform_job(job, queue, *args, **kwargs)
        finally:
            refusals.flush_all()  # work horses end without running exit handlers


def _call_handler(handler: Callable[..., Any], job: RQJob, *exc_info: Any) -> Any:
    try:
        return handler(job, *exc_info)
    except DeserializationError as error:
        name = getattr(handler, "__qualname__", type(handler).__qualname__)
        logger.error("a handler of exceptions, %s, did not run to its end: %s", name, error)
        return None


class Worker(_SlimDefaults, RQWorker):
    """RQ's worker, which forks a process for each job; see `rq.Worker`.

    It reads payloads in slimjobs' format, loads their models just before the call, and holds results against
    `max_result_bytes`. It runs jobs of stock queues too, where it is told their serializer.

    Args:
        queues: Queues, or their names.
        *args: As `rq.Worker`.
        **options: As `rq.Worker`: `connection`, `name`, `serializer`, `exception_handlers`, ...
    """


class SimpleWorker(_SlimDefaults, RQSimpleWorker):
    """RQ's worker that runs jobs in its own process; see `rq.SimpleWorker`.

    Args:
        queues: Queues, or their names.
        *args: As `rq.SimpleWorker`.
        **options: As `rq.SimpleWorker`.
    """


class SpawnWorker(_SlimDefaults, SpawningWorker):
    """RQ's worker that spawns a process for each job; see `rq.SpawnWorker`.

    These processes have the settings of the environment; what `configure()` is to say goes where the task's module is
    imported.

    Args:
        queues: Queues, or their names.
        *args: As `rq.SpawnWorker`.
        **options: As `rq.SpawnWorker`.
    """
