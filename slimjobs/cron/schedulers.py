"""RQ's CronScheduler: refuses bad jobs at the start, and goes on whatever happens to one job or to Redis."""

from __future__ import annotations

import inspect
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from rq import cron as rq_cron
from rq.exceptions import SchedulerNotFound, StopRequested

from slimjobs.cron.jobs import CronJob
from slimjobs.errors import ConfigurationError, SlimjobsError
from slimjobs.marks import FIELD, make_mark

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis
    from redis.client import Pipeline

# How soon a scheduler that lost Redis asks again.
_RECONNECT_SECONDS = 1.0
_silent = logging.getLogger("slimjobs.cron.silent")
_silent.disabled = True
# What RQ's module has imported, and may be replaced there.
_rq: Any = rq_cron


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
        self._is_waiting = False
        self._stop_signal: int | None = None

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
        self._is_waiting = False
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
        seconds: float = _RECONNECT_SECONDS if self._is_cut_off else super().calculate_sleep_interval()
        self._is_waiting = True
        self._stop_if_asked()
        return seconds

    def to_dict(self) -> dict[str, Any]:
        """Return what Redis keeps of the scheduler; see `rq.cron.CronScheduler.to_dict`."""
        return {**super().to_dict(), FIELD: make_mark()}

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

    def _request_stop(self, signum: Any, frame: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]  # RQ's always raises
        # An exception is lost where a signal comes inside of what catches all, such as logging, and logging may not
        # be entered there again. So all but the second one is heard between jobs and while waiting.
        if self._is_waiting or self._stop_signal is not None:
            super()._request_stop(signum, frame)  # type: ignore[no-untyped-call]  # raises
        self._stop_signal = signum

    def _stop_if_asked(self) -> None:
        if self._stop_signal is not None:
            super()._request_stop(self._stop_signal, None)  # type: ignore[no-untyped-call]  # raises


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
