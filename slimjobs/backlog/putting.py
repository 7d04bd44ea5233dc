"""The step that puts a job back: a script that does all of it, or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgpack
from rq.group import Group

from slimjobs.backlog.keys import JOB_PREFIX, QUEUE_PREFIX, QUEUES_KEY, RATE_LIMIT_PREFIX, text
from slimjobs.backlog.snapshots import awaited_ids, keys_of
from slimjobs.versions import RATE_LIMITS_KEY

if TYPE_CHECKING:
    from slimjobs.backlog.records import Record

# KEYS: those of the job, its queue's list, all queues, the quarantine, and where its hash and its results were loaded:
# a script that was given them would take some 3 ms a megabyte, in which Redis serves nobody. ARGV: what `call_of`
# packs. It returns why the job was left, or "" and all that the job waits for, where none of it will tell the job that
# it has ended. A script is not rolled back: so before the first write each key is read, which finds what is of another
# type, and each command that Redis may forbid is sent to a scratch key.
RESTORE = (
    """
local job, list, quarantine, loaded, loaded_results = cmsgpack.unpack(ARGV[1]), KEYS[5], KEYS[7], KEYS[8], KEYS[9]
local id, scratch, others, ended, unended = job.id, loaded .. ':scratch', {}, {}, {}
local function status_of(other) return redis.pcall('HGET', '"""
    + JOB_PREFIX
    + """' .. other, 'status') end
local function refuse(problem)
  redis.pcall('UNLINK', loaded, loaded_results, scratch)
  return {problem, {}}
end
if redis.call('SISMEMBER', quarantine, id) == 0 then return refuse('it is back already') end
-- What has no data is no job: RQ has written to one that was gone.
if redis.call('EXISTS', KEYS[1]) == 1 and redis.pcall('HEXISTS', KEYS[1], 'data') ~= 0 then
  return refuse('there is another job with its id')
end
-- Both expire: so Redis may evict one before the last of it is there.
local is_whole = redis.call('HLEN', loaded) == job.fields and redis.call('XLEN', loaded_results) == job.results
if not is_whole then return refuse('it was lost on its way, as where Redis is at its maxmemory; try again') end
for _, other in ipairs(job.dependents) do
  if status_of(other) == 'deferred' or redis.call('SISMEMBER', quarantine, other) == 1 then
    others[#others + 1] = other
  end
end
local is_to_wait = false
for _, other in ipairs(job.awaited) do
  local status = status_of(other)
  if not status and redis.call('SISMEMBER', quarantine, other) == 1 then
    -- RQ would take it for one that has ended, once another of them ends.
    if #job.awaited > 1 then return refuse('it waits for ' .. other .. ', which is not back') end
    is_to_wait = true
  elseif not status or status == 'finished' or (status == 'failed' and job.allows_failure) then
    ended[#ended + 1] = other
  else
    is_to_wait = true
    unended[#unended + 1] = '"""
    + JOB_PREFIX
    + """' .. other .. ':dependents'
  end
end
local tries = {{'LLEN', list}, {'SCARD', KEYS[6]}, {'SCARD', KEYS[3]}, {'SCARD', KEYS[4]}}
local function try(...) tries[#tries + 1] = {...} end
for _, key in ipairs(unended) do try('SCARD', key) end
for _, place in ipairs(job.zsets) do try('ZCARD', place[1]) end
for _, member in ipairs(job.sets) do try('SCARD', member[1]) end
for _, limit in ipairs(job.limits) do try('HLEN', limit[1]) end
try('UNLINK', scratch)
try('RPUSH', scratch, id)
try('LPUSH', scratch, id)
try('LINSERT', scratch, 'BEFORE', id, id)
try('RENAME', scratch, scratch)
try('PERSIST', scratch)
try('PEXPIRE', scratch, 1000)
try('UNLINK', scratch)
try('SADD', scratch, id)
try('SREM', scratch, id)
try('ZADD', scratch, 0, id)
try('UNLINK', scratch)
try('HSETNX', scratch, id, id)
try('UNLINK', scratch)
for _, words in ipairs(tries) do
  local answer = redis.pcall(unpack(words))
  if type(answer) == 'table' and answer.err then
    return refuse('Redis refuses ' .. words[1] .. ': ' .. answer.err)
  end
end
if job.status == 'queued' then
  local length, before, behind = redis.call('LLEN', list), job.before, job.behind
  local done = before ~= '' and redis.call('LINDEX', list, -1) == before and redis.call('RPUSH', list, id) or -1
  for i, other in ipairs({behind, before, job.latest}) do
    -- A list is long to search, and a job that has another status is not in it.
    if done < 1 and other ~= '' and status_of(other) == 'queued' then
      if length > job.deepest and not redis.call('LPOS', list, other, 'MAXLEN', job.deepest / 2) then
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
if job.results > 0 then
  redis.call('RENAME', loaded_results, KEYS[2])
  redis.call('PERSIST', KEYS[2])
end
for _, other in ipairs(others) do redis.call('SADD', KEYS[3], other) end
for _, other in ipairs(job.dependencies) do redis.call('SADD', KEYS[4], other) end
for i, ttl in ipairs(job.ttls) do
  if ttl > 0 then redis.call('PEXPIRE', KEYS[i], ttl) end
end
for _, key in ipairs(unended) do redis.call('SADD', key, id) end
for _, place in ipairs(job.zsets) do redis.call('ZADD', place[1], place[2], id) end
for _, member in ipairs(job.sets) do redis.call('SADD', member[1], member[2]) end
for _, limit in ipairs(job.limits) do redis.call('HSETNX', limit[1], 'concurrency', limit[2]) end
redis.call('SREM', quarantine, id)
if is_to_wait then ended = {} end
return {'', ended}
"""
)


def call_of(
    record: Record, quarantine_key: str, loaded: list[str], deepest: int, latest_id: str
) -> tuple[list[str], list[Any]]:
    """Return the keys and arguments of the script for a job.

    Args:
        record: The job.
        quarantine_key: The set of the ids that are in its file alone.
        loaded: The keys of its hash and of its results, which were written there.
        deepest: How many places from the head of a longer queue it may be put.
        latest_id: The job of its queue that stood before it and was put back last, or "".
    """
    fields: dict[bytes, bytes] = record["fields"]
    before, behind = record["neighbours"] or (b"", b"")
    job = {
        "id": record["id"],
        "status": fields.get(b"status", b""),
        "before": before,
        "behind": behind,
        "latest": latest_id,
        "deepest": deepest,
        # Files of slimjobs 0.1.0 do not tell the last two.
        "ttls": [record.get(f"{name}ttl_ms", -1) for name in ("", "results_", "dependents_", "dependencies_")],
        "fields": len(fields) + len(record["large"]),
        "results": len(record["results"]),
        "dependents": record["dependents"],
        "dependencies": record["dependencies"],
        "awaited": awaited_ids(record) if fields.get(b"status") == b"deferred" else [],
        "allows_failure": fields.get(b"allow_dependency_failures") == b"1",
        "zsets": record["zsets"],
        "sets": _memberships(record),
        "limits": _limits(record),
    }
    keys = [*keys_of(record["id"]), QUEUE_PREFIX + record["queue"], QUEUES_KEY, quarantine_key, *loaded]
    # Redis' msgpack is older than the type of bytes.
    return keys, [msgpack.packb(job, use_bin_type=False)]


def limit_of(record: Record) -> str:
    """Return the key of the rate limit that a job waits for, or ""."""
    fields: dict[bytes, bytes] = record["fields"]
    return text(fields.get(b"rate_limit_key")) if fields.get(b"status") == b"rate_limited" else ""


def _memberships(record: Record) -> list[tuple[str, bytes | str]]:
    """Return the sets that RQ may have deleted while the job was away, each with what of the job is in it."""
    sets: list[tuple[str, bytes | str]] = []
    group, limit = text(record["fields"].get(b"group_id")), limit_of(record)
    if group:
        sets += [(Group.get_key(group), record["id"]), (Group.REDIS_GROUP_KEY, group)]
    if limit:
        sets.append((RATE_LIMITS_KEY, limit))
    return sets


def _limits(record: Record) -> list[tuple[str, bytes]]:
    limit = limit_of(record)
    return [(RATE_LIMIT_PREFIX + limit, record["fields"].get(b"rate_limit_concurrency", b"1"))] if limit else []
