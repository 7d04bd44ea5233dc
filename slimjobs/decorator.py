"""`@job`: a function that can enqueue itself, and gets models where it was given refs."""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from rq.job import get_current_job

from slimjobs import fetches, limits, policies, tagging
from slimjobs.calls import TASK_ATTRIBUTE, named_task
from slimjobs.commit import set_commit
from slimjobs.enqueuer import Enqueuer, Task, checked_options, task_name
from slimjobs.errors import ConfigurationError
from slimjobs.execution import load_call
from slimjobs.jobs import Job
from slimjobs.options import checked_commit
from slimjobs.places import Place
from slimjobs.queue import Queue
from slimjobs.scopes import Scope, scope

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from redis import Redis
    from rq.job import Job as RQJob
    from rq.queue import Queue as RQQueue

    from slimjobs.options import Commit

P = ParamSpec("P")
R = TypeVar("R")


def job(
    queue: RQQueue | str | Callable[[], RQQueue],
    connection: Redis | Callable[[], Redis] | None = None,
    timeout: int | str | None = None,
    *,
    queue_class: type[RQQueue] = Queue,
    max_bytes: int | str | None = None,
    warn_bytes: int | str | None = None,
    mode: limits.Mode | None = None,
    on_missing: policies.OnMissing = "fail",
    wait_for_row: float = 0.0,
    load: Mapping[Any, Any] | None = None,
    commit: Commit | None = None,
    **options: Any,
) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Let a function enqueue itself, and get models where its jobs hold refs.

    It works on a `slimjobs.Queue` and on a stock `rq.Queue`, in slimjobs' workers and in stock ones,
    and with any serializer. A plain call stays a plain call.

    Args:
        queue: The queue, its name, or a function that returns it, which is asked at each enqueue.
        connection: A Redis, or a function that returns one, which is asked at the first enqueue.
        timeout: How long a job may run, as RQ takes it: seconds, or text such as "5m".
        queue_class: The class of the queue where a name is given.
        max_bytes: The task's own limit, see `Limits`.
        warn_bytes: The task's own limit, see `Limits`.
        mode: The task's own mode, see `Limits`.
        on_missing: What a job does whose rows are gone: "fail" (raise RecordNotFoundError), "discard"
            (finish without the call) or "none" (pass None).
        wait_for_row: For how many seconds a missing row is asked for again.
        load: How models are fetched, by parameter or class: `{"email": Email.objects.select_related("newsletter")}`,
            options of SQLAlchemy, or a function from a list of primary keys to instances.
        commit: When a job is written whose rows are part of an open database transaction: "auto"
            (when it commits) or "now". Default: as the queue says.
        **options: What `rq.Queue.enqueue` takes: `result_ttl`, `retry`, `at_front`, ...

    Raises:
        ConfigurationError: An option is not known or cannot be read.
    """
    if callable(queue) and _needs_arguments(queue):
        raise _no_queue()
    own_limits = limits.Limits(max_bytes=max_bytes, warn_bytes=warn_bytes, mode=mode)
    policy = policies.Policy(on_missing, wait_for_row)
    if commit is not None:
        checked_commit(commit)
    place = Place(queue, connection, queue_class)
    if isinstance(connection, str):
        raise ConfigurationError("connection= takes a Redis, not its URL", hint="Pass redis.Redis.from_url(...).")
    given = {**options, "timeout": timeout} if timeout is not None else options
    checked = checked_options(given, besides=_OWN_OPTIONS)

    def decorate(function: Callable[P, R]) -> Task[P, R]:
        if not callable(function):  # the task itself was taken for a function that returns the queue
            raise _no_queue()
        name = task_name(function)
        limits.limit_task(name, own_limits)
        policies.set_policy(name, policy)
        if commit is not None:
            set_commit(name, commit)
        if load:
            fetches.set_fetches(name, fetches.Fetches(load, function))
        wrapper = _hydrating(function, name)
        enqueuer: Enqueuer[P] = Enqueuer(wrapper, place, checked)
        setattr(wrapper, TASK_ATTRIBUTE, name)
        for attribute in ("enqueue", "delay", "enqueue_at", "enqueue_in", "prepare", "enqueue_many", "options"):
            setattr(wrapper, attribute, getattr(enqueuer, attribute))
        return cast("Task[P, R]", wrapper)

    return decorate


def _needs_arguments(function: Callable[..., Any]) -> bool:
    """Return whether a function is no way to find a queue: the task, of a decorator without its parentheses."""
    try:
        inspect.signature(function).bind()
    except TypeError:
        return True
    except ValueError:  # it tells nobody what it takes
        return False
    return False


def _no_queue() -> ConfigurationError:
    return ConfigurationError("@slimjobs.job takes its queue", hint="Write @slimjobs.job(queue).")


_OWN_OPTIONS = [
    name for name, each in inspect.signature(job).parameters.items() if each.kind is inspect.Parameter.KEYWORD_ONLY
]


def _hydrating(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Return a function that loads models when a stock job calls it with refs.

    RQ finds tasks by their import path, so what stands there must be a function.
    """

    def foreign_job() -> RQJob | None:
        # Our own job has loaded its models already; in another job this is a plain call. A function
        # that calls itself passes models, which are left as they are.
        job = get_current_job()
        if job is None or isinstance(job, Job) or job.instance is not None:
            return None
        return job if job.func_name == name or named_task(job.func) == name else None

    def load(job: RQJob, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        loaded = load_call(job, name, None, tagging.revive(args), tagging.revive(kwargs))
        return None if loaded is None else loaded[1:]

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        def coroutine_wrapper(*args: Any, **kwargs: Any) -> Any:
            job = foreign_job()
            if job is None:
                return function(*args, **kwargs)
            # Loaded here, where no loop runs yet: Django loads nothing inside one.
            with scope(name) as opened:
                loaded = load(job, args, kwargs)
                return None if loaded is None else _call_in(opened.kept(), function(*loaded[0], **loaded[1]))

        return _marked(coroutine_wrapper)

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        job = foreign_job()
        if job is None:
            return function(*args, **kwargs)
        with scope(name):
            loaded = load(job, args, kwargs)
            return None if loaded is None else function(*loaded[0], **loaded[1])

    return wrapper


async def _call_in(opened: Scope, coroutine: Coroutine[Any, Any, Any]) -> Any:
    with opened.entered():
        return await coroutine


def _marked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that returns a coroutine as one that `iscoroutinefunction` knows."""
    if sys.version_info >= (3, 12):
        return inspect.markcoroutinefunction(function)
    function._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]  # noqa: SLF001  # where asyncio looks for it before Python 3.12
    return function
