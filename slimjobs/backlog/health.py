"""Whether jobs run: checks for a monitor outside RQ, which go by what RQ's processes leave in Redis."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from slimjobs.backlog.due import queue_names
from slimjobs.backlog.keys import (
    CRON_JOBS_KEY,
    CRON_SCHEDULERS_KEY,
    REGISTRY_PREFIXES,
    SCHEDULER_LOCK_PREFIX,
    SUSPENDED_KEY,
    WORKERS_KEY,
    text,
)
from slimjobs.backlog.stalls import look_again, look_at
from slimjobs.backlog.waiting import measure_waiting
from slimjobs.sizes import format_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from redis import Redis

    from slimjobs.backlog.stalls import Look

OK, WARNING, CRITICAL = 0, 1, 2
# A limit of time is warned about from this part of it on.
_WARNED_PART = 0.2
# With each heartbeat a scheduler keeps its locks for its interval and a minute (RQ 2.6 to 3.0, RQScheduler.heartbeat).
_LOCK_SECONDS = 60
_OVERDUE_SECONDS = 20
# `rq.cron.CronScheduler` tells of itself once a minute at least.
_CRON_HEARTBEAT_SECONDS = 150


class Check(NamedTuple):
    """What one check has found.

    Attributes:
        name: What was looked at: "workers", "scheduler", "late", "finished", "cron", "backlog", "growth" or "ping".
        queue: The queue's name, or "" where it is about all of them.
        level: `OK`, `WARNING` or `CRITICAL`.
        text: The finding, in a line.
    """

    name: str
    queue: str
    level: int
    text: str


@dataclass(frozen=True)
class Bounds:
    """What is still healthy.

    Attributes:
        late_seconds: How late a due job may be, and for how long none may be taken, or end, while jobs are queued.
        silence_seconds: How long no cron job may have been enqueued; None asks for the heartbeat of cron alone.
        backlog_bytes: How much the jobs that wait may take in Redis, or None.
    """

    late_seconds: float = 300.0
    silence_seconds: float | None = None
    backlog_bytes: int | None = None


class Health:
    """The checks of one moment.

    Args:
        connection: The Redis.
        bounds: What is still healthy.
        queues: The names of the queues; all that RQ knows where there is none.

    Attributes:
        waiting: How many jobs are queued, or due, by queue.
    """

    def __init__(self, connection: Redis, bounds: Bounds, queues: Sequence[str] = ()) -> None:
        self._connection = connection
        self._bounds = bounds
        self._queues = list(queues) or queue_names(connection)
        self._now = time.time()
        self._looks = {queue: look_at(connection, queue) for queue in self._queues}
        self.waiting = {queue: self._count_waiting(queue) for queue in self._queues}

    def checks(self) -> Iterator[Check]:
        """Yield what each check finds."""
        workers = self._workers()
        if self._connection.exists(SUSPENDED_KEY):
            yield Check("workers", "", CRITICAL, "all workers are suspended; `rq resume` lets them go on")
        for queue in self._queues:
            yield self._check_workers(queue, workers.get(queue, 0))
            yield from self._check_schedule(queue)
            yield self._check_finished(queue)
        if not self._queues:
            yield Check("workers", "", WARNING, "RQ knows no queue here: is this the right Redis?")
        yield from self._check_cron()
        yield self._check_backlog()

    def _count_waiting(self, queue: str) -> int:
        due: Any = self._connection.zcount(REGISTRY_PREFIXES["scheduled"] + queue, "-inf", self._now)
        return self._looks[queue].queued + int(due)

    def _workers(self) -> dict[str, int]:
        """Return how many workers there are by queue; the keys of dead ones expire within eight minutes."""
        counts: dict[str, int] = {}
        members: Any = self._connection.smembers(WORKERS_KEY)
        for key in members:
            names: Any = self._connection.hget(key, "queues")
            for queue in text(names).split(",") if names else ():
                counts[queue] = counts.get(queue, 0) + 1
        return counts

    def _check_workers(self, queue: str, workers: int) -> Check:
        waiting = self.waiting[queue]
        if workers:
            return Check("workers", queue, OK, f"{workers}, and {waiting:,} jobs wait")
        level = CRITICAL if waiting else WARNING
        return Check("workers", queue, level, f"none, and {waiting:,} jobs wait; start the queue's workers")

    def _check_schedule(self, queue: str) -> Iterator[Check]:
        key = REGISTRY_PREFIXES["scheduled"] + queue
        scheduled: Any = self._connection.zcard(key)
        lock: Any = self._connection.get(SCHEDULER_LOCK_PREFIX + queue)
        if lock is not None:
            yield self._check_heartbeat(queue, text(lock), f"{scheduled:,} jobs are scheduled")
        elif scheduled:
            hint = f"start `slimjobs scheduler {queue}`: a worker that runs looks for free locks every ten minutes"
            words = f"none has the lock, and {scheduled:,} jobs are scheduled; {hint}"
            yield Check("scheduler", queue, CRITICAL, words)
        first: Any = self._connection.zrange(key, 0, 0, withscores=True)
        if not first:
            return
        late_seconds = self._now - first[0][1]
        if late_seconds <= 0:
            yield Check("late", queue, OK, f"the next job is due in {format_seconds(-late_seconds)}")
        else:
            level = self._level(late_seconds, self._bounds.late_seconds)
            yield Check("late", queue, level, f"the oldest due job is {format_seconds(late_seconds)} late")

    def _check_heartbeat(self, queue: str, name: str, words: str) -> Check:
        """Return whether the scheduler that has a lock is alive: a dead one keeps it for a minute."""
        expires_ms: Any = self._connection.pttl(SCHEDULER_LOCK_PREFIX + queue)
        overdue_seconds = _LOCK_SECONDS - expires_ms / 1000 if expires_ms >= 0 else 0.0
        if overdue_seconds > _OVERDUE_SECONDS:
            words = f"{name} has the lock, but its heartbeat is {format_seconds(overdue_seconds)} overdue; {words}"
            return Check("scheduler", queue, WARNING, words)
        return Check("scheduler", queue, OK, f"{name} has the lock, and {words}")

    def _check_finished(self, queue: str) -> Check:
        look = self._looks[queue]
        if self._level_of(look):
            look = look_again(self._connection, queue, look)
        if not look.queued:
            ago = None if look.ended_at is None else format_seconds(max(look.at - look.ended_at, 0.0))
            return Check("finished", queue, OK, f"the last job ended {ago} ago" if ago else "no job that ended is kept")
        waits = "and the first are gone from Redis"
        if look.waits_since is not None:
            waits = f"the first for {format_seconds(max(look.at - look.waits_since, 0.0))}"
        moved = "none is known to have been taken, or to have ended"
        if look.moved_at is not None:
            moved = f"the last one was taken, or ended, {format_seconds(max(look.at - look.moved_at, 0.0))} ago"
        words = f"{look.queued:,} jobs wait, {waits}, and {look.running:,} run; {moved}"
        return Check("finished", queue, self._level_of(look), words)

    def _level_of(self, look: Look) -> int:
        still_seconds = look.still_seconds
        return WARNING if still_seconds is None else self._level(still_seconds, self._bounds.late_seconds)

    def _check_cron(self) -> Iterator[Check]:
        jobs: Any = self._connection.zrange(CRON_JOBS_KEY, -1, -1, withscores=True)
        schedulers: Any = self._connection.zrange(CRON_SCHEDULERS_KEY, -1, -1, withscores=True)
        allowed_seconds = self._bounds.silence_seconds
        if allowed_seconds is not None:
            if not jobs:
                yield Check("cron", "", CRITICAL, "no cron job is known to have been enqueued (RQ tells since 3.0)")
            else:
                seconds = max(self._now - jobs[0][1], 0.0)
                level = CRITICAL if seconds > allowed_seconds else OK
                yield Check("cron", "", level, f"the last cron job was enqueued {format_seconds(seconds)} ago")
        if jobs or schedulers:
            seconds = max(self._now - schedulers[0][1], 0.0) if schedulers else None
            if seconds is None or seconds > _CRON_HEARTBEAT_SECONDS:
                seen = "no cron scheduler runs" if seconds is None else f"last seen {format_seconds(seconds)} ago"
                yield Check("cron", "", CRITICAL, f"{seen}; start `slimjobs cron`, or `rq cron`")
            else:
                yield Check("cron", "", OK, f"its scheduler was seen {format_seconds(seconds)} ago")

    def _check_backlog(self) -> Check:
        waiting = [each for queue in self._queues for each in measure_waiting(self._connection, queue).values()]
        stored_bytes, is_exact = sum(each.stored_bytes for each in waiting), all(each.is_exact for each in waiting)
        allowed_bytes = self._bounds.backlog_bytes
        about = "" if is_exact else "about "
        words = f"{about}{format_size(stored_bytes)} wait"
        if allowed_bytes is None:
            return Check("backlog", "", OK, words)
        level = self._level(stored_bytes, allowed_bytes, 0.8)
        return Check("backlog", "", level, f"{words}, of {format_size(allowed_bytes)}")

    @staticmethod
    def _level(value: float, allowed: float, warned_part: float = _WARNED_PART) -> int:
        return CRITICAL if value > allowed else WARNING if value > allowed * warned_part else OK


def format_seconds(seconds: float) -> str:
    """Return a length of time as short text: "45 s", "12 min", "6.0 h", "3.2 d"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} d"
