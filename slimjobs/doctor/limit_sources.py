"""Which limits hold where, and from where each of them comes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from slimjobs import limits as known
from slimjobs.doctor.findings import WARNING, Finding
from slimjobs.limits import Limits, read_environment, settings
from slimjobs.queue import Queue
from slimjobs.sizes import format_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from slimjobs.backlog.processes import Process
    from slimjobs.doctor.writers import Writer

NAMES = ("max_bytes", "warn_bytes", "max_batch_bytes", "max_result_bytes", "mode")
DEFAULT = "default"


class Place(NamedTuple):
    """Where limits hold.

    Attributes:
        where: "process", "queue mail", or "task app.jobs.send_email on mail".
        values: The limits by name, sizes in bytes.
        sources: Where each comes from: "task", "queue", "configure()", the name of a variable of the environment, or
            `DEFAULT`.
    """

    where: str
    values: dict[str, Any]
    sources: dict[str, str]


def places(writers: Sequence[Writer]) -> list[Place]:
    """Return the limits of this process, and of all queues and tasks that have their own.

    Args:
        writers: The queues and tasks of the application.
    """
    levels = _levels_of_process()
    found = {"process": _place("process", levels)}
    for writer in writers:
        queue = writer.queue
        if isinstance(queue, Queue) and queue.limits.given:
            where = f"queue {queue.name}"
            found[where] = _place(where, [("queue", queue.limits), *levels])
    for writer in writers:
        own = known.own_limits.get(writer.task)
        if own is not None and own.given:
            queue = writer.queue
            of_queue = [("queue", queue.limits)] if isinstance(queue, Queue) else []
            where = f"task {writer.task}"
            found[where] = _place(where, [("task", own), *of_queue, *levels])
    return list(found.values())


def check_limits(workers: Sequence[Process]) -> Iterator[Finding]:
    """Yield the workers whose limits are not those of this process: of results, and of what jobs enqueue.

    Args:
        workers: The workers.
    """
    here = settings().limits
    for worker in workers:
        if worker.mark is None:
            continue
        try:
            there = Limits(**worker.mark.limits)
        except (TypeError, ValueError):  # of a later slimjobs
            continue
        others = [name for name in NAMES if getattr(there, name) != getattr(here, name)]
        if others:
            words = ", ".join(
                f"{name} {shown(getattr(there, name))} (here {shown(getattr(here, name))})" for name in others
            )
            fix = "Set the same SLIMJOBS_* variables where jobs are enqueued and where they run."
            yield Finding(f"worker {worker.name}", WARNING, f"it has other limits: {words}", fix)


def shown(value: Any) -> str:
    """Return a limit as text that can be parsed."""
    return format_size(value) if isinstance(value, int) else str(value)


def _levels_of_process() -> list[tuple[str, Limits]]:
    given = settings().limits.given
    of_environment = read_environment(dict(os.environ)).limits.given
    levels = [
        (f"SLIMJOBS_{name.upper()}", Limits(**{name: value}))
        for name, value in of_environment.items()
        if given.get(name) == value
    ]
    return [*levels, ("configure()", Limits(**given))]


def _place(where: str, levels: Sequence[tuple[str, Limits]]) -> Place:
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for name in NAMES:
        level = next(((source, limits) for source, limits in levels if name in limits.given), (DEFAULT, Limits()))
        sources[name], values[name] = level[0], getattr(level[1], name)
    return Place(where, values, sources)
