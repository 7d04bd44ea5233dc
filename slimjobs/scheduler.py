"""RQ's scheduler, reading with slimjobs' serializer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rq.scheduler import RQScheduler

from slimjobs.serializer import Serializer

if TYPE_CHECKING:
    from redis import Redis


class Scheduler(RQScheduler):
    """Moves due jobs to their queues; see `rq.scheduler.RQScheduler`."""

    def __init__(self, queues: Any, connection: Redis, *, serializer: Any = None, **options: Any) -> None:
        super().__init__(queues, connection, serializer=serializer or Serializer, **options)
