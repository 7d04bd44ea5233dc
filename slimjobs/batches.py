"""Calls of one `enqueue_many`: what is known of each, and all together held against `max_batch_bytes`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from rq.queue import EnqueueData

from slimjobs import listeners, refusals
from slimjobs.errors import BatchTooLargeError
from slimjobs.logs import logger
from slimjobs.sizes import format_pair

if TYPE_CHECKING:
    from rq.queue import Queue as RQQueue
    from rq.serializers import Serializer as RQSerializer

    from slimjobs.limits import Limits
    from slimjobs.locators import Transaction


class Known(NamedTuple):
    """What is known of a checked call, and has no place in RQ.

    Attributes:
        task: The import path of its task.
        payload_bytes: What a worker holds in memory of it.
        transactions: Those that its rows may be part of.
        serializer: What its refs were written for.
    """

    task: str
    payload_bytes: int
    transactions: tuple[Transaction, ...]
    serializer: RQSerializer


class Prepared(EnqueueData):
    """A call for `enqueue_many`, with what is known of it."""

    known: Known

    # The tuple's own leaves behind what is known.
    def _replace(self, **changes: Any) -> Prepared:  # pyright: ignore[reportIncompatibleMethodOverride]  # Python lets one
        return prepared(super()._replace(**changes), self.known)


def prepared(data: EnqueueData, known: Known) -> Prepared:
    """Return a call for `enqueue_many` that remembers what is known of it."""
    remembering = Prepared(*data)
    remembering.known = known
    return remembering


class Batch:
    """What has been added up so far.

    Args:
        queue: The queue that is to write it.
        limits: What holds there.
    """

    def __init__(self, queue: RQQueue, limits: Limits) -> None:
        self._queue = queue
        self._limits = limits
        self._tasks: list[str] = []
        self._size_bytes = 0

    def add(self, task: str, size_bytes: int) -> None:
        """Take one more payload.

        Args:
            task: The import path of its task.
            size_bytes: What a worker holds in memory of it.

        Raises:
            BatchTooLargeError: With it the batch is over its limit; a refusal is counted for each payload of it.
        """
        self._tasks.append(task)
        self._size_bytes += size_bytes
        if self._is_over and self._limits.mode == "reject":
            raise self._refuse()

    def end(self) -> None:
        """Warn of a batch that is over its limit and is not refused."""
        if self._is_over and self._limits.mode == "warn":
            size, limit = format_pair(self._size_bytes, self._limits.max_batch_bytes)
            number = len(self._tasks)
            logger.warning(
                "%s: %d payloads of one enqueue_many are %s, limit is %s", self._queue.name, number, size, limit
            )

    @property
    def _is_over(self) -> bool:
        return self._size_bytes > self._limits.max_batch_bytes

    def _refuse(self) -> BatchTooLargeError:
        for task in self._tasks:
            refusals.note(self._queue.connection, self._queue.name, task)
        limit_bytes = self._limits.max_batch_bytes
        error = BatchTooLargeError(task=self._tasks[-1], size_bytes=self._size_bytes, limit_bytes=limit_bytes)
        error.jobs = len(self._tasks)
        listeners.refused(error)
        return error
