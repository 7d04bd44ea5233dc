"""What RQ was asked to call, as a `Call`."""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rq.utils import resolve_function_reference

from slimjobs.errors import ConfigurationError
from slimjobs.options import split
from slimjobs.parts import call_parts
from slimjobs.refs import Ref
from slimjobs.registry import class_named, name_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from slimjobs.options import Commit


# Where the decorator leaves the name of a task.
TASK_ATTRIBUTE = "slimjobs_task"


@dataclass(frozen=True, repr=False)
class Call:
    """What a job carries, before it is bytes.

    Attributes:
        task: The import path of what is called, for messages and counts.
        function: What RQ stores: the import path, or a method's name.
        instance: The instance of a bound method, or None.
        args: Positional arguments.
        kwargs: Keyword arguments.
        meta: The job's meta, or None.
        commit: When the job itself was told to be enqueued, or None.
        is_task: Whether the function has `@job`, and so gets models for refs in any worker.
    """

    task: str | None
    function: str | None
    instance: Any = None
    args: tuple[Any, ...] | list[Any] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    meta: dict[str, Any] | None = None
    commit: Commit | None = None
    is_task: bool = False

    def __repr__(self) -> str:
        # pytest, Sentry and others show what an error's last frame was given.
        return f"<Call of {self.task}>"

    def parts(self) -> dict[str, Any]:
        """Return what the call carries, by path."""
        return call_parts(self.instance, self.args, self.kwargs, self.meta)


def call_of(
    func: Callable[..., Any] | str,
    args: list[Any] | tuple[Any, ...] | None,
    kwargs: dict[str, Any] | None,
    meta: dict[str, Any] | None,
) -> Call:
    """Return the call that RQ's arguments describe.

    Raises:
        ConfigurationError: The arguments are of the wrong kind.
    """
    positional: Any = () if args is None else args
    keywords: Any = {} if kwargs is None else kwargs
    if not isinstance(positional, (list, tuple)) or not isinstance(keywords, dict):
        raise ConfigurationError("args= takes a list or a tuple, kwargs= a dict")
    if keywords and not all(type(name) is str for name in keywords):
        raise ConfigurationError("kwargs= takes a dict whose keys are names")
    instance: Any
    instance, function = resolve_function_reference(func)
    if inspect.isclass(instance):  # a class method, which its path finds
        instance, function = None, f"{instance.__module__}.{instance.__qualname__}.{function}"
    decorated = named_task(func) if instance is None else None
    task = decorated or task_of(function, instance)
    stored_meta, commit = split(meta)
    return Call(task, function, instance, positional, dict(keywords), stored_meta, commit, decorated is not None)


def named_task(function: Any) -> str | None:
    """Return the name that a task was decorated under, whatever path it was found by; None for another function.

    Args:
        function: The function, or its import path, which is looked up without importing anything.
    """
    if isinstance(function, str):
        module, _, name = function.rpartition(".")
        # Not getattr, for which a lazy module may import.
        function = getattr(sys.modules.get(module), "__dict__", {}).get(name)
    task = getattr(function, TASK_ATTRIBUTE, None)
    return task if type(task) is str else None


def task_of(function: str | None, instance: Any) -> str:
    """Return the import path of a function or decorated method; other methods go by their class's name in refs."""
    if instance is None:
        return str(function)
    cls: type | None
    if type(instance) is Ref:
        cls, name = class_named(instance.name), instance.name
    else:
        own: type = instance.__class__
        cls, name = own, name_of(instance) or f"{own.__module__}.{own.__qualname__}"
    # What was said of a decorated method was said under its import path.
    method = None if cls is None else inspect.getattr_static(cls, str(function), None)
    return getattr(method, TASK_ATTRIBUTE, None) or f"{name}.{function}"
