"""Values and calls to bytes."""

from __future__ import annotations

from types import BuiltinFunctionType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any

from msgpack import ExtType, Packer

from slimjobs.codec import scalars, values, wire
from slimjobs.codec.values import Inert
from slimjobs.codec.weight import NO_LIMIT, Refused, nested_too_deeply, weigh
from slimjobs.codec.wire import HEADER
from slimjobs.errors import PayloadTooLargeError, SlimjobsError, UnsupportedTypeError
from slimjobs.refs import Ref, Rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Pack = Callable[[Any], bytes]

# A packer keeps its buffer, so one that grew is not kept.
_KEPT_BYTES = 2**20
_FEW = 8

_REF, _ENUM, _VALUE = (ExtType(code, b"") for code in (wire.REF, wire.ENUM, wire.VALUE))
_CONTAINERS: dict[type[Any], ExtType] = {
    tuple: ExtType(wire.TUPLE, b""),
    set: ExtType(wire.SET, b""),
    frozenset: ExtType(wire.FROZENSET, b""),
}


class _NoRoom(Exception):  # noqa: N818  # a signal, never an error
    """What is left to encode cannot fit."""


def _no_ref(_: Any) -> None:
    """Say that a value is no model."""


def _readable(ref: Ref) -> Ref:
    """Return a ref that somebody may have made by hand, if it could be read again."""
    try:
        hash(ref.pk)
    except TypeError:
        is_hashable = False
    else:
        is_hashable = type(ref.pk) is not Ref
    if not is_hashable or type(ref.name) is not str or not (ref.db is None or type(ref.db) is str):
        raise UnsupportedTypeError("a ref needs text for its name and database, and a key that is no ref and no list")
    return ref


def read_rows(rows: Rows, room: int) -> list[Ref]:
    """Return the refs of a query's rows; no more are read than there is room for.

    Raises:
        PayloadTooLargeError: There are more.
    """
    # A ref is an array of four with the marker, its name and, at the least, a byte for each of the others.
    most = room // (len(rows.name) + 7)
    refs = rows.read(most + 1)
    if len(refs) > most:
        error = PayloadTooLargeError(
            hint="Pass what selects the rows, or enqueue a job for every so many, or set max_bytes= on this job."
        )
        error.at_least = True
        raise error
    return refs


class Encoder:
    """Encodes values and calls, keeping its packers, since making one costs more than using it.

    Args:
        dehydrate: Asked for whatever is no plain value: returns the Ref that stands for it, the Rows
            of a query, or None.
    """

    def __init__(self, dehydrate: Callable[[Any], Ref | Rows | None] = _no_ref) -> None:
        self._dehydrate = dehydrate
        # A packer is taken out while it is used, so that each thread has its own, and so has an
        # encode() that is called from a user's encode function. Popping a list is atomic.
        self._idle: list[tuple[_Packing, Pack]] = []

    def encode(self, value: Any, room: int = NO_LIMIT, models: list[Any] | None = None) -> bytes | None:
        """Return the bytes of `value`, or None as soon as it is plain that they exceed `room`.

        Bytes that are returned may still be more than `room`. The models and refs in it are added to
        the list `models`.

        Raises:
            Refused: Something in it cannot travel; carries the culprit and the error.
        """
        return self._pack([value], weigh(value, room), models)

    def encode_call(  # noqa: C901, PLR0917  # the usual case, spelled out for speed
        self,
        function: str | None,
        instance: Any,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        room: int = NO_LIMIT,
        models: list[Any] | None = None,
    ) -> bytes | None:
        """Return the bytes of a call, with the same rules as `encode`."""
        if len(args) > room:
            return None
        # `weigh` would do; this saves its calls for what most arguments are.
        for arg in args:
            kind = type(arg)
            if kind is str:
                room -= len(arg)
            elif kind is list and len(arg) < _FEW:
                for item in arg:
                    room = room - len(item) if type(item) is str else weigh(item, room, 1)
            elif kind is not int:
                room = weigh(arg, room)
                if room < 0:
                    return None
        if kwargs:
            room = weigh(kwargs, room)
        if instance is not None:
            room = weigh(instance, room)
        frame = [function, instance, [*args], kwargs]
        if room < 0:
            return None
        # `_pack` would do: this is the usual case without its call, and it is asked for any other.
        try:
            packing, pack = self._idle.pop()
            packing.room = room
            packing.models = models
            data: bytes = HEADER + pack(frame)
        except (IndexError, _NoRoom, ValueError):
            return self._pack(frame, room, models)
        if len(data) < _KEPT_BYTES:
            self._idle.append((packing, pack))
        return data

    def _pack(self, frame: list[Any], room: int, models: list[Any] | None) -> bytes | None:
        if room < 0:
            return None
        try:
            packing, pack = self._idle.pop()
        except IndexError:
            packing, pack = self._make()
        packing.room = room
        packing.models = models
        try:
            data: bytes = HEADER + pack(frame)
        except UnicodeEncodeError:
            # Lone surrogates, as in file names that are not UTF-8: slower, so only on demand.
            packing, pack = self._make("surrogatepass")
            packing.models = models
            return packing.pack_or_refuse(pack, frame, room)
        except (_NoRoom, ValueError):
            return packing.pack_or_refuse(pack, frame, room)
        if len(data) < _KEPT_BYTES:
            self._idle.append((packing, pack))
        return data

    def _make(self, unicode_errors: str | None = None) -> tuple[_Packing, Pack]:
        packing = _Packing(self._dehydrate)
        # msgpack takes its fast way with text only where unicode_errors is None, which means "strict".
        return packing, Packer(default=packing.reduce, strict_types=True, unicode_errors=unicode_errors).pack


class _Packing:
    """What is known on the way through a value; not the packer, whose buffer would stay for long in a cycle."""

    __slots__ = ("_dehydrate", "inside", "models", "room")

    def __init__(self, dehydrate: Callable[[Any], Ref | Rows | None]) -> None:
        self.room = NO_LIMIT
        self._dehydrate = dehydrate
        self.models: list[Any] | None = None
        self.inside: int | None = None  # no reference, which would keep a model alive

    def pack_or_refuse(self, pack: Pack, frame: list[Any], room: int) -> bytes | None:
        """Return the bytes, or None where there is no room for them; raise `Refused` where something cannot travel."""
        self.room = room
        try:
            return HEADER + pack(frame)
        except _NoRoom:
            return None
        except ValueError as error:
            if "recursion" not in str(error):
                raise
            raise nested_too_deeply(None) from None

    def reduce(self, value: Any) -> Any:
        """Return what msgpack knows in place of a value that it does not know."""
        cls = type(value)
        marker = _CONTAINERS.get(cls)
        if marker is not None:
            return [marker, *value]
        try:
            scalar = scalars.ENCODERS.get(cls)
            if scalar is not None:
                code, encode = scalar
                return ExtType(code, encode(value))
            ref = _readable(value) if cls is Ref else self._dehydrate(value)
            if isinstance(ref, Rows):
                return read_rows(ref, self.room)
        except SlimjobsError as error:
            raise Refused(value, error, self.inside) from None
        if ref is not None:
            self.inside = id(value)
            if self.models is not None:
                self.models.append(value)
            self._take(ref.pk)
            return [_REF, ref.name, ref.pk, ref.db]
        inert = value if cls is Inert else values.reduce(value)
        if inert is not None:
            self.inside = id(value)
            self._take(inert.content)
            return [_ENUM if inert.is_enum else _VALUE, inert.name, inert.content]
        if isinstance(value, str):
            return str.__str__(value)
        raise Refused(value, _unsupported(value), self.inside)

    def _take(self, content: Any) -> None:
        try:
            self.room = weigh(content, self.room)
        except Refused as refused:
            refused.inside = self.inside
            raise
        if self.room < 0:
            raise _NoRoom


def _unsupported(value: Any) -> UnsupportedTypeError:
    cls = value.__class__  # a lazy object's own class says nothing
    name = f"{cls.__module__}.{cls.__qualname__}" if cls.__module__ != "builtins" else cls.__qualname__
    if isinstance(value, (FunctionType, BuiltinFunctionType, MethodType, type)):
        hint = "Pass its import path as text, and import it in the task."
    elif hasattr(cls, "__next__") or cls.__module__ in ("_io", "tempfile"):
        hint = "Pass what the task needs of it: a list of its items, a path, bytes."
    elif isinstance(value, (dict, list, tuple, set, frozenset, int, float, bytes)):
        base = next(base for base in cls.__mro__ if base.__module__ == "builtins")
        hint = f"Pass {base.__name__}(...), or let it travel as it is with slimjobs.register_type()."
    else:
        hint = (
            "If it has an id and can be loaded again, call slimjobs.register(); "
            "if it is a small value, slimjobs.register_type(); else pass what the task needs of it."
        )
    return UnsupportedTypeError(f"a {name} cannot travel", hint=hint)
