"""What was chosen, and what RQ's command line gives where nobody chose: its own classes and serializer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rq.defaults import DEFAULT_JOB_CLASS, DEFAULT_QUEUE_CLASS, DEFAULT_SERIALIZER_CLASS
from rq.job import Job as RQJob
from rq.queue import Queue as RQQueue
from rq.serializers import DefaultSerializer

if TYPE_CHECKING:
    from collections.abc import Iterable

# RQ's pickle by a name that counts as chosen; its class and its own name are RQ's defaults.
PickleSerializer = DefaultSerializer
PICKLE = f"{__name__}.PickleSerializer"


def chosen_job_class(given: Any) -> Any:
    """Return the job class that was given, or None where it is RQ's default."""
    return None if given in (RQJob, DEFAULT_JOB_CLASS) else given


def chosen_queue_class(given: Any) -> Any:
    """Return the queue class that was given, or None where it is RQ's default."""
    return None if given in (RQQueue, DEFAULT_QUEUE_CLASS) else given


def chosen_for_queue(serializer: Any) -> Any:
    """Return the serializer that a queue was given, or None where it is what the command line gives."""
    return None if serializer == DEFAULT_SERIALIZER_CLASS else serializer


def chosen_for_worker(serializer: Any, queues: Iterable[Any] = ()) -> Any:
    """Return the serializer that a worker was given, or None where it is RQ's default.

    `rq worker-pool` gives the class that `rq worker` names. Where the worker's queues have it too, it
    is what its jobs are written with, and is returned by the name that counts as chosen.

    Args:
        serializer: What was given: a serializer, its import path, or None.
        queues: The worker's queues, or their names; a plain `rq.Queue` has RQ's pickle without a choice.
    """
    if serializer not in (None, DEFAULT_SERIALIZER_CLASS, DefaultSerializer):
        return serializer
    own = [queue.serializer for queue in queues if isinstance(queue, RQQueue) and type(queue) is not RQQueue]
    return PICKLE if own and all(each is DefaultSerializer for each in own) else None
