"""Which line of the application enqueues: not one of RQ's, nor of slimjobs, Python's or what stands between."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import slimjobs
from slimjobs.recording.jobs import Place

if TYPE_CHECKING:
    from types import FrameType

_STANDARD_LIBRARY = f"{Path(os.__file__).parent}/"
_OURS = f"{Path(slimjobs.__file__).parent}/"
_BESIDE_RQ = frozenset({"rq", "django_rq", "rq_scheduler", "redis", "fakeredis"})


def find_place() -> Place | None:
    """Return the innermost line of the application on the stack, or else of a package that enqueues by itself.

    That is None where there is neither, as in a thread that calls nothing but RQ.
    """
    frame: FrameType | None = sys._getframe(1)  # `inspect` makes a list of all of them, with their source
    outside: Place | None = None
    while frame is not None:
        code = frame.f_code
        kind = _kind_of(code.co_filename)
        if kind == "application":
            return Place(code.co_filename, frame.f_lineno, code.co_name)
        if kind == "library" and outside is None:
            outside = Place(code.co_filename, frame.f_lineno, code.co_name)
        frame = frame.f_back
    return outside


@cache
def _kind_of(file: str) -> str:
    """Return whose a file is: the "application", a "library", or "none" of those that enqueue for others."""
    if file.startswith("<doctest "):
        return "application"
    package = _package_of(Path(file))
    if file.startswith(("<", _OURS)) or package in _BESIDE_RQ:
        return "none"
    if package:
        return "library"
    return "none" if file.startswith(_STANDARD_LIBRARY) else "application"


def _package_of(path: Path) -> str:
    """Return the name below site-packages that a file belongs to, or "" where it is not below it."""
    for name in ("site-packages", "dist-packages"):
        if name in path.parts[:-1]:
            return path.parts[path.parts.index(name) + 1]
    return ""
