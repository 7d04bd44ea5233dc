"""What a worker would pass to a function: the call is encoded, decoded, and its models loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from slimjobs.calls import call_of
from slimjobs.errors import RecordNotFoundError
from slimjobs.fetches import fetches_for
from slimjobs.hydration import hydrate
from slimjobs.limits import for_task
from slimjobs.payload import build
from slimjobs.policies import policy_for
from slimjobs.serializer import SLIM, Serializer

if TYPE_CHECKING:
    from collections.abc import Callable


class Passed(NamedTuple):
    """What a worker would pass to a function.

    Attributes:
        args: The positional arguments; those of a bound method begin with its instance.
        kwargs: The keyword arguments.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def round_trip(func: Callable[..., Any] | str, /, *args: Any, **kwargs: Any) -> Passed:
    """Return what a worker would pass to a function that was enqueued with these arguments.

    The call is encoded in slimjobs' format, held against its limits, decoded, and its models are loaded
    anew; nothing is enqueued, and the function is not called.

    Args:
        func: The function, a bound method or an import path.
        *args: Positional arguments.
        **kwargs: Keyword arguments.

    Raises:
        PayloadTooLargeError: The payload is over its limit.
        UnsupportedTypeError: Something in it cannot travel.
        UnsavedModelError: A model in it has no primary key.
        RecordNotFoundError: A row is missing, and the task does not say on_missing="none".
    """
    call = call_of(func, args, kwargs, None)
    task = str(call.task)
    payload = build(call, for_task(task), SLIM)
    _, instance, positional, named = Serializer.loads(payload.data)
    policy = policy_for(task)
    hydrated = hydrate(instance, positional, named, policy=policy, task=task, fetches=fetches_for(task))
    if hydrated.missing and policy.on_missing == "discard":  # a worker would pass nothing
        raise RecordNotFoundError(task=task, refs=hydrated.missing)
    loaded, loaded_args, loaded_kwargs = hydrated.values
    before = () if instance is None else (loaded,)
    return Passed((*before, *loaded_args), loaded_kwargs)
