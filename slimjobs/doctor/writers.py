"""What an application enqueues with: the queues and tasks that its modules hold."""

from __future__ import annotations

import inspect
import sys
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple

from redis.exceptions import RedisError
from rq.decorators import job as rq_job
from rq.queue import Queue as RQQueue

from slimjobs.backlog.application import import_error
from slimjobs.calls import TASK_ATTRIBUTE
from slimjobs.doctor.findings import CRITICAL, OK, WARNING, Finding
from slimjobs.marks import format_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import ModuleType

    from redis import Redis


class Writer(NamedTuple):
    """Something that enqueues.

    Attributes:
        where: Its import path.
        queue: The queue.
        task: The import path of the task, where it is one; else "".
    """

    where: str
    queue: RQQueue
    task: str = ""

    @property
    def format(self) -> str:
        """The format in which its jobs are written."""
        return format_name(self.queue.serializer)


class Application:
    """The modules that an application enqueues from.

    Args:
        modules: Their import paths. All other modules of the same packages that they import are looked at too.

    Attributes:
        findings: What could not be imported or made.
        writers: The queues and tasks that were found.
    """

    def __init__(self, modules: Sequence[str]) -> None:
        self.findings: list[Finding] = []
        self.writers: list[Writer] = []
        for name in modules:
            problem = import_error(name)
            if problem:
                fix = f"Run it where `python -c 'import {name}'` works, in the environment of the application."
                words = f"{name} cannot be imported: {problem}"
                self.findings.append(Finding("application", CRITICAL, words, fix))
        self._packages = {name.partition(".")[0] for name in modules}
        for name, module in sorted(sys.modules.items()):
            if name.partition(".")[0] in self._packages:
                self._look_into(name, module)

    def summarize(self) -> Finding:
        """Return what was found in a line."""
        queues = {writer.queue.name for writer in self.writers}
        tasks = {writer.task for writer in self.writers if writer.task}
        named = ", ".join(sorted(self._packages))
        return Finding("application", OK, f"{len(tasks)} tasks and {len(queues)} queues were found in {named}")

    def _look_into(self, name: str, module: ModuleType) -> None:
        for attribute, value in list(vars(module).items()):
            kind = type(value)  # isinstance() would ask a lazy object for its class, and so make it
            if issubclass(kind, RQQueue):
                self._add(Writer(f"{name}.{attribute}", value))
            elif issubclass(kind, FunctionType):
                make = _queue_of(value)
                if make is not None:
                    self._add_task(value, make)

    def _add_task(self, task: FunctionType, make: Callable[[], RQQueue]) -> None:
        path = getattr(task, TASK_ATTRIBUTE, None) or f"{task.__module__}.{task.__qualname__}"
        try:
            self._add(Writer(path, make(), path))
        except Exception as error:  # noqa: BLE001  # of the application's own functions
            words = f"its queue cannot be made here: {type(error).__name__}: {error}"
            self.findings.append(
                Finding(f"task {path}", WARNING, words, "Run it in the environment of what enqueues the task.")
            )

    def _add(self, writer: Writer) -> None:
        # A module that imports a queue or a task from another has it under the same or another name.
        if not any(each.queue is writer.queue and each.task == writer.task for each in self.writers):
            self.writers.append(writer)


def _queue_of(function: FunctionType) -> Callable[[], RQQueue] | None:
    """Return what makes the queue of a decorated function, or None of another one."""
    if hasattr(function, TASK_ATTRIBUTE):
        enqueuer = getattr(getattr(function, "enqueue", None), "__self__", None)
        return None if enqueuer is None else lambda: enqueuer.queue
    delay = getattr(function, "delay", None)
    if not isinstance(delay, FunctionType):
        return None
    # What `rq.job` leaves on a function knows its decorator, and nothing else does.
    decorator = inspect.getclosurevars(delay).nonlocals.get("self")
    if not isinstance(decorator, rq_job):
        return None
    queue: Any = decorator.queue
    if isinstance(queue, str):
        return lambda: decorator.queue_class(queue, connection=decorator.connection)
    return lambda: queue


def check_places(writers: Sequence[Writer], connection: Redis) -> Iterator[Finding]:
    """Yield what enqueues into another Redis than the one that is looked at.

    Args:
        writers: What enqueues.
        connection: The Redis that is looked at.
    """
    here = _identity(connection)
    seen: dict[Any, Any] = {}
    for writer in writers:
        pool = writer.queue.connection.connection_pool
        if pool not in seen:
            seen[pool] = _identity(writer.queue.connection)
        subject, found = f"queue {writer.queue.name}", seen[pool]
        if isinstance(found, RedisError):
            words = f"{writer.where} cannot reach its Redis: {found}"
            yield Finding(subject, CRITICAL, words, "Give the queue the connection of the workers.")
        elif found != here:
            words = f"{writer.where} enqueues into another Redis, or database, than the one that is looked at"
            yield Finding(subject, WARNING, words, "Name that one with --redis-url, or give the queue this one.")


def _identity(connection: Redis) -> Any:
    """Return what tells a database from all others, or the error where it cannot be reached."""
    try:
        info: Any = connection.info("server")
    except RedisError as error:
        return error
    return info.get("run_id"), connection.connection_pool.connection_kwargs.get("db") or 0
