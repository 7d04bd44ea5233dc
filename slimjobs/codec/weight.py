"""A lower bound for the bytes a value will take, found before it is encoded."""

from __future__ import annotations

import sys
from typing import Any

from msgpack import ExtType, Timestamp

from slimjobs.errors import SlimjobsError, UnsupportedTypeError

# Deeper values are refused: msgpack's packer ends at 511 levels, and whoever walks a decoded value
# (hydration, a repr) needs a Python frame or two a level.
MAX_DEPTH = 256
NO_LIMIT = sys.maxsize

# What msgpack would write without asking, as something else than it was: bytes, or our own codes.
_DISGUISED = frozenset({bytearray, memoryview, ExtType, Timestamp})
_SEQUENCES = frozenset({list, tuple, set, frozenset})
_FLAT = frozenset({int, float, bool, type(None)})
_MANY = 16
# A str takes its characters and some bytes more, so that what a list of texts takes in memory bounds
# what it takes encoded: from below by an eighth (four bytes a character, and as many if its UTF-8 is
# kept with it), less what texts that are not ASCII take more.
_STORED_SIZE = str.__sizeof__
_EMPTY_BYTES = "".__sizeof__()
_WIDE_BYTES = "\U0001f4e7".__sizeof__() - _EMPTY_BYTES
_QUICK_BYTES = 2**20


class Refused(Exception):  # noqa: N818  # it carries an error
    """Carries what cannot travel up to where its path can be found.

    Attributes:
        culprit: The value; None where all that is known is that something is nested too deeply.
        error: What is wrong with it.
        inside: The id() of the instance of a value type that it may have come from, else None.
    """

    def __init__(self, culprit: object, error: SlimjobsError, inside: int | None = None) -> None:
        super().__init__()
        self.culprit = culprit
        self.error = error
        self.inside = inside


def weigh(value: Any, room: int, depth: int = 0) -> int:  # noqa: C901, PLR0912  # one loop, spelled out for speed
    """Return what is left of `room` bytes, at most; negative as soon as the value cannot fit.

    Counts one byte for everything and one for each character, so it never counts too much. It
    stops where the room ends: a list of millions costs no more than a list of `room` items.

    Raises:
        Refused: The value is nested too deeply (or contains itself), or is of a type that msgpack
            would disguise as another.
    """
    cls = type(value)
    if cls is list or cls in _SEQUENCES:
        count = len(value)
        room -= count
        if count >= _MANY:
            if room < 0:
                return room
            if cls is list:
                # One pass in C over a list of texts, in place of a step in Python for each of them.
                # It raises where one of them is no str, and runs no __len__ of the user's.
                try:
                    stored_bytes = sum(map(_STORED_SIZE, value)) - _EMPTY_BYTES * count
                    if stored_bytes <= room and stored_bytes <= _QUICK_BYTES:
                        return room - max(0, stored_bytes - _WIDE_BYTES * count) // 8
                except TypeError:
                    pass
        for item in value:
            kind = type(item)
            if kind is str:
                room -= len(item)
            elif kind not in _FLAT:
                if depth >= MAX_DEPTH:
                    raise nested_too_deeply(item)
                room = weigh(item, room, depth + 1)
                if room < 0:
                    break
    elif cls is dict:
        room -= 2 * len(value)
        for pair in value.items():
            if room < 0:
                break
            for item in pair:
                kind = type(item)
                if kind is str:
                    room -= len(item)
                elif kind not in _FLAT:
                    if depth >= MAX_DEPTH:
                        raise nested_too_deeply(item)
                    room = weigh(item, room, depth + 1)
    elif cls is str or cls is bytes:
        room -= len(value)
    elif cls in _DISGUISED:
        raise Refused(value, UnsupportedTypeError(f"a {cls.__name__} cannot travel", hint="Pass bytes(...) instead."))
    elif issubclass(cls, str):
        room -= str.__len__(value)
    return room


def nested_too_deeply(value: object) -> Refused:
    """Return the refusal of a value that is nested too deeply, or contains itself; None if it is not known."""
    problem = f"nested more than {MAX_DEPTH} levels deep, or contains itself"
    return Refused(value, UnsupportedTypeError(problem, hint="Pass a flatter value."))
