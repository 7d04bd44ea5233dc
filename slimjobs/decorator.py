"""`@job`: a function that can enqueue itself, and gets models where it was given refs."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from rq.job import get_current_job

from slimjobs import limits, policies, tagging
from slimjobs.enqueuer import Enqueuer, Place, Task, checked_options, task_name
from slimjobs.execution import load_call
from slimjobs.job import Job
from slimjobs.queue import Queue

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis
    from rq.queue import Queue as RQQueue

P = ParamSpec("P")
R = TypeVar("R")


def job(
    queue: RQQueue | str,
    connection: Redis | Callable[[], Redis] | None = None,
    timeout: int | str | None = None,
    *,
    queue_class: type[RQQueue] = Queue,
    max_bytes: int | str | None = None,
    warn_bytes: int | str | None = None,
    mode: limits.Mode | None = None,
    on_missing: policies.OnMissing = "fail",
    wait_for_row: float = 0.0,
    **options: Any,
) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Let a function enqueue itself, and get models where its jobs hold refs.

    It works on a `slimjobs.Queue` and on a stock `rq.Queue`, in slimjobs' workers and in stock ones,
    and with any serializer. A plain call stays a plain call.

    Args:
        queue: The queue, or its name.
        connection: A Redis, or a function that returns one, which is asked at the first enqueue.
        timeout: How long a job may run, as RQ takes it: seconds, or text such as "5m".
        queue_class: The class of the queue where a name is given.
        max_bytes: The task's own limit, see `Limits`.
        warn_bytes: The task's own limit, see `Limits`.
        mode: The task's own mode, see `Limits`.
        on_missing: What a job does whose rows are gone: "fail" (raise RecordNotFoundError), "discard"
            (finish without the call) or "none" (pass None).
        wait_for_row: For how many seconds a missing row is asked for again.
        **options: What `rq.Queue.enqueue` takes: `result_ttl`, `retry`, `at_front`, ...

    Raises:
        ConfigurationError: An option is not known or cannot be read.
    """
    own_limits = limits.Limits(max_bytes=max_bytes, warn_bytes=warn_bytes, mode=mode)
    policy = policies.Policy(on_missing, wait_for_row)
    place = Place(queue, connection, queue_class)
    checked = checked_options({**options, "timeout": timeout} if timeout is not None else options)

    def decorate(function: Callable[P, R]) -> Task[P, R]:
        name = task_name(function)
        limits.limit_task(name, own_limits)
        policies.set_policy(name, policy)
        wrapper = _hydrating(function, name)
        enqueuer: Enqueuer[P] = Enqueuer(wrapper, place, checked)
        for attribute in ("enqueue", "delay", "enqueue_at", "enqueue_in", "prepare", "enqueue_many", "options"):
            setattr(wrapper, attribute, getattr(enqueuer, attribute))
        return cast("Task[P, R]", wrapper)

    return decorate


def _hydrating(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Return a function that loads models when a stock job calls it with refs.

    RQ finds tasks by their import path, so what stands there must be a function.
    """

    def load(args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        job = get_current_job()
        # Our own job has loaded them already; in another job this is a plain call. A function that
        # calls itself passes models, which are left as they are.
        if job is None or isinstance(job, Job) or job.func_name != name:
            return args, kwargs
        loaded = load_call(job, name, None, tagging.revive(args), tagging.revive(kwargs))
        return None if loaded is None else loaded[1:]

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def coroutine_wrapper(*args: Any, **kwargs: Any) -> Any:
            loaded = load(args, kwargs)
            return None if loaded is None else await function(*loaded[0], **loaded[1])

        return coroutine_wrapper

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        loaded = load(args, kwargs)
        return None if loaded is None else function(*loaded[0], **loaded[1])

    return wrapper
