"""Which jobs stay where they are while others are set aside, and why."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from slimjobs.backlog import pace
from slimjobs.backlog.keys import REGISTRY_PREFIXES, text
from slimjobs.backlog.processes import schedulers
from slimjobs.backlog.snapshots import keys_of

if TYPE_CHECKING:
    from redis import Redis

    from slimjobs.backlog.processes import Process
    from slimjobs.backlog.records import Record
    from slimjobs.backlog.snapshots import Place

# RQ runs them only by their registry, which is looked for on the queue that a job names, and nowhere else.
_LISTED = (b"scheduled", b"deferred", b"rate_limited", b"ready_to_enqueue")
# Clocks differ, and a job may become due before it is removed.
_SOON_SECONDS = 120
_STOCK = "it is due, and a scheduler that may be RQ's own has its queue's lock: stop it first, and wait for a minute"


def find_problem(connection: Redis, record: Record, place: Place | None, *, deep: bool) -> str:
    """Return why a job cannot be set aside, or "".

    Args:
        connection: The Redis.
        record: The job.
        place: Where it is in its queue's list, if it is there.
        deep: Whether jobs are taken out of the middle of very long queues too, see `pace.DEEP_PLACES`.
    """
    status = record["fields"].get(b"status")
    if status == b"started":
        return "it runs"
    if status == b"queued" and record["fields"].get(b"rate_limit_key"):
        return "it holds a slot of its rate limit, which others would wait for"
    if status == b"queued" and place is None:
        return "it is in no queue" if not record["zsets"] else "it has moved"
    if status in _LISTED and not record["zsets"]:
        return f"no registry of the queue that it names lists it as {text(status)}"
    if place and place.depth > pace.DEEP_PLACES and not deep:
        return f"it is {place.depth:,} places deep in its queue, where Redis would be held up; see --deep"
    return _find_dependent(connection, record)


class Locks:
    """The locks of schedules, each as it was first seen.

    RQ's own scheduler reads the jobs that are due, and writes what it has read, whether they are still there or not.

    Args:
        connection: The Redis.
    """

    def __init__(self, connection: Redis) -> None:
        self._connection = connection
        self._schedulers: dict[str, Process | None] = {}

    def find(self, record: Record) -> tuple[str, str]:
        """Return "=" and who has the lock of a job's schedule, and why the job cannot be set aside; "" for neither.

        Args:
            record: The job. One that is not due has no lock: whoever has it has not read the job.
        """
        queue = record["queue"]
        score = dict(record["zsets"]).get(REGISTRY_PREFIXES["scheduled"] + queue)
        if score is None or float(score) > time.time() + _SOON_SECONDS:
            return "", ""
        if queue not in self._schedulers:
            self._schedulers[queue] = next(schedulers(self._connection, [queue]), None)
        scheduler = self._schedulers[queue]
        if scheduler is None:
            return "=", ""
        # Before RQ 2.11 ours is not to be told from RQ's.
        return f"={scheduler.name}", "" if scheduler.mark else _STOCK


def _find_dependent(connection: Redis, record: Record) -> str:
    """Return which job would run too early, or "": RQ takes a dependency that is gone for one that is met."""
    ids = [text(job_id) for job_id in record["dependents"]]
    if not ids:
        return ""
    with connection.pipeline(transaction=False) as pipeline:
        for job_id in ids:
            job, *_, dependencies = keys_of(job_id)
            pipeline.hget(job, "status")
            pipeline.scard(dependencies)
        answers: list[Any] = pipeline.execute(raise_on_error=False)
    for job_id, status, count in zip(ids, answers[::2], answers[1::2], strict=True):
        if status == b"deferred" and isinstance(count, int) and count > 1:
            return f"{job_id} waits for it and for others, and would run without it"
    return ""
