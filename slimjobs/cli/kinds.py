"""The kinds of values that options take."""

from __future__ import annotations

import argparse
import re

from slimjobs.sizes import parse_size

_SECONDS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
# A hundred years: no date and no timer of the system ends before that.
_MOST_SECONDS = 36_500 * 86_400


class Size(int):
    """A number of bytes, and how it was written."""

    text: str


def size(value: str) -> Size:
    """Return a size that an option was given.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    try:
        read = Size(parse_size(value))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    read.text = value
    return read


def seconds(value: str) -> float:
    """Return a length of time that an option was given, in seconds.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    match = re.fullmatch(r"\s*(\d{1,9}(?:\.\d{1,3})?)\s*(s|m|min|h|d|)\s*", value)
    if match is None:
        raise argparse.ArgumentTypeError(f"{value!r} is no length of time; write seconds, or such as 90s, 5m or 2h")
    read = float(match[1]) * _SECONDS[match[2]]
    if read > _MOST_SECONDS:
        raise argparse.ArgumentTypeError(f"{value!r} is too long; the most is {_MOST_SECONDS // 86400}d")
    return read
