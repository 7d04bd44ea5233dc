"""What a process of slimjobs tells of itself in its hash in Redis: the format that it reads, and its limits."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from rq.serializers import DefaultSerializer, JSONSerializer

import slimjobs
from slimjobs.limits import settings
from slimjobs.serializer import Serializer

# Of the hashes that RQ keeps of workers, schedulers and cron schedulers.
FIELD = "slimjobs"
SLIM, PICKLE, JSON = "slim", "pickle", "JSON"


class Mark(NamedTuple):
    """What a process tells.

    Attributes:
        version: The version of slimjobs.
        format: The format of the payloads that it reads, see `format_name`; "" where it reads none.
        reads_pickle: Whether it reads payloads that stock RQ pickled as well.
        limits: The limits that `configure()` and its environment set, by name; sizes in bytes.
    """

    version: str
    format: str
    reads_pickle: bool
    limits: dict[str, Any]


def make_mark(serializer: Any = None) -> str:
    """Return the mark of this process as text.

    Args:
        serializer: What it reads payloads with, or None.
    """
    now, read = settings(), "" if serializer is None else format_name(serializer)
    return json.dumps(Mark(slimjobs.__version__, read, now.read_pickle, now.limits.given))


def read_mark(value: bytes | str | None) -> Mark | None:
    """Return what a process has told, or None where it is none of slimjobs' or cannot be read."""
    try:
        version, read, reads_pickle, limits = json.loads(value or "null")
    except (TypeError, ValueError):
        return None
    is_one = isinstance(read, str) and isinstance(limits, dict)
    return Mark(str(version), read, bool(reads_pickle), limits) if is_one else None


def format_name(serializer: Any) -> str:
    """Return the format that a serializer writes: `SLIM`, `PICKLE`, `JSON`, or its import path where it is another."""
    cls = serializer if isinstance(serializer, type) else type(serializer)
    for base, name in ((Serializer, SLIM), (DefaultSerializer, PICKLE), (JSONSerializer, JSON)):
        if issubclass(cls, base):
            return name
    return f"{cls.__module__}.{cls.__qualname__}"
