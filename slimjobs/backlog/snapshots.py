"""All that Redis holds of a job, as one record: hash, place, expiry, results, and who waits for whom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from slimjobs.backlog.keys import (
    JOB_PREFIX,
    QUEUE_PREFIX,
    RATE_LIMIT_PREFIX,
    REGISTRY_PREFIXES,
    RESULTS_PREFIX,
    text,
)
from slimjobs.backlog.pieces import LARGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from redis import Redis

    from slimjobs.backlog.records import Record
    from slimjobs.backlog.rows import JobRow

_ZSETS = tuple(dict.fromkeys(REGISTRY_PREFIXES.values()))
_CHUNK_IDS = 1000


class Place(NamedTuple):
    """Where a job is in its queue's list.

    Attributes:
        before: The id before it, b"" at the head.
        behind: The id behind it, b"" at the end.
        ahead: How many ids are before it.
        later: How many are behind it.
    """

    before: bytes
    behind: bytes
    ahead: int
    later: int

    @property
    def depth(self) -> int:
        """How many ids Redis passes to find it, from the nearer end."""
        return min(self.ahead, self.later)

    @property
    def nearer_end(self) -> int:
        """1 for the head, -1 for the other end, as LREM counts."""
        return 1 if self.ahead <= self.later else -1


def keys_of(job_id: str) -> list[str]:
    """Return the keys that are a job's own: hash, results, the ids of those that wait for it and that it waits for."""
    job = JOB_PREFIX + job_id
    return [job, RESULTS_PREFIX + job_id, f"{job}:dependents", f"{JOB_PREFIX}:{job_id}:dependencies"]


def awaited_ids(record: Record) -> list[str]:
    """Return the ids of the jobs that a job waits for."""
    return [text(key).removeprefix(JOB_PREFIX) for key in record["dependencies"]]


def take(connection: Redis, row: JobRow, places: Mapping[str, Place]) -> Record | None:
    """Return the record of a job, or None where it is gone, or no hash.

    Args:
        connection: The Redis.
        row: The job.
        places: Where queued jobs are in their lists.
    """
    job, results, dependents, dependencies = keys_of(row.id)
    is_large = row.measured.stored_bytes > LARGE_BYTES
    with connection.pipeline(transaction=False) as pipeline:
        if is_large:
            pipeline.hkeys(job)
        else:
            pipeline.hgetall(job)
        pipeline.pttl(job)
        pipeline.xrange(results)
        pipeline.pttl(results)
        pipeline.smembers(dependents)
        pipeline.smembers(dependencies)
        pipeline.pttl(dependents)
        pipeline.pttl(dependencies)
        fields, ttl, entries, results_ttl, waiting, awaited, *ttls = pipeline.execute(raise_on_error=False)
    large: list[bytes] = []
    if is_large and isinstance(fields, list):
        fields, large = _take_small(connection, job, fields)
    if not isinstance(fields, dict) or not (fields or large):
        return None
    queue = text(fields.get(b"origin"))
    place = places.get(row.id)
    return {
        "id": row.id,
        "fields": fields,
        "large": large,
        "ttl_ms": ttl,
        "results": [[entry_id, list(values.items())] for entry_id, values in _list(entries)],
        "results_ttl_ms": results_ttl if isinstance(results_ttl, int) else -1,
        "dependents": sorted(_list(waiting)),
        "dependencies": sorted(_list(awaited)),
        "dependents_ttl_ms": ttls[0],
        "dependencies_ttl_ms": ttls[1],
        "queue": queue,
        "zsets": _scores(connection, row.id, queue, text(fields.get(b"rate_limit_key"))),
        "neighbours": [place.before, place.behind] if place else None,
    }


def _take_small(connection: Redis, job: str, names: Sequence[bytes]) -> tuple[dict[bytes, bytes], list[bytes]]:
    """Return those fields of a hash that a process may hold, and the names of the others."""
    with connection.pipeline(transaction=False) as pipeline:
        for name in names:
            pipeline.hstrlen(job, name)
        sizes = pipeline.execute()
    large = [name for name, size_bytes in zip(names, sizes, strict=True) if size_bytes > LARGE_BYTES]
    small = [name for name in names if name not in large]
    values: Any = connection.hmget(job, small) if small else []
    return {name: value for name, value in zip(small, values, strict=True) if value is not None}, large


def _scores(connection: Redis, job_id: str, queue: str, limit: str) -> list[list[Any]]:
    """Return the registries that list a job, each with its score there as Redis prints it."""
    keys = [prefix + queue for prefix in _ZSETS]
    if limit:
        keys.append(f"{RATE_LIMIT_PREFIX}{limit}:rate_limited")
    with connection.pipeline(transaction=False) as pipeline:
        for key in keys:
            pipeline.zscore(key, job_id)
        scores = pipeline.execute(raise_on_error=False)
    return [[key, repr(score)] for key, score in zip(keys, scores, strict=True) if isinstance(score, float)]


def find_places(connection: Redis, queue: str, ids: set[str]) -> dict[str, Place]:
    """Return where jobs are in their queue's list, in its order.

    The list is read from its end: workers take from its head, which would move what is not read yet past the reader.

    Args:
        connection: The Redis.
        queue: The queue's name.
        ids: The ids of the jobs.
    """
    found: list[tuple[str, Place]] = []
    last, length = b"", 0
    is_pending = False  # the id before the last one that was found is the next to be read
    while True:
        chunk: Any = connection.lrange(QUEUE_PREFIX + queue, -length - _CHUNK_IDS, -length - 1)
        is_all = len(chunk) < _CHUNK_IDS
        if last in chunk:  # so many were enqueued meanwhile
            del chunk[chunk.index(last) :]
        for raw in reversed(chunk):
            if is_pending:
                found[-1] = (found[-1][0], found[-1][1]._replace(before=raw))
            is_pending = text(raw) in ids
            if is_pending:
                found.append((text(raw), Place(b"", last, 0, length)))
            length += 1
            last = raw
        if is_all:
            return {job_id: place._replace(ahead=length - place.later - 1) for job_id, place in reversed(found)}


def _list(answer: Any) -> Any:
    return [] if isinstance(answer, Exception) or answer is None else answer
