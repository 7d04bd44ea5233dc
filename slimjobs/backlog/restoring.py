"""Puts jobs back that were set aside: each exactly once, however often it is tried."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from slimjobs.backlog import pace
from slimjobs.backlog.keys import JOB_PREFIX, KEY_PREFIX, QUEUE_PREFIX, QUEUES_KEY, text
from slimjobs.backlog.pieces import write_field
from slimjobs.backlog.quarantine import Outcome
from slimjobs.backlog.records import read_records
from slimjobs.backlog.snapshots import keys_of
from slimjobs.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from redis import Redis

    from slimjobs.backlog.records import Part, Record

# How long a hash waits for its job to be put back, which is a moment, save where the process is killed.
_LOADED_SECONDS = 600
_ANY_DEPTH = 2**53

# KEYS: those of the job, its queue's list, all queues, the quarantine, and where its hash and its results were loaded:
# a script that was given them would take some 3 ms a megabyte, in which Redis serves nobody. ARGV: id, whether it goes
# to the queue, the ids before and behind it there, how deep in a list it may be put, the two expiries, how many results
# it has, how many ids follow of those that wait for it, and of those that it waits for; the rest are registry and score
# in turns.
_RESTORE = (
    """
local id, list, quarantine, loaded, loaded_results = ARGV[1], KEYS[5], KEYS[7], KEYS[8], KEYS[9]
local deepest, ttl, results_ttl, results = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local function refuse(problem)
  redis.call('UNLINK', loaded, loaded_results)
  return problem
end
if redis.call('SISMEMBER', quarantine, id) == 0 then return refuse('it is back already') end
if redis.call('EXISTS', KEYS[1]) == 1 then return refuse('there is another job with its id') end
local is_whole = redis.call('EXISTS', loaded) == 1 and redis.call('XLEN', loaded_results) == results
if not is_whole then return refuse('it was lost on its way; try again') end
if ARGV[2] == '1' then
  local length, before, behind = redis.call('LLEN', list), ARGV[3], ARGV[4]
  local done = before ~= '' and redis.call('LINDEX', list, -1) == before and redis.call('RPUSH', list, id) or -1
  for i, other in ipairs({behind, before}) do
    -- A list is long to search, and a job that has another status is not in it.
    if done < 1 and other ~= '' and redis.pcall('HGET', '"""
    + JOB_PREFIX
    + """' .. other, 'status') == 'queued' then
      if length > deepest and not redis.call('LPOS', list, other, 'MAXLEN', deepest / 2) then
        return refuse('its place is deep in its queue, where Redis would be held up; see --deep')
      end
      done = redis.call('LINSERT', list, i == 1 and 'BEFORE' or 'AFTER', other, id)
    end
  end
  -- Where neither neighbour is there any more, all that stood before it has had its turn.
  if done < 1 then redis.call('LPUSH', list, id) end
  redis.call('SADD', KEYS[6], list)
end
redis.call('RENAME', loaded, KEYS[1])
redis.call('PERSIST', KEYS[1])
if results > 0 then
  redis.call('RENAME', loaded_results, KEYS[2])
  redis.call('PERSIST', KEYS[2])
  if results_ttl > 0 then redis.call('PEXPIRE', KEYS[2], results_ttl) end
end
local at = 11
for place, key in ipairs({KEYS[3], KEYS[4]}) do
  for _ = 1, tonumber(ARGV[8 + place]) do
    redis.call('SADD', key, ARGV[at])
    at = at + 1
  end
end
if ttl > 0 then
  for _, key in ipairs({KEYS[1], KEYS[3], KEYS[4]}) do redis.call('PEXPIRE', key, ttl) end
end
for j = at, #ARGV, 2 do redis.call('ZADD', ARGV[j], ARGV[j + 1], id) end
redis.call('SREM', quarantine, id)
return ''
"""
)


def restore(connection: Redis, path: Path, queues: Collection[str] = (), *, deep: bool = False) -> Iterator[Outcome]:
    """Put back the jobs of a file that are not in Redis, in their order, and yield what became of each.

    Args:
        connection: The Redis that they were removed from.
        path: The file.
        queues: The names of the queues whose jobs are put back; all where there is none.
        deep: Whether jobs are put into the middle of very long queues too, see `pace.DEEP_PLACES`.

    Raises:
        ConfigurationError: It is no such file, is damaged, or its jobs have another prefix of keys than RQ here.
    """
    script = connection.register_script(_RESTORE)
    records = read_records(path)
    about = next(records, None)
    if about is None:
        raise ConfigurationError(f"{path} ends in its header: no job was set aside")
    if about["prefix"] != KEY_PREFIX:
        raise ConfigurationError(
            f"the jobs of {path} have keys that begin with {about['prefix']!r}, here with {KEY_PREFIX!r}",
            hint=f"Set RQ_KEY_PREFIX={about['prefix']}.",
        )
    # A job that changed before it could be removed was written again: it is the last record that holds.
    last = {record["id"]: number for number, record in enumerate(records)}
    for number, record in enumerate(islice(read_records(path), 1, None)):
        if last[record["id"]] != number or not _is_waiting(connection, about["quarantine"], record, queues):
            continue
        keys = [*keys_of(record["id"]), QUEUE_PREFIX + record["queue"], QUEUES_KEY, about["quarantine"]]
        keys += _load(connection, record)
        with pace.resting():
            answer: Any = script(keys, _arguments(record, _ANY_DEPTH if deep else pace.DEEP_PLACES))
        yield Outcome(record["id"], text(answer), _awaited(connection, record), "it waits for, and they have ended")


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
        ConfigurationError: It is no such file, or is damaged.
    """
    records = read_records(path)
    key = next(records, {"quarantine": ""})["quarantine"]
    ids: set[str] = set()
    found: dict[str, int] = {}
    for record in records:
        if _is_waiting(connection, key, record):
            ids.add(record["id"])
            if not queues or record["queue"] in queues:
                found[record["id"]] = _stored_bytes(record)
    set_aside: Any = connection.scard(key)
    return Contents(len(found), sum(found.values()), int(set_aside) - len(ids))


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


def _arguments(record: Record, deepest: int) -> list[Any]:
    before, behind = record["neighbours"] or (b"", b"")
    is_queued = int(record["fields"].get(b"status") == b"queued")
    words: list[Any] = [record["id"], is_queued, before, behind, deepest, record["ttl_ms"], record["results_ttl_ms"]]
    words += [len(record[name]) for name in ("results", "dependents", "dependencies")]
    words += [*record["dependents"], *record["dependencies"]]
    return words + [word for place in record["zsets"] for word in place]


def _awaited(connection: Redis, record: Record) -> tuple[str, ...]:
    """Return the jobs that a deferred job waits for and that will not tell it when they end: they have, or are gone."""
    if record["fields"].get(b"status") != b"deferred":
        return ()
    ids = [text(key).removeprefix(JOB_PREFIX) for key in record["dependencies"]]
    ended = []
    for job_id in ids:
        status: Any = connection.hget(JOB_PREFIX + job_id, "status")
        if status in (None, b"finished"):
            ended.append(job_id)
        else:
            connection.sadd(f"{JOB_PREFIX}{job_id}:dependents", record["id"])
    return tuple(ended)
