"""What is stored of a job's result: the result itself, or a short text that says why not; and how it is read."""

from __future__ import annotations

import logging
from base64 import b64decode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rq.exceptions import DeserializationError
from rq.job import Retry
from rq.results import Result
from rq.serializers import resolve_serializer
from rq.utils import decode_redis_hash

from slimjobs import fields
from slimjobs.codec import NO_LIMIT, Refused, register_type
from slimjobs.errors import SlimjobsError
from slimjobs.logs import logger
from slimjobs.parts import measure
from slimjobs.payload import locate
from slimjobs.sizes import format_pair

if TYPE_CHECKING:
    from redis import Redis

    from slimjobs.limits import Limits
    from slimjobs.payload import Format


def storable_result(result: Any, task: str, job_id: str, limits: Limits, form: Format) -> Any:
    """Return a result if it can be stored, else a short marker; the log says the same.

    Failing the job instead would have RQ run its side effects again.

    Args:
        result: What the function returned.
        task: The task's import path.
        job_id: The job's id, for the log.
        limits: What holds for the task.
        form: How results are written.
    """
    if result is None:
        return None
    room = limits.max_result_bytes if limits.mode == "reject" else NO_LIMIT
    size_bytes: int | None = None
    try:
        data = form.dump(result, room)
        if data is not None:
            size_bytes = len(data)
            if size_bytes <= limits.max_result_bytes or limits.mode == "track":
                return result
        measured_bytes, _ = measure({"result": result}, form.travels_as, writes_once=form.writes_once)
        least_bytes = size_bytes or max(room + 1, measured_bytes)
        size, limit = format_pair(least_bytes, limits.max_result_bytes)
        reason = f"it is {'' if size_bytes else 'at least '}{size}, limit is {limit}"
    except Refused as refused:
        error = locate(refused, task, {"result": result})
        reason = f"{error.path or 'result'}: {error.describe()}"
    except SlimjobsError as error:
        reason = error.describe()
    except Exception as error:  # noqa: BLE001  # a foreign serializer can raise anything
        reason = f"it cannot be serialized ({type(error).__name__})"
    is_kept = size_bytes is not None and limits.mode == "warn"
    logger.log(
        logging.WARNING if is_kept else logging.ERROR,
        "%s: result of job %s is %s: %s",
        task,
        job_id,
        "over its limit" if is_kept else "not stored",
        reason,
        extra={"task": task, "job_id": job_id, "result_bytes": size_bytes, "limit_bytes": limits.max_result_bytes},
    )
    return result if is_kept else f"slimjobs: result of {task} not stored: {reason}"


def _fields_of(retry: Retry) -> dict[str, Any]:
    fields = {"max": retry.max, "interval": retry.intervals}
    return {**fields, "enqueue_at_front": True} if getattr(retry, "enqueue_at_front", False) else fields


# A function asks for another try by returning one, which RQ stores.
register_type(Retry, encode=_fields_of, decode=lambda fields: Retry(**fields))


@dataclass(frozen=True)
class Unreadable:
    """Stands for a result that cannot be read.

    Attributes:
        problem: Why not, in one line.
    """

    problem: str

    def __repr__(self) -> str:
        return f"<unreadable: {self.problem}>"


class StoredResult(Result):
    """RQ's results, read with a bound; one that cannot be decoded comes as an `Unreadable`."""

    @classmethod
    def restore(
        cls, job_id: str, result_id: str, payload: dict[Any, Any], connection: Redis, serializer: Any = None
    ) -> Result:
        """Return a result as Redis holds it; see `rq.results.Result.restore`.

        Raises:
            DeserializationError: It is damaged around what was returned.
        """
        fields_ = decode_redis_hash(payload)
        returned, exc_string = fields_.pop("return_value", None), fields_.pop("exc_string", None)
        try:
            result = super().restore(job_id, result_id, fields_, connection, serializer)
            if exc_string:
                result.exc_string = fields.read_text(b64decode(exc_string))
        except Exception as error:
            raise DeserializationError(f"job {job_id}: its result cannot be read: {fields.describe(error)}") from error
        if returned is not None:
            try:
                result.return_value = resolve_serializer(serializer).loads(b64decode(returned))
            except Exception as error:  # noqa: BLE001  # of many kinds, one for each serializer
                result.return_value = Unreadable(fields.describe(error))
        return result
