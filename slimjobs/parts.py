"""The parts of a call by path, for messages: which are the largest, and where one stands."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from slimjobs.codec import Inert
from slimjobs.refs import Ref

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from slimjobs.errors import Part

# Enough to name the culprit, and bounded: some 20 ms however large the call is.
_MOST_NODES = 100_000
_MOST_PARTS = 3
_MOST_CHARACTERS = 120
_MOST_CHILDREN = 10_000
_MOST_DEPTH = 200
# A part is named rather than its container while it holds more than half of it.
_DOMINANT = 0.5
_SEQUENCES = (list, tuple)
_SETS = (set, frozenset)


def call_parts(instance: Any, args: Iterable[Any], kwargs: Mapping[str, Any], meta: Any = None) -> dict[str, Any]:
    """Return the parts of a call by path: `args[0]`, `kwargs['body']`, and what else it carries."""
    parts = {} if instance is None else {"self": instance}
    parts.update((f"args[{index}]", value) for index, value in enumerate(args))
    parts.update((f"kwargs[{name!r}]", value) for name, value in kwargs.items())
    if meta:
        parts["meta"] = meta
    return parts


def largest_parts(parts: Mapping[str, Any], is_opaque: Callable[[Any], bool]) -> list[Part]:
    """Return the largest parts, each by the path of what in it is to blame, with its bytes.

    Args:
        parts: What `call_parts` returned.
        is_opaque: Says of a value whether it travels as a few bytes, whatever it holds.

    Returns:
        (path, bytes), largest first. Bytes are those of the encoded form to within the few that hold
        a value together, and lower bounds where there is too much to count.
    """
    scale = _Scale(is_opaque)
    sizes = sorted(((scale.weigh(value), path, value) for path, value in parts.items()), key=lambda row: -row[0])
    blamed: list[Part] = []
    for size_bytes, path, value in sizes[:_MOST_PARTS]:
        if blamed and size_bytes < sizes[0][0] / 10:
            break
        blamed.append(_descend(path, value, size_bytes, scale))
    return blamed


def total_bytes(parts: Mapping[str, Any], is_opaque: Callable[[Any], bool]) -> int:
    """Return a lower bound of the encoded bytes of all parts together."""
    scale = _Scale(is_opaque)
    return sum(map(scale.weigh, parts.values()))


def find_path(parts: Mapping[str, Any], culprit: object) -> str | None:
    """Return the path of one object among the parts, or None if it is not there any more."""
    return _search(parts, lambda value, _: value is culprit)


def find_depth(parts: Mapping[str, Any], levels: int) -> str | None:
    """Return the path of what is nested more than so many levels deep, or contains itself."""
    return _search(parts, lambda value, above: len(above) > levels or any(value is outer for outer in above))


def _search(parts: Mapping[str, Any], is_wanted: Callable[[Any, list[Any]], bool]) -> str | None:
    """Return the path of the first value that is wanted; it is shown with the values above it."""
    seen: set[int] = set()
    above: list[Any] = []
    trail = [("", iter(parts.items()))]
    while trail:
        path, siblings = trail[-1]
        step, value = next(siblings, (None, None))
        if step is None:
            trail.pop()
            above[-1:] = []
        elif is_wanted(value, above):
            found = path + step
            return found if len(found) <= _MOST_CHARACTERS else f"{found[:_MOST_CHARACTERS]}..."
        elif id(value) not in seen:
            seen.add(id(value))
            above.append(value)
            trail.append((path + step, children(value)))
    return None


def children(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield what a value is made of, each with its step in a path: `[3]`, `['rows']`, `.owner`."""
    if isinstance(value, _SEQUENCES):
        yield from ((f"[{index}]", item) for index, item in enumerate(value))
    elif isinstance(value, dict):
        for key, item in value.items():
            label = repr(key) if type(key) in (str, int, bool, float, bytes) else f"<{type(key).__name__}>"
            step = label if len(label) <= 42 else f"{label[:38]}...{label[0]}"
            if not isinstance(key, str):
                yield f".keys()<{type(key).__name__}>", key
            yield f"[{step}]", item
    elif isinstance(value, _SETS):
        yield from ((f".<{type(item).__name__}>", item) for item in value)
    elif isinstance(value, Inert):
        yield ".content", value.content
    elif is_dataclass(value) and not isinstance(value, (type, Ref)):
        yield from ((f".{field.name}", getattr(value, field.name, None)) for field in fields(value))
    else:
        attributes = getattr(value, "__dict__", None)
        if isinstance(attributes, dict) and not isinstance(value, type) and not callable(value):
            yield from ((f".{name}", item) for name, item in attributes.items())


def _descend(path: str, value: Any, size_bytes: int, scale: _Scale) -> Part:
    for _ in range(_MOST_DEPTH):
        if scale.is_opaque(value) or (isinstance(value, (list, tuple, dict)) and len(value) > _MOST_CHILDREN):
            break
        best = max(
            ((scale.weigh(child), step, child) for step, child in children(value)),
            key=lambda row: row[0],
            default=(0, "", None),
        )
        if best[0] <= size_bytes * _DOMINANT:
            break
        size_bytes, path, value = best[0], path + best[1], best[2]
    return path, size_bytes


class _Scale:
    """Weighs values until a number of nodes has been looked at; beyond, each counts one byte."""

    def __init__(self, is_opaque: Callable[[Any], bool]) -> None:
        self.is_opaque = is_opaque
        self._nodes_left = _MOST_NODES

    def weigh(self, value: Any) -> int:
        size_bytes = 0
        pending = [value]
        seen: set[int] = set()
        while pending:
            value = pending.pop()
            self._nodes_left -= 1
            if isinstance(value, str):
                size_bytes += _text_bytes(value)
            elif isinstance(value, (bytes, bytearray)):
                size_bytes += len(value) + 3
            elif isinstance(value, (bool, float, int, type(None))):
                size_bytes += 9 if isinstance(value, float) else _integer_bytes(value or 0)
            elif id(value) in seen or self.is_opaque(value):
                size_bytes += 10
            elif isinstance(value, (list, tuple, set, frozenset, dict)):
                seen.add(id(value))
                size_bytes += 3
                if len(value) > self._nodes_left:
                    size_bytes += len(value)
                else:
                    pending.extend(value)
                    pending.extend(value.values() if isinstance(value, dict) else ())
            else:
                seen.add(id(value))
                size_bytes += 10
                if self._nodes_left > 0:
                    pending.extend(child for _, child in children(value))
        return size_bytes


def _integer_bytes(value: int) -> int:
    return 1 + (value.bit_length() + 7) // 8 if value > 127 or value < -32 else 1


def _text_bytes(text: str) -> int:
    if text.isascii() or len(text) > 2**20:  # a lower bound is enough for what is far too long
        return len(text) + 3
    return len(text.encode("utf-8", "surrogatepass")) + 3
