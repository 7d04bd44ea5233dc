"""`@job` as django-rq has it: the queue and its connection come from RQ_QUEUES, at the first enqueue."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from django.conf import settings
from django.core.signals import setting_changed
from django_rq.queues import get_queue

from slimjobs import decorator as slim
from slimjobs.contrib.django_rq.queue import Queue
from slimjobs.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis
    from rq.queue import Queue as RQQueue

    from slimjobs.enqueuer import Task

P = ParamSpec("P")
R = TypeVar("R")


@overload
def job(queue: Callable[P, R], /) -> Task[P, R]: ...
@overload
def job(
    queue: RQQueue | str = "default",
    connection: Redis | Callable[[], Redis] | None = None,
    timeout: int | str | None = None,
    *,
    queue_class: type[RQQueue] | str | None = None,
    **options: Any,
) -> Callable[[Callable[P, R]], Task[P, R]]: ...
def job(
    queue: Any = "default",
    connection: Redis | Callable[[], Redis] | None = None,
    timeout: int | str | None = None,
    *,
    queue_class: type[RQQueue] | str | None = None,
    **options: Any,
) -> Any:
    """Let a function enqueue itself; `@job` alone puts its jobs on the queue "default".

    Args:
        queue: The queue, or its name in RQ_QUEUES.
        connection: A Redis, or a function that returns one. Default: that of RQ_QUEUES.
        timeout: How long a job may run, as RQ takes it. Default: the queue's DEFAULT_TIMEOUT.
        queue_class: The class of the queue. Default: QUEUE_CLASS.
        **options: All that `slimjobs.job` takes: `max_bytes`, `on_missing`, `load`, `commit`, `result_ttl`, ...

    Raises:
        ConfigurationError: An option is not known or cannot be read.
    """
    if callable(queue):
        return slim.job(partial(_queue, "default"))(queue)
    if isinstance(queue, str):
        place = partial(_queue, queue, connection, queue_class)
        return slim.job(place, timeout=timeout, **options)
    return slim.job(queue, timeout=timeout, **options)


def _queue(
    name: str,
    connection: Redis | Callable[[], Redis] | None = None,
    queue_class: type[RQQueue] | str | None = None,
) -> RQQueue:
    """Return the queue of a name, the same each time: each has a pool of connections."""
    key = (name, connection, queue_class)
    queue = _queues.get(key)
    if queue is None:
        queue = _queues[key] = _make(name, connection() if callable(connection) else connection, queue_class)
    return queue


def _make(name: str, connection: Redis | None, queue_class: type[RQQueue] | str | None) -> RQQueue:
    if name in getattr(settings, "RQ_QUEUES", {}):
        return get_queue(name, connection=connection, queue_class=queue_class)
    if connection is None:
        raise ConfigurationError(
            f"a task is on the queue {name!r}, which is not in RQ_QUEUES",
            hint="Add it to RQ_QUEUES, or give @job a connection=.",
        )
    return (queue_class if isinstance(queue_class, type) else Queue)(name, connection=connection)


def _forget(*, setting: str, **_: Any) -> None:
    if setting in {"RQ", "RQ_QUEUES"}:
        _queues.clear()


# Sent by Django's override_settings.
setting_changed.connect(_forget)
_queues: dict[tuple[Any, ...], RQQueue] = {}
