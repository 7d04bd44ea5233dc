"""All that Redis holds of a job, as one record: hash, place, expiry, results, and who waits for whom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slimjobs.backlog.keys import (
    JOB_PREFIX,
    QUEUE_PREFIX,
    RATE_LIMIT_PREFIX,
    REGISTRY_PREFIXES,
    RESULTS_PREFIX,
    text,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redis import Redis

    from slimjobs.backlog.records import Record

_ZSETS = tuple(dict.fromkeys(REGISTRY_PREFIXES.values()))


def keys_of(job_id: str) -> list[str]:
    """Return the keys that are a job's own: hash, results, the ids of those that wait for it and that it waits for."""
    job = JOB_PREFIX + job_id
    return [job, RESULTS_PREFIX + job_id, f"{job}:dependents", f"{JOB_PREFIX}:{job_id}:dependencies"]


def take(connection: Redis, job_id: str, neighbours: Mapping[str, tuple[bytes, bytes]]) -> Record | None:
    """Return the record of a job, or None where it is gone, or no hash.

    Args:
        connection: The Redis.
        job_id: The job's id.
        neighbours: Of queued jobs the ids before and after them in their list, b"" at its ends.
    """
    job, results, dependents, dependencies = keys_of(job_id)
    with connection.pipeline(transaction=False) as pipeline:
        pipeline.hgetall(job)
        pipeline.pttl(job)
        pipeline.xrange(results)
        pipeline.pttl(results)
        pipeline.smembers(dependents)
        pipeline.smembers(dependencies)
        fields, ttl, entries, results_ttl, waiting, awaited = pipeline.execute(raise_on_error=False)
    if not isinstance(fields, dict) or not fields:
        return None
    queue = text(fields.get(b"origin"))
    return {
        "id": job_id,
        "fields": fields,
        "ttl_ms": ttl,
        "results": [[entry_id, list(values.items())] for entry_id, values in _list(entries)],
        "results_ttl_ms": results_ttl if isinstance(results_ttl, int) else -1,
        "dependents": sorted(_list(waiting)),
        "dependencies": sorted(_list(awaited)),
        "queue": queue,
        "zsets": _scores(connection, job_id, queue, text(fields.get(b"rate_limit_key"))),
        "neighbours": list(neighbours[job_id]) if job_id in neighbours else None,
    }


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


def find_neighbours(connection: Redis, queue: str, ids: set[str]) -> dict[str, tuple[bytes, bytes]]:
    """Return, of jobs in a queue's list, the id before them, and the next behind them that is none of these jobs.

    Args:
        connection: The Redis.
        queue: The queue's name.
        ids: The ids of the jobs.
    """
    found: dict[str, tuple[bytes, bytes]] = {}
    before, start, run = b"", 0, list[tuple[str, bytes]]()
    while True:
        chunk: Any = connection.lrange(QUEUE_PREFIX + queue, start, start + 999)
        for raw in chunk:
            if text(raw) in ids:
                run.append((text(raw), before))
            else:
                found.update((job_id, (previous, raw)) for job_id, previous in run)
                run = []
            before = raw
        if len(chunk) < 1000:
            found.update((job_id, (previous, b"")) for job_id, previous in run)
            return found
        start += 1000


def _list(answer: Any) -> Any:
    return [] if isinstance(answer, Exception) or answer is None else answer
