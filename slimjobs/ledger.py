"""Counts jobs and bytes per queue and task, in Redis, and reads the counts."""

from __future__ import annotations

import atexit
import importlib.util
import os
import time
import weakref
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError
from rq.queue import Queue as RQQueue

from slimjobs.logs import logger

if TYPE_CHECKING:
    from collections.abc import Iterable

    from redis import Redis
    from redis.client import Pipeline

    from slimjobs.payload import Payload

KEPT_HOURS = 14 * 24

# RQ's key prefix, which it takes from the environment since 3.0 and keeps inside its classes before.
_PREFIX = RQQueue.redis_queues_keys.removesuffix(":queues")
TOTALS_KEY = f"{_PREFIX}:slimjobs:totals"
HOUR_KEY_PREFIX = f"{_PREFIX}:slimjobs:hour:"

# Nothing that is wrong with a ledger key may fail the transaction that it shares with a job, hence
# pcall. ARGV: seconds that the hour is kept, then field and number in turn.
_SCRIPT = """
for _, key in ipairs(KEYS) do
  for i = 2, #ARGV, 2 do
    if string.sub(ARGV[i], 1, 14) == 'largest_bytes:' then
      local old = redis.pcall('HGET', key, ARGV[i])
      if not old or (type(old) == 'string' and (tonumber(old) or 0) < tonumber(ARGV[i + 1])) then
        redis.pcall('HSET', key, ARGV[i], ARGV[i + 1])
      end
    else
      redis.pcall('HINCRBY', key, ARGV[i], ARGV[i + 1])
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
    counts: Counter[str] = field(default_factory=Counter)
    largest_bytes: int = 0

    @classmethod
    def of_payload(cls, queue: str, payload: Payload) -> Entry:
        """Return the entry of one job that is enqueued with this payload."""
        size_bytes = payload.size_bytes
        counts = Counter({"jobs": 1, "payload_bytes": size_bytes, "stored_bytes": payload.stored_bytes})
        counts[f"size_{1 << max(size_bytes - 1, 0).bit_length()}"] = 1
        if payload.is_warned:
            counts["warned"] = 1
        return cls(queue, payload.task, counts, size_bytes)


@dataclass(frozen=True)
class LedgerRow:
    """The counts of one task on one queue.

    Attributes:
        queue: The queue's name.
        task: The task's import path.
        jobs: How many jobs were enqueued.
        payload_bytes: The sum of their payloads, before compression.
        stored_bytes: The same as written to Redis.
        largest_bytes: The largest payload.
        warned: How many were over `warn_bytes`.
        refused: How many calls were refused, and so are not among `jobs`.
        missing: How many refs had no row when a job ran.
        sizes: How many payloads there were by size: upper bound in bytes, a power of two, to number.
    """

    queue: str
    task: str
    jobs: int = 0
    payload_bytes: int = 0
    stored_bytes: int = 0
    largest_bytes: int = 0
    warned: int = 0
    refused: int = 0
    missing: int = 0
    sizes: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class HourRow(LedgerRow):
    """The same for one hour.

    Attributes:
        hour: When the hour began, in UTC.
    """

    hour: datetime = datetime.min.replace(tzinfo=timezone.utc)


class Ledger:
    """Reads the counts that slimjobs keeps in Redis.

    Args:
        connection: The Redis that the queues are in.
    """

    def __init__(self, connection: Redis) -> None:
        self.connection = connection

    def totals(self) -> list[LedgerRow]:
        """Return the counts since the beginning, the most bytes first."""
        flush_refusals(self.connection)
        return [LedgerRow(**row) for row in _rows(self.connection.hgetall(TOTALS_KEY))]

    def hours(self) -> list[HourRow]:
        """Return the counts by hour of the last 14 days, oldest hour first."""
        flush_refusals(self.connection)
        this_hour = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0)
        hours = [this_hour - timedelta(hours=back) for back in range(KEPT_HOURS, -1, -1)]
        with self.connection.pipeline(transaction=False) as pipeline:
            for hour in hours:
                pipeline.hgetall(_hour_key(hour))
            answers = pipeline.execute()
        return [HourRow(**row, hour=hour) for hour, answer in zip(hours, answers, strict=True) for row in _rows(answer)]


def record(target: Redis | Pipeline, entries: Iterable[Entry]) -> None:
    """Count entries in one command, on a connection or as part of a caller's pipeline.

    Wrong types and values under our keys are passed over: they cost the counts, never a job.
    """
    if not _runs_scripts(target):
        return
    counts: Counter[str] = Counter()
    largest: dict[str, int] = {}
    for entry in entries:
        suffix = f":{entry.task}:{entry.queue}"
        for metric, number in entry.counts.items():
            counts[metric + suffix] += number
        if entry.largest_bytes:
            name = f"largest_bytes{suffix}"
            largest[name] = max(entry.largest_bytes, largest.get(name, 0))
    if counts:
        pairs = [text for pair in (*counts.items(), *largest.items()) for text in pair]
        hour_key = _hour_key(datetime.now(timezone.utc))
        target.eval(_SCRIPT, 2, TOTALS_KEY, hour_key, (KEPT_HOURS + 1) * 3600, *pairs)


def record_missing(connection: Redis, queue: str, task: str, number: int) -> None:
    """Count refs without a row, as far as Redis can be reached."""
    send(connection, [Entry(queue, task, Counter(missing=number))])


def note_refusal(connection: Redis, queue: str, task: str, number: int = 1) -> None:
    """Remember that calls were refused.

    A refusal leaves Redis as it was, so it is counted in memory and written with what this process
    writes next: an enqueue, the end of a job, a read of the ledger, its exit; or with a refusal
    that comes later than `_REFUSALS_KEPT_SECONDS`.
    """
    pending = _refusals.get(connection.connection_pool)
    if pending is not None and time.monotonic() - pending.since > _REFUSALS_KEPT_SECONDS:
        flush_refusals(connection)
        pending = None
    if pending is None:
        pending = _refusals[connection.connection_pool] = _Refusals(connection)
    pending.counts[queue, task] += number


def take_refusals(connection: Redis) -> list[Entry]:
    """Return the refusals that are not written yet, for the caller to write."""
    pending = _refusals.pop(connection.connection_pool, None) if _refusals else None
    if pending is None:
        return []
    return [Entry(queue, task, Counter(refused=number)) for (queue, task), number in pending.counts.items()]


def flush_refusals(connection: Redis) -> None:
    """Write the refusals that are not written yet, as far as Redis can be reached."""
    entries = take_refusals(connection)
    if entries:
        send(connection, entries)


class _Refusals:
    def __init__(self, connection: Redis) -> None:
        self.connection = connection
        self.since = time.monotonic()
        self.counts: Counter[tuple[str, str]] = Counter()


def send(connection: Redis, entries: Iterable[Entry]) -> None:
    """Count entries in a round trip of their own, as far as Redis can be reached."""
    try:
        record(connection, entries)
    except RedisError as error:
        logger.warning("the ledger could not be written (%s)", type(error).__name__)


def flush_all() -> None:
    """Write all refusals of this process that are not written yet, as far as Redis can be reached."""
    for pending in list(_refusals.values()):
        flush_refusals(pending.connection)


def _runs_scripts(target: Redis | Pipeline) -> bool:
    # fakeredis knows EVAL only with its extra "lua"; without, a transaction that holds it is aborted.
    connection_class = target.connection_pool.connection_class
    return not connection_class.__module__.startswith("fakeredis") or _HAS_LUA


def _hour_key(hour: datetime) -> str:
    return f"{HOUR_KEY_PREFIX}{hour:%Y%m%d%H}"


def _rows(answer: dict[Any, Any]) -> list[dict[str, Any]]:
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for name, number in answer.items():
        metric, task, queue = _text(name).split(":", 2)
        row = rows.setdefault((queue, task), {"queue": queue, "task": task, "sizes": {}})
        if metric.startswith("size_"):
            row["sizes"][int(metric.removeprefix("size_"))] = int(number)
        elif metric in LedgerRow.__dataclass_fields__:
            row[metric] = int(number)
    for row in rows.values():
        row["sizes"] = dict(sorted(row["sizes"].items()))
    return sorted(rows.values(), key=lambda row: (-row.get("payload_bytes", 0), row["queue"], row["task"]))


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


_HAS_LUA = importlib.util.find_spec("lupa") is not None
_REFUSALS_KEPT_SECONDS = 10.0
_refusals: weakref.WeakKeyDictionary[Any, _Refusals] = weakref.WeakKeyDictionary()

atexit.register(flush_all)
os.register_at_fork(after_in_child=_refusals.clear)  # they are the parent's to write
