"""The fields of a job's hash: which of them RQ can read, why others cannot be, and what they tell of the task."""

from __future__ import annotations

import json
import pickletools
import re
from typing import TYPE_CHECKING, Any

from msgpack import Unpacker
from rq.job import JobStatus
from rq.utils import as_text, parse_timeout, str_to_date

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


def sort_out(fields: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the fields of a job's hash that RQ can read, and by name why others cannot be."""
    readable: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for name, value in fields.items():
        problem = _find_problem(name, value)
        if problem is None:
            readable[name] = value
        else:
            problems[name] = problem
    return readable, problems


def _find_problem(name: str, value: Any) -> str | None:
    read = _READERS.get(name)
    if read is None or (not value and name not in _NEVER_EMPTY):
        return None
    try:
        read(value)
    except Exception as error:  # noqa: BLE001  # RQ reads them in many ways
        return describe(error)
    return None


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
            unpacker = Unpacker()
            unpacker.feed(data[len(_CALL_HEADER) :])
            first = unpacker.unpack()
        else:
            first = next((content for _, content, _ in pickletools.genops(data) if type(content) is str), None)
    except Exception:  # noqa: BLE001  # of many kinds, for what is known to be damaged
        return None
    return first if type(first) is str else None


def _is_list_of(classes: type | tuple[type, ...], value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, classes) for item in value)


def _read_seconds(value: Any) -> None:
    if abs(int(value)) > _MOST_SECONDS:
        raise ValueError


def _read_timeout(value: Any) -> None:
    _read_seconds(parse_timeout(value))


def _read_status(value: Any) -> None:
    JobStatus(as_text(value))


def _read_names(value: Any) -> None:
    if not _is_list_of(str, json.loads(value.decode())):
        raise ValueError


def _read_numbers(value: Any) -> None:
    if not _is_list_of((int, float), json.loads(value.decode())):
        raise ValueError


# As `rq.job.Job.restore` reads them.
_READERS: dict[str, Callable[[Any], Any]] = {"status": _read_status, "timeout": _read_timeout}
for _read, _names in (
    (str_to_date, "created_at enqueued_at started_at ended_at last_heartbeat"),
    (as_text, "origin description worker_name group_id dependency_id rate_limit_key"),
    (as_text, "success_callback_name failure_callback_name stopped_callback_name"),
    (int, "success_callback_timeout failure_callback_timeout stopped_callback_timeout enqueue_at_front"),
    (int, "number_of_retries retries_left repeats_left rate_limit_concurrency"),
    (int, "enqueue_at_front_on_retry allow_dependency_failures"),
    (_read_seconds, "ttl result_ttl failure_ttl"),
    (_read_names, "dependency_ids"),
    (_read_numbers, "retry_intervals repeat_intervals"),
):
    _READERS.update(dict.fromkeys(_names.split(), _read))
# RQ passes over others that are empty.
_NEVER_EMPTY = frozenset(name for name in _READERS if name.endswith("_callback_timeout")) | {"enqueue_at_front"}
