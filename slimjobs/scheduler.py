"""RQ's scheduler, with payloads left where they are."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from redis.exceptions import NoPermissionError, RedisError, ResponseError
from rq.scheduler import RQScheduler

from slimjobs.entries import runs_scripts
from slimjobs.logs import Throttle
from slimjobs.marks import FIELD, make_mark
from slimjobs.schedule import Schedule
from slimjobs.serializer import Serializer

if TYPE_CHECKING:
    from redis import Redis

# Locks last a minute and more. A process that was held up for longer than this asks whether it has them still.
HEARTBEAT_SECONDS = 10.0
# How often locks are asked for that others have; RQ waits two minutes, in which nobody would move what is due.
TAKE_OVER_SECONDS = 10.0


class _Woken(Exception):  # noqa: N818  # nothing is wrong
    """Ends a rest that a signal cuts short."""


class Scheduler(RQScheduler):
    """Moves due jobs to their queues by a script; see `rq.scheduler.RQScheduler`.

    It takes RQ's locks, so that it and RQ's own schedulers run beside each other.

    Args:
        queues: The queues, or their names.
        connection: The Redis that they are in.
        serializer: What RQ's way of moving jobs reads them with, where scripts may not run. Default: slimjobs' own.
        **options: As `rq.scheduler.RQScheduler`: `interval` (seconds), `logging_level`, `name`, ...
    """

    def __init__(self, queues: Any, connection: Redis, *, serializer: Any = None, **options: Any) -> None:
        super().__init__(queues, connection, serializer=serializer or Serializer, **options)
        self._uses_script = True
        self._beat_at = 0.0
        self._is_resting = False

    @property
    def should_reacquire_locks(self) -> bool:
        """Whether to ask for locks that others have; see `rq.scheduler.RQScheduler.should_reacquire_locks`."""
        if self._queue_names == self._acquired_locks:
            return False
        asked_at: Any = self.lock_acquisition_time
        return not asked_at or (datetime.now() - asked_at).total_seconds() > TAKE_OVER_SECONDS  # noqa: DTZ005  # as RQ's

    def to_dict(self) -> dict[str, Any]:
        """Return what Redis keeps of the scheduler, since RQ 2.11; see `rq.scheduler.RQScheduler.to_dict`."""
        return {**super().to_dict(), FIELD: make_mark()}

    def work(self) -> None:
        """Move due jobs until SIGTERM or SIGINT; where Redis fails, wait and try again."""
        outages = Throttle()
        while not self._works_to_the_end(outages):
            with suppress(_Woken):
                self._rest()

    def request_stop(self, signum: Any = None, frame: Any = None) -> None:
        """Ask for an end, as signals do; a rest ends at once, where RQ's scheduler sleeps on."""
        super().request_stop(signum, frame)  # type: ignore[no-untyped-call]
        if self._is_resting:
            self._is_resting = False
            raise _Woken

    def _works_to_the_end(self, outages: Throttle) -> bool:
        try:
            self._forget_locks_that_are_gone()
            self._work_until_told()
        except RedisError as error:
            if not self._stop_requested and outages.admit(type(error)) is not None:
                self.log.error("Scheduler tries again every %s s, until Redis works: %s", self.interval, error)  # noqa: TRY400  # the reader is no programmer
            if self._stop_requested:
                self.log.warning("Scheduler stops without Redis; its locks expire within %s s", self.interval + 60)
            return self._stop_requested
        return True

    def _work_until_told(self) -> None:
        self._install_signal_handlers()  # type: ignore[no-untyped-call]
        if hasattr(self, "register_birth"):  # since RQ 2.11
            self.register_birth()
        while not self._stop_requested:
            with suppress(_Woken):
                if self.should_reacquire_locks:
                    self.acquire_locks()  # type: ignore[no-untyped-call]
                self.heartbeat()
                self.enqueue_scheduled_jobs()
                self._rest()
        self.stop()  # type: ignore[no-untyped-call]

    def _rest(self) -> None:
        self._is_resting = True
        if not self._stop_requested:
            time.sleep(self.interval)
        self._is_resting = False

    def _forget_locks_that_are_gone(self) -> None:
        # Redis may have lost its keys. Before RQ 2.11 a heartbeat does not take a lock again.
        gone = {name for name in self._acquired_locks if not self.connection.exists(self.get_locking_key(name))}
        if gone:
            self._acquired_locks -= gone
            self.lock_acquisition_time = None

    def release_locks(self) -> None:
        """Release the locks that are ours; see `rq.scheduler.RQScheduler.release_locks`."""
        if self._acquired_locks:  # RQ before 2.11 asks Redis to delete nothing, which is an error
            super().release_locks()  # type: ignore[no-untyped-call]

    def work_once(self) -> set[str]:
        """Move what is due on the queues whose locks are free, release them, and return the names of these queues."""
        locked = set(self.acquire_locks())  # type: ignore[no-untyped-call]
        if locked:
            try:
                if hasattr(self, "register_birth"):  # since RQ 2.11
                    self.register_birth()
                self.enqueue_scheduled_jobs()
            finally:
                self.stop()  # type: ignore[no-untyped-call]
        return locked

    def heartbeat(self) -> None:
        """Keep the locks; see `rq.scheduler.RQScheduler.heartbeat`."""
        self._beat_at = time.monotonic()
        super().heartbeat()  # type: ignore[no-untyped-call]

    def enqueue_scheduled_jobs(self) -> None:
        """Move all jobs that are due, without reading a payload.

        Jobs that cannot be moved are put off by an hour and logged. A queue of which the lock was lost is left to the
        scheduler that has it.
        """
        if not self._uses_script or not runs_scripts(self.connection):
            super().enqueue_scheduled_jobs()  # type: ignore[no-untyped-call]
            return
        self._status = self.Status.WORKING
        if not self._scheduled_job_registries and self._acquired_locks:
            self.prepare_registries()
        try:
            self._move([Schedule(registry.name, self.connection) for registry in self._scheduled_job_registries])
        except NoPermissionError:
            self._uses_script = False  # nothing has been moved by this script
            self.log.warning("Scheduler may not run scripts in this Redis; it moves due jobs as RQ does, reading each")
            super().enqueue_scheduled_jobs()  # type: ignore[no-untyped-call]
        self._status = self.Status.STARTED

    def _move(self, schedules: list[Schedule]) -> None:
        """Move what is due, a chunk from each queue in turn; what is wrong with one does not stop the others."""
        locked = set(self._acquired_locks)  # tests, RQ's too, move jobs without locks
        failure: ResponseError | None = None
        while schedules:
            for schedule in list(schedules):
                if self._stop_requested:
                    return
                if locked and time.monotonic() - self._beat_at > HEARTBEAT_SECONDS:
                    self.heartbeat()
                is_lost = schedule.queue in locked and schedule.queue not in self._acquired_locks
                try:
                    if is_lost or not self._move_chunk(schedule):
                        schedules.remove(schedule)
                except NoPermissionError:
                    raise
                except ResponseError as error:
                    failure = ResponseError(f"the schedule of queue {schedule.queue}: {error}")
                    schedules.remove(schedule)
        if failure:
            raise failure

    def _move_chunk(self, schedule: Schedule) -> bool:
        """Move a chunk, and return whether there may be another."""
        chunk = schedule.move_due()
        for job_id, problem in chunk.put_off.items():
            self.log.error(
                "Job %s stays on the schedule of queue %s for another hour: %s", job_id, schedule.queue, problem
            )
        if chunk.due:
            self.log.debug("Moved %d due jobs to queue %s", chunk.due - len(chunk.put_off), schedule.queue)
        return bool(chunk.due)
