"""What a job is called in logs and dashboards, made without running any `repr` of the user's."""

from __future__ import annotations

from enum import Enum
from itertools import islice
from typing import TYPE_CHECKING, Any

from slimjobs import registry
from slimjobs.errors import SlimjobsError
from slimjobs.refs import Ref, Rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# RQ cuts each argument to 75 characters as well (rq.job.Job.get_call_string).
_MOST_CHARACTERS = 75
_MOST_ARGUMENTS = 8
_MOST_NAME_CHARACTERS = 40
_MOST_LEVELS = 8
_MORE = "..."
_SIZED = frozenset({str, bytes, list, tuple, set, frozenset, dict, bytearray})
_PLAIN = frozenset({int, float, bool, type(None), str, bytes})


def describe_call(task: str, args: Sequence[Any], kwargs: Mapping[str, Any], *, with_values: bool = False) -> str:
    """Return a call as text: `app.jobs.send_email(<Email 1>, list[100])`.

    Args:
        task: The task's import path.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        with_values: Whether values of plain types are shown, bounded, instead of their types.
    """
    shown, named = describe_arguments(args, kwargs, with_values=with_values)
    more = named.pop(_MORE, None)
    words = [*shown, *(f"{name}={text}" for name, text in named.items())]
    return f"{task}({', '.join(words if more is None else [*words, f'... {more} more'])})"


def describe_arguments(
    args: Sequence[Any], kwargs: Mapping[str, Any], *, with_values: bool = False
) -> tuple[list[str], dict[str, str]]:
    """Return arguments as texts; how many are left out stands under the name "...".

    Args:
        args: Positional arguments.
        kwargs: Keyword arguments.
        with_values: As `describe_call`.
    """
    describe = _describe_value if with_values else _describe_type
    shown = [describe(value) for value in args[:_MOST_ARGUMENTS]]
    some = islice(kwargs.items(), _MOST_ARGUMENTS - len(shown))
    named = {name[:_MOST_NAME_CHARACTERS]: describe(value) for name, value in some}
    left_out = len(args) + len(kwargs) - len(shown) - len(named)
    return shown, {**named, _MORE: str(left_out)} if left_out else named


def _describe_type(value: Any) -> str:
    cls = type(value)
    if cls in _SIZED:
        return f"{cls.__name__}[{len(value)}]"
    if value is None:
        return "None"
    if cls in _PLAIN:
        return cls.__name__
    if isinstance(value, Enum):
        return cls.__qualname__
    try:
        ref = value if cls is Ref else registry.dehydrate(value)
    except SlimjobsError:
        ref = None
    if isinstance(ref, Rows):
        return ref.label
    return cls.__qualname__ if ref is None else f"<{ref.label}>"


def _describe_value(value: Any, room: int = _MOST_CHARACTERS, level: int = 0) -> str:  # noqa: PLR0911  # a return for each kind of value
    cls = type(value)
    if cls is str or cls is bytes:
        text = repr(value[:room])
        return text if len(value) <= room and len(text) <= room + 2 else f"{text[:room]}..."
    if cls is int:
        # Longer ones are slow to print, or refused by Python itself.
        return str(value) if value.bit_length() < 4 * room else f"int[{value.bit_length()} bits]"
    if cls in _PLAIN:
        return repr(value)
    if level >= _MOST_LEVELS:
        return _describe_type(value)
    if cls is dict:
        below = level + 1
        pairs = (
            f"{_describe_value(key, room, below)}: {_describe_value(item, room, below)}" for key, item in value.items()
        )
        return _joined("{", pairs, "}", room)
    if cls is list or cls is tuple:
        items = (_describe_value(item, room, level + 1) for item in value)
        return _joined("[", items, "]", room) if cls is list else _joined("(", items, ")", room)
    return _describe_type(value)


def _joined(opening: str, items: Iterable[str], closing: str, room: int) -> str:
    text = ""
    for item in items:
        text += f", {item}" if text else item
        if len(text) > room:
            return f"{opening}{text[:room]}...{closing}"
    return f"{opening}{text}{closing}"
