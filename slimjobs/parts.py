"""The parts of a call by path, for messages: which are the largest, and where one stands."""

from __future__ import annotations

import sys
from dataclasses import fields, is_dataclass
from enum import Enum
from itertools import chain, count, repeat
from typing import TYPE_CHECKING, Any

from slimjobs.codec import Inert
from slimjobs.refs import Ref
from slimjobs.registry import is_registered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from slimjobs.errors import Part

# How one comes from a value to a part of it: an index, or a kind and what it takes to write it.
Step = int | str | tuple[Any, ...]

# Enough to name the culprit, and bounded: some 20 ms however large the call is.
_MOST_NODES = 10_000
_MOST_CHILDREN = 2_000
_MOST_PARTS = 3
_MOST_DEPTH = 200
_MOST_CHARACTERS = 120
_MOST_KEY_CHARACTERS = 40
# A part is named rather than its container while it holds more than half of it.
_DOMINANT = 0.5
_CONTAINERS = (list, tuple, set, frozenset, dict)
_LEAVES = frozenset({str, bytes, int, float, bool, type(None)})


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


def measure(parts: Mapping[str, Any], is_opaque: Callable[[Any], bool]) -> tuple[int, list[Part]]:
    """Return the bytes of all parts together, and the largest by the path of what in them is to blame.

    Args:
        parts: What `call_parts` returned.
        is_opaque: Says of a value whether it travels as a few bytes, whatever it holds.

    Returns:
        The bytes of the encoded form, a lower bound where there is too much to count; and (path, bytes),
        largest first.
    """
    scale = _Scale(is_opaque)
    sizes = sorted(((scale.weigh(value), path, value) for path, value in parts.items()), key=lambda row: -row[0])
    blamed: list[Part] = []
    for size_bytes, path, value in sizes[:_MOST_PARTS]:
        if blamed and size_bytes < sizes[0][0] / 10:
            break
        blamed.append(_descend(path, value, size_bytes, is_opaque))
    return sum(row[0] for row in sizes), blamed


def find_path(parts: Mapping[str, Any], culprit: object) -> str | None:
    """Return the path of one object among the parts, or None if it is not there any more."""
    return _search(parts, id(culprit), sys.maxsize)


def find_path_of_id(parts: Mapping[str, Any], identity: int) -> str | None:
    """Return the path of the object with this `id()`, or None if it is not there any more."""
    return _search(parts, identity, sys.maxsize)


def find_depth(parts: Mapping[str, Any], levels: int) -> str | None:
    """Return the path of what is nested more than so many levels deep, or contains itself."""
    return _search(parts, 0, levels)


def children(value: Any) -> Iterator[tuple[Step, Any]]:  # noqa: PLR0911  # one for each kind
    """Return what a value is made of, each with its step; runs no code of the user's."""
    if isinstance(value, (list, tuple)):
        return enumerate(value)
    if isinstance(value, dict):
        items = zip(zip(repeat("value"), count(), value), value.values(), strict=False)
        return chain(items, zip(zip(repeat("key"), count(), strict=False), value, strict=False))
    if isinstance(value, (set, frozenset)):
        return zip(repeat(".{...}"), value, strict=False)
    if isinstance(value, Inert):
        return iter([(".content", value.content)])
    if is_dataclass(value) and not isinstance(value, (type, Ref)):
        return iter([(f".{each.name}", _attribute(value, each.name)) for each in fields(value)])
    attributes = _attribute(value, "__dict__")
    if type(attributes) is dict and not isinstance(value, type) and not callable(value):
        return iter([(f".{name}", item) for name, item in attributes.items()])
    return iter(())


def _attribute(value: Any, name: str) -> Any:
    try:
        return object.__getattribute__(value, name)
    except AttributeError:
        return None


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
            if type(value) not in _LEAVES and id(value) not in seen:
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


def _descend(path: str, value: Any, size_bytes: int, is_opaque: Callable[[Any], bool]) -> Part:
    for _ in range(_MOST_DEPTH):
        if is_opaque(value) or (isinstance(value, _CONTAINERS) and len(value) > _MOST_CHILDREN):
            break
        scale = _Scale(is_opaque)
        nothing: tuple[int, Step, Any] = (0, "", None)
        weighed = ((scale.weigh(child), step, child) for step, child in children(value))
        best = max(weighed, key=lambda row: row[0], default=nothing)
        if best[0] <= size_bytes * _DOMINANT:
            break
        size_bytes, path, value = best[0], path + write_step(best[1]), best[2]
    return _cut(path), size_bytes


class _Scale:
    """Weighs values until a number of nodes has been looked at; beyond, each counts one byte."""

    def __init__(self, is_opaque: Callable[[Any], bool]) -> None:
        self._is_opaque = is_opaque
        self._nodes_left = _MOST_NODES

    def weigh(self, value: Any) -> int:
        """Return the bytes that msgpack takes for a value; one byte for what only its encoder knows."""
        size_bytes = 0
        pending = [value]
        seen: set[int] = set()
        while pending:
            value = pending.pop()
            self._nodes_left -= 1
            if isinstance(value, (str, bytes, bytearray)):
                length = _text_bytes(value) if isinstance(value, str) else len(value)
                size_bytes += length + _header_bytes(length, 31 if isinstance(value, str) else -1)
            elif value is None or isinstance(value, (bool, float)):
                size_bytes += 9 if isinstance(value, float) else 1
            elif isinstance(value, int):
                size_bytes += _integer_bytes(value)
            elif id(value) in seen or self._is_opaque(value):
                size_bytes += 1
            elif isinstance(value, _CONTAINERS):
                seen.add(id(value))
                size_bytes += _header_bytes(len(value), 15, least=3)
                if len(value) > self._nodes_left:
                    size_bytes += len(value)
                else:
                    pending.extend(value)
                    pending.extend(value.values() if isinstance(value, dict) else ())
            else:
                seen.add(id(value))
                size_bytes += 1
                if self._nodes_left > 0:
                    pending.extend(child for _, child in children(value))
        return size_bytes


def _header_bytes(length: int, most_in_one: int, least: int = 2) -> int:
    """Return what msgpack writes before so many bytes or items."""
    if length <= most_in_one:
        return 1
    if least == 2 and length < 2**8:
        return 2
    return 3 if length < 2**16 else 5


def _integer_bytes(value: int) -> int:
    if -32 <= value < 128:
        return 1
    for size_bytes in (1, 2, 4, 8):
        if -(2 ** (8 * size_bytes - 1)) <= value < 2 ** (8 * size_bytes):
            return 1 + size_bytes
    return 3 + value.bit_length() // 8


def _text_bytes(text: str) -> int:
    if text.isascii() or len(text) > 2**20:  # a lower bound is enough for what is far too long
        return len(text)
    return len(text.encode("utf-8", "surrogatepass"))
