"""What values are made of, and the bytes that they take: found without writing them, for messages."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from itertools import chain, count, islice, repeat
from typing import TYPE_CHECKING, Any

from slimjobs.codec import Inert
from slimjobs.codec.scalars import ENCODERS
from slimjobs.refs import Ref

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

# How one comes from a value to a part of it: an index, or a kind and what it takes to write it.
Step = int | str | tuple[Any, ...]

CONTAINERS = (list, tuple, set, frozenset, dict)
LEAVES = frozenset({str, bytes, int, float, bool, type(None)})
# Enough to name the culprit, and bounded: some 20 ms however large the call is.
_MOST_NODES = 10_000
_MOST_SAMPLED, _LEAST_SAMPLED = 1_000, 8
_REF_BYTES = 4  # of the array and its marker; its name, key and database come on top


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
    if isinstance(value, Ref):
        return iter(())
    if is_dataclass(value) and not isinstance(value, type):
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


class Scale:
    """Weighs values until a number of nodes has been looked at; beyond, a few items stand for all of a container.

    Attributes:
        least_bytes: What all that was weighed takes at least: one byte for each item that was not looked at.
    """

    def __init__(self, travels_as: Callable[[Any], Any]) -> None:
        self.least_bytes = 0
        self._travels_as = travels_as
        self._nodes_left = _MOST_NODES

    def weigh(self, value: Any) -> int:
        """Return the bytes that our wire format takes for a value; one byte for what cannot travel in it."""
        total_bytes = 0.0
        pending: list[tuple[Any, float]] = [(value, 1.0)]  # and for how many values each one stands
        seen: dict[int, Any] = {}  # values that were made for this are kept, so that no other gets their id()
        while pending:
            value, number = pending.pop()
            value = written(value, self._travels_as)
            self._nodes_left -= 1
            size_bytes = _leaf_bytes(value)
            if size_bytes is None:
                size_bytes = 1
                if id(value) not in seen:
                    seen[id(value)] = value
                    size_bytes, inside, many = self._open(value)
                    pending.extend((item, number * many) for item in inside)
            total_bytes += number * size_bytes
            self.least_bytes += size_bytes
        return round(total_bytes)

    def _open(self, value: Any) -> tuple[int, Sequence[Any], float]:
        """Return a value's bytes without what is inside, and of that some, with for how many each of them stands."""
        if isinstance(value, Ref):
            return _REF_BYTES, (value.name, value.pk, value.db), 1.0
        if not isinstance(value, CONTAINERS):
            return 1, [child for _, child in children(value)] if self._nodes_left > 0 else (), 1.0
        items = len(value) * (2 if isinstance(value, dict) else 1)
        size_bytes = _header_bytes(len(value), 15, least=3)
        step = 1
        if items > self._nodes_left:
            sampled = min(max(self._nodes_left // 2, _LEAST_SAMPLED), _MOST_SAMPLED)
            if self._nodes_left < -_MOST_NODES:
                return size_bytes + items, (), 1.0
            step = -(-items // sampled)
        inside = [*islice(value, 0, None, step)]
        if isinstance(value, dict):
            inside += islice(value.values(), 0, None, step)
        self.least_bytes += items - len(inside)
        return size_bytes, inside, items / max(len(inside), 1)


def written(value: Any, travels_as: Callable[[Any], Any]) -> Any:
    """Return what is written in the place of a value, or None where that cannot be told."""
    if type(value) in LEAVES:
        return value
    try:
        return travels_as(value)
    except Exception:  # noqa: BLE001  # an encode function of the user's can raise anything
        return None


def _leaf_bytes(value: Any) -> int | None:
    """Return the bytes of what has nothing inside, or None."""
    if isinstance(value, (str, bytes, bytearray)):
        length = _text_bytes(value) if isinstance(value, str) else len(value)
        return length + _header_bytes(length, 31 if isinstance(value, str) else -1)
    if value is None or isinstance(value, (bool, float)):
        return 9 if isinstance(value, float) else 1
    if isinstance(value, int):
        return _integer_bytes(value)
    scalar = ENCODERS.get(type(value))
    if scalar is None:
        return None
    try:
        length = len(scalar[1](value))
    except Exception:  # noqa: BLE001  # a time zone of the user's can raise anything
        return None
    return length + (2 if length in (1, 2, 4, 8, 16) else 3)


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
