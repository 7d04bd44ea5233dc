"""Puts jobs back that were set aside: each exactly once, however often it is tried."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from slimjobs.backlog.keys import JOB_PREFIX, KEY_PREFIX, QUEUE_PREFIX, QUEUES_KEY, text
from slimjobs.backlog.quarantine import Outcome
from slimjobs.backlog.records import read_records
from slimjobs.backlog.snapshots import keys_of
from slimjobs.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from redis import Redis

    from slimjobs.backlog.records import Record

# How long a hash waits for its job to be put back, which is a moment, save where the process is killed.
_LOADED_SECONDS = 600

# KEYS: those of the job, its queue's list, all queues, the quarantine, the hash. A hash comes by itself: a script that
# was given its payload would take some 3 ms a megabyte, in which Redis serves nobody. ARGV: id, whether it goes to the
# queue, the ids before and behind it there, the two expiries, and how many words follow of results, ids of those that
# wait for it, ids that it waits for; the rest are registry and score in turns. A result is its entry's id, how many
# words, and they.
_RESTORE = """
local id, list, quarantine, loaded = ARGV[1], KEYS[5], KEYS[7], KEYS[8]
local function refuse(problem)
  redis.call('UNLINK', loaded)
  return problem
end
if redis.call('SISMEMBER', quarantine, id) == 0 then return refuse('it is back already') end
if redis.call('EXISTS', KEYS[1]) == 1 then return refuse('there is another job with its id') end
if redis.call('EXISTS', loaded) == 0 then return 'it was lost on its way; try again' end
local at = 10
local function take(count)
  local words = {}
  for i = at, at + count - 1 do words[#words + 1] = ARGV[i] end
  at = at + count
  return words
end
local results, dependents, dependencies = take(tonumber(ARGV[7])), take(tonumber(ARGV[8])), take(tonumber(ARGV[9]))
if ARGV[2] == '1' then
  local before, behind = ARGV[3], ARGV[4]
  local length = redis.call('LLEN', list)
  -- Where neither neighbour is there any more, all that stood before it has had its turn.
  local done = length > 0 and behind ~= '' and redis.call('LINSERT', list, 'BEFORE', behind, id) or -1
  if done < 1 and length > 0 and before ~= '' then done = redis.call('LINSERT', list, 'AFTER', before, id) end
  if done < 1 then redis.call('LPUSH', list, id) end
  redis.call('SADD', KEYS[6], list)
end
redis.call('RENAME', loaded, KEYS[1])
redis.call('PERSIST', KEYS[1])
local i = 1
while i <= #results do
  local words = {}
  for j = i + 2, i + 1 + tonumber(results[i + 1]) do words[#words + 1] = results[j] end
  redis.call('XADD', KEYS[2], results[i], unpack(words))
  i = i + 2 + tonumber(results[i + 1])
end
if #results > 0 and tonumber(ARGV[6]) > 0 then redis.call('PEXPIRE', KEYS[2], ARGV[6]) end
for _, other in ipairs(dependents) do redis.call('SADD', KEYS[3], other) end
for _, other in ipairs(dependencies) do redis.call('SADD', KEYS[4], other) end
if tonumber(ARGV[5]) > 0 then
  for _, key in ipairs({KEYS[1], KEYS[3], KEYS[4]}) do redis.call('PEXPIRE', key, ARGV[5]) end
end
for j = at, #ARGV, 2 do redis.call('ZADD', ARGV[j], ARGV[j + 1], id) end
redis.call('SREM', quarantine, id)
return ''
"""


def restore(connection: Redis, path: Path) -> Iterator[Outcome]:
    """Put back the jobs of a file that are not in Redis, in their order, and yield what became of each.

    Args:
        connection: The Redis that they were removed from.
        path: The file.

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
        if last[record["id"]] != number or not connection.sismember(about["quarantine"], record["id"]):
            continue
        loaded = _load(connection, record)
        keys, arguments = _call(record, about["quarantine"])
        answer: Any = script([*keys, loaded], arguments)
        yield Outcome(record["id"], text(answer), _awaited(connection, record), "it waits for, and they have ended")


def waiting_in(connection: Redis, path: Path) -> tuple[int, int]:
    """Return how many jobs of a file are in no Redis, and the bytes of their fields.

    Raises:
        ConfigurationError: It is no such file, or is damaged.
    """
    records = read_records(path)
    key = next(records, {"quarantine": ""})["quarantine"]
    found = {
        record["id"]: sum(map(len, record["fields"].values()))
        for record in records
        if connection.sismember(key, record["id"])
    }
    return len(found), sum(found.values())


def _load(connection: Redis, record: Record) -> str:
    """Write a job's hash under a key of ours, which expires, and return the key."""
    key = f"{KEY_PREFIX}:slimjobs:restoring:{uuid4().hex}"
    with connection.pipeline() as pipeline:
        pipeline.hset(key, mapping=record["fields"])
        pipeline.expire(key, _LOADED_SECONDS)
        pipeline.execute()
    return key


def _call(record: Record, quarantine_key: str) -> tuple[list[str], list[Any]]:
    results: list[Any] = []
    for entry_id, pairs in record["results"]:
        results += [entry_id, 2 * len(pairs), *(word for pair in pairs for word in pair)]
    before, behind = record["neighbours"] or (b"", b"")
    is_queued = int(record["fields"].get(b"status") == b"queued")
    lists = [results, record["dependents"], record["dependencies"]]
    words: list[Any] = [record["id"], is_queued, before, behind, record["ttl_ms"], record["results_ttl_ms"]]
    words += [*map(len, lists), *(word for each in lists for word in each)]
    words += [word for place in record["zsets"] for word in place]
    return [*keys_of(record["id"]), QUEUE_PREFIX + record["queue"], QUEUES_KEY, quarantine_key], words


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
