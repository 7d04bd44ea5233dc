"""Unique jobs: RQ's own scripts write them, and count them in the same command."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from redis.exceptions import NoPermissionError

from slimjobs import entries
from slimjobs.jobs import Job
from slimjobs.versions import scripts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from redis import Redis
    from rq.job import Job as RQJob


@contextmanager
def counted(connection: Redis, job: RQJob, unique: bool) -> Iterator[dict[str, bool]]:
    """Let RQ write a job in this block, and count it in the same command where it is unique.

    Args:
        connection: The queue's connection.
        job: The job.
        unique: Whether RQ shall refuse it if there is one of its id.

    Yields:
        What to hand to RQ: the option `unique`, or nothing, since older versions do not know it.
    """
    if not unique:
        yield {}
        return
    _teach(connection)
    token = _waiting.set([job] if isinstance(job, Job) else [])
    try:
        yield {"unique": True}
    finally:
        _waiting.reset(token)


class _CountingScript:
    """A script of RQ's that counts the job that waits for it, if it wrote it."""

    def __init__(self, connection: Redis, text: str) -> None:
        self._connection = connection
        self._text = text
        self._plain = connection.register_script(text)

    def __call__(self, keys: Sequence[Any], args: Sequence[Any]) -> Any:
        waiting = _waiting.get()
        job = waiting.pop() if waiting else None  # once: a synchronous job may enqueue others
        if job is None or job.uncounted is None or not entries.runs_scripts(self._connection):
            return self._plain(keys=keys, args=args)
        try:
            result = entries.run_and_count(self._connection, self._text, keys, args, job.uncounted)
        except NoPermissionError:
            entries.give_up(self._connection)
            return self._plain(keys=keys, args=args)
        if result == 1:
            job.uncounted = None
        return result


def _teach(connection: Redis) -> None:
    """Put scripts that count where RQ keeps its own for a connection, which it makes on demand."""
    for kept, text in (
        ("_registered_scripts", "UNIQUE_ENQUEUE_SCRIPT"),
        ("_registered_schedule_scripts", "UNIQUE_SCHEDULE_SCRIPT"),
    ):
        # Should RQ keep them otherwise one day, its own are used, and the count follows by itself.
        known = getattr(scripts, kept, None)
        source = getattr(scripts, text, None)
        if isinstance(known, dict) and source and not isinstance(known.get(connection), _CountingScript):
            known[connection] = _CountingScript(connection, source)


_waiting: ContextVar[list[Job]] = ContextVar("waiting", default=[])  # noqa: B039  # never added to
