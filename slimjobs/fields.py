"""The fields of a job's hash: which of them RQ can read, why others cannot be, and what they tell of the task."""

from __future__ import annotations

import pickletools
import re
from typing import TYPE_CHECKING, Any

from msgpack import Unpacker

from slimjobs.codec import HEADER
from slimjobs.compression import inflate, inflate_beginning
from slimjobs.errors import PayloadDecodeError, SlimjobsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rq.job import Job as RQJob

# RQ writes these itself, at every step that a job makes: nobody told them, and a job runs as well without.
BOOKKEEPING = frozenset(
    {"status", "created_at", "enqueued_at", "started_at", "ended_at", "last_heartbeat", "worker_name"}
    | {"origin", "description", "exc_info", "result"}
)
# More seconds are a number that Redis refuses as a time to live, which would end a worker.
_MOST_SECONDS = 2**40
_BEGINNING_BYTES = 1024
_IMPORT_PATH = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)+")
_CALL_HEADER = HEADER + b"\x94"


def by_name(raw_data: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a job's hash as Redis gives it, its fields by name."""
    return {key.decode("utf-8", "replace") if isinstance(key, bytes) else key: raw_data[key] for key in raw_data}


def sort_out(fields: Mapping[str, Any], blank: Callable[[], RQJob]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the fields of a job's hash that RQ can read, and by name why others cannot be.

    Args:
        fields: The fields without the payload.
        blank: Makes a job of RQ's own class, to try each field on.
    """
    problems = {name: problem for name in fields if (problem := _find_problem(name, fields[name], blank()))}
    return {name: fields[name] for name in fields if name not in problems}, problems


def _find_problem(name: str, value: Any, job: RQJob) -> str | None:
    try:
        job.restore({name: value, "data": b""})
    except Exception as error:  # noqa: BLE001  # RQ reads each field in its own way
        return describe(error)
    return None if is_sound(job) else "it is of another kind or size"


def is_sound(job: RQJob) -> bool:
    """Return whether what RQ read without a word is of the kind that it will need."""
    seconds = job.timeout, job.ttl, job.result_ttl, job.failure_ttl
    return (
        all(number is None or abs(number) <= _MOST_SECONDS for number in seconds)
        and _is_list_of(str, job._dependency_ids)  # noqa: SLF001  # RQ tells it nowhere else
        and (job.retry_intervals is None or _is_list_of((int, float), job.retry_intervals))
        and (job.repeat_intervals is None or _is_list_of((int, float), job.repeat_intervals))
    )


def describe(error: BaseException) -> str:
    """Return what is wrong with a value that could not be read, in one line and without the value."""
    return error.describe() if isinstance(error, SlimjobsError) else type(error).__name__


def read_text(stored: Any) -> str:
    """Return a text that RQ may have compressed, or in angle brackets why it cannot be read."""
    try:
        return inflate(stored).decode("utf-8", "replace") if isinstance(stored, bytes) else str(stored)
    except PayloadDecodeError as error:
        return f"<{describe(error)}>"


def find_task(data: bytes, description: str | None) -> tuple[str, str] | None:
    """Return the import path of a task whose payload cannot be decoded, and what tells it; None if nothing does.

    Args:
        data: The payload, or what is stored in its place.
        description: The job's description, which begins with the task unless it was given one.
    """
    name, bracket, _ = (description or "").partition("(")
    if bracket and _IMPORT_PATH.fullmatch(name):
        return name, "its description"
    name = _first_text(inflate_beginning(data, _BEGINNING_BYTES)) or ""
    return (name, "the beginning of its payload") if _IMPORT_PATH.fullmatch(name) else None


def _first_text(data: bytes) -> str | None:
    """Return the first text in the beginning of a payload, which is the function's name; no pickle is run."""
    try:
        if data.startswith(_CALL_HEADER):
            unpacker = Unpacker(
                max_buffer_size=_BEGINNING_BYTES, max_array_len=0, max_map_len=0
            )  # it begins with a text
            unpacker.feed(data[len(_CALL_HEADER) :])
            first = unpacker.unpack()
        else:
            first = next((content for _, content, _ in pickletools.genops(data) if type(content) is str), None)
    except Exception:  # noqa: BLE001  # of many kinds, for what is known to be damaged
        return None
    return first if type(first) is str else None


def _is_list_of(classes: type | tuple[type, ...], value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, classes) for item in value)


def is_call(function: Any, args: Any, kwargs: Any) -> bool:
    """Return whether these are the parts of a call, as RQ writes it."""
    is_named = function is None or isinstance(function, str)
    return is_named and isinstance(args, (list, tuple)) and isinstance(kwargs, dict) and _has_names(kwargs)


def _has_names(kwargs: dict[Any, Any]) -> bool:
    return all(isinstance(name, str) for name in kwargs)
