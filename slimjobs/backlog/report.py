"""What the ledger has counted of the last hours, by task: the last hour against the day before."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection

    from slimjobs.ledger import HourRow, Ledger, LedgerRow

DAY_HOURS = 24
HOUR = timedelta(hours=1)

# As JSON shows it.
Summary = dict[str, Any]


def summarize(ledger: Ledger, hours: int, queues: Collection[str] = ()) -> list[Summary]:
    """Return what was counted by queue and task, the most payload bytes first.

    Args:
        ledger: The ledger.
        hours: How many hours count, up to this one.
        queues: The names of the queues; all where there is none.

    Returns:
        For each task `queue`, `task`; of these hours the sums `jobs`, `payload_bytes`, `stored_bytes`, `warned`,
        `refused` and `missing`, `largest_bytes`, and `hourly_bytes`, the payload bytes of each, oldest first;
        `last_hour_bytes`, those of the last 60 minutes; `hour_before_bytes`, those of a mean hour of the 24 before
        this one; and `all_time`.
    """
    by_task: dict[tuple[str, str], dict[datetime, HourRow]] = {}
    for row in ledger.hours():
        by_task.setdefault((row.queue, row.task), {})[row.hour] = row
    now = datetime.now(timezone.utc)
    totals = [total for total in ledger.totals() if not queues or total.queue in queues]
    summaries = [_summarize(total, by_task.get((total.queue, total.task), {}), now, hours) for total in totals]
    return sorted(summaries, key=lambda found: (-found["payload_bytes"], -found["all_time"]["payload_bytes"]))


def _summarize(total: LedgerRow, by_hour: dict[datetime, HourRow], now: datetime, hours: int) -> Summary:
    this_hour = now.replace(minute=0, second=0, microsecond=0)
    wanted = [this_hour - back * HOUR for back in range(hours - 1, -1, -1)]
    rows = [by_hour[hour] for hour in wanted if hour in by_hour]
    bytes_of = {hour: row.payload_bytes for hour, row in by_hour.items()}
    # Of the hour before this one, which has just begun, the part that is within 60 minutes.
    part = 1 - (now - this_hour) / HOUR
    sums = ("jobs", "payload_bytes", "stored_bytes", "warned", "refused", "missing")
    day_bytes = sum(bytes_of.get(this_hour - back * HOUR, 0) for back in range(1, DAY_HOURS + 1))
    return {
        "queue": total.queue,
        "task": total.task,
        **{name: sum(getattr(row, name) for row in rows) for name in sums},
        "largest_bytes": max((row.largest_bytes for row in rows), default=0),
        "last_hour_bytes": round(bytes_of.get(this_hour, 0) + bytes_of.get(this_hour - HOUR, 0) * part),
        "hour_before_bytes": day_bytes // DAY_HOURS,
        "hourly_bytes": [bytes_of.get(hour, 0) for hour in wanted],
        "all_time": {name: getattr(total, name) for name in ("jobs", "payload_bytes", "largest_bytes", "refused")},
    }
