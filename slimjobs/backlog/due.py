"""What a scheduler will read at once: the jobs of a queue that are due by some time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from slimjobs.backlog.keys import JOB_PREFIX, QUEUES_KEY, REGISTRY_PREFIXES, text
from slimjobs.compression import inflation

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from redis import Redis

# RQScheduler.enqueue_scheduled_jobs of RQ 2.6 to 3.0 reads so many due jobs of a queue, each with all it has.
CHUNK_JOBS = 1000
# What RQScheduler of RQ 3.0 holds (docs/why-64-kib.md): of each job the payload, the same as it is stored and some
# more, besides what it begins with.
_JOB_BYTES = 6 * 2**10
_PROCESS_BYTES = 34 * 2**20
_STEP_JOBS = 100
_FIELDS = ("data", "meta", "description", "exc_info", "result")
# Returns what all fields of jobs take, and their payloads alone.
_SUM = f"""
local all, payloads = 0, 0
for _, id in ipairs(ARGV) do
  for place, field in ipairs({{{", ".join(repr(field) for field in _FIELDS)}}}) do
    local size_bytes = redis.pcall('HSTRLEN', '{JOB_PREFIX}' .. id, field)
    if type(size_bytes) == 'number' then
      all = all + size_bytes
      if place == 1 then payloads = payloads + size_bytes end
    end
  end
end
return {{all, payloads}}
"""
# How far payloads were compressed is told by the beginnings of some. A script copies the whole of each, which takes
# some 0.3 ms of 256 KiB: larger ones are not looked at.
_SAMPLE_JOBS, _SAMPLED_BYTES = 8, 256 * 2**10
_BEGINNING_BYTES = 16 * 2**10
_BEGINNING = f"""
local key = '{JOB_PREFIX}' .. ARGV[1]
local size_bytes = redis.pcall('HSTRLEN', key, 'data')
if type(size_bytes) ~= 'number' or size_bytes > {_SAMPLED_BYTES} then return '' end
return string.sub(redis.call('HGET', key, 'data') or '', 1, {_BEGINNING_BYTES})
"""


class Due(NamedTuple):
    """The due jobs of a queue that RQ's scheduler reads at once.

    Attributes:
        queue: The queue's name.
        jobs: How many.
        stored_bytes: What Redis holds of them.
        payload_bytes: About what that is before compression, by the beginnings of some; where none is small enough to
            be looked at, as much as is stored.
        is_sampled: Whether all were that were to be looked at.
    """

    queue: str
    jobs: int
    stored_bytes: int
    payload_bytes: int
    is_sampled: bool

    @property
    def held_bytes(self) -> int:
        """About what the process of an RQScheduler takes that reads them; at least that, where not `is_sampled`."""
        return self.stored_bytes + self.payload_bytes + self.jobs * _JOB_BYTES + _PROCESS_BYTES


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
    return max((due for due in found if due.jobs), key=lambda due: due.held_bytes, default=None)


def stored_bytes_of(connection: Redis, ids: Sequence[Any]) -> int:
    """Return the bytes that Redis holds of jobs, save for what it keeps elsewhere of results; those gone are 0."""
    return _bytes_of(connection, ids)[0]


def _bytes_of(connection: Redis, ids: Sequence[Any]) -> tuple[int, int]:
    script = connection.register_script(_SUM)
    sums = [script(args=ids[start : start + _STEP_JOBS]) for start in range(0, len(ids), _STEP_JOBS)]
    return sum(stored for stored, _ in sums), sum(data for _, data in sums)


def _due(connection: Redis, queue: str, until: float) -> Due:
    ids: Any = connection.zrangebyscore(REGISTRY_PREFIXES["scheduled"] + queue, "-inf", until, start=0, num=CHUNK_JOBS)
    stored_bytes, data_bytes = _bytes_of(connection, ids)
    script = connection.register_script(_BEGINNING)
    sample: list[bytes] = [script(args=[job_id]) for job_id in ids[:: -(-len(ids) // _SAMPLE_JOBS) or 1]]
    beginnings = [beginning for beginning in sample if beginning]
    ratio = sum(map(inflation, beginnings)) / len(beginnings) if beginnings else 1.0
    payload_bytes = stored_bytes - data_bytes + round(data_bytes * ratio)
    return Due(queue, len(ids), stored_bytes, payload_bytes, is_sampled=len(beginnings) == len(sample))
