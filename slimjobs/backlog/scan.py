"""Goes through all jobs that Redis holds and measures them there: sizes and a few words leave it, payloads do not.

One script a step, which walks the keys and measures the jobs among them. A step is kept so short that a worker hardly
waits, and Redis is left alone between steps for longer than they take.
"""

from __future__ import annotations

import time
from hashlib import sha1
from typing import TYPE_CHECKING, Any

import msgpack
from redis.exceptions import NoScriptError

from slimjobs.backlog.keys import (
    EXECUTIONS_PREFIX,
    JOB_PREFIX,
    RATE_LIMIT_PREFIX,
    REGISTRY_PREFIXES,
    RESULTS_PREFIX,
    text,
)
from slimjobs.backlog.rows import UNNAMED, JobRow, Measured, Name, Step
from slimjobs.fields import find_task

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from redis import Redis

# A step takes some 7 us a key in Redis. Shorter steps would let a worker's commands wait less, but this process take
# more of the machine, which costs the worker more (tests/benchmarks/audit.py); no script may take 5 ms.
_STEP_SECONDS = 0.001
_FEWEST_KEYS, _MOST_KEYS = 20, 120
# How long Redis is left alone after a step, in times of what the step took.
_REST = 2.3
# The beginning of a payload, where nothing else tells the task: no more is copied than this inside Redis.
_PEEKED_BYTES = 16 * 2**10
_BEGINNING_BYTES = 1024

# ARGV: cursor, keys a step, the bytes from which a job is told of by itself, and which jobs are meant (msgpack): with
# these states, on these queues, and by themselves those whose task begins so or is not known here.
_STEP = f"""
local call, try, find, sub = redis.call, redis.pcall, string.find, string.sub
local registries = {{{", ".join(f"{state} = '{prefix}'" for state, prefix in REGISTRY_PREFIXES.items())}}}
local more_than, names, numbers, sizes, rows, n = tonumber(ARGV[3]), {{}}, {{}}, {{}}, {{}}, 0
local meant = cmsgpack.unpack(ARGV[4])
local states, queues, prefix = meant.states, meant.queues, meant.task

-- 1 where the registry of its state lists a job, and 0 where it does not.
local function is_listed(id, key, state, origin)
  if registries[state] then return call('ZSCORE', registries[state] .. origin, id) and 1 or 0 end
  if state == 'started' then return call('EXISTS', '{EXECUTIONS_PREFIX}' .. id) end
  if state == 'rate_limited' then
    local limit = call('HGET', key, 'rate_limit_key') or ''
    return call('ZSCORE', '{RATE_LIMIT_PREFIX}' .. limit .. ':rate_limited', id) and 1 or 0
  end
  return 0
end

local found = call('SCAN', ARGV[1], 'MATCH', '{JOB_PREFIX}*', 'COUNT', ARGV[2])
for _, key in ipairs(found[2]) do
  local fields = try('HMGET', key, 'status', 'origin', 'description')
  local state, origin, description = fields[1] or '', fields[2] or '', fields[3] or ''
  -- What is no hash are the ids of those that wait for a job, beside it.
  if not fields.err and (not states or states[state]) and (not queues or queues[origin]) then
    local data_bytes = call('HSTRLEN', key, 'data')
    local stored_bytes = data_bytes + #description + call('HSTRLEN', key, 'meta')
    local error_bytes, result_bytes, flags = 0, 0, 5
    if state ~= 'queued' then
      local id, listed, expires = sub(key, {len(JOB_PREFIX) + 1}), 2, 1
      if state ~= 'scheduled' and state ~= 'deferred' then
        local results = try('MEMORY', 'USAGE', '{RESULTS_PREFIX}' .. id)
        results = type(results) == 'number' and results or 0
        error_bytes = call('HSTRLEN', key, 'exc_info')
        result_bytes = call('HSTRLEN', key, 'result')
        if state == 'failed' or state == 'stopped' then
          error_bytes = error_bytes + results
        else
          result_bytes = result_bytes + results
        end
        stored_bytes = stored_bytes + error_bytes + result_bytes
        listed = is_listed(id, key, state, origin)
      end
      if listed == 0 or state == 'canceled' then expires = call('PTTL', key) == -1 and 0 or 1 end
      flags = listed * 2 + expires
    end
    local bracket = find(description, '(', 1, true)
    local task, beginning = bracket and sub(description, 1, bracket - 1) or '', nil
    if task == '' or find(task, ' ', 1, true) then
      task = data_bytes <= {_PEEKED_BYTES} and sub(call('HGET', key, 'data') or '', 1, {_BEGINNING_BYTES}) or ''
      beginning = true
    end
    local of_state = numbers[state] or {{}}
    numbers[state] = of_state
    local of_queue = of_state[origin] or {{}}
    of_state[origin] = of_queue
    local number = of_queue[task]
    if not number then
      names[#names + 1] = {{state, origin, task, beginning or false}}
      number = #names
      of_queue[task] = number
    end
    sizes[n + 1], sizes[n + 2], sizes[n + 3] = number * 8 + flags, stored_bytes, data_bytes
    sizes[n + 4], sizes[n + 5], n = result_bytes, error_bytes, n + 5
    if stored_bytes > more_than and (beginning or sub(task, 1, #prefix) == prefix) then
      rows[#rows + 1] = {{sub(key, {len(JOB_PREFIX) + 1}), n / 5, call('HGET', key, 'created_at') or ''}}
    end
  end
end
return {{found[1], cmsgpack.pack({{names, sizes, rows}})}}
"""
_STEP_SHA = sha1(_STEP.encode(), usedforsecurity=False).hexdigest()

_MOST_NAMES = 10_000
_LISTED = (False, True, None)
# No job is as large: with it, none is told of by itself.
NO_ROWS = 2**53


class Scan:
    """All jobs of a Redis, whatever their state, in no order; a job that is moved meanwhile may come twice.

    Args:
        connection: The Redis; decoded responses must be off.
        queues: The names of the queues that are asked for; all where there is none.
        more_than: Jobs of more stored bytes are told of one by one; may be changed between steps.
        states: The states that are asked for; all where there is none.
        task: What the tasks of jobs begin with that are told of one by one; others may be among them.

    Attributes:
        keys_seen: How many keys were looked at so far, jobs or not; `DBSIZE` of them is all.
    """

    def __init__(
        self,
        connection: Redis,
        queues: Collection[str] = (),
        more_than: int = NO_ROWS,
        states: Collection[str] = (),
        task: str = "",
    ) -> None:
        self._connection = connection
        meant: dict[str, Any] = {"queues": dict.fromkeys(queues, True), "states": dict.fromkeys(states, True)}
        self._meant: Any = msgpack.packb({"task": task, **{name: value for name, value in meant.items() if value}})
        self._names: dict[tuple[bytes, bytes, bytes], Name] = {}
        self.more_than = more_than
        self.keys_seen = 0

    def __iter__(self) -> Iterator[Step]:
        cursor, count = b"0", _FEWEST_KEYS
        travel_seconds = self._travel_seconds()
        while True:
            began = time.perf_counter()
            cursor, packed = self._step(cursor, count)
            took = time.perf_counter() - began
            self.keys_seen += count
            yield self._read(packed)
            if cursor == b"0":
                return
            busy_seconds = max(took - travel_seconds, 0.0)
            # The caller has had some of the rest already.
            time.sleep(max(busy_seconds * _REST - (time.perf_counter() - began - took), 0.0))
            if busy_seconds > 2 * _STEP_SECONDS:
                count = max(count // 2, _FEWEST_KEYS)
            elif busy_seconds < _STEP_SECONDS:
                count = min(count + 1 + count // 8, _MOST_KEYS)

    def _step(self, cursor: bytes, count: int) -> Any:
        try:
            return self._connection.evalsha(_STEP_SHA, 0, cursor, count, self.more_than, self._meant)
        except NoScriptError:  # the first time, or after SCRIPT FLUSH
            return self._connection.eval(_STEP, 0, cursor, count, self.more_than, self._meant)

    def _travel_seconds(self) -> float:
        """Return how long a command takes that does nothing."""
        seconds = []
        for _ in range(5):
            began = time.perf_counter()
            self._connection.ping()
            seconds.append(time.perf_counter() - began)
        return min(seconds)

    def _read(self, packed: bytes) -> Step:
        raw_names, numbers, raw_rows = msgpack.unpackb(packed, raw=True, strict_map_key=False)
        names = [self._name(*raw) for raw in raw_names]
        fields = iter(numbers or ())
        # zip() takes the five numbers of a job from the one iterator.
        measured = [
            Measured(names[(number >> 3) - 1], stored, data, result, error, _LISTED[number >> 1 & 3], bool(number & 1))
            for number, stored, data, result, error in zip(fields, fields, fields, fields, fields, strict=True)
        ]
        rows = [JobRow(text(job_id), text(created_at), measured[place - 1]) for job_id, place, created_at in raw_rows]
        return Step(measured, rows)

    def _name(self, state: bytes, queue: bytes, task: bytes, is_beginning: bool) -> Name:
        """Return the name of jobs, the same object as far as there are not too many."""
        name = self._names.get((state, queue, task))
        if name is None:
            if is_beginning:
                found = find_task(task, None)
                called = found[0] if found else UNNAMED
            else:
                called = text(task)
            name = Name(text(queue), text(state), called)
            if len(self._names) < _MOST_NAMES:
                self._names[state, queue, task] = name
        return name
