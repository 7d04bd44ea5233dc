"""Dataclasses to their fields, and back."""

from __future__ import annotations

from dataclasses import fields
from inspect import signature
from typing import TYPE_CHECKING, Any

from slimjobs.codec.weight import Refused
from slimjobs.errors import ConfigurationError, UnsupportedTypeError

if TYPE_CHECKING:
    from collections.abc import Callable

_CONTAINERS = (list, tuple, set, frozenset)


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
        problem = None
        try:
            again = decode(_copied(content))
            changed = next((name for name, item in content.items() if not _is_same(getattr(again, name), item)), None)
        except Exception as error:  # noqa: BLE001  # of the class's own making
            problem = f"a {cls.__qualname__} cannot be made again from its fields ({type(error).__name__})"
        else:
            if changed is not None:
                problem = f"a {cls.__qualname__} made again from its fields has another {changed}"
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
    return hasattr(cls, "__post_init__") or params is None or not params.init


def _copied(value: Any) -> Any:
    """Return a value with containers of its own, which a class may change; what is in them stays the same."""
    cls = type(value)
    if cls is dict:
        return {key: _copied(item) for key, item in value.items()}
    return cls(map(_copied, value)) if cls in _CONTAINERS else value


def _is_same(one: Any, other: Any) -> bool:
    return one is other or (type(one) is type(other) and bool(one == other))
