"""Which jobs are meant: by size, task, queue, state and age."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from slimjobs.backlog.scan import Scan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

    from slimjobs.backlog.rows import JobRow

# More are left for another run: they take memory.
MOST_JOBS = 100_000


@dataclass(frozen=True)
class Selection:
    """Jobs that have all of this in common.

    Attributes:
        larger_than: Their stored bytes are more; None for any.
        task: A pattern of their task, such as "app.mail.*"; "" for any.
        queues: The names of their queues; any where there is none.
        states: Their states; any but started where there is none.
        older_than: They were made longer ago, in seconds; None for any age.
    """

    larger_than: int | None = None
    task: str = ""
    queues: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    older_than: float | None = None

    def rows(self, connection: Redis) -> Iterator[list[JobRow]]:
        """Yield the jobs that are meant, step by step of a scan."""
        before = ""
        if self.older_than is not None:
            before = (datetime.now(timezone.utc) - timedelta(seconds=self.older_than)).isoformat()
        more_than = -1 if self.larger_than is None else self.larger_than
        task = re.split(r"[*?[]", self.task)[0]
        scan = Scan(connection, self.queues, more_than, states=self.states, task=task)
        for step in scan:
            yield [row for row in step.rows if self._has(row, before)]

    def _has(self, row: JobRow, before: str) -> bool:
        state = row.measured.name.state
        return (
            (state in self.states if self.states else state != "started")
            and (not self.task or fnmatchcase(row.measured.name.task, self.task))
            # Both are ISO 8601 in UTC: their order is that of time, as far as they are alike, to the second.
            and (not before or "" < row.created_at[:19] < before[:19])
        )
