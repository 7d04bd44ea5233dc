"""What the ledger counts, and the one command that writes it."""

from __future__ import annotations

import importlib.util
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache
from hashlib import sha1
from typing import TYPE_CHECKING, Any

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import NoPermissionError, NoScriptError, RedisError

from slimjobs.addresses import MOST_ADDRESSES, address_of, is_fake
from slimjobs.logs import logger
from slimjobs.versions import KEY_PREFIX

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    from slimjobs.payload import Payload

KEPT_HOURS = 14 * 24
_KEPT_SECONDS = (KEPT_HOURS + 1) * 3600

TOTALS_KEY = f"{KEY_PREFIX}:slimjobs:totals"
HOUR_KEY_PREFIX = f"{KEY_PREFIX}:slimjobs:hour:"

# Counts, with nothing that could fail: what is wrong with a ledger key may cost the counts but never
# the job in the same transaction, hence pcall. A text is "largest metric number metric number", a
# line's end, and ":task:queue": the client pays for every argument, so there is one for each entry.
_COUNT = """
local function count(first, last, kept_seconds)
  for i = first, last do
    local largest, counts, suffix = string.match(ARGV[i], '^(%d+)([^\\n]*)\\n(.*)$')
    for _, key in ipairs({KEYS[1], KEYS[2]}) do
      for metric, number in string.gmatch(counts, '(%S+) (%S+)') do
        redis.pcall('HINCRBY', key, metric .. suffix, number)
      end
      if largest ~= '0' then
        local old = redis.pcall('HGET', key, 'largest_bytes' .. suffix)
        if not old or (type(old) == 'string' and (tonumber(old) or 0) < tonumber(largest)) then
          redis.pcall('HSET', key, 'largest_bytes' .. suffix, largest)
        end
      end
    end
  end
  redis.pcall('EXPIRE', KEYS[2], kept_seconds)
end
"""
# ARGV: seconds that an hour is kept, then the texts.
_COUNT_SCRIPT = _COUNT + "count(2, #ARGV, ARGV[1])"
# ARGV: a line of numbers (seconds, how many texts, the words of each command), the texts, the commands.
_RUN_AND_COUNT_SCRIPT = (
    _COUNT
    + """
local numbers = string.gmatch(ARGV[1], '%d+')
local kept_seconds, texts = numbers(), tonumber(numbers())
local first = 2 + texts
for words in numbers do
  redis.call(unpack(ARGV, first, first + words - 1))
  first = first + words
end
count(2, 1 + texts, kept_seconds)
"""
)
# KEYS and ARGV: the ledger's (seconds and one text), then those of the script, which sees them alone.
_SCRIPT_AND_COUNT = (
    _COUNT.replace("%", "%%")
    + """
local function run(KEYS, ARGV)
%s
end
local keys, args = {}, {}
for i = 3, #KEYS do keys[i - 2] = KEYS[i] end
for i = 3, #ARGV do args[i - 2] = ARGV[i] end
local result = run(keys, args)
if result == 1 then count(2, 2, ARGV[1]) end
return result
"""
)
# What RQ writes for a job. Anything else comes from a subclass, and may not be allowed in a script.
_SCRIPTABLE = frozenset({"SADD", "HSET", "RPUSH", "LPUSH", "EXPIRE"})
_RUN_AND_COUNT_SHA = sha1(_RUN_AND_COUNT_SCRIPT.encode(), usedforsecurity=False).hexdigest()  # EVALSHA's name for it


@dataclass
class Entry:
    """What is to be counted for one task on one queue.

    Attributes:
        queue: The queue's name.
        task: The task's import path.
        counts: Numbers to add, by metric.
        largest_bytes: The largest payload among them.
    """

    queue: str
    task: str
    counts: dict[str, int]
    largest_bytes: int = 0

    @classmethod
    def of_payload(cls, queue: str, payload: Payload) -> Entry:
        """Return the entry of one job that is enqueued with this payload."""
        size_bytes = payload.size_bytes
        counts = {
            "jobs": 1,
            "payload_bytes": size_bytes,
            "stored_bytes": payload.stored_bytes,
            f"size_{1 << max(size_bytes - 1, 0).bit_length()}": 1,
        }
        if payload.is_warned:
            counts["warned"] = 1
        return cls(queue, payload.task, counts, size_bytes)

    def merged_with(self, other: Entry) -> Entry:
        """Return an entry that counts what both do, of the same task and queue."""
        counts = dict(self.counts)
        for metric, number in other.counts.items():
            counts[metric] = counts.get(metric, 0) + number
        return Entry(self.queue, self.task, counts, max(self.largest_bytes, other.largest_bytes))


def record(target: Redis | Pipeline, entries: Iterable[Entry]) -> None:
    """Count entries in one command, on a connection or as part of a caller's pipeline."""
    texts = _texts(entries)
    if texts and isinstance(target, Pipeline) and address_of(target.connection_pool) not in _allows:
        _find_out(Redis(connection_pool=target.connection_pool))
    if texts and runs_scripts(target):
        target.eval(_COUNT_SCRIPT, 2, TOTALS_KEY, _this_hour_key(), _KEPT_SECONDS, *texts)


def execute(connection: Redis, pipeline: Pipeline, entries: list[Entry]) -> None:
    """Run what a pipeline holds and count entries, in one round trip.

    One script runs it: that takes two thirds of the time of a MULTI, where the client reads an answer
    for every command. As in a MULTI nobody comes in between, and a command that fails leaves those
    before it; what fails is not counted.
    """
    if not runs_scripts(connection) or not all(command[0] in _SCRIPTABLE for command, _ in pipeline.command_stack):
        record(pipeline, entries)
        pipeline.execute()
        return
    texts = _texts(entries)
    numbers = f"{_KEPT_SECONDS} {len(texts)}"
    words: list[Any] = []
    for command, _ in pipeline.command_stack:
        numbers += f" {len(command)}"
        words += command
    arguments = (TOTALS_KEY, _this_hour_key(), numbers, *texts, *words)
    try:
        try:
            connection.evalsha(_RUN_AND_COUNT_SHA, 2, *arguments)
        except NoScriptError:  # the first time, or after SCRIPT FLUSH
            connection.eval(_RUN_AND_COUNT_SCRIPT, 2, *arguments)
    except NoPermissionError:
        give_up(connection)  # nothing has been done yet
        pipeline.execute()
    else:
        _remember(connection, allows=True)


def _find_out(connection: Redis) -> None:
    """Ask Redis once whether it allows this user to count, before a count that it refuses fails a job."""
    if not runs_scripts(connection):
        return
    try:
        connection.eval(_COUNT_SCRIPT, 2, TOTALS_KEY, _this_hour_key(), _KEPT_SECONDS)
    except NoPermissionError:
        give_up(connection)
    except RedisError:
        pass  # what is written next tells
    else:
        _remember(connection, allows=True)


def give_up(connection: Redis) -> None:
    """Count nothing for this user of Redis any more, since it is not allowed."""
    _remember(connection, allows=False)
    logger.warning("jobs are not counted: this user of Redis may not run EVAL, or not use %s", TOTALS_KEY)


def run_and_count(connection: Redis, script: str, keys: Sequence[Any], args: Sequence[Any], entry: Entry) -> Any:
    """Run a script of RQ's and, if it returns 1, count an entry; return what it returned."""
    texts = _texts([entry])
    wrapped = _SCRIPT_AND_COUNT % script
    ledger_keys = (TOTALS_KEY, _this_hour_key())
    return connection.eval(wrapped, 2 + len(keys), *ledger_keys, *keys, _KEPT_SECONDS, *texts, *args)


def record_missing(connection: Redis, queue: str, task: str, number: int) -> None:
    """Count refs without a row, as far as Redis can be reached."""
    send(connection, [Entry(queue, task, {"missing": number})])


def send(connection: Redis, entries: Iterable[Entry]) -> None:
    """Count entries in a round trip of their own, as far as Redis can be reached."""
    try:
        record(connection, entries)
    except NoPermissionError:
        give_up(connection)
    except RedisError as error:
        logger.warning("the ledger could not be written (%s)", type(error).__name__)


def _texts(entries: Iterable[Entry]) -> list[str]:
    merged: dict[str, Entry] = {}
    for entry in entries:
        suffix = f":{entry.task}:{entry.queue}"
        merged[suffix] = entry if suffix not in merged else merged[suffix].merged_with(entry)
    texts = []
    for suffix, entry in merged.items():
        counts = "".join([f" {metric} {number}" for metric, number in entry.counts.items()])
        texts.append(f"{entry.largest_bytes}{counts}\n{suffix}")
    return texts


def runs_scripts(target: Redis | Pipeline) -> bool:
    """Return whether anything can be counted here."""
    pool = target.connection_pool
    # fakeredis knows EVAL only with its extra "lua"; without, a transaction that holds it is aborted.
    return _allows.get(address_of(pool), True) and (_HAS_LUA or not is_fake(pool))


def _remember(connection: Redis, *, allows: bool) -> None:
    if len(_allows) >= MOST_ADDRESSES:
        _allows.clear()
    _allows[address_of(connection.connection_pool)] = allows


def _this_hour_key() -> str:
    return _hour_key_since_epoch(int(time.time()) // 3600)


@lru_cache(maxsize=2)
def _hour_key_since_epoch(hours: int) -> str:
    return hour_key(datetime.fromtimestamp(hours * 3600, timezone.utc))


def hour_key(hour: datetime) -> str:
    """Return the key of an hour in UTC."""
    return f"{HOUR_KEY_PREFIX}{hour:%Y%m%d%H}"


_allows: dict[Hashable, bool] = {}  # whether Redis has allowed counting, or refused it, by address
_HAS_LUA = importlib.util.find_spec("lupa") is not None
