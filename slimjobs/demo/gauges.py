"""Read how far a campaign is and what it takes: from Redis, and from the newsletter's database."""

from __future__ import annotations

import sqlite3
import time
import zlib
from typing import TYPE_CHECKING, NamedTuple

from redis import Redis
from rq import Queue
from rq.job import Job
from rq.registry import FailedJobRegistry, ScheduledJobRegistry, StartedJobRegistry
from rq.scheduler import RQScheduler

from slimjobs.demo.errors import DemoError

if TYPE_CHECKING:
    from pathlib import Path

    from typing_extensions import Self

QUEUE_NAME = "newsletter"


class JobSize(NamedTuple):
    """The bytes of one job."""

    payload_bytes: int
    stored_bytes: int


class Gauges:
    """The gauges of one side.

    Args:
        redis_url: Where its queue is.
        database_path: The newsletter's SQLite file.
    """

    def __init__(self, redis_url: str, database_path: Path) -> None:
        self._redis = Redis.from_url(redis_url)
        self._database = sqlite3.connect(database_path, timeout=30)
        self._queue = Queue(QUEUE_NAME, connection=self._redis)
        self._started_key = StartedJobRegistry(queue=self._queue).key
        self._scheduled_key = ScheduledJobRegistry(queue=self._queue).key  # type: ignore[no-untyped-call]
        self._failed_key = FailedJobRegistry(queue=self._queue).key
        self._memory_before = self._used_memory()
        self.peak_redis_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._database.close()
        self._redis.close()

    def open_jobs(self) -> int:
        """Return how many jobs are queued or at work; not those that wait for the scheduler."""
        # One transaction, since a job moves from each of these to the next in one as well.
        with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.llen(self._queue.key)
            pipeline.llen(self._queue.intermediate_queue_key)
            pipeline.zcard(self._started_key)
            queued, taken, started = pipeline.execute()
        return int(queued) + max(int(taken), int(started))

    def delayed_jobs(self) -> int:
        """Return how many jobs wait for the scheduler."""
        return self._redis.zcard(self._scheduled_key)

    def delayed_jobs_not_due(self) -> int:
        """Return how many jobs the scheduler would not move yet."""
        return self._redis.zcount(self._scheduled_key, f"({int(time.time())}", "+inf")

    def failed_jobs(self) -> int:
        """Return how many jobs failed."""
        return self._redis.zcard(self._failed_key)

    def emails_sent(self) -> int:
        """Return how many emails are in the outbox."""
        (sent,) = self._database.execute("SELECT count(*) FROM outbox").fetchone()
        return int(sent)

    def job_size(self) -> JobSize:
        """Return the bytes of the first job in the queue; all are alike, but for the names of its recipients."""
        job_id = self._queue.get_job_ids(0, 1)[0]
        stored = self._redis.hget(Job.key_for(job_id), "data")
        if not isinstance(stored, bytes):
            raise DemoError(f"the job {job_id} has no data")
        try:
            payload = zlib.decompress(stored)
        except zlib.error:
            payload = stored
        return JobSize(len(payload), len(stored))

    def sample_memory(self) -> None:
        """Raise `peak_redis_bytes` to what Redis uses now, above what it used before the campaign."""
        self.peak_redis_bytes = max(self.peak_redis_bytes, self._used_memory() - self._memory_before)

    def lift_rate_limit(self) -> None:
        """Let the limited domain be sent to again."""
        with self._database:
            self._database.execute("UPDATE domain SET over_limit = 0")

    def release_scheduler_lock(self) -> None:
        """Delete the lock of a scheduler that died, which would expire after a minute."""
        self._redis.delete(RQScheduler.get_locking_key(QUEUE_NAME))

    def _used_memory(self) -> int:
        return int(self._redis.info("memory")["used_memory"])
