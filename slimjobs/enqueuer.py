"""The methods that a task has besides being a function: `enqueue`, `enqueue_in`, `options`, ..."""

from __future__ import annotations

import inspect
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from rq.queue import Queue as RQQueue
from rq.utils import now

from slimjobs import stock
from slimjobs.batches import Known, prepared
from slimjobs.errors import ConfigurationError
from slimjobs.options import NAMES, fold_options
from slimjobs.queue import Queue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime, timedelta

    from redis.client import Pipeline
    from rq.job import Job as RQJob
    from rq.queue import EnqueueData

    from slimjobs.places import Place

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)

# RQ's own names for what a job can be told besides its arguments.
_RQ_NAMES = frozenset(inspect.signature(RQQueue.enqueue_call).parameters) - {"self", "func", "args", "kwargs"}
_OPTION_NAMES = _RQ_NAMES | NAMES
# What is said of all jobs of a task, and is often tried for one of them: the error for a large one speaks of it.
_LIMITS_OF_TASKS = ("max_bytes", "warn_bytes", "mode")


class Enqueuer(Generic[P]):
    """Enqueues one task, with some options set."""

    def __init__(self, function: Callable[..., Any], place: Place, options: Mapping[str, Any]) -> None:
        self._function = function
        self._place = place
        self._options = dict(options)
        parameters = inspect.signature(function).parameters
        self._own_names = frozenset(parameters)
        self._takes_any_name = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())

    @property
    def queue(self) -> RQQueue:
        """The queue that the jobs go to; raises what its function or its connection's raises."""
        try:
            return self._place.queue
        except ConfigurationError as error:
            error.task = error.task or task_name(self._function)
            raise

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> RQJob:
        """Enqueue a call, and return its job.

        RQ's names (`job_id`, `at_front`, `depends_on`, ...) and `on_missing`, `wait_for_row` and
        `commit` are options of the job, unless the function has a parameter of that name.

        Raises:
            PayloadTooLargeError: The payload is over its limit.
            UnsupportedTypeError: Something in it cannot travel.
            UnsavedModelError: A model in it has no primary key.
        """
        queue, options, known = self._prepare(args, kwargs)
        return stock.write(queue, known, queue.enqueue, self._function, options)

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> RQJob:
        """Enqueue a call; the same as `enqueue`."""
        return self.enqueue(*args, **kwargs)

    def enqueue_at(self, moment: datetime, /, *args: P.args, **kwargs: P.kwargs) -> RQJob:
        """Schedule a call for a moment, and return its job; options and errors as `enqueue`.

        Args:
            moment: When it is due. RQ takes one without a time zone for local time.
            *args: The function's.
            **kwargs: The function's.
        """
        queue, options, known = self._prepare(args, kwargs)
        return stock.write(queue, known, partial(queue.enqueue_at, moment), self._function, options)

    def enqueue_in(self, delay: timedelta, /, *args: P.args, **kwargs: P.kwargs) -> RQJob:
        """Schedule a call for some time from now, and return its job; options and errors as `enqueue`.

        Args:
            delay: How long from now.
            *args: The function's.
            **kwargs: The function's.
        """
        return self.enqueue_at(now() + delay, *args, **kwargs)

    def prepare(self, *args: P.args, **kwargs: P.kwargs) -> EnqueueData:
        """Return a call for `enqueue_many`; options and errors as `enqueue`.

        Nothing is enqueued. A payload over its limit is refused here on a stock queue, and by `enqueue_many` on
        one of slimjobs.
        """
        queue, options, known = self._prepare(args, kwargs)
        if "job_timeout" in options:
            options["timeout"] = options.pop("job_timeout")
        unknown = options.keys() - inspect.signature(RQQueue.prepare_data).parameters.keys()
        if unknown:
            raise ConfigurationError(f"enqueue_many has no option {', '.join(sorted(unknown))}")
        data = queue.prepare_data(self._function, **options)
        return data if known is None else prepared(data, known)

    def enqueue_many(
        self, calls: Iterable[EnqueueData], *, pipeline: Pipeline | None = None, group_id: str | None = None
    ) -> list[RQJob]:
        """Enqueue what `prepare` returned, all of it or nothing, and return the jobs.

        Args:
            calls: What `prepare` returned, of this task or of others.
            pipeline: A pipeline of the caller, which writes the jobs when it is executed.
            group_id: The id of an RQ group that the jobs belong to.

        Raises:
            BatchTooLargeError: Together they are over `max_batch_bytes`.
            PayloadTooLargeError: One of them is over its limit.
            UnsupportedTypeError: Something in one of them cannot travel.
            UnsavedModelError: A model in one of them has no primary key.
            ConfigurationError: The queue is a stock one, and one of them was prepared for another kind of queue.
        """
        queue = self.queue
        if isinstance(queue, Queue):
            return queue.enqueue_many(calls, pipeline=pipeline, group_id=group_id)
        return stock.write_many(queue, calls, pipeline, group_id)

    def options(self, **options: Any) -> Enqueuer[P]:
        """Return the same with options set: `send_email.options(at_front=True).enqueue(email)`.

        Raises:
            ConfigurationError: RQ knows no such option.
        """
        checked = checked_options(options, task=task_name(self._function))
        return Enqueuer(self._function, self._place, {**self._options, **checked})

    def rq_options(self) -> dict[str, Any]:
        """Return the options of every job, as RQ's `enqueue` takes them."""
        return {"job_timeout" if name == "timeout" else name: value for name, value in self._options.items()}

    def _prepare(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[RQQueue, dict[str, Any], Known | None]:
        """Return the queue, what its methods take besides the function, and what is known of a stock queue's call."""
        options = self.rq_options()
        for name in [name for name in kwargs if name not in self._own_names]:
            if name in _OPTION_NAMES or name == "job_timeout":
                options["job_timeout" if name == "timeout" else name] = kwargs.pop(name)
            elif name in _LIMITS_OF_TASKS and not self._takes_any_name:
                raise _of_the_task(name, task_name(self._function))
        options = fold_options(options)
        queue = self.queue
        known: Known | None = None
        if not isinstance(queue, Queue):
            args, kwargs, options, known = stock.slim_down(queue, task_name(self._function), args, kwargs, options)
        return queue, {**options, "args": args, "kwargs": kwargs}, known


class Task(Enqueuer[P], Generic[P, R_co]):
    """A function with `@slimjobs.job`, as type checkers see it."""

    __name__: str
    __qualname__: str

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call the function, here and now."""
        raise NotImplementedError


def task_name(function: Callable[..., Any]) -> str:
    """Return a function's import path, as RQ stores it."""
    return f"{function.__module__}.{function.__qualname__}"


def options_of(function: Any) -> dict[str, Any]:
    """Return the options of a decorated task, as RQ's `enqueue` takes them; of another function nothing."""
    enqueuer = getattr(getattr(function, "enqueue", None), "__self__", None)
    return enqueuer.rq_options() if isinstance(enqueuer, Enqueuer) else {}


def checked_options(options: Mapping[str, Any], besides: Iterable[str] = (), task: str | None = None) -> dict[str, Any]:
    """Return the options of a job under RQ's names.

    Args:
        options: The options by name.
        besides: What else the caller can be given.
        task: The task's import path, where it is known.

    Raises:
        ConfigurationError: RQ knows no such option.
    """
    checked = {"timeout" if name == "job_timeout" else name: value for name, value in options.items()}
    unknown = sorted(checked.keys() - _OPTION_NAMES)
    if unknown and unknown[0] in _LIMITS_OF_TASKS:
        raise _of_the_task(unknown[0], task)
    if unknown:
        known = sorted({*_OPTION_NAMES, *besides})
        near = "".join(f" (is it {name}?)" for name in get_close_matches(unknown[0], known, 1))
        problem = f"no such option of a job: {', '.join(unknown)}{near}; there are {', '.join(known)}"
        raise ConfigurationError(problem, task=task)
    return checked


def _of_the_task(name: str, task: str | None) -> ConfigurationError:
    return ConfigurationError(
        f"no such option of a job: {name}, which holds for all jobs of a task or queue",
        hint=f"Write @slimjobs.job(..., {name}=...), or slimjobs.Queue(..., limits=slimjobs.Limits({name}=...)).",
        task=task,
    )
