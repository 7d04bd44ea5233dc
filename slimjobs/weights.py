"""What values are made of, and the bytes that they take: found without writing them, for messages."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from itertools import chain, count, islice, repeat
from typing import TYPE_CHECKING, Any, NamedTuple

from slimjobs.codec import Inert
from slimjobs.codec.scalars import ENCODERS
from slimjobs.refs import Ref

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

# How one comes from a value to a part of it: an index, or a kind and what it takes to write it.
Step = int | str | tuple[Any, ...]

CONTAINERS = (list, tuple, set, frozenset, dict)
LEAVES = frozenset({str, bytes, int, float, bool, type(None)})
# Enough to name the culprit, and bounded: some 0.2 s at most, however large the call is.
_MOST_NODES = 20_000
_MOST_SAMPLED, _LEAST_SAMPLED = 1_000, 8
# The nodes that one of several values may use: small ones are looked at whole, a large one leaves a part for the
# others, and what is deep inside still has some. Values are taken from all over their container, so that those for
# which nothing is left are like them.
_LEAST_SHARE, _KEPT_BACK, _STRIDE = 16, 32, 7
_MOST_LEVELS = 250  # each takes a frame of Python
_MOST_BYTES = 2**62  # lists that hold another many times, which holds another, soon reach any number
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


class Weight(NamedTuple):
    """What was found of a value.

    Attributes:
        size_bytes: What it takes, estimated where there is too much to look at.
        least_bytes: What it takes at least: one byte for each item that was not looked at.
        value: The value, which is kept so that no other gets its id().
        instead: What is written in its place.
    """

    size_bytes: float
    least_bytes: int
    value: Any = None
    instead: Any = None


_REPEATED = Weight(1, 1)


class Scale:
    """Weighs each value once, until a number of nodes has been looked at; beyond, a few items stand for all.

    Args:
        travels_as: As in `parts.measure`.
        writes_once: As in `parts.measure`.
    """

    def __init__(self, travels_as: Callable[[Any], Any], *, writes_once: bool) -> None:
        self._travels_as = travels_as
        self._writes_once = writes_once
        self._known: dict[int, Weight] = {}
        self._nodes_left = _MOST_NODES

    def renew(self) -> None:
        """Look at as many nodes again."""
        self._nodes_left = _MOST_NODES

    def weigh(self, value: Any, sharing: int = 1) -> Weight:
        """Return the bytes that our wire format takes for a value; one byte for what cannot travel in it.

        Args:
            value: The value.
            sharing: How many values are to share the nodes that are left, this one included.
        """
        share = min(self._nodes_left, max(self._nodes_left // sharing, _LEAST_SHARE))
        return self._weigh(value, self._nodes_left - share, 0)

    def weigh_alone(self, value: Any, sharing: int = 1) -> Weight:
        """Return the same of a value, as if it occurred nowhere else."""
        return self._known.get(id(value)) or self.weigh(value, sharing)

    def written(self, value: Any) -> Any:
        """Return what is written in the place of a value; the same object each time, once it is weighed."""
        known = self._known.get(id(value))
        return known.instead if known else written(value, self._travels_as)

    def _weigh(self, value: Any, floor: int, level: int) -> Weight:
        """Return a value's weight, found while more than `floor` nodes are left."""
        self._nodes_left -= 1
        known = self._known.get(id(value))
        if known is not None:
            return _REPEATED if self._writes_once else known
        instead = written(value, self._travels_as)
        leaf_bytes = _leaf_bytes(instead)
        if leaf_bytes is not None:
            return Weight(leaf_bytes, leaf_bytes)
        self._known[id(value)] = Weight(1, 1, value, instead)  # one that contains itself ends here
        header_bytes, inside, many = _open(instead, self._nodes_left - floor)
        nested = [item for item in inside if type(item) not in LEAVES]
        leaves_bytes = sum(_leaf_bytes(item) or 0 for item in inside if type(item) in LEAVES)
        self._nodes_left -= len(inside) - len(nested)
        nested_bytes, least_bytes, unseen = 0.0, header_bytes + leaves_bytes + many - len(inside), len(nested)
        for item in chain.from_iterable(nested[first::_STRIDE] for first in range(_STRIDE)):
            room = self._nodes_left - floor
            if room <= 0 or level == _MOST_LEVELS:
                break
            for_others = max(room // _KEPT_BACK, _LEAST_SHARE * (unseen - 1)) if unseen > 1 else 0
            share = min(room, max(room - for_others, room // unseen, _LEAST_SHARE))
            weight = self._weigh(item, self._nodes_left - share, level + 1)
            nested_bytes += weight.size_bytes
            least_bytes += weight.least_bytes
            unseen -= 1
        if unseen:
            least_bytes += unseen
            nested_bytes *= len(nested) / max(len(nested) - unseen, 1)
        size_bytes = header_bytes + (leaves_bytes + nested_bytes) * many / max(len(inside), 1)
        weight = Weight(max(min(size_bytes, _MOST_BYTES), least_bytes), min(least_bytes, _MOST_BYTES), value, instead)
        self._known[id(value)] = weight
        return weight


def _open(value: Any, room: int) -> tuple[int, Sequence[Any], int]:
    """Return a value's bytes without its items, as many items as there is room to look at, and how many there are."""
    if isinstance(value, Ref):
        return _REF_BYTES, (value.name, value.pk, value.db), 3
    if not isinstance(value, CONTAINERS):
        inside = [child for _, child in children(value)] if room > 0 else []
        return 1, inside, len(inside)
    items = len(value) * (2 if isinstance(value, dict) else 1)
    header_bytes = _header_bytes(len(value), 15, least=3)
    if room <= 0:
        return header_bytes, (), items
    step = 1
    if items > room:
        step = -(-items // min(max(room // 2, _LEAST_SAMPLED), _MOST_SAMPLED))
    if type(value) is list or type(value) is tuple:
        return header_bytes, value[::step], items
    inside = [*islice(value, 0, None, step)]
    if isinstance(value, dict):
        inside += islice(value.values(), 0, None, step)
    return header_bytes, inside, items


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
