"""Metrics for Prometheus: what was enqueued, by the ledger, and what waits now.

`REGISTRY.register(BacklogCollector(Redis()))` adds them to an application's own; `slimjobs exporter` serves them alone.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from slimjobs.backlog.due import queue_names
from slimjobs.backlog.keys import REGISTRY_PREFIXES, SCHEDULER_LOCK_PREFIX
from slimjobs.backlog.waiting import measure_waiting
from slimjobs.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from prometheus_client import Metric
    from redis import Redis

    from slimjobs.ledger import LedgerRow

_COUNTERS = {
    "jobs": ("slimjobs_enqueued_jobs", "Jobs that were enqueued"),
    "payload_bytes": ("slimjobs_enqueued_payload_bytes", "Bytes of their payloads before compression"),
    "stored_bytes": ("slimjobs_enqueued_stored_bytes", "Bytes of their payloads as written to Redis"),
    "warned": ("slimjobs_warned_jobs", "Jobs over warn_bytes"),
    "refused": ("slimjobs_refused_calls", "Enqueue calls that were refused"),
    "missing": ("slimjobs_missing_rows", "Refs without a row when a job ran"),
}


class BacklogCollector(Collector):
    """Collects the metrics of one Redis, anew at each scrape.

    A scrape takes some milliseconds a queue: of more than 2,000 jobs in a state a sample is measured.

    Args:
        connection: The Redis that the queues are in.
        queues: The names of the queues; all that RQ knows where there is none.
    """

    def __init__(self, connection: Redis, queues: Sequence[str] = ()) -> None:
        self._connection = connection
        self._queues = tuple(queues)

    def describe(self) -> list[Metric]:
        """Return nothing: what there is depends on Redis, which need not be there when this is registered."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        rows = [row for row in Ledger(self._connection).totals() if not self._queues or row.queue in self._queues]
        yield from _counters(rows)
        yield _histogram(rows)
        yield from self._backlog()

    def _backlog(self) -> Iterator[Metric]:
        labels = ["queue", "state"]
        jobs = GaugeMetricFamily("slimjobs_waiting_jobs", "Jobs that wait", labels=labels)
        stored = GaugeMetricFamily("slimjobs_waiting_bytes", "Bytes that they take in Redis", labels=labels)
        late = GaugeMetricFamily(
            "slimjobs_oldest_due_seconds", "How late the oldest due job is, 0 where none is", labels=["queue"]
        )
        scheduler = GaugeMetricFamily("slimjobs_scheduler_up", "1 where a scheduler has the lock", labels=["queue"])
        for queue in self._queues or queue_names(self._connection):
            for state, waiting in measure_waiting(self._connection, queue).items():
                jobs.add_metric([queue, state], waiting.jobs)
                stored.add_metric([queue, state], waiting.stored_bytes)
            first: Any = self._connection.zrange(REGISTRY_PREFIXES["scheduled"] + queue, 0, 0, withscores=True)
            late.add_metric([queue], max(time.time() - first[0][1], 0.0) if first else 0.0)
            scheduler.add_metric([queue], float(bool(self._connection.exists(SCHEDULER_LOCK_PREFIX + queue))))
        yield from (jobs, stored, late, scheduler)


def _counters(rows: Sequence[LedgerRow]) -> Iterator[Metric]:
    for metric, (name, text) in _COUNTERS.items():
        family = CounterMetricFamily(name, text, labels=["queue", "task"])
        for row in rows:
            family.add_metric([row.queue, row.task], getattr(row, metric))
        yield family
    largest = GaugeMetricFamily("slimjobs_largest_payload_bytes", "The largest payload", labels=["queue", "task"])
    for row in rows:
        largest.add_metric([row.queue, row.task], row.largest_bytes)
    yield largest


def _histogram(rows: Sequence[LedgerRow]) -> Metric:
    """Return the sizes of payloads by queue; those of each task would be many series."""
    family = HistogramMetricFamily("slimjobs_payload_bytes", "Bytes of payloads before compression", labels=["queue"])
    for queue in sorted({row.queue for row in rows}):
        sizes: dict[int, int] = {}
        for row in rows:
            if row.queue == queue:
                for size_bytes, jobs in row.sizes.items():
                    sizes[size_bytes] = sizes.get(size_bytes, 0) + jobs
        buckets, seen = [], 0
        for size_bytes, jobs in sorted(sizes.items()):
            seen += jobs
            buckets.append((str(float(size_bytes)), seen))
        total_bytes = sum(row.payload_bytes for row in rows if row.queue == queue)
        family.add_metric([queue], [*buckets, ("+Inf", seen)], total_bytes)
    return family
