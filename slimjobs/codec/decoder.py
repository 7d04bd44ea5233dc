"""Bytes to values and calls, importing nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgpack import OutOfData, Unpacker, unpackb

from slimjobs.codec import scalars, values, wire
from slimjobs.codec.values import Inert
from slimjobs.codec.wire import HEADER
from slimjobs.errors import PayloadDecodeError
from slimjobs.refs import Ref

if TYPE_CHECKING:
    from collections.abc import Callable

# Room for the items of an array is made before they are read: a few bytes that promise large arrays
# inside each other could ask for gigabytes. Where an array may be longer than this, a first pass in C
# that makes no objects checks that the promises hold; up to it the worst that can be asked for, in
# msgpack's 1024 levels, is some 30 MB.
_UNCHECKED_ITEMS = 4096
# All calls begin with an array of four; to compare is faster than to cut the beginning out.
_CALL_HEADER, _AFTER_CALLS = HEADER + b"\x94", HEADER + b"\x95"
# With this byte msgpack begins an ext value that has no bytes.
_MARKER_BYTE = 0xC7


def decode(data: bytes) -> Any:
    """Return the value that was encoded, or (function, instance, args, kwargs) for a call.

    Models in it are refs. Imports no module and runs no code but the decode functions of
    registered value types.

    Raises:
        PayloadDecodeError: These are not the bytes of a value, or this version cannot read them.
    """
    try:
        # Most calls hold no marker, for which arrays would be looked at one by one, and no long array.
        if _CALL_HEADER <= data < _AFTER_CALLS and _MARKER_BYTE not in data:
            try:
                function, instance, args, kwargs = unpackb(
                    data[2:],
                    strict_map_key=False,
                    timestamp=3,
                    max_array_len=_UNCHECKED_ITEMS,
                    ext_hook=_decode_scalar,
                )
            except ValueError:
                pass  # of many kinds, which the thorough way tells apart
            else:
                if type(args) is list and type(kwargs) is dict and type(function) is str:
                    return function, instance, tuple(args), kwargs
        return _read(data)
    except PayloadDecodeError:
        raise
    except Exception as error:  # of many classes: msgpack's have no common base
        problem = "cut off" if _is_cut_off(error) else f"damaged ({type(error).__name__})"
        raise PayloadDecodeError(f"the payload is {problem}") from error


def _read(data: bytes) -> Any:
    """Return the value or the call that the bytes hold: the thorough way."""
    if data[:2] != HEADER:
        raise _not_ours(data)
    body = data[2:]
    if len(body) > _UNCHECKED_ITEMS:
        unpacker = Unpacker(max_buffer_size=len(body))
        unpacker.feed(body)
        unpacker.skip()
    reading = _Reading()
    try:
        frame = reading.read(body)
    except UnicodeDecodeError:
        frame = reading.read(body, "surrogatepass")
    if type(frame) is list and len(frame) == 1:
        return frame[0]
    if type(frame) is list and len(frame) == 4:
        function, instance, args, kwargs = frame
        if type(args) is list and type(kwargs) is dict and (type(function) is str or function is None):
            return function, instance, tuple(args), kwargs
    raise PayloadDecodeError("the payload is damaged (it is neither a value nor a call)")


def _decode_scalar(code: int, data: bytes) -> Any:
    decode_scalar = scalars.DECODERS.get(code)
    if decode_scalar is None:
        raise PayloadDecodeError(f"type {code} is not known here; a newer slimjobs may have written it")
    return decode_scalar(data)


def _is_cut_off(error: Exception) -> bool:
    # `unpackb` has no class of its own for it.
    return isinstance(error, OutOfData) or (isinstance(error, ValueError) and "incomplete input" in str(error))


def _not_ours(data: bytes) -> PayloadDecodeError:
    if not data:
        return PayloadDecodeError("the payload is empty")
    if data[:1] == wire.MAGIC and len(data) > 1:
        return PayloadDecodeError(
            f"the payload has format {data[1]}, this slimjobs reads format {wire.VERSION}",
            hint="Upgrade slimjobs where jobs are read before where they are written.",
        )
    if data[:1] == b"\x80":
        return PayloadDecodeError(
            "the payload looks like a pickle, which slimjobs does not read",
            hint="For a migration, set slimjobs.configure(read_pickle=True), if you trust all who write to this Redis.",
        )
    return PayloadDecodeError(
        "these bytes are not a slimjobs payload", hint="Another serializer may have written them."
    )


class _Mark:
    """What a marker is decoded to until its array is complete."""

    __slots__ = ("build",)

    def __init__(self, build: Callable[[list[Any]], Any]) -> None:
        self.build = build


class _Reading:
    """Reads bytes that hold markers: builds what they announce, and counts them."""

    __slots__ = ("open_marks",)

    def __init__(self) -> None:
        self.open_marks = 0

    def read(self, body: bytes, unicode_errors: str | None = None) -> Any:
        self.open_marks = 0
        frame = unpackb(
            body,
            strict_map_key=False,
            timestamp=3,
            ext_hook=self._on_ext,
            list_hook=self._on_list,
            unicode_errors=unicode_errors,
        )
        if self.open_marks:
            raise PayloadDecodeError("the payload is damaged (a marker heads no array)")
        return frame

    def _on_ext(self, code: int, data: bytes) -> Any:
        mark = _MARKS.get(code)
        if mark is None:
            return _decode_scalar(code, data)
        if data:
            raise PayloadDecodeError("the payload is damaged (a marker with bytes)")
        self.open_marks += 1
        return mark

    def _on_list(self, items: list[Any]) -> Any:
        if items and type(items[0]) is _Mark:
            self.open_marks -= 1
            return items[0].build(items)
        return items


def _build_tuple(items: list[Any]) -> tuple[Any, ...]:
    return tuple(items[1:])


def _build_set(items: list[Any]) -> set[Any]:
    return set(items[1:])


def _build_frozenset(items: list[Any]) -> frozenset[Any]:
    return frozenset(items[1:])


def _build_ref(items: list[Any]) -> Ref:
    _, name, pk, db = items
    if type(name) is not str or not (db is None or type(db) is str) or type(pk) is Ref:
        raise PayloadDecodeError("the payload is damaged (a ref without a name)")
    hash(pk)
    return Ref(name, pk, db)


def _build_enum(items: list[Any]) -> Any:
    _, name, content = items
    is_combination = type(content) is int and content.bit_length() <= wire.MOST_FLAGS
    if type(name) is not str or not (is_combination or type(content) is str):
        raise PayloadDecodeError("the payload is damaged (an enum member without a name)")
    return values.restore(Inert(True, name, content))


def _holds_mark(content: Any) -> bool:
    if isinstance(content, dict):
        return any(map(_holds_mark, content)) or any(map(_holds_mark, content.values()))
    if isinstance(content, (list, tuple, set, frozenset)):
        return any(map(_holds_mark, content))
    return type(content) is _Mark


def _build_value(items: list[Any]) -> Any:
    _, name, content = items
    if type(name) is not str or _holds_mark(content):
        raise PayloadDecodeError("the payload is damaged (a value type without a name, or with a marker inside)")
    return values.restore(Inert(False, name, content))


_MARKS = {
    wire.TUPLE: _Mark(_build_tuple),
    wire.SET: _Mark(_build_set),
    wire.FROZENSET: _Mark(_build_frozenset),
    wire.REF: _Mark(_build_ref),
    wire.ENUM: _Mark(_build_enum),
    wire.VALUE: _Mark(_build_value),
}
