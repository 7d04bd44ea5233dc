"""How much the jobs of a queue that wait take in Redis: all of a short queue, and a sample of a long one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slimjobs.backlog.due import stored_bytes_of
from slimjobs.backlog.keys import QUEUE_PREFIX, REGISTRY_PREFIXES

if TYPE_CHECKING:
    from redis import Redis

# Of each kind of a queue's jobs: so many steps at even distances, of so many jobs each, take some 10 ms.
_STEPS, _STEP_JOBS = 20, 100


def measure_waiting(connection: Redis, queue: str) -> tuple[int, bool]:
    """Return the stored bytes of a queue's jobs that are queued, scheduled or deferred, and whether they are exact.

    Args:
        connection: The Redis.
        queue: The queue's name.

    Returns:
        The bytes; and False where there are so many jobs that 2,000 of a kind stand for all.
    """
    total_bytes, is_exact = 0, True
    keys = {QUEUE_PREFIX + queue: ("llen", "lrange")}
    keys |= {REGISTRY_PREFIXES[state] + queue: ("zcard", "zrange") for state in ("scheduled", "deferred")}
    for key, (count, read) in keys.items():
        jobs = getattr(connection, count)(key)
        ids: list[Any] = []
        for start in range(0, jobs, max(_STEP_JOBS, -(-jobs // _STEPS))):
            ids += getattr(connection, read)(key, start, start + _STEP_JOBS - 1)
        measured = stored_bytes_of(connection, ids)
        if ids and len(ids) < jobs:
            measured, is_exact = round(measured * jobs / len(ids)), False
        total_bytes += measured
    return total_bytes, is_exact
