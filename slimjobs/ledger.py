"""Reads what was counted: jobs and bytes per queue, task and hour."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from slimjobs import refusals
from slimjobs.entries import KEPT_HOURS, TOTALS_KEY, hour_key
from slimjobs.logs import logger

if TYPE_CHECKING:
    from redis import Redis


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

    hour: datetime = field(default=datetime.min.replace(tzinfo=timezone.utc))


class Ledger:
    """Reads the counts that slimjobs keeps in Redis.

    Args:
        connection: The Redis that the queues are in.
    """

    def __init__(self, connection: Redis) -> None:
        self.connection = connection

    def totals(self) -> list[LedgerRow]:
        """Return the counts since the beginning, the most bytes first."""
        refusals.flush_all()
        (answer,) = self._read([TOTALS_KEY])
        return [LedgerRow(**row) for row in _rows(answer)]

    def hours(self) -> list[HourRow]:
        """Return the counts by hour, as long as they are kept (`entries.KEPT_HOURS`), oldest hour first."""
        refusals.flush_all()
        this_hour = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0)
        hours = [this_hour - timedelta(hours=back) for back in range(KEPT_HOURS, -1, -1)]
        answers = self._read([hour_key(hour) for hour in hours])
        return [HourRow(**row, hour=hour) for hour, answer in zip(hours, answers, strict=True) for row in _rows(answer)]

    def _read(self, keys: list[str]) -> list[dict[Any, Any]]:
        with self.connection.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.hgetall(key)
            answers = pipeline.execute(raise_on_error=False)
        for key, answer in zip(keys, answers, strict=True):
            if isinstance(answer, ResponseError):
                logger.warning("the ledger key %s cannot be read (%s); delete it to count anew", key, answer)
            elif isinstance(answer, Exception):
                raise answer
        return [answer if isinstance(answer, dict) else {} for answer in answers]


def _rows(answer: dict[Any, Any]) -> list[dict[str, Any]]:
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for name, number in answer.items():
        # A task's name holds no colon, a queue's may.
        metric, _, rest = _text(name).partition(":")
        task, _, queue = rest.partition(":")
        size_bytes = metric.removeprefix("size_")
        if not _text(number).isdecimal() or not (metric in _METRICS or size_bytes.isdecimal()):
            continue  # not written by us
        row = rows.setdefault((queue, task), {"queue": queue, "task": task, "sizes": {}})
        if metric in _METRICS:
            row[metric] = int(number)
        else:
            row["sizes"][int(size_bytes)] = int(number)
    for row in rows.values():
        row["sizes"] = dict(sorted(row["sizes"].items()))
    return sorted(rows.values(), key=lambda row: (-row.get("payload_bytes", 0), row["queue"], row["task"]))


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


_METRICS = frozenset(LedgerRow.__dataclass_fields__) - {"queue", "task", "sizes"}
