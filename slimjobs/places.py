"""Where a task's jobs go: known at the first enqueue, since connections often come late."""

from __future__ import annotations

import os
from threading import RLock
from typing import TYPE_CHECKING
from weakref import WeakSet

from slimjobs.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis
    from rq.queue import Queue as RQQueue


class Place:
    """Where the jobs of one task go.

    Args:
        queue: The queue, its name, or a function that returns it.
        connection: A Redis, or a function that returns one.
        queue_class: The class of the queue where a name is given.
    """

    def __init__(
        self,
        queue: RQQueue | str | Callable[[], RQQueue],
        connection: Redis | Callable[[], Redis] | None,
        queue_class: type[RQQueue],
    ) -> None:
        self._queue = queue
        self._connection = connection
        self._queue_class = queue_class
        self._lock = RLock()
        _places.add(self)

    @property
    def queue(self) -> RQQueue:
        """The queue; a connection that is a function is asked for it the first time, a queue that is one each time."""
        if callable(self._queue):
            return self._queue()
        with self._lock:
            if isinstance(self._queue, str):
                # A function that returns a Redis can be called, a Redis cannot.
                connection = self._connection() if callable(self._connection) else self._connection
                if connection is None:
                    raise ConfigurationError(
                        f"the task on queue {self._queue!r} has no connection=",
                        hint=f"Write @slimjobs.job({self._queue!r}, connection=redis.Redis(...)).",
                    )
                self._queue = self._queue_class(self._queue, connection=connection)
            return self._queue

    def renew(self) -> None:
        """Be usable in a process that was forked."""
        self._lock = RLock()


def _renew_all() -> None:
    for place in list(_places):
        place.renew()


_places: WeakSet[Place] = WeakSet()
# Another thread of the parent may have held a lock, for ever.
os.register_at_fork(after_in_child=_renew_all)
