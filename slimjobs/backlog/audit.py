"""What a backlog holds: bytes by queue, state and task, the largest jobs, and those that nothing will ever remove."""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from slimjobs.backlog.rows import Tally
from slimjobs.backlog.scan import NO_ROWS
from slimjobs.backlog.sums import Sizes, round_up

if TYPE_CHECKING:
    from collections.abc import Iterable

    from slimjobs.backlog.rows import JobRow, Measured, Name, Step
    from slimjobs.ledger import LedgerRow

# More would not be read, and every one takes memory.
_MOST_GROUPS = 2_000
OTHER_TASKS = "(other tasks)"


@dataclass
class Group:
    """The jobs of one task in one state on one queue.

    Attributes:
        stored: All bytes of each job in Redis.
        data_bytes: Those of their payloads.
        payload_bytes: About what their payloads are before compression, where the ledger has counted the task; else
            None.
        result_bytes: Those of what they returned.
        error_bytes: Those of what they failed with.
    """

    stored: Sizes = field(default_factory=Sizes)
    data_bytes: int = 0
    payload_bytes: int | None = None
    result_bytes: int = 0
    error_bytes: int = 0


class Audit:
    """Jobs that were added up.

    Args:
        largest: How many of the largest jobs are kept.

    Attributes:
        groups: The jobs by queue, state and task.
        all: The stored bytes of all of them.
        largest: The largest jobs, largest first.
        over: How many are larger than the scan was told that they should be.
        lasting: By state, the canceled jobs that never expire.
        unlisted: By state, those that no registry of their state has; queued jobs are not looked for.
        unlisted_lasting: The same of those that never expire.
    """

    def __init__(self, largest: int = 10) -> None:
        self.groups: dict[Name, Group] = {}
        self.all = Sizes()
        self.largest: list[JobRow] = []
        self.over = 0
        self.lasting = Sizes()
        self.unlisted: dict[str, Sizes] = {}
        self.unlisted_lasting = Sizes()
        self._most_kept = largest

    def add(self, step: Step) -> None:
        """Add what a step of a scan has found."""
        for tally in step.tallies:
            self._add(tally)
        for row in step.rows:
            self._keep(row)
        self.over += step.too_large

    def add_job(self, job: Measured) -> None:
        """Add a job by itself."""
        name, *sizes, is_listed, expires = job
        largest = (job.stored_bytes, [round_up(job.stored_bytes)])
        self._add(Tally._make((name, is_listed, expires, 1, *sizes, *largest)))

    @property
    def least_kept(self) -> int:
        """The bytes that a job must be over to be among the largest."""
        if not self._most_kept:
            return NO_ROWS
        return self.largest[-1].measured.stored_bytes if len(self.largest) == self._most_kept else -1

    def finish(self, counted: Iterable[LedgerRow] = ()) -> None:
        """Add up what the groups hold.

        Args:
            counted: What the ledger has of tasks, which tells how far their payloads were compressed.
        """
        ratios = {(row.queue, row.task): row.payload_bytes / row.stored_bytes for row in counted if row.stored_bytes}
        for name, group in self.groups.items():
            self.all.merge(group.stored)
            ratio = ratios.get((name.queue, name.task))
            if ratio is not None:
                group.payload_bytes = round(group.data_bytes * ratio)

    def by(self, *names: str) -> list[tuple[tuple[str, ...], Group]]:
        """Return the groups added up by some of "queue", "state" and "task", the most bytes first."""
        sums: dict[tuple[str, ...], Group] = {}
        for key, group in self.groups.items():
            total = sums.setdefault(tuple(getattr(key, name) for name in names), Group(payload_bytes=0))
            total.stored.merge(group.stored)
            total.data_bytes += group.data_bytes
            if total.payload_bytes is None or group.payload_bytes is None:
                total.payload_bytes = None
            else:
                total.payload_bytes += group.payload_bytes
            total.result_bytes += group.result_bytes
            total.error_bytes += group.error_bytes
        return sorted(sums.items(), key=lambda pair: (-pair[1].stored.total_bytes, pair[0]))

    def _group(self, name: Name) -> Group:
        if len(self.groups) >= _MOST_GROUPS:
            name = name._replace(task=OTHER_TASKS)
        return self.groups.setdefault(name, Group())

    def _add(self, tally: Tally) -> None:
        group = self.groups.get(tally.name) or self._group(tally.name)
        _add_sizes(group.stored, tally)
        group.data_bytes += tally.data_bytes
        group.result_bytes += tally.result_bytes
        group.error_bytes += tally.error_bytes
        if tally.is_listed is False:
            _add_sizes(self.unlisted.setdefault(tally.name.state, Sizes()), tally)
            if not tally.expires:
                _add_sizes(self.unlisted_lasting, tally)
        if tally.name.state == "canceled" and not tally.expires:
            _add_sizes(self.lasting, tally)

    def _keep(self, row: JobRow) -> None:
        if self._most_kept and row.measured.stored_bytes > self.least_kept:
            insort(self.largest, row, key=lambda kept: -kept.measured.stored_bytes)
            del self.largest[self._most_kept :]


def _add_sizes(sizes: Sizes, tally: Tally) -> None:
    sizes.add(tally.jobs, tally.stored_bytes, tally.largest_bytes, tally.sizes)
