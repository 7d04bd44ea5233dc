"""What a scheduler will read at once: the jobs of a queue that are due by some time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from slimjobs.backlog.keys import JOB_PREFIX, QUEUES_KEY, REGISTRY_PREFIXES, text

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from redis import Redis

# RQScheduler.enqueue_scheduled_jobs of RQ 2.6 to 3.0 reads so many due jobs of a queue, each with all it has.
CHUNK_JOBS = 1000
# What RQScheduler of RQ 3.0 held of 905 MB in Redis was 3.1 GB (docs/scheduler.md): what Redis sent, the same as
# Python's bytes, and what both are inflated.
COPIES = 3.4
_STEP_JOBS = 100
_FIELDS = ("data", "meta", "description", "exc_info", "result")
_SUM = f"""
local sum = 0
for _, id in ipairs(ARGV) do
  for _, field in ipairs({{{", ".join(repr(field) for field in _FIELDS)}}}) do
    local size_bytes = redis.pcall('HSTRLEN', '{JOB_PREFIX}' .. id, field)
    if type(size_bytes) == 'number' then sum = sum + size_bytes end
  end
end
return sum
"""


class Due(NamedTuple):
    """The due jobs of a queue that RQ's scheduler reads at once.

    Attributes:
        queue: The queue's name.
        jobs: How many.
        stored_bytes: What Redis holds of them.
    """

    queue: str
    jobs: int
    stored_bytes: int

    @property
    def held_bytes(self) -> int:
        """About what RQScheduler will hold of them in memory."""
        return round(self.stored_bytes * COPIES)


def queue_names(connection: Redis) -> list[str]:
    """Return the names of all queues that RQ knows, sorted."""
    members: Any = connection.smembers(QUEUES_KEY)
    return sorted(text(key).rpartition(":queue:")[2] for key in members)


def most_due(connection: Redis, until: float, queues: Collection[str]) -> Due | None:
    """Return the queue of whose due jobs a scheduler will hold the most at once, or None where no job is due.

    Args:
        connection: The Redis.
        until: The time by which they are due, in seconds since 1970, UTC.
        queues: The names of the queues to look at.
    """
    found = [_due(connection, queue, until) for queue in queues]
    return max((due for due in found if due.jobs), key=lambda due: due.stored_bytes, default=None)


def stored_bytes_of(connection: Redis, ids: Sequence[Any]) -> int:
    """Return the bytes that Redis holds of jobs, save for what it keeps elsewhere of results; those gone are 0."""
    script = connection.register_script(_SUM)
    return sum(script(args=ids[start : start + _STEP_JOBS]) for start in range(0, len(ids), _STEP_JOBS))


def _due(connection: Redis, queue: str, until: float) -> Due:
    ids: Any = connection.zrangebyscore(REGISTRY_PREFIXES["scheduled"] + queue, "-inf", until, start=0, num=CHUNK_JOBS)
    return Due(queue, len(ids), stored_bytes_of(connection, ids))
