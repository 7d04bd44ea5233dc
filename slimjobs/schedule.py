"""The schedule of a queue: its due jobs are moved to the queue by a script, which reads no payload."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha1
from typing import TYPE_CHECKING, Any

from redis.exceptions import NoScriptError
from rq.job import Job as RQJob
from rq.queue import Queue as RQQueue
from rq.registry import DeferredJobRegistry, ScheduledJobRegistry
from rq.utils import current_timestamp, now, utcformat

from slimjobs.versions import RATE_LIMIT_PREFIX, RATE_LIMIT_SCRIPT, RATE_LIMITS_KEY

if TYPE_CHECKING:
    from redis import Redis

# How many jobs one script moves. No other client is served meanwhile: 100 plain jobs take 0.7 ms, 100 with a rate limit
# 2.3 ms, and larger chunks are hardly faster (docs/scheduler.md).
CHUNK_JOBS = 100
# How long an entry stays aside that cannot be moved: whoever repairs it need not put it back.
PUT_OFF_SECONDS = 3600

# RQ's own script, which fills the free slots of a rate limit.
_ACQUIRE = f"local function acquire(KEYS, ARGV)\n{RATE_LIMIT_SCRIPT}\nend\n"
# What RQ does with a due job, without its payload. A script is not rolled back, so whatever can fail comes before the
# first write: hashes are checked, and the push finds a queue of another type.
_MOVE = (
    _ACQUIRE
    + """
local due, seconds = redis.call('ZRANGEBYSCORE', KEYS[1], 0, ARGV[1], 'LIMIT', 0, ARGV[2]), ARGV[1]
local put_off_to, enqueued_at, queue, default_timeout = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local job_prefix, queue_prefix, limit_prefix = ARGV[7], ARGV[8], ARGV[9]
local plain, limited, settled, back, front, broken = {}, {}, {}, {}, {}, {}

-- As Python's int() reads a field; nothing is 0, and what is no integer is nil.
local function integer(text)
  if not text or text == '' then return 0 end
  local digits = string.match(text, '^[+-]?%d+$')
  return digits and tonumber(digits)
end

local function put_off(id, reason)
  broken[#broken + 1] = id
  broken[#broken + 1] = reason
end

-- Return a job, or nothing and what is wrong with it.
local function read(id)
  local key = job_prefix .. id
  local has_data = redis.pcall('HEXISTS', key, 'data')
  if type(has_data) == 'table' then return nil, 'its key holds a ' .. redis.call('TYPE', key).ok end
  if has_data == 0 then return nil, redis.call('EXISTS', key) == 1 and 'its hash has no data' end
  local fields = redis.call('HMGET', key, 'status', 'timeout', 'ttl', 'enqueue_at_front', 'enqueue_at_front_on_retry',
    'ended_at', 'rate_limit_key', 'rate_limit_concurrency')
  local ttl, at_front, on_retry, concurrency =
    integer(fields[3]), integer(fields[4]), integer(fields[5]), integer(fields[8])
  if not ttl then return nil, 'its ttl is no number' end
  if not at_front or not on_retry then return nil, 'its enqueue_at_front is no number' end
  if not concurrency then return nil, 'its rate_limit_concurrency is no number' end
  return {
    id = id, key = key, status = fields[1], ttl = ttl, limit = fields[7], concurrency = concurrency,
    has_timeout = fields[2] and fields[2] ~= '',
    at_front = at_front ~= 0 or (on_retry ~= 0 and fields[6] and fields[6] ~= ''),
    is_limited = limit_prefix ~= '' and fields[7] and fields[7] ~= '' and concurrency ~= 0
  }
end

local function save(job, ...)
  if job.has_timeout then
    redis.call('HSET', job.key, 'origin', queue, ...)
  else
    redis.call('HSET', job.key, 'timeout', default_timeout, 'origin', queue, ...)
  end
  if job.ttl > 0 then
    for _, key in ipairs({job.key, job.key .. ':dependents', job_prefix .. ':' .. job.id .. ':dependencies'}) do
      redis.pcall('EXPIRE', key, job.ttl)
    end
  end
end

-- Let a job wait for its rate limit's next free slot.
local function hold(job)
  local key = limit_prefix .. job.limit
  redis.call('ZCARD', key .. ':allowed')
  redis.call('ZADD', key .. ':rate_limited', seconds, job.id)
  redis.call('HSET', key, 'concurrency', job.concurrency)
  redis.call('SADD', KEYS[4], job.limit)
  if job.at_front then redis.call('HSET', job.key, 'enqueue_at_front', '1') end
  save(job, 'status', 'rate_limited')
  redis.call('ZREM', KEYS[1], job.id)
end

for _, id in ipairs(due) do
  local job, problem = read(id)
  if problem then
    put_off(id, problem)
  elseif job and job.is_limited then
    limited[#limited + 1] = job
  else
    settled[#settled + 1] = id
    if job then
      plain[#plain + 1] = job
      local ids = job.at_front and front or back
      ids[#ids + 1] = id
    end
  end
end
if #back > 0 then redis.call('RPUSH', KEYS[2], unpack(back)) end
if #front > 0 then redis.call('LPUSH', KEYS[2], unpack(front)) end
for _, job in ipairs(plain) do
  save(job, 'status', 'queued', 'enqueued_at', enqueued_at)
  if job.status == 'deferred' then redis.pcall('ZREM', KEYS[3], job.id) end
end
if #settled > 0 then redis.call('ZREM', KEYS[1], unpack(settled)) end
for i = 1, #broken, 2 do redis.call('ZADD', KEYS[1], 'XX', put_off_to, broken[i]) end
for _, job in ipairs(limited) do
  if pcall(hold, job) then
    local key = limit_prefix .. job.limit
    acquire({key .. ':allowed', key .. ':rate_limited'},
      {job.concurrency, seconds, enqueued_at, queue_prefix, job_prefix})
  else
    redis.call('ZADD', KEYS[1], 'XX', put_off_to, job.id)
    put_off(job.id, 'the keys of its rate limit cannot be written')
  end
end
return {#due, broken}
"""
)
_MOVE_SHA = sha1(_MOVE.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class Chunk:
    """What one script did.

    Attributes:
        due: How many due jobs it found; all have left the schedule or were put off.
        put_off: Those that cannot be moved: their ids, and what is wrong.
    """

    due: int
    put_off: dict[str, str]


class Schedule:
    """The jobs of a queue that wait for their time.

    Args:
        queue: The queue's name.
        connection: Where they are.
    """

    def __init__(self, queue: str, connection: Redis) -> None:
        self.queue = queue
        self._connection = connection
        self._keys = (
            ScheduledJobRegistry(queue, connection=connection).key,  # type: ignore[no-untyped-call]
            RQQueue(queue, connection=connection).key,
            DeferredJobRegistry(queue, connection=connection).key,
            RATE_LIMITS_KEY,
        )

    def move_due(self, at_most: int = CHUNK_JOBS) -> Chunk:
        """Move the jobs that are due longest to the queue, all or none.

        They are left as RQ's scheduler leaves them. A job that was deleted leaves the schedule. One that cannot be
        moved stays on it, an hour later.

        Args:
            at_most: How many jobs.

        Raises:
            redis.exceptions.NoPermissionError: This user of Redis may not run scripts.
        """
        seconds = current_timestamp()
        arguments: tuple[Any, ...] = (
            seconds,
            at_most,
            seconds + PUT_OFF_SECONDS,
            utcformat(now()),
            self.queue,
            RQQueue.DEFAULT_TIMEOUT,
            RQJob.redis_job_namespace_prefix,
            RQQueue.redis_queue_namespace_prefix,
            RATE_LIMIT_PREFIX,
        )
        answer: Any
        try:
            answer = self._connection.evalsha(_MOVE_SHA, len(self._keys), *self._keys, *arguments)
        except NoScriptError:  # the first time, or after SCRIPT FLUSH
            answer = self._connection.eval(_MOVE, len(self._keys), *self._keys, *arguments)
        due, broken = answer
        texts = [each.decode(errors="replace") for each in broken]
        return Chunk(due, dict(zip(texts[::2], texts[1::2], strict=True)))
