"""How much the jobs of a queue that wait take in Redis: all of a short queue, and a sample of a long one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from slimjobs.backlog.due import stored_bytes_of
from slimjobs.backlog.keys import QUEUE_PREFIX, REGISTRY_PREFIXES

if TYPE_CHECKING:
    from redis import Redis

# Of each kind of a queue's jobs: so many steps at even distances, of so many jobs each, take some 10 ms.
_STEPS, _STEP_JOBS = 20, 100


class Waiting(NamedTuple):
    """The jobs of a queue that wait in one state.

    Attributes:
        jobs: How many.
        stored_bytes: What they take in Redis.
        is_exact: False where there are so many that 2,000 of them stand for all.
    """

    jobs: int
    stored_bytes: int
    is_exact: bool


def measure_waiting(connection: Redis, queue: str) -> dict[str, Waiting]:
    """Return the jobs of a queue that are "queued", "scheduled" and "deferred", by state.

    Args:
        connection: The Redis.
        queue: The queue's name.
    """
    found = {"queued": _measure(connection, QUEUE_PREFIX + queue, "llen", "lrange")}
    for state in ("scheduled", "deferred"):
        found[state] = _measure(connection, REGISTRY_PREFIXES[state] + queue, "zcard", "zrange")
    return found


def _measure(connection: Redis, key: str, count: str, read: str) -> Waiting:
    jobs = getattr(connection, count)(key)
    ids: list[Any] = []
    for start in range(0, jobs, max(_STEP_JOBS, -(-jobs // _STEPS))):
        ids += getattr(connection, read)(key, start, start + _STEP_JOBS - 1)
    stored_bytes = stored_bytes_of(connection, ids)
    if ids and len(ids) < jobs:
        return Waiting(jobs, round(stored_bytes * jobs / len(ids)), False)
    return Waiting(jobs, stored_bytes, True)
