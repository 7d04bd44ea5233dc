"""The parts of a call by path, for messages: which are the largest, and where one stands."""

from __future__ import annotations

import sys
from enum import Enum
from typing import TYPE_CHECKING, Any

from slimjobs.registry import is_registered
from slimjobs.weights import CONTAINERS, LEAVES, Scale, Step, children

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from slimjobs.errors import Part

_MOST_CHILDREN = 2_000
_MOST_CHILDREN_IN_ALL = 20_000
_MOST_PARTS = 3
_MOST_DEPTH = 200
_MOST_CHARACTERS = 120
_MOST_KEY_CHARACTERS = 40
_MANY_ITEMS = 100
_DIVIDE = "Enqueue a job for every so many of its items, pass what selects them, or set max_bytes= on this job."
# A part is named rather than its container while it holds more than half of it.
_DOMINANT = 0.5


def call_parts(instance: Any, args: Sequence[Any], kwargs: Mapping[str, Any], meta: Any = None) -> dict[str, Any]:
    """Return the parts of a call by path: `args[0]`, `kwargs['body']`, and what else it carries."""
    parts = {} if instance is None else {"self": instance}
    if len(args) > _MOST_CHILDREN:
        parts["args"] = args
    else:
        parts.update((f"args[{index}]", value) for index, value in enumerate(args))
    if len(kwargs) > _MOST_CHILDREN:
        parts["kwargs"] = kwargs
    else:
        parts.update((f"kwargs[{name!r}]", value) for name, value in kwargs.items())
    if meta:
        parts["meta"] = meta
    return parts


def measure(
    parts: Mapping[str, Any], travels_as: Callable[[Any], Any], *, writes_once: bool = False
) -> tuple[int, list[Part]]:
    """Return the bytes of all parts together, and the largest by the path of what in them is to blame.

    Args:
        parts: What `call_parts` returned.
        travels_as: Returns what is written of a value, where that is not what it holds; None for a few bytes.
        writes_once: Whether what occurs many times is written once, as in a pickle.

    Returns:
        The bytes of the encoded form, a lower bound where there is too much to count; and (path, bytes),
        largest first, estimated by a sample there.
    """
    scale = Scale(travels_as, writes_once=writes_once)
    weights = [scale.weigh(value, len(parts) - index) for index, value in enumerate(parts.values())]
    sizes = sorted(
        ((weight.size_bytes, path, value) for weight, (path, value) in zip(weights, parts.items(), strict=True)),
        key=lambda row: -row[0],
    )
    scale.renew()
    blamed: list[Part] = []
    for size_bytes, path, value in sizes[:_MOST_PARTS]:
        if blamed and size_bytes < sizes[0][0] / 10:
            break
        blamed.append(_descend(path, value, size_bytes, scale))
    return sum(weight.least_bytes for weight in weights), blamed


def hint_for(parts: Mapping[str, Any], largest: Sequence[Part]) -> str:
    """Return the next step where the largest part is an argument of many items, none of them large; else nothing."""
    value = parts.get(largest[0][0]) if largest else None
    return _DIVIDE if isinstance(value, CONTAINERS) and len(value) >= _MANY_ITEMS else ""


def find_path(parts: Mapping[str, Any], culprit: object) -> str | None:
    """Return the path of one object among the parts, or None if it is not there any more."""
    return _search(parts, id(culprit), sys.maxsize)


def find_path_of_id(parts: Mapping[str, Any], identity: int) -> str | None:
    """Return the path of the object with this `id()`, or None if it is not there any more."""
    return _search(parts, identity, sys.maxsize)


def find_depth(parts: Mapping[str, Any], levels: int) -> str | None:
    """Return the path of what is nested more than so many levels deep, or contains itself."""
    return _search(parts, 0, levels)


def write_step(step: Step) -> str:
    """Return a step as text. Keys are shown where they name a field, since others may be data."""
    if isinstance(step, int):
        return f"[{step}]"
    if isinstance(step, str):
        return step
    kind, index, *key = step
    if kind == "value" and type(key[0]) is str and key[0].isidentifier() and len(key[0]) <= _MOST_KEY_CHARACTERS:
        return f"[{key[0]!r}]"
    return f".{kind}s()[{index}]"


def _search(parts: Mapping[str, Any], identity: int, levels: int) -> str | None:
    """Return the path of the object with this `id()`, or of what is nested deeper than so many levels."""
    seen: set[int] = set()
    above: list[int] = []
    trail: list[tuple[str, Iterator[tuple[Step, Any]]]] = [("", iter(parts.items()))]
    while trail:
        path, siblings = trail[-1]
        for step, value in siblings:
            if id(value) == identity or len(above) > levels or (levels < sys.maxsize and id(value) in above):
                return _cut(path + write_step(step))
            if type(value) not in LEAVES and id(value) not in seen:
                seen.add(id(value))
                if not (isinstance(value, Enum) or is_registered(value)):
                    above.append(id(value))
                    trail.append((path + write_step(step), children(value)))
                    break
        else:
            trail.pop()
            above[-1:] = []
    return None


def _cut(path: str) -> str:
    return path if len(path) <= _MOST_CHARACTERS else f"{path[:_MOST_CHARACTERS]}..."


def _descend(path: str, value: Any, size_bytes: float, scale: Scale) -> Part:
    children_left = _MOST_CHILDREN_IN_ALL
    for _ in range(_MOST_DEPTH):
        value = scale.written(value)
        if isinstance(value, CONTAINERS) and len(value) > _MOST_CHILDREN:
            break
        inside = [*children(value)]
        children_left -= len(inside)
        if children_left < 0:
            break
        weighed = ((scale.weigh_alone(child, len(inside)).size_bytes, step, child) for step, child in inside)
        nothing: tuple[float, Step, Any] = (0, "", None)
        best = max(weighed, key=lambda row: row[0], default=nothing)
        if best[0] <= size_bytes * _DOMINANT:
            break
        size_bytes, path, value = best[0], path + write_step(best[1]), best[2]
    return _cut(path), round(size_bytes)
