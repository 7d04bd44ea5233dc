"""Sets jobs aside: each is written to a file, and only then removed, in one step that sees that nothing has changed.

Redis keeps the ids of what was removed, in the same step: so it is known which jobs of a file are in it alone, whenever
the process was killed, and none is ever put back twice.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from redis.exceptions import OutOfMemoryError, WatchError

from slimjobs.backlog import pace
from slimjobs.backlog.keys import (
    EXECUTIONS_PREFIX,
    KEY_PREFIX,
    QUARANTINE_PREFIX,
    QUEUE_PREFIX,
    RQ_SCHEDULER_JOBS_KEY,
    SCHEDULER_LOCK_PREFIX,
    text,
)
from slimjobs.backlog.pieces import read_field
from slimjobs.backlog.records import RecordWriter
from slimjobs.backlog.snapshots import awaited_ids, find_places, keys_of, take
from slimjobs.backlog.staying import Locks, find_problem
from slimjobs.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from redis import Redis

    from slimjobs.backlog.records import Record
    from slimjobs.backlog.rows import JobRow
    from slimjobs.backlog.snapshots import Place

# What is read, written and removed together: little enough that it can be repeated one by one when a job changes.
_BATCH_JOBS, _BATCH_BYTES = 10, 2 * 2**20
# How many jobs are asked for who waits for them at once.
_STEP_JOBS = 100
_VERB = "wait for it, and will until it is back"

# KEYS: those of the job, of its executions, of its queue's list, of the quarantine, of its scheduler's lock, then, for
# each job that it waits for, the set of those that do. It is all that RQ watches while it lets a deferred job run: so
# each is touched. ARGV: id, status, from which end of the queue's list it is looked for (1 or -1, 0 for not at all),
# what `Locks.find` returned, the key of rq-scheduler's jobs, then registry and score in turns. A script is not rolled
# back: so before the first write each key is read, which finds what is of another type, and each command that Redis may
# forbid is sent where nothing is. The last of these writes.
_REMOVE = """
local id, status, from, nowhere = ARGV[1], ARGV[2], tonumber(ARGV[3]), KEYS[7] .. ':nowhere'
local now = redis.call('HGET', KEYS[1], 'status') or ''
if now ~= status then return now == '' and 'it is gone' or 'it is ' .. now .. ' now' end
if now == 'started' or redis.call('EXISTS', KEYS[5]) == 1 then return 'it runs' end
if ARGV[4] ~= '' and '=' .. (redis.call('GET', KEYS[8]) or '') ~= ARGV[4] then return 'its scheduler has changed' end
-- It forgets a job that is gone when it is due. Whoever may not read its key does not use it.
if type(redis.pcall('ZSCORE', ARGV[5], id)) == 'string' then return 'rq-scheduler will run it again' end
local tries = {
  {'EXISTS', KEYS[2], KEYS[3], KEYS[4]}, {'LLEN', KEYS[6]},
  {'LREM', nowhere, 1, id}, {'ZREM', nowhere, id}, {'UNLINK', nowhere}, {'SISMEMBER', KEYS[7], id},
  {'SREM', KEYS[7], id}, {'SADD', KEYS[7], id}
}
for i = 6, #ARGV, 2 do
  local score = redis.call('ZSCORE', ARGV[i], id)
  if not score or tonumber(score) ~= tonumber(ARGV[i + 1]) then return 'it has moved' end
end
for _, words in ipairs(tries) do
  local answer = redis.pcall(unpack(words))
  if type(answer) == 'table' and answer.err then return 'Redis refuses ' .. words[1] .. ': ' .. answer.err end
end
if from ~= 0 and redis.call('LREM', KEYS[6], from, id) == 0 then
  redis.call('SREM', KEYS[7], id)
  return 'a worker has just taken it'
end
for i = 6, #ARGV, 2 do redis.call('ZREM', ARGV[i], id) end
for i = 9, #KEYS do
  if redis.pcall('SISMEMBER', KEYS[i], id) == 1 then  -- taking the job itself out and in may lose the set's expiry
    redis.call('SADD', KEYS[i], nowhere)
    redis.call('SREM', KEYS[i], nowhere)
  end
end
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
return ''
"""
_AT_MAXMEMORY = "Raise it a little for the time: CONFIG SET maxmemory. What is set aside frees more than that."


class Outcome(NamedTuple):
    """What became of a job.

    Attributes:
        id: The job's id.
        problem: Why it was left where it is, or "".
        others: The ids of jobs that wait for it, or that it waits for in vain.
        verb: Which of the two, in words behind the ids.
    """

    id: str
    problem: str
    others: tuple[str, ...] = ()
    verb: str = ""


class Quarantine:
    """A file that jobs are set aside into.

    Args:
        connection: The Redis.
        path: The file, which must not exist.
        deep: Whether jobs are taken out of the middle of very long queues too, see `pace.DEEP_PLACES`.

    Raises:
        ConfigurationError: It exists, or cannot be written.
    """

    def __init__(self, connection: Redis, path: Path, *, deep: bool = False) -> None:
        self._connection = connection
        self._deep = deep
        self._key = QUARANTINE_PREFIX + uuid4().hex
        self._remove = connection.register_script(_REMOVE)
        about = {"quarantine": self._key, "prefix": KEY_PREFIX, "created_at": datetime.now(timezone.utc).isoformat()}
        self._writer = RecordWriter(path, about)

    def set_aside(self, rows: Sequence[JobRow]) -> Iterator[Outcome]:
        """Set jobs aside, and yield what became of each."""
        by_queue: dict[str, set[str]] = {}
        for row in rows:
            if row.measured.name.state == "queued":
                by_queue.setdefault(row.measured.name.queue, set()).add(row.id)
        places: dict[str, Place] = {}
        for queue, ids in by_queue.items():
            places |= find_places(self._connection, queue, ids)
        # In the order of the lists, in which they will be put back, and what waits behind what it waits for.
        order = {job_id: number for number, job_id in enumerate(places)}

        def turn(row: JobRow) -> tuple[bool, int, str]:
            return row.measured.name.state == "deferred", order.get(row.id, len(order)), row.created_at

        for batch in _batches(sorted(rows, key=turn), places):
            outcomes = self._try(batch, places)
            if outcomes is None:  # one of them has changed meanwhile
                outcomes = [each for row in batch for each in self._try_alone(row, places)]
            yield from outcomes

    def close(self) -> None:
        """Close the file."""
        self._writer.close()

    def _try_alone(self, row: JobRow, places: dict[str, Place]) -> list[Outcome]:
        return self._try([row], places) or [Outcome(row.id, "it was written to meanwhile")]

    def _try(self, rows: Sequence[JobRow], places: dict[str, Place]) -> list[Outcome] | None:
        """Return what became of jobs, or None where one of them was written to meanwhile and none was removed."""
        with self._connection.pipeline() as pipeline:
            pipeline.watch(*(key for row in rows for key in keys_of(row.id)))  # type: ignore[no-untyped-call]
            outcomes, found = self._look_at(rows, places)
            if not found:
                return outcomes
            records = [{**record, "quarantine": self._key} for record, _ in found]
            self._writer.append(records, self._read_large)
            pipeline.multi()
            for record, lock in found:
                self._remove(*_call(record, self._key, places, lock), client=pipeline)
            try:
                with pace.resting():
                    answers: list[Any] = pipeline.execute()
            except WatchError:
                return None
            except OutOfMemoryError:
                raise ConfigurationError("Redis is at its maxmemory and refuses to write", hint=_AT_MAXMEMORY) from None
        for (record, _), answer in zip(found, map(text, answers), strict=True):
            if answer.startswith("Redis refuses"):  # and will with each of the others
                raise ConfigurationError(answer, hint="Let the user of Redis do it: ACL SETUSER.")
            dependents = tuple(text(each) for each in record["dependents"])
            outcomes.append(Outcome(record["id"], answer, dependents, _VERB))
        return outcomes

    def _look_at(
        self, rows: Sequence[JobRow], places: Mapping[str, Place]
    ) -> tuple[list[Outcome], list[tuple[Record, str]]]:
        """Return the jobs that are left, and the records of the others, each with the lock that it was seen under."""
        outcomes: list[Outcome] = []
        found: list[tuple[Record, str]] = []
        locks = Locks(self._connection)
        for row in rows:
            record, lock = take(self._connection, row, places), ""
            if record is None:  # it was set aside already, where only the answer was lost
                problem = "" if self._connection.sismember(self._key, row.id) else "it is gone"
            else:
                problem = find_problem(self._connection, record, places.get(row.id), deep=self._deep)
                if not problem:
                    lock, problem = locks.find(record)
            if record is None or problem:
                outcomes.append(Outcome(row.id, problem))
            else:
                found.append((record, lock))
        return outcomes, found

    def _read_large(self, job_id: str, name: bytes) -> AbstractContextManager[tuple[int, Iterator[bytes]]]:
        return read_field(self._connection, keys_of(job_id)[0], name)


def find_dependents(connection: Redis, ids: Sequence[str]) -> Iterator[Outcome]:
    """Yield those of some jobs that others wait for.

    Args:
        connection: The Redis.
        ids: The ids of the jobs.
    """
    for start in range(0, len(ids), _STEP_JOBS):
        step = ids[start : start + _STEP_JOBS]
        with connection.pipeline(transaction=False) as pipeline:
            for job_id in step:
                pipeline.smembers(keys_of(job_id)[2])
            found = pipeline.execute(raise_on_error=False)
        for job_id, others in zip(step, found, strict=True):
            if others and not isinstance(others, Exception):
                yield Outcome(job_id, "", tuple(sorted(map(text, others))), _VERB)


def _batches(rows: Sequence[JobRow], places: Mapping[str, Place]) -> Iterator[list[JobRow]]:
    batch: list[JobRow] = []
    size_bytes = depth = 0
    for row in rows:
        job_depth = places[row.id].depth if row.id in places else 0
        is_full = len(batch) == _BATCH_JOBS or size_bytes + row.measured.stored_bytes > _BATCH_BYTES
        # All of a batch are removed in one step.
        if batch and (is_full or depth + job_depth > pace.DEEP_PLACES):
            yield batch
            batch, size_bytes, depth = [], 0, 0
        batch.append(row)
        size_bytes += row.measured.stored_bytes
        depth += job_depth
    if batch:
        yield batch


def _call(record: Record, quarantine_key: str, places: Mapping[str, Place], lock: str) -> tuple[list[str], list[Any]]:
    """Return the keys and arguments of the script that removes a job."""
    job_id, queue, status = record["id"], record["queue"], record["fields"].get(b"status", b"")
    keys = [*keys_of(job_id), EXECUTIONS_PREFIX + job_id, QUEUE_PREFIX + queue, quarantine_key]
    keys += [SCHEDULER_LOCK_PREFIX + queue, *(keys_of(awaited)[2] for awaited in awaited_ids(record))]
    words = [word for place in record["zsets"] for word in place]
    end = places[job_id].nearer_end if status == b"queued" else 0
    return keys, [job_id, status, end, lock, RQ_SCHEDULER_JOBS_KEY, *words]
