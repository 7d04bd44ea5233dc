"""What an audit has found, whatever it is shown as: as sentences, and for JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from slimjobs.sizes import format_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from slimjobs.backlog.audit import Audit
    from slimjobs.backlog.due import Due
    from slimjobs.backlog.orphans import Orphans
    from slimjobs.backlog.sums import Sizes
    from slimjobs.cli.kinds import Size

_MOST_ORPHANS = 10


class Finding(NamedTuple):
    """A sentence about the backlog.

    Attributes:
        text: The sentence, without a full stop.
        is_problem: Whether somebody should do something.
    """

    text: str
    is_problem: bool


class Report(NamedTuple):
    """An audit that was finished, and what it was held against.

    Attributes:
        audit: The jobs, added up.
        due_now: The due jobs of which a scheduler will hold the most; None where no job is due.
        due_within_the_hour: The same of those that are due within the hour.
        orphans: The jobs that no list has; None where they were not looked for.
        queues: The names of the queues that were asked for; none for all.
        memory: What the process of the scheduler may use.
        larger_than: The size that jobs should not be over, or None.
    """

    audit: Audit
    due_now: Due | None
    due_within_the_hour: Due | None
    orphans: Orphans | None
    queues: Sequence[str]
    memory: Size
    larger_than: Size | None

    def findings(self) -> Iterator[Finding]:
        """Yield what is to be said beside the numbers."""
        audit = self.audit
        yield from self._scheduler()
        if audit.lasting.count:
            expire = "expires" if audit.lasting.count == 1 else "expire"
            yield Finding(
                f"{_many(audit.lasting)} canceled and never {expire}: RQ cleans no registry of canceled jobs", True
            )
        for state, sizes in sorted(audit.unlisted.items()):
            yield Finding(
                f"{_many(sizes)} {shown(state)}, and no registry has {'it' if sizes.count == 1 else 'them'}", True
            )
        if audit.unlisted_lasting.count:
            expire = "expires" if audit.unlisted_lasting.count == 1 else "expire"
            yield Finding(f"{_many(audit.unlisted_lasting)} in no registry and never {expire}", True)
        if self.orphans is not None:
            yield _orphans(self.orphans)
        if self.larger_than is not None and audit.over:
            jobs = "job is" if audit.over == 1 else "jobs are"
            yield Finding(f"{audit.over:,} {jobs} larger than {self.larger_than.text}", True)

    def as_json(self) -> dict[str, Any]:
        """Return all of it as values that JSON has."""
        audit, orphans, larger_than = self.audit, self.orphans, self.larger_than
        return {
            "jobs": audit.all.count,
            "stored_bytes": audit.all.total_bytes,
            "groups": [
                {**name._asdict(), **_sizes(group.stored), "data_bytes": group.data_bytes}
                | {"payload_bytes": group.payload_bytes}
                | {"result_bytes": group.result_bytes, "error_bytes": group.error_bytes}
                for name, group in sorted(audit.groups.items(), key=lambda pair: -pair[1].stored.total_bytes)
            ],
            "sizes": {str(size_bytes): count for size_bytes, count in audit.all.by_power().items()},
            "largest": [
                {"id": row.id, **row.measured.name._asdict(), "stored_bytes": row.measured.stored_bytes}
                | {"data_bytes": row.measured.data_bytes, "created_at": row.created_at}
                for row in audit.largest
            ],
            "due": {"now": _due(self.due_now), "hour": _due(self.due_within_the_hour)},
            "memory_bytes": self.memory,
            "canceled_for_ever": _count(audit.lasting),
            "in_no_registry": {state: _count(sizes) for state, sizes in sorted(audit.unlisted.items())},
            "in_no_registry_for_ever": _count(audit.unlisted_lasting),
            "orphans": None if orphans is None else [row.id for row in orphans.found],
            "larger_than": None if larger_than is None else {"bytes": larger_than, "jobs": audit.over},
        }

    def _scheduler(self) -> Iterator[Finding]:
        now, hour = self.due_now, self.due_within_the_hour
        for found, words in ((now, "due now"), (None if hour == now else hour, "due within the hour")):
            if found is not None:
                is_problem = found.held_bytes > self.memory
                about = "about" if found.is_sampled else "at least"
                yield Finding(
                    f"RQ's scheduler would hold {about} {format_size(found.held_bytes)}, "
                    f"{'more than' if is_problem else 'of'} {self.memory.text}, "
                    f"for the {'job' if found.jobs == 1 else f'{found.jobs:,} jobs'} {words} on {found.queue}",
                    is_problem,
                )
        if hour is None:
            yield Finding("no job is due within the hour", False)


def shown(name: str) -> str:
    """Return the name of a queue, state or task as it is shown: jobs may have none."""
    return name or "(none)"


def _orphans(orphans: Orphans) -> Finding:
    found = orphans.found
    if not found:
        return Finding("all queued, scheduled and deferred jobs are in their lists", False)
    names = [f"{row.id} ({row.measured.name.state} on {row.measured.name.queue})" for row in found[:_MOST_ORPHANS]]
    more = f", and {len(found) - _MOST_ORPHANS:,} more" if len(found) > _MOST_ORPHANS else ""
    many = (
        "1 job is in no list of its state" if len(found) == 1 else f"{len(found):,} jobs are in no list of their state"
    )
    return Finding(f"{many}: {', '.join(names)}{more}", True)


def _many(sizes: Sizes) -> str:
    size = format_size(sizes.total_bytes)
    return f"1 job ({size}) is" if sizes.count == 1 else f"{sizes.count:,} jobs ({size}) are"


def _due(found: Due | None) -> dict[str, Any] | None:
    return None if found is None else {**found._asdict(), "held_bytes": found.held_bytes}


def _count(sizes: Sizes) -> dict[str, int]:
    return {"jobs": sizes.count, "stored_bytes": sizes.total_bytes}


def _sizes(stored: Sizes) -> dict[str, int]:
    return {
        **_count(stored),
        "median_bytes": stored.quantile(0.5),
        "p99_bytes": stored.quantile(0.99),
        "largest_bytes": stored.largest_bytes,
    }
