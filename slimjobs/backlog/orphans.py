"""Finds the jobs that no list has, though their state says so: a worker or a scheduler will never come by them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slimjobs.backlog.due import queue_names
from slimjobs.backlog.keys import JOB_PREFIX, QUEUE_PREFIX, REGISTRY_PREFIXES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from redis import Redis

    from slimjobs.backlog.rows import JobRow

_STEP_IDS = 1000
_STATES = ("queued", "scheduled", "deferred")
_MOST_SUSPECTS = 100_000


class Orphans:
    """A full check of the states whose lists may be as long as the backlog; it takes less than 100 bytes a job.

    Args:
        connection: The Redis.
        queues: The names of the queues that jobs belong to; RQ's own list of queues is read too.

    Attributes:
        found: The orphans, once `finish` was called; the first 100,000.
    """

    def __init__(self, connection: Redis, queues: Collection[str] = ()) -> None:
        self._connection = connection
        self._queues = set(queues)
        self._suspects: list[JobRow] = []
        self.found: list[JobRow] = []
        # Hashes of 64 bits: that two of a million are alike has odds of 1 to 10 million.
        self._listed = {hash(entry) for entry in self._entries()}

    def look_at(self, rows: Iterable[JobRow]) -> None:
        """Look for orphans among jobs of a scan."""
        listed = self._listed
        for row in rows:
            state = row.measured.name.state
            if state in _STATES and hash((state, row.id)) not in listed and len(self._suspects) < _MOST_SUSPECTS:
                self._suspects.append(row)

    def finish(self) -> None:
        """Settle which of those are orphans: jobs that were enqueued meanwhile are listed by now."""
        if self._suspects:
            self._queues.update(row.measured.name.queue for row in self._suspects)
            suspects = {(row.measured.name.state, row.id) for row in self._suspects}
            suspects.difference_update(entry for entry in self._entries() if entry in suspects)
            missing = [row for row in self._suspects if (row.measured.name.state, row.id) in suspects]
            self.found = [row for row in missing if self._is_still(row)]

    def _is_still(self, row: JobRow) -> bool:
        """Return whether a job is in the state that it was in; most that are missing have gone on meanwhile."""
        state: Any = self._connection.hget(JOB_PREFIX + row.id, "status")
        return bool(state == row.measured.name.state.encode())

    def _entries(self) -> Iterator[tuple[str, str]]:
        """Yield (state, id) of all that is listed."""
        for queue in self._queues.union(queue_names(self._connection)):
            for job_id in self._walk("lrange", QUEUE_PREFIX + queue):
                yield "queued", job_id
            for state in _STATES[1:]:
                for job_id in self._walk("zrange", REGISTRY_PREFIXES[state] + queue):
                    yield state, job_id

    def _walk(self, command: str, key: str) -> Iterator[str]:
        start = 0
        while True:
            ids: Any = getattr(self._connection, command)(key, start, start + _STEP_IDS - 1)
            yield from (job_id.decode(errors="replace") for job_id in ids)
            if len(ids) < _STEP_IDS:
                return
            # Entries that were taken off meanwhile let others move up: some are read twice, and none is left out.
            start += _STEP_IDS * 9 // 10
