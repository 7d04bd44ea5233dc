"""Puts jobs back that were set aside: each exactly once, however often it is tried."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from rq.utils import current_timestamp, now, utcformat

from slimjobs.backlog import pace
from slimjobs.backlog.keys import JOB_PREFIX, KEY_PREFIX, QUARANTINE_PREFIX, QUEUE_PREFIX, RATE_LIMIT_PREFIX, text
from slimjobs.backlog.pieces import write_field
from slimjobs.backlog.putting import RESTORE, call_of, limit_of
from slimjobs.backlog.quarantine import Outcome
from slimjobs.backlog.records import read_records
from slimjobs.errors import ConfigurationError
from slimjobs.versions import RATE_LIMIT_SCRIPT

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from pathlib import Path

    from redis import Redis

    from slimjobs.backlog.records import Part, Record

# How long a hash waits for its job to be put back, which is a moment, save where the process is killed.
_LOADED_SECONDS = 600
_ANY_DEPTH = 2**53
_STEP_IDS = 1000


def restore(connection: Redis, path: Path, queues: Collection[str] = (), *, deep: bool = False) -> Iterator[Outcome]:
    """Put back the jobs of a file that are not in Redis, in their order, and yield what became of each.

    Args:
        connection: The Redis that they were removed from.
        path: The file.
        queues: The names of the queues whose jobs are put back; all where there is none.
        deep: Whether jobs are put into the middle of very long queues too, see `pace.DEEP_PLACES`.

    Raises:
        ConfigurationError: It is no such file, it does not say any more which Redis its jobs are from, or they have
            another prefix of keys than RQ here.
    """
    script = connection.register_script(RESTORE)
    records = read_records(path)
    key: str = next(records)["quarantine"]
    if not key.startswith(QUARANTINE_PREFIX):
        prefix = key.partition(":slimjobs:")[0]
        raise ConfigurationError(
            f"the jobs of {path} have keys that begin with {prefix!r}, here with {KEY_PREFIX!r}",
            hint=f"Set RQ_KEY_PREFIX={prefix}.",
        )
    last, behind = _look_through(records, set(connection.sscan_iter(key, count=_STEP_IDS)))
    limits: set[str] = set()
    # By queue, the job that was put back last: where the neighbours of the next one are lost, it is behind that.
    latest: dict[str, str] = {}
    for number, record in enumerate(islice(read_records(path), 1, None)):
        if last[record["id"]] != number or not _is_waiting(connection, key, record, queues):
            continue
        if record["neighbours"]:
            record["neighbours"][1] = behind.get(record["id"], b"")
        deepest, latest_id = _ANY_DEPTH if deep else pace.DEEP_PLACES, latest.get(record["queue"], "")
        loaded = _load(connection, record)
        with pace.resting():
            problem, ended = script(*call_of(record, key, loaded, deepest, latest_id))
        if not problem:
            limits.add(limit_of(record))
            latest[record["queue"]] = record["id"]
        yield Outcome(record["id"], text(problem), tuple(map(text, ended)), "it waits for, and they have ended")
    for limit in limits - {""}:
        _fill(connection, RATE_LIMIT_PREFIX + limit)


class Contents(NamedTuple):
    """What a file has of jobs that are in no Redis.

    Attributes:
        jobs: How many.
        stored_bytes: Those of their fields.
        lost: How many more were set aside into it and are not in it: it is damaged, or was cut. None are put back.
    """

    jobs: int
    stored_bytes: int
    lost: int


def waiting_in(connection: Redis, path: Path, queues: Collection[str] = ()) -> Contents:
    """Return what a file has of jobs that are in no Redis.

    Args:
        connection: The Redis that they were removed from.
        path: The file.
        queues: The names of the queues whose jobs are counted; all where there is none.

    Raises:
        ConfigurationError: It is no such file, or it does not say any more which Redis its jobs are from.
    """
    records = read_records(path)
    key = next(records)["quarantine"]
    ids: set[str] = set()
    found: dict[str, int] = {}
    for record in records:
        if _is_waiting(connection, key, record):
            ids.add(record["id"])
            if not queues or record["queue"] in queues:
                found[record["id"]] = _stored_bytes(record)
    set_aside: Any = connection.scard(key)
    return Contents(len(found), sum(found.values()), int(set_aside) - len(ids))


def _look_through(records: Iterable[Record], aside: Collection[bytes]) -> tuple[dict[str, int], dict[str, bytes]]:
    """Return, by id, the number of a job's record, and the first id behind it that is not of a job to be put back.

    A job that changed before it could be removed was written again: it is the last record that holds.
    """
    last: dict[str, int] = {}
    behind: dict[str, bytes] = {}
    # By queue, those that stood one behind the other up to the record that is looked at.
    row: dict[str, list[str]] = {}
    for number, record in enumerate(records):
        last[record["id"]] = number
        if record["neighbours"]:
            row.setdefault(record["queue"], []).append(record["id"])
            if record["neighbours"][1] not in aside:
                behind.update((job_id, record["neighbours"][1]) for job_id in row.pop(record["queue"]))
    return last, behind


def _is_waiting(connection: Redis, quarantine_key: str, record: Record, queues: Collection[str] = ()) -> bool:
    is_meant = not queues or record["queue"] in queues
    return is_meant and bool(connection.sismember(quarantine_key, record["id"]))


def _stored_bytes(record: Record) -> int:
    parts: dict[bytes, Part] = record["large"]
    return sum(map(len, record["fields"].values())) + sum(part.size_bytes for part in parts.values())


def _load(connection: Redis, record: Record) -> list[str]:
    """Write a job's hash and results under keys of ours, which expire, and return the keys."""
    key = f"{KEY_PREFIX}:slimjobs:restoring:{uuid4().hex}"
    results_key = f"{key}:results"
    with connection.pipeline() as pipeline:
        if record["fields"]:
            pipeline.hset(key, mapping=record["fields"])
            pipeline.expire(key, _LOADED_SECONDS)
        for entry_id, pairs in record["results"]:
            pipeline.xadd(results_key, dict(pairs), id=entry_id)
        pipeline.expire(results_key, _LOADED_SECONDS)
        pipeline.execute()
    for name, part in record["large"].items():
        write_field(connection, key, name, part.size_bytes, part.pieces())
    connection.expire(key, _LOADED_SECONDS)
    return [key, results_key]


def _fill(connection: Redis, limit_key: str) -> None:
    """Let jobs of a rate limit have its free slots, as RQ does when one of them ends: nobody may hold one by now."""
    prefixes = (QUEUE_PREFIX, JOB_PREFIX)
    keys = (f"{limit_key}:allowed", f"{limit_key}:rate_limited")
    concurrency: Any = connection.hget(limit_key, "concurrency")
    if concurrency:  # else another process has just seen the last of them off
        connection.eval(RATE_LIMIT_SCRIPT, 2, *keys, concurrency, current_timestamp(), utcformat(now()), *prefixes)
