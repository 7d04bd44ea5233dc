"""Queues and tasks as they are now: how many jobs wait in each, and how many come in since the last look."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from slimjobs.backlog.due import queue_names
from slimjobs.backlog.keys import REGISTRY_PREFIXES, SCHEDULER_LOCK_PREFIX, STARTED_PREFIX
from slimjobs.backlog.processes import workers
from slimjobs.backlog.report import DAY_HOURS, summarize
from slimjobs.backlog.waiting import measure_waiting
from slimjobs.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis import Redis

    from slimjobs.backlog.report import Summary

# Sums by hour are of two weeks of hashes, and change little within a minute.
_SUMMARY_SECONDS = 60.0


class QueueRow(NamedTuple):
    """A queue as it is now.

    Attributes:
        queue: The queue's name.
        queued: How many jobs wait for a worker.
        scheduled: How many wait for their time.
        due: How many of these have waited long enough.
        deferred: How many wait for other jobs.
        started: How many run.
        failed: How many failed ones are kept.
        waiting_bytes: What the queued, scheduled and deferred ones take in Redis.
        is_exact: False where there are so many that a sample was measured.
        workers: How many workers the queue has.
        has_scheduler: Whether a scheduler has the queue's lock.
        growth_per_minute: How many more jobs wait than at the last look, by the minute; None at the first one.
    """

    queue: str
    queued: int
    scheduled: int
    due: int
    deferred: int
    started: int
    failed: int
    waiting_bytes: int
    is_exact: bool
    workers: int
    has_scheduler: bool
    growth_per_minute: float | None

    @property
    def waiting(self) -> int:
        """How many jobs wait for a worker, or will."""
        return self.queued + self.scheduled + self.deferred


class TaskRow(NamedTuple):
    """A task as it is enqueued now.

    Attributes:
        summary: What was counted of it in the last day, see `report.summarize`.
        jobs_per_minute: How many jobs came since the last look, by the minute; None at the first one.
        bytes_per_minute: The same of payload bytes.
    """

    summary: Summary
    jobs_per_minute: float | None
    bytes_per_minute: float | None


class Look(NamedTuple):
    """What one look has found.

    Attributes:
        at: When, in seconds since 1970, UTC.
        queues: The queues, those of the most waiting bytes first.
        tasks: The tasks, those of the most payload bytes in the last day first.
    """

    at: float
    queues: list[QueueRow]
    tasks: list[TaskRow]


class Live:
    """Looks at queues and at the ledger, again and again.

    Args:
        connection: The Redis.
        queues: The names of the queues; all that RQ knows at each look where there is none.
    """

    def __init__(self, connection: Redis, queues: Sequence[str] = ()) -> None:
        self._connection = connection
        self._queues = tuple(queues)
        self._ledger = Ledger(connection)
        self._summaries: list[Summary] = []
        self._summed_at = float("-inf")
        self._at: float | None = None
        self._waiting: dict[str, int] = {}
        self._counted: dict[tuple[str, str], tuple[int, int]] = {}

    def look(self) -> Look:
        """Return what there is now."""
        now = time.time()
        minutes = None if self._at is None else max(now - self._at, 0.001) / 60
        staff: dict[str, int] = {}
        for worker in workers(self._connection):
            for queue in worker.queues:
                staff[queue] = staff.get(queue, 0) + 1
        rows = [
            self._queue(queue, now, minutes, staff.get(queue, 0))
            for queue in self._queues or queue_names(self._connection)
        ]
        tasks = self._tasks(minutes)
        self._at, self._waiting = now, {row.queue: row.waiting for row in rows}
        return Look(now, sorted(rows, key=lambda row: (-row.waiting_bytes, row.queue)), tasks)

    def _queue(self, queue: str, now: float, minutes: float | None, staff: int) -> QueueRow:
        waiting = measure_waiting(self._connection, queue)
        with self._connection.pipeline(transaction=False) as pipeline:
            pipeline.zcount(REGISTRY_PREFIXES["scheduled"] + queue, "-inf", now)
            pipeline.zcard(STARTED_PREFIX + queue)
            pipeline.zcard(REGISTRY_PREFIXES["failed"] + queue)
            pipeline.exists(SCHEDULER_LOCK_PREFIX + queue)
            due, started, failed, lock = pipeline.execute()
        jobs = {state: found.jobs for state, found in waiting.items()}
        before = self._waiting.get(queue, 0)
        return QueueRow(
            queue,
            **jobs,
            due=due,
            started=started,
            failed=failed,
            waiting_bytes=sum(found.stored_bytes for found in waiting.values()),
            is_exact=all(found.is_exact for found in waiting.values()),
            workers=staff,
            has_scheduler=bool(lock),
            growth_per_minute=None if minutes is None else (sum(jobs.values()) - before) / minutes,
        )

    def _tasks(self, minutes: float | None) -> list[TaskRow]:
        totals = [row for row in self._ledger.totals() if not self._queues or row.queue in self._queues]
        counted = {(row.queue, row.task): (row.jobs, row.payload_bytes) for row in totals}
        is_new = len(counted) > len(self._summaries)
        if is_new or time.monotonic() - self._summed_at > _SUMMARY_SECONDS:
            self._summaries = summarize(self._ledger, DAY_HOURS, self._queues)
            self._summed_at = time.monotonic()
        rows = []
        for summary in self._summaries:
            key = (summary["queue"], summary["task"])
            rates: Any = (None, None)
            if minutes is not None:
                pairs = zip(counted.get(key, (0, 0)), self._counted.get(key, (0, 0)), strict=True)
                rates = [max(now - before, 0) / minutes for now, before in pairs]
            rows.append(TaskRow(summary, *rates))
        self._counted = counted
        return rows
