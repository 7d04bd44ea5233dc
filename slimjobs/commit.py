"""Enqueue after the transaction commits."""

from __future__ import annotations

from functools import partial
from threading import Lock
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from rq.job import Job as RQJob

from slimjobs import listeners
from slimjobs.logs import logger
from slimjobs.versions import DuplicateJobError, has_rate_limit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from redis.client import Pipeline
    from rq.queue import Queue as RQQueue

    from slimjobs.locators import Transaction
    from slimjobs.options import Commit


class Waiting:
    """Jobs that are written when all of some transactions have committed, and dropped when one is rolled back.

    Only the transactions hold it: with the last of them that forgets it, it is gone.
    """

    def __init__(self, transactions: Sequence[Transaction], jobs: Sequence[RQJob], write: Callable[[], object]) -> None:
        self._left = set(transactions)
        self._jobs = jobs
        self._write = write
        self._lock = Lock()
        for job in jobs:
            _waiting[job.id] = self
        for transaction in transactions:
            transaction.on_commit(partial(self._on_commit, transaction))

    @property
    def transactions(self) -> frozenset[Transaction]:
        """The transactions that have not committed yet."""
        return frozenset(self._left)

    def _on_commit(self, transaction: Transaction) -> None:
        with self._lock:
            if transaction not in self._left:
                return
            self._left.discard(transaction)
            if self._left:
                return
        for job in self._jobs:
            _waiting.pop(job.id, None)
        ids = ", ".join(job.id for job in self._jobs)
        try:
            self._write()
        except DuplicateJobError:
            logger.warning("after the commit: job %s was not enqueued, there is one of its id", ids)
        except Exception as error:
            # The rows are there and the jobs are not: whoever commits is told, and so is the log.
            logger.error("after the commit: job %s was not enqueued (%s)", ids, type(error).__name__)
            raise


def transactions_of(jobs: Iterable[tuple[RQJob, Iterable[Transaction]]]) -> tuple[Transaction, ...]:
    """Return the open transactions that jobs have to wait for.

    A job that depends on one that waits does so too: RQ takes a dependency that is not there for one that
    is met.

    Args:
        jobs: Each job with the transactions that its rows may be part of.
    """
    found: dict[Transaction, None] = {}
    for job, transactions in jobs:
        found.update(dict.fromkeys(transactions))
        if _waiting and job._dependency_ids:
            for dependency_id in job._dependency_ids:
                dependency = _waiting.get(dependency_id)
                if dependency is not None:
                    found.update(dict.fromkeys(dependency.transactions))
    return tuple(transaction for transaction in found if transaction.is_open())


def has_waiting() -> bool:
    """Return whether any job of this process waits for a transaction."""
    return bool(_waiting)


def wait(
    queue: RQQueue,
    jobs: Sequence[RQJob],
    transactions: Sequence[Transaction],
    write: Callable[[], object],
    pipeline: Pipeline | None = None,
    *,
    unique: bool = False,
) -> bool:
    """Let jobs be written when transactions have committed, and return whether they wait.

    Args:
        queue: The queue.
        jobs: The jobs.
        transactions: What `transactions_of` returned; where it is nothing, nothing waits.
        write: Writes the jobs.
        pipeline: The caller's pipeline, which cannot wait.
        unique: Whether RQ is to refuse a job if there is one of its id.

    Raises:
        ValueError: RQ knows no such combination of options.
        DuplicateJobError: There is a job of this id already.
    """
    if not transactions:
        return False
    if pipeline is not None:
        logger.warning(
            "%s: enqueued in a pipeline, which cannot wait for the transaction of its rows: a worker may not find them",
            ", ".join(dict.fromkeys(str(job.func_name) for job in jobs)),
            extra={"queue": queue.name},
        )
        return False
    for job in jobs:
        refuse_as_rq(queue, job, unique)
        if unique and (_is_waiting(job.id) or RQJob.exists(job.id, queue.connection)):
            raise DuplicateJobError(f"Job with ID '{job.id}' already exists")
    Waiting(transactions, jobs, write)
    for job in jobs:
        listeners.waits(job)
    return True


def set_commit(task: str, commit: Commit) -> None:
    """Set when the jobs of the task with this import path are enqueued; the decorator does."""
    _commits[task] = commit


def commit_for(task: str | None, own: Commit | None, queues: Commit | None = None) -> Commit | None:
    """Return when a job is enqueued: as it says itself, or its task, or its queue; None where none of them says it."""
    return own or _commits.get(task or "") or queues


def _is_waiting(job_id: str) -> bool:
    waiting = _waiting.get(job_id)
    # An ORM may hold what it will never call for a while after a rollback.
    return waiting is not None and all(transaction.is_open() for transaction in waiting.transactions)


def refuse_as_rq(queue: RQQueue, job: RQJob, unique: bool) -> None:
    """Raise what RQ would raise when the job is written, now: it will be written later.

    Args:
        queue: The queue.
        job: The job.
        unique: Whether RQ is to refuse it if there is one of its id.

    Raises:
        ValueError: RQ knows no such combination of options (see `rq.queue.Queue.enqueue_job`).
    """
    if has_rate_limit(job):
        queue._check_rate_limit_namespace(job)
        if not queue.is_async:
            raise ValueError("rate_limit is not supported on synchronous queues (is_async=False)")
    if unique and job._dependency_ids:
        raise ValueError("unique=True is not supported with job dependencies")
    if unique and has_rate_limit(job):
        raise ValueError("unique=True is not supported with rate-limited jobs")


_waiting: WeakValueDictionary[str, Waiting] = WeakValueDictionary()
_commits: dict[str, Commit] = {}
