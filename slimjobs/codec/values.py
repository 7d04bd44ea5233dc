"""Enum members and registered value types: by name into a payload, and back.

Bringing one back imports nothing: what is not loaded yet stays an `Inert` placeholder, which
`resolve` turns into the value when the call is about to be made.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, is_dataclass
from enum import Enum, EnumMeta, Flag
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from slimjobs.codec import records, wire
from slimjobs.codec.scalars import ENCODERS
from slimjobs.codec.weight import Refused
from slimjobs.errors import ConfigurationError, PayloadDecodeError, UnsupportedTypeError
from slimjobs.homes import import_home
from slimjobs.refs import Ref

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Inert:
    """A value whose class this process has not loaded, or which holds refs not loaded yet."""

    __slots__ = ("content", "is_enum", "name")

    def __init__(self, is_enum: bool, name: str, content: Any) -> None:
        self.is_enum = is_enum
        self.name = name
        self.content = content

    def __repr__(self) -> str:
        label = self.name.replace(":", ".").rpartition(".")[2]
        return f"<{label}.{self.content}>" if self.is_enum else f"<{label}>"


@dataclass(frozen=True)
class ValueType:
    """How one class of values travels."""

    cls: type
    name: str
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]
    is_by_fields: bool


def register_type(
    cls: type[T],
    name: str | None = None,
    encode: Callable[[T], Any] | None = None,
    decode: Callable[[Any], T] | None = None,
) -> type[T]:
    """Let the instances of a class travel by value.

    A dataclass needs no more than `register_type(Money)`, also as a decorator. One whose `__post_init__`
    would make another value of the fields it has left is refused at the enqueue call, if they are plain
    values. Exactly this class is meant, not its subclasses.

    Args:
        cls: The class.
        name: What stands for it in payloads, and must not change while jobs are queued. Default: its
            module and qualified name.
        encode: Returns a plain value for an instance: anything a payload can hold, models included.
        decode: Returns the instance for what `encode` returned. It runs where payloads are decoded,
            so it should do nothing else.

    Raises:
        ConfigurationError: The class or the name is registered already, or encode and decode are
            missing for a class that is no plain dataclass.

    Returns:
        The class.
    """
    if not isinstance(cls, type):
        raise ConfigurationError(f"register_type() takes a class, not {type(cls).__name__}")
    if cls in _PLAIN_TYPES or issubclass(cls, (Enum, Ref, Inert)):
        raise ConfigurationError(f"{cls.__qualname__} travels as it is; it cannot be registered")
    is_by_fields = encode is None and decode is None and is_dataclass(cls)
    if is_by_fields:
        encode, decode = records.codec_of(cls)
    if encode is None or decode is None:
        raise ConfigurationError(
            f"{cls.__qualname__}: register_type() needs both encode= and decode= for a class that is no dataclass"
        )
    name = name or f"{cls.__module__}.{cls.__qualname__}"
    if cls in _by_class:
        raise ConfigurationError(f"{cls.__qualname__} is registered already, as {_by_class[cls].name!r}")
    if name in _by_name:
        raise ConfigurationError(f"the name {name!r} is taken by {_by_name[name].cls.__qualname__}")
    _by_class[cls] = _by_name[name] = ValueType(cls, name, encode, decode, is_by_fields)
    return cls


def travels_by_value(cls: type) -> bool:
    """Return whether instances of a class are written as they are, or as a registered value type."""
    return cls in _PLAIN_TYPES or cls in _by_class or issubclass(cls, (Enum, Ref, Inert))


def content_of(value: Any) -> Any:
    """Return what a value's own `encode` makes of it, or the value itself where it has none."""
    value_type = _by_class.get(type(value))
    return value if value_type is None or value_type.is_by_fields else value_type.encode(value)


def reduce(value: Any) -> Inert | None:
    """Return what stands for an enum member or a registered value, or None for anything else.

    Raises:
        Refused: An enum member that no other process could find, or a dataclass that would come out as another.
    """
    if isinstance(value, Enum):
        return Inert(True, _enum_name(value), _member_key(value))
    value_type = _by_class.get(type(value))
    return Inert(False, value_type.name, value_type.encode(value)) if value_type else None


def restore(inert: Inert) -> Any:
    """Return the value, or `inert` itself where its class is not loaded or refs are inside.

    Raises:
        PayloadDecodeError: The registered decode function raised.
    """
    if inert.is_enum:
        module, _, qualname = inert.name.partition(":")
        found = _find_enum(module, qualname)
        return inert if found is None else _find_member(found, inert.content, inert)
    value_type = _by_name.get(inert.name)
    if value_type is None or _is_pending(inert.content):
        return inert
    return _decode(value_type, inert.content)


def resolve(inert: Inert, content: Any) -> Any:
    """Return the value for the call, importing the module that its name begins with if need be.

    Args:
        inert: The placeholder.
        content: Its content, with the refs in it loaded.

    Raises:
        PayloadDecodeError: Nothing here goes by that name.
    """
    if inert.is_enum:
        module, _, qualname = inert.name.partition(":")
        try:
            import_module(module)
        except Exception as error:  # of the module's own making, or of a name that is none
            raise PayloadDecodeError(f"enum {qualname} cannot be imported from {module}") from error
        found = _find_enum(module, qualname)
        value = inert if found is None else _find_member(found, content, inert)
        if value is inert:
            raise PayloadDecodeError(f"{module} has no enum {qualname} with a member {content}")
        return value
    import_home(inert.name, _by_name)
    value_type = _by_name.get(inert.name)
    if value_type is None:
        raise PayloadDecodeError(
            f"value type {inert.name!r} is not registered in this process",
            hint="Import the module that calls slimjobs.register_type() from the task's module.",
        )
    return _decode(value_type, content)


def _decode(value_type: ValueType, content: Any) -> Any:
    try:
        return value_type.decode(content)
    except Exception as error:
        raise PayloadDecodeError(f"decode of value type {value_type.name!r} raised {type(error).__name__}") from error


def _is_pending(content: Any) -> bool:
    if isinstance(content, (Ref, Inert)):
        return True
    if isinstance(content, dict):
        return any(map(_is_pending, content)) or any(map(_is_pending, content.values()))
    return isinstance(content, (list, tuple, set, frozenset)) and any(map(_is_pending, content))


def _enum_name(member: Enum) -> str:
    cls = type(member)
    if cls.__module__ == "__main__" or _find_enum(cls.__module__, cls.__qualname__) is not cls:
        problem = f"no worker could find the enum {cls.__qualname__} in module {cls.__module__}"
        raise Refused(member, UnsupportedTypeError(problem, hint="Define it at the top of a module."))
    return f"{cls.__module__}:{cls.__qualname__}"


def _member_key(member: Enum) -> str | int:
    """Return a member's name, or the value of a combination of flags, which has none."""
    name: str | None = member._name_
    if name is not None and type(member).__members__.get(name) is member:
        return name
    if member.value.bit_length() > wire.MOST_FLAGS:
        raise Refused(member, UnsupportedTypeError(f"a combination of more than {wire.MOST_FLAGS} flags cannot travel"))
    return int(member.value)


def _find_enum(module_name: str, qualname: str) -> EnumMeta | None:
    """Return a loaded enum class, looked up without running any code of the modules on the way."""
    found: Any = sys.modules.get(module_name)
    for part in qualname.split("."):
        # Plain dictionaries: a lazy module would import at a getattr().
        if isinstance(found, ModuleType):
            found = object.__getattribute__(found, "__dict__").get(part)
        elif isinstance(found, type):
            found = type.__getattribute__(found, "__dict__").get(part)
        else:
            return None
    return found if isinstance(found, EnumMeta) else None


def _find_member(enum: EnumMeta, key: Any, missing: Inert) -> Any:
    if isinstance(key, str):
        return enum.__members__.get(key, missing)
    if not issubclass(enum, Flag):
        return missing
    was_known = key in enum._value2member_map_
    try:
        member: Any = enum(key)
    except (ValueError, TypeError):
        return missing
    if not was_known and isinstance(member, int) and not _has_known_bits(enum, key):
        # Python keeps what it makes for bits that no member has, as many as were ever asked for. Those of single bits,
        # which Python 3.10 makes too, are few, and take long to make again.
        enum._value2member_map_.pop(int(member), None)
    return member


def _has_known_bits(enum: type[Flag], key: int) -> bool:
    bits = 0
    for member in enum.__members__.values():
        bits |= int(member.value)
    return key >= 0 and not key & ~bits


# What the encoder writes without asking here.
_PLAIN_TYPES = frozenset({type(None), bool, int, float, str, bytes, list, tuple, dict, set, frozenset, *ENCODERS})
_by_class: dict[type, ValueType] = {}
_by_name: dict[str, ValueType] = {}
