"""What is stored of a job's result: the result itself, or a short text that says why not."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from rq.job import Retry

from slimjobs.codec import NO_LIMIT, Refused, register_type
from slimjobs.errors import SlimjobsError
from slimjobs.logs import logger
from slimjobs.parts import measure
from slimjobs.payload import locate
from slimjobs.sizes import format_pair

if TYPE_CHECKING:
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
        measured_bytes, _ = measure({"result": result}, form.is_opaque)
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
