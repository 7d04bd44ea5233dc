"""Dataclasses to their fields, and back."""

from __future__ import annotations

from dataclasses import fields
from enum import Enum
from inspect import signature
from typing import TYPE_CHECKING, Any

from slimjobs.codec.scalars import ENCODERS
from slimjobs.codec.weight import Refused
from slimjobs.errors import ConfigurationError, UnsupportedTypeError

if TYPE_CHECKING:
    from collections.abc import Callable

_CONTAINERS = (list, tuple, set, frozenset)
_IMMUTABLE = frozenset({str, bytes, float, bool, type(None), *ENCODERS})


def codec_of(cls: type) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """Return the functions that take a dataclass's instances apart, and put them together again.

    Raises:
        ConfigurationError: They are not made of their fields alone.
    """
    names = {field.name for field in fields(cls)}
    order = [field.name for field in fields(cls)]
    given = {field.name for field in fields(cls) if field.init}
    if not given.issuperset(signature(cls).parameters):
        raise ConfigurationError(f"{cls.__qualname__} is not made of its fields alone; pass encode= and decode=")

    def encode(value: Any) -> dict[str, Any]:
        return {name: getattr(value, name) for name in order}

    def encode_checked(value: Any) -> dict[str, Any]:
        content = encode(value)
        problem = _find_problem(cls, content, decode)
        if problem is not None:
            hint = "Pass encode= and decode= to slimjobs.register_type(), or let __post_init__ change nothing twice."
            raise Refused(value, UnsupportedTypeError(problem, hint=hint))
        return content

    def decode(content: dict[str, Any]) -> Any:
        value = cls(**{name: item for name, item in content.items() if name in given})
        for name in (names - given) & content.keys():
            object.__setattr__(value, name, content[name])
        return value

    return (encode_checked if _runs_code(cls) else encode), decode


def _runs_code(cls: type) -> bool:
    """Return whether code of the class's own runs as an instance is made."""
    maker = next(base for base in cls.__mro__ if "__init__" in vars(base))
    params = vars(maker).get("__dataclass_params__")
    if hasattr(cls, "__post_init__") or params is None or not params.init:
        return True
    return not params.frozen and any("__setattr__" in vars(base) for base in cls.__mro__[:-1])


def _find_problem(cls: type, content: dict[str, Any], decode: Callable[[Any], Any]) -> str | None:
    """Return what is wrong with an instance that is made again from its fields; what it holds is not changed."""
    try:
        copied = _copied(content)
    except (TypeError, RecursionError):
        return None  # no copy can be made of a model in it, which the class may change
    try:
        again = decode(copied)
        changed = next((name for name, item in content.items() if not _is_same(getattr(again, name), item)), None)
    except Exception as error:  # noqa: BLE001  # of the class's own making
        return f"a {cls.__qualname__} cannot be made again from its fields ({type(error).__name__})"
    return None if changed is None else f"a {cls.__qualname__} made again from its fields has another {changed}"


def _copied(value: Any) -> Any:
    """Return a value of which nothing is shared that a class could change.

    Raises:
        TypeError: It holds what is no plain value.
    """
    cls = type(value)
    if cls is dict:
        return {_copied(key): _copied(item) for key, item in value.items()}
    if cls in _CONTAINERS:
        return cls(map(_copied, value))
    if cls in _IMMUTABLE or isinstance(value, Enum):
        return value
    raise TypeError


def _is_same(one: Any, other: Any) -> bool:
    cls = type(one)
    if one is other or cls is not type(other):
        return one is other
    if cls is dict:
        return one.keys() == other.keys() and all(_is_same(item, other[key]) for key, item in one.items())
    if cls in (list, tuple):
        return len(one) == len(other) and all(map(_is_same, one, other))
    return bool(one == other) or bool(one != one and other != other)  # noqa: PLR0124  # a NaN is not itself
