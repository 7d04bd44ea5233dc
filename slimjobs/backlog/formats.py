"""In which format the payloads of jobs are that will be run: slim, pickled, JSON; told by their first bytes."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from slimjobs.backlog.keys import JOB_PREFIX
from slimjobs.backlog.scan import PEEKED_BYTES, Scan
from slimjobs.codec import MAGIC
from slimjobs.compression import inflate_beginning
from slimjobs.fields import find_task
from slimjobs.marks import JSON, PICKLE, SLIM

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from redis import Redis

    from slimjobs.backlog.rows import JobRow, Name

IN_FLIGHT = ("queued", "scheduled", "deferred", "started", "rate_limited", "ready_to_enqueue")
# What `rq requeue` brings back.
REQUEUEABLE = ("failed", "stopped")
OTHER = "unknown"

# The tables of zlib data alone may take 550 bytes (RFC 1951, 3.2.7).
_BEGINNING_BYTES = 1024
# A script copies the whole payload to see its beginning, which takes some 1 us a KiB. Of larger ones some are fetched
# instead, as a worker would, and stand for the others of their task.
_PEEKED_BYTES = 2**20
_STEP_BYTES = 2**20
_MOST_FETCHED, _FETCHED_BYTES = 3, 16 * 2**20
_STEP_JOBS = 100
_REST = 2.0
_BEGINNINGS = f"""
local found = {{}}
for place, id in ipairs(ARGV) do
  local size_bytes = redis.pcall('HSTRLEN', '{JOB_PREFIX}' .. id, 'data')
  if type(size_bytes) == 'number' and size_bytes <= {_PEEKED_BYTES} then
    found[place] = string.sub(redis.call('HGET', '{JOB_PREFIX}' .. id, 'data') or '', 1, {_BEGINNING_BYTES})
  else
    found[place] = ''
  end
end
return found
"""


@dataclass
class Formats:
    """How many payloads there are of each format.

    Attributes:
        by_name: The jobs by queue, state and task: how many of each format.
        likely: How many of those, by name and format, are too large to be looked at one by one, and count as others
            of their task.
    """

    by_name: dict[Name, Counter[str]] = field(default_factory=dict)
    likely: Counter[tuple[Name, str]] = field(default_factory=Counter)

    def not_looked_at(self, queue: str) -> int:
        """Return how many jobs of a queue are only likely to have the format that they count for."""
        return sum(jobs for (name, _), jobs in self.likely.items() if name.queue == queue)

    def on(self, queue: str, states: Collection[str] = IN_FLIGHT) -> Counter[str]:
        """Return how many jobs of a queue in these states have each format."""
        found: Counter[str] = Counter()
        for name, counts in self.by_name.items():
            if name.queue == queue and name.state in states:
                found.update(counts)
        return found

    def tasks(self, states: Collection[str] = IN_FLIGHT) -> dict[str, int]:
        """Return how many jobs in these states each task has."""
        found: Counter[str] = Counter()
        for name, counts in self.by_name.items():
            if name.state in states:
                found[name.task] += counts.total()
        return dict(found)


class FormatScan:
    """A look at all jobs that will be run, or may be brought back.

    Args:
        connection: The Redis; decoded responses must be off.
        queues: The names of the queues that are asked for; all where there is none.

    Attributes:
        formats: What was found so far.
        keys_seen: How many keys were looked at so far, jobs or not.
    """

    def __init__(self, connection: Redis, queues: Collection[str] = ()) -> None:
        self._connection = connection
        self._scan = Scan(connection, queues, more_than=-1)
        self._script = connection.register_script(_BEGINNINGS)
        self._fetched: dict[Name, list[tuple[Name, str]]] = {}
        self._large: Counter[Name] = Counter()
        self.formats = Formats()

    @property
    def keys_seen(self) -> int:
        """How many keys were looked at so far."""
        return self._scan.keys_seen

    def __iter__(self) -> Iterator[None]:
        """Go on step by step; `formats` is complete at the end."""
        for step in self._scan:
            rows = [row for row in step.rows if row.measured.name.state in (*IN_FLIGHT, *REQUEUEABLE)]
            for some in _in_steps(rows):
                self._look_at(some)
            yield
        for name, jobs in self._large.items():
            # The most frequent of those that were fetched.
            ((likely, _),) = Counter(self._fetched.get(name, [(name, OTHER)])).most_common(1)
            self._count(*likely, jobs)
            self.formats.likely[likely] += jobs

    def _look_at(self, rows: Sequence[JobRow]) -> None:
        began = time.perf_counter()
        beginnings: Any = self._script(args=[row.id for row in rows])
        for row, beginning in zip(rows, beginnings, strict=True):
            name, data_bytes = row.measured.name, row.measured.data_bytes
            fetched = self._fetched.setdefault(name, []) if data_bytes > _PEEKED_BYTES else []
            if data_bytes <= _PEEKED_BYTES:
                # The scan has looked at smaller ones itself.
                self._count(_told(name, beginning) if data_bytes > PEEKED_BYTES else name, format_of(beginning))
            elif len(fetched) < _MOST_FETCHED and data_bytes <= _FETCHED_BYTES:
                peeked = self._fetch(row.id)
                fetched.append((_told(name, peeked), format_of(peeked)))
                self._count(*fetched[-1])
            else:
                self._large[name] += 1
        time.sleep((time.perf_counter() - began) * _REST)

    def _fetch(self, job_id: str) -> bytes:
        data: Any = self._connection.hget(JOB_PREFIX + job_id, "data")
        return bytes(data or b"")[:_BEGINNING_BYTES]

    def _count(self, name: Name, found: str, jobs: int = 1) -> None:
        self.formats.by_name.setdefault(name, Counter())[found] += jobs


def _told(name: Name, beginning: bytes) -> Name:
    """Return a name with the task that a payload tells, where it does: a description may tell something else."""
    found = find_task(beginning, None)
    return name._replace(task=found[0]) if found else name


def _in_steps(rows: Sequence[JobRow]) -> Iterator[list[JobRow]]:
    """Yield rows in parts of which a script copies no more than a step may."""
    step: list[JobRow] = []
    copied_bytes = 0
    for row in rows:
        job_bytes = row.measured.data_bytes if row.measured.data_bytes <= _PEEKED_BYTES else 0
        if len(step) == _STEP_JOBS or (step and copied_bytes + job_bytes > _STEP_BYTES):
            yield step
            step, copied_bytes = [], 0
        step.append(row)
        copied_bytes += job_bytes
    if step:
        yield step


def format_of(beginning: bytes) -> str:
    """Return the format of a payload, by the first bytes of what is stored."""
    payload = inflate_beginning(beginning, _BEGINNING_BYTES)
    if payload[:1] == MAGIC:
        return SLIM
    if payload[:1] == b"\x80":  # PROTO, with which pickles begin since protocol 2
        return PICKLE
    return JSON if payload[:1] in (b"[", b"{") else OTHER
