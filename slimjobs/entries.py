"""What the ledger counts, and the one command that writes it."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from redis.exceptions import RedisError
from rq.queue import Queue as RQQueue

from slimjobs.logs import logger

if TYPE_CHECKING:
    from collections.abc import Iterable

    from redis import Redis
    from redis.client import Pipeline

    from slimjobs.payload import Payload

KEPT_HOURS = 14 * 24
_KEPT_SECONDS = (KEPT_HOURS + 1) * 3600

# RQ's key prefix, which it takes from the environment since 3.0 and keeps inside its classes before.
_PREFIX = RQQueue.redis_queues_keys.removesuffix(":queues")
TOTALS_KEY = f"{_PREFIX}:slimjobs:totals"
HOUR_KEY_PREFIX = f"{_PREFIX}:slimjobs:hour:"

# Nothing that is wrong with a ledger key may fail the transaction that it shares with a job, hence
# pcall. ARGV: seconds that the hour is kept; then for each task and queue three texts, since the
# client pays for every argument: ":task:queue", "metric number metric number", largest payload.
_SCRIPT = """
for _, key in ipairs(KEYS) do
  for i = 2, #ARGV, 3 do
    for metric, number in string.gmatch(ARGV[i + 1], '(%S+) (%S+)') do
      redis.pcall('HINCRBY', key, metric .. ARGV[i], number)
    end
    local largest = tonumber(ARGV[i + 2])
    if largest > 0 then
      local old = redis.pcall('HGET', key, 'largest_bytes' .. ARGV[i])
      if not old or (type(old) == 'string' and (tonumber(old) or 0) < largest) then
        redis.pcall('HSET', key, 'largest_bytes' .. ARGV[i], ARGV[i + 2])
      end
    end
  end
end
redis.pcall('EXPIRE', KEYS[2], ARGV[1])
"""


@dataclass
class Entry:
    """What is to be counted for one task on one queue.

    Attributes:
        queue: The queue's name.
        task: The task's import path.
        counts: Numbers to add, by metric.
        largest_bytes: The largest payload among them.
    """

    queue: str
    task: str
    counts: dict[str, int]
    largest_bytes: int = 0

    @classmethod
    def of_payload(cls, queue: str, payload: Payload) -> Entry:
        """Return the entry of one job that is enqueued with this payload."""
        size_bytes = payload.size_bytes
        counts = {
            "jobs": 1,
            "payload_bytes": size_bytes,
            "stored_bytes": payload.stored_bytes,
            f"size_{1 << max(size_bytes - 1, 0).bit_length()}": 1,
        }
        if payload.is_warned:
            counts["warned"] = 1
        return cls(queue, payload.task, counts, size_bytes)

    def merged_with(self, other: Entry) -> Entry:
        """Return an entry that counts what both do, of the same task and queue."""
        counts = dict(self.counts)
        for metric, number in other.counts.items():
            counts[metric] = counts.get(metric, 0) + number
        return Entry(self.queue, self.task, counts, max(self.largest_bytes, other.largest_bytes))


def record(target: Redis | Pipeline, entries: Iterable[Entry]) -> None:
    """Count entries in one command, on a connection or as part of a caller's pipeline.

    Wrong types and values under our keys are passed over: they cost the counts, never a job.
    """
    merged: dict[str, Entry] = {}
    for entry in entries:
        suffix = f":{entry.task}:{entry.queue}"
        merged[suffix] = entry if suffix not in merged else merged[suffix].merged_with(entry)
    if not merged or not _runs_scripts(target):
        return
    texts: list[str | int] = []
    for suffix, entry in merged.items():
        counts = " ".join([f"{metric} {number}" for metric, number in entry.counts.items()])
        texts += suffix, counts, entry.largest_bytes
    target.eval(_SCRIPT, 2, TOTALS_KEY, hour_key(datetime.now(timezone.utc)), _KEPT_SECONDS, *texts)


def record_missing(connection: Redis, queue: str, task: str, number: int) -> None:
    """Count refs without a row, as far as Redis can be reached."""
    send(connection, [Entry(queue, task, {"missing": number})])


def send(connection: Redis, entries: Iterable[Entry]) -> None:
    """Count entries in a round trip of their own, as far as Redis can be reached."""
    try:
        record(connection, entries)
    except RedisError as error:
        logger.warning("the ledger could not be written (%s)", type(error).__name__)


def _runs_scripts(target: Redis | Pipeline) -> bool:
    # fakeredis knows EVAL only with its extra "lua"; without, a transaction that holds it is aborted.
    connection_class = target.connection_pool.connection_class
    return not connection_class.__module__.startswith("fakeredis") or _HAS_LUA


def hour_key(hour: datetime) -> str:
    """Return the key of an hour in UTC."""
    return f"{HOUR_KEY_PREFIX}{hour:%Y%m%d%H}"


_HAS_LUA = importlib.util.find_spec("lupa") is not None
