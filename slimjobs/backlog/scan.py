"""Goes through all jobs that Redis holds and measures them there: sizes and a few words leave it, payloads do not.

One script a step, which walks the keys and measures the jobs among them; `pace` says how many.
"""

from __future__ import annotations

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
from slimjobs.backlog.pace import BEGIN_STEP, END_STEP, Pace
from slimjobs.backlog.rows import UNNAMED, JobRow, Measured, Name, Step, Tally
from slimjobs.backlog.sums import round_up
from slimjobs.fields import find_task

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from redis import Redis

# The beginning of a payload, where nothing else tells the task: no more is copied than this inside Redis.
PEEKED_BYTES = 16 * 2**10
_BEGINNING_BYTES = 1024

# ARGV after that of `pace`: cursor, keys a step, the bytes from which a job is told of by itself, those from which it
# is counted as too large, and which jobs are meant (msgpack): in these states, on these queues; by themselves those
# whose task begins so, or is not known here; and what descriptions tell that payloads do not, or whether none is
# believed. Jobs are told of by numbers: eight times that of their name, and what is known of registry and expiry;
# stored bytes; those of the payload; of those that have run also the bytes of result and error.
_STEP = f"""{BEGIN_STEP}
local call, try, sub, match = redis.call, redis.pcall, string.sub, string.match
local registries = {{{", ".join(f"{state} = '{prefix}'" for state, prefix in REGISTRY_PREFIXES.items())}}}
local is_waiting = {{queued = true, scheduled = true, deferred = true}}
local more_than, too_large_from, meant = tonumber(ARGV[4]), tonumber(ARGV[5]), cmsgpack.unpack(ARGV[6])
local states, queues, prefix, doubted = meant.states, meant.queues, meant.task, meant.doubted
local numbers, names, waiting, others, rows, too_large, n, m = {{}}, {{}}, {{}}, {{}}, {{}}, 0, 0, 0

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

local scanned = call('SCAN', ARGV[2], 'MATCH', '{JOB_PREFIX}*', 'COUNT', ARGV[3])
for _, key in ipairs(scanned[2]) do
  local fields = try('HMGET', key, 'status', 'origin', 'description')
  local state, origin, description = fields[1] or '', fields[2] or '', fields[3] or ''
  -- What is no hash are the ids of those that wait for a job, beside it.
  if not fields.err and (not states or states[state]) and (not queues or queues[origin]) then
    local data_bytes = call('HSTRLEN', key, 'data')
    local task, beginning = match(description, '^([^( ]+)%('), false
    if not task or doubted[task] or (meant.doubts_all and data_bytes <= {PEEKED_BYTES}) then
      task = data_bytes <= {PEEKED_BYTES} and sub(call('HGET', key, 'data') or '', 1, {_BEGINNING_BYTES}) or ''
      beginning = true
    end
    local of_state = numbers[state] or {{}}
    numbers[state] = of_state
    local of_queue = of_state[origin] or {{}}
    of_state[origin] = of_queue
    local number = of_queue[task]
    if not number then
      number = #names
      names[number + 1] = {{state, origin, task, beginning, ''}}
      of_queue[task] = number
    end
    -- What a description tells is held against the payload of one of the jobs that it is told of.
    local name = names[number + 1]
    if not beginning and name[5] == '' and data_bytes <= {PEEKED_BYTES} then
      name[5] = sub(call('HGET', key, 'data') or '', 1, {_BEGINNING_BYTES})
    end
    local stored_bytes = data_bytes + #description + call('HSTRLEN', key, 'meta')
    local error_bytes, result_bytes, told = 0, 0, number * 8 + 5
    if is_waiting[state] then
      waiting[n + 1], waiting[n + 2], waiting[n + 3], n = told, stored_bytes, data_bytes, n + 3
    else
      local id = sub(key, {len(JOB_PREFIX) + 1})
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
      local listed, expires = is_listed(id, key, state, origin), 1
      if listed == 0 or state == 'canceled' then expires = call('PTTL', key) == -1 and 0 or 1 end
      told = number * 8 + listed * 2 + expires
      others[m + 1], others[m + 2], others[m + 3] = told, stored_bytes, data_bytes
      others[m + 4], others[m + 5], m = result_bytes, error_bytes, m + 5
    end
    if stored_bytes > too_large_from then too_large = too_large + 1 end
    if stored_bytes > more_than and (beginning or sub(task, 1, #prefix) == prefix) then
      local created_at = call('HGET', key, 'created_at') or ''
      local bytes = {{stored_bytes, data_bytes, result_bytes, error_bytes}}
      rows[#rows + 1] = {{sub(key, {len(JOB_PREFIX) + 1}), created_at, told, bytes}}
    end
  end
end
local found = {{scanned[1], cmsgpack.pack({{names, waiting, others, rows, too_large}})}}
{END_STEP}"""
_STEP_SHA = sha1(_STEP.encode(), usedforsecurity=False).hexdigest()

_MOST_NAMES = 10_000
# They go to Redis with each step. Where more descriptions are of another kind, none is believed.
_MOST_DOUBTED = 100
_LISTED = (False, True, None)
# No job is as large: with it, none is told of by itself.
NO_ROWS = 2**53


class Scan:
    """All jobs of a Redis, whatever their state, in no order; a job that is moved meanwhile may come twice.

    Args:
        connection: The Redis; decoded responses must be off.
        queues: The names of the queues that are asked for; all where there is none.
        more_than: Jobs of more stored bytes are told of one by one; may be changed between steps.
        too_large_from: Jobs of more stored bytes are counted as too large.
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
        *,
        too_large_from: int = NO_ROWS,
        states: Collection[str] = (),
        task: str = "",
    ) -> None:
        self._connection = connection
        meant: dict[str, Any] = {"queues": dict.fromkeys(queues, True), "states": dict.fromkeys(states, True)}
        self._meant: dict[str, Any] = {"task": task, **{name: value for name, value in meant.items() if value}}
        self._doubted: dict[bytes, bool] = {}
        self._names: dict[tuple[bytes, bytes, bytes], Name] = {}
        self.more_than = more_than
        self._too_large_from = too_large_from
        self.keys_seen = 0

    def __iter__(self) -> Iterator[Step]:
        cursor, pace = b"0", Pace()
        while True:
            most_commands, keys = pace.next_step(), pace.keys
            arguments = (0, most_commands, cursor, keys, self.more_than, self._too_large_from, self._packed_meant())
            found, *told = self._step(*arguments)
            pace.note(*told, has_walked=found is not None)
            if found is None:
                continue
            next_cursor, packed = found
            step = msgpack.unpackb(packed, raw=True, strict_map_key=False)
            if self._doubts(step[0]):
                continue  # the same keys again
            cursor = next_cursor
            self.keys_seen += keys
            yield self._read(*step)
            if cursor == b"0":
                return

    def _step(self, *arguments: Any) -> Any:
        try:
            return self._connection.evalsha(_STEP_SHA, *arguments)
        except NoScriptError:  # the first time, or after SCRIPT FLUSH
            return self._connection.eval(_STEP, *arguments)

    def _packed_meant(self) -> Any:
        doubts_all = len(self._doubted) > _MOST_DOUBTED
        meant = {**self._meant, "doubted": {} if doubts_all else self._doubted, "doubts_all": doubts_all}
        # Redis' msgpack has no type for bytes.
        return msgpack.packb(meant, use_bin_type=False)

    def _doubts(self, raw_names: list[Any]) -> bool:
        """Return whether descriptions told tasks that the payloads did not, and remember these."""
        before = len(self._doubted)
        for state, queue, task, is_beginning, beginning in raw_names:
            if not is_beginning and beginning and (state, queue, task) not in self._names:
                found = find_task(beginning, None)
                if found and found[0] != text(task):
                    self._doubted[task] = True
        return len(self._doubted) > before

    def _read(self, raw_names: Any, waiting: Any, others: Any, raw_rows: Any, too_large: int) -> Step:
        names = [
            self._names.get((state, queue, task)) or self._name(state, queue, task, is_beginning, beginning)
            for state, queue, task, is_beginning, beginning in raw_names
        ]
        tallies = [*_tallies(names, waiting or [], 3), *_tallies(names, others or [], 5)]
        rows = []
        for job_id, created_at, told, sizes in raw_rows:
            measured = Measured._make((names[told >> 3], *sizes, *_known(told)))
            rows.append(JobRow(text(job_id), text(created_at), measured))
        return Step(tallies, rows, too_large)

    def _name(self, state: bytes, queue: bytes, task: bytes, is_beginning: bool, beginning: bytes) -> Name:
        """Return the name of jobs, and remember it where a payload has told it, and there are not too many."""
        if is_beginning:
            found = find_task(task, None)
            called = found[0] if found else UNNAMED
        else:
            called = text(task)
        name = Name(text(queue), text(state), called)
        if (is_beginning or beginning) and len(self._names) < _MOST_NAMES:
            self._names[state, queue, task] = name
        return name


def _known(told: int) -> tuple[bool | None, bool]:
    """Return whether the registry of its state lists a job, and whether it expires: the last bits of its number."""
    return _LISTED[told >> 1 & 3], bool(told & 1)


def _tallies(names: Sequence[Name], numbers: list[int], width: int) -> Iterator[Tally]:
    """Add up what is told of jobs in so many numbers each."""
    places_of: dict[int, list[int]] = {}
    for place, told in enumerate(numbers[::width]):
        places_of.setdefault(told, []).append(place)
    columns = [numbers[column::width] for column in range(1, width)]
    for told, places in places_of.items():
        stored, *others = ([column[place] for place in places] for column in columns)
        data_bytes, result_bytes, error_bytes = map(sum, others if width == 5 else (*others, (), ()))
        sizes = [round_up(size_bytes) for size_bytes in stored]
        sums = (len(stored), sum(stored), data_bytes, result_bytes, error_bytes, max(stored), sizes)
        yield Tally._make((names[told >> 3], *_known(told), *sums))
