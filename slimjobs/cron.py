"""RQ's cron with slim queues: jobs are checked when they are registered, and none can stop the others."""

from __future__ import annotations

import inspect
import json
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from rq.exceptions import SchedulerNotFound, StopRequested

from slimjobs.descriptions import describe_arguments
from slimjobs.enqueuer import options_of
from slimjobs.errors import ConfigurationError, SlimjobsError
from slimjobs.limits import settings
from slimjobs.queue import Queue

try:
    from rq import cron as rq_cron
    from rq import cron_job_registry
    from rq.cron import register
except ImportError:
    raise ConfigurationError("this RQ has no cron that slimjobs knows; install RQ 3.0 or later") from None

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis
    from redis.client import Pipeline
    from rq.job import Job as RQJob
    from rq.queue import Queue as RQQueue

__all__ = ["CronJob", "CronScheduler", "create_cron", "register"]

# How long a meta may be, in characters of JSON, to be shown in the scheduler's own hash.
_MOST_META_CHARACTERS = 1024
# How soon a scheduler that lost Redis asks again.
_RECONNECT_SECONDS = 1.0
_silent = logging.getLogger("slimjobs.cron.silent")
_silent.disabled = True
# What RQ's module has imported, and may be replaced there.
_rq: Any = rq_cron


class CronJob(rq_cron.CronJob):
    """A call that is enqueued again and again; see `rq.cron.CronJob`.

    The options of a decorated task hold where the cron job has none of its own.

    Attributes:
        queue_class: The class of the queue that it is enqueued to.
    """

    queue_class: ClassVar[type[RQQueue]] = Queue

    def check(self, connection: Redis) -> None:
        """Make a job, hold it against its limits, and drop it: what could not be enqueued is told before it is due.

        Raises:
            PayloadTooLargeError: The payload is over its limit.
            UnsupportedTypeError: Something in it cannot travel.
            UnsavedModelError: A model in it has no row.
        """
        func: Any = self.func
        queue = self.queue_class(self.queue_name, connection=connection)
        queue.create_job(func, args=self.args, kwargs=self.kwargs, meta=self._options().get("meta"))

    def enqueue(self, connection: Redis) -> RQJob:
        """Enqueue the job and record it in the history, in one round trip; raises as `check`."""
        if not self.func:
            return super().enqueue(connection)  # which says what is wrong
        queue = self.queue_class(self.queue_name, connection=connection)
        with connection.pipeline() as pipeline:
            options = {**self._options(), "args": self.args, "kwargs": self.kwargs, "pipeline": pipeline}
            job = queue.enqueue(self.func, **options)
            # A job that waits for others is enqueued later.
            moment = (job.enqueued_at or _rq.now()).timestamp()
            pipeline.zadd(self.job_history_key, {job.id: moment})
            pipeline.zremrangebyrank(self.job_history_key, 0, -(_rq.DEFAULT_CRON_JOB_HISTORY_LIMIT + 1))
            pipeline.expire(self.job_history_key, _rq.DEFAULT_CRON_JOB_HISTORY_TTL)
            cron_job_registry.add(self.name, pipeline, enqueue_timestamp=moment)
            pipeline.execute()
        logging.getLogger(rq_cron.__name__).info("Enqueued job %s to queue %s", self.func_name, self.queue_name)
        return job

    def to_dict(self) -> dict[str, Any]:
        """Return what monitoring shows of it: its arguments as descriptions do, in types and refs."""
        args, kwargs, job_options = self.args, self.kwargs, self.job_options
        self.args, self.kwargs = (), {}  # RQ would write them out in full
        self.job_options = {name: value for name, value in job_options.items() if name != "meta"}
        try:
            mapping: dict[str, Any] = super().to_dict()
        finally:
            self.args, self.kwargs, self.job_options = args, kwargs, job_options
        with_values = settings().describe == "values"
        shown, named = describe_arguments(args, kwargs, with_values=with_values)
        mapping["args"] = json.dumps(shown) if shown else None
        mapping["kwargs"] = json.dumps(named) if named else None
        if "meta" in job_options:
            meta = _rq.safe_json_dumps(job_options["meta"])
            mapping["meta"] = meta if len(meta) <= _MOST_META_CHARACTERS else _rq.NOT_JSON_SERIALIZABLE
        return mapping

    def _options(self) -> dict[str, Any]:
        own = self.job_options
        of_task = options_of(self.func)
        if own.get("result_ttl") == _rq.DEFAULT_RESULT_TTL and "result_ttl" in of_task:
            # RQ sets its default where none is given.
            own = {name: value for name, value in own.items() if name != "result_ttl"}
        return {**of_task, **own}


class CronScheduler(rq_cron.CronScheduler):
    """Enqueues cron jobs when they are due; see `rq.cron.CronScheduler`.

    A job that cannot be enqueued is logged, and tried again when it is due the next time. While Redis cannot be
    reached it waits, and goes on from there.

    Attributes:
        cron_job_class: The class of the cron jobs that are registered.
    """

    cron_job_class: ClassVar[type[CronJob]] = CronJob

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._found: list[dict[str, Any]] | None = None
        self._is_cut_off = False
        self._is_stopping = False

    def register(self, *args: Any, **options: Any) -> Any:
        """Register a function to be enqueued at intervals or by a cron string; see `rq.cron.CronScheduler.register`.

        Raises:
            PayloadTooLargeError: The payload is over its limit.
            UnsupportedTypeError: Something in it cannot travel.
            UnsavedModelError: A model in it has no row.
        """
        given = _REGISTER.bind(self, *args, **options).arguments
        given.pop("self")
        if self._found is not None:
            self._found.append(given)
            return None
        job = self.cron_job_class(**given)
        job.check(self.connection)
        self._cron_jobs.append(job)
        when = f"every {job.interval} seconds" if job.interval else f"with cron schedule '{job.cron}'"
        self.log.info("Registered '%s' to run on %s %s", job.func_name, job.queue_name, when)
        return job

    def load_config_from_file(self, config_path: str) -> None:
        """Register the jobs of a configuration file or module, all of them or none.

        Raises:
            ConfigurationError: Jobs in it were refused; each is told in a line.
            ImportError: It cannot be imported.
        """
        self.log.info("Loading cron configuration from %s", config_path)
        self._found, log = [], self.log
        self.log = _silent  # RQ would count what is not registered yet
        try:
            super().load_config_from_file(config_path)
        finally:
            found, self._found, self.log = self._found, None, log
        before = list(self._cron_jobs)
        refused = [line for line in map(self._refusal_of, found) if line]
        if refused:
            self._cron_jobs[:] = before
            lines = "\n".join(refused)
            raise ConfigurationError(f"{config_path}: {len(refused)} of {len(found)} cron jobs are refused\n{lines}")
        self.log.info("Registered %d cron jobs from '%s'", len(found), config_path)

    def enqueue_jobs(self) -> list[rq_cron.CronJob]:
        """Enqueue the jobs that are due, each whatever becomes of the others."""
        moment = _rq.now()
        enqueued: list[rq_cron.CronJob] = []
        for job in self._cron_jobs:
            self._stop_if_asked()
            if not job.should_run():
                continue
            try:
                job.enqueue(self.connection)
            except StopRequested:
                raise
            except (RedisConnectionError, RedisTimeoutError) as error:
                self._cut_off(error)  # the job stays due
                break
            except SlimjobsError as error:
                self.log.error("cron job not enqueued: %s", _in_a_line(error))  # noqa: TRY400  # it says all
            except Exception as error:
                self.log.exception("%s: cron job not enqueued (%s)", job.func_name, type(error).__name__)
            else:
                self._reconnected()
                enqueued.append(job)
            job.set_enqueue_time(moment)
        return enqueued

    def calculate_sleep_interval(self) -> float:
        """Return the seconds until the next job is due, or until Redis is asked for again."""
        self._stop_if_asked()
        return _RECONNECT_SECONDS if self._is_cut_off else super().calculate_sleep_interval()

    def save(self, pipeline: Pipeline | None = None) -> None:
        """Write what monitoring shows of the scheduler, as far as Redis can be reached."""
        if pipeline is not None:
            super().save(pipeline)
            return
        with self._through_cuts():
            super().save()

    def heartbeat(self) -> None:
        """Tell that the scheduler is alive, as far as Redis can be reached."""
        with self._through_cuts():
            super().heartbeat()

    def register_death(self, pipeline: Pipeline | None = None) -> None:
        """Tell that the scheduler ends, as far as Redis can be reached and still knows of it."""
        try:
            super().register_death(pipeline)
        except (RedisError, SchedulerNotFound) as error:
            self.log.warning("CronScheduler %s: its death is not registered (%s)", self.name, type(error).__name__)

    def _refusal_of(self, given: dict[str, Any]) -> str | None:
        """Register a job, or return the line that says why not."""
        func = given["func"]
        name = f"{getattr(func, '__module__', None)}.{getattr(func, '__qualname__', type(func).__name__)}"
        try:
            self.register(**given)
        except SlimjobsError as error:
            return _in_a_line(error) if error.task else f"{name}: {_in_a_line(error)}"
        except (ValueError, TypeError, AttributeError) as error:  # RQ's, of its options
            return f"{name}: {error}"
        return None

    @contextmanager
    def _through_cuts(self) -> Iterator[None]:
        try:
            yield
        except RedisError as error:
            self._cut_off(error)
        else:
            self._reconnected()

    def _cut_off(self, error: RedisError) -> None:
        if not self._is_cut_off:
            self.log.error("CronScheduler %s: Redis does not answer (%s), waiting", self.name, type(error).__name__)
        self._is_cut_off = True

    def _reconnected(self) -> None:
        if self._is_cut_off:
            self.log.info("CronScheduler %s: Redis answers again", self.name)
        self._is_cut_off = False

    def _request_stop(self, signum: Any, frame: Any) -> None:
        # The exception is lost where the signal comes inside of what catches all, such as logging.
        self._is_stopping = True
        super()._request_stop(signum, frame)  # type: ignore[no-untyped-call]

    def _stop_if_asked(self) -> None:
        if self._is_stopping:
            raise StopRequested


def create_cron(connection: Redis) -> CronScheduler:
    """Return a scheduler with the jobs that `register` was told so far; raises as `CronScheduler.register`."""
    scheduler = CronScheduler(connection=connection)
    found = _rq._job_data_registry[:]
    _rq._job_data_registry.clear()
    for given in found:
        scheduler.register(**given)
    return scheduler


def _in_a_line(error: SlimjobsError) -> str:
    return " ".join(str(error).split("\n"))


_REGISTER = inspect.signature(rq_cron.CronScheduler.register)
