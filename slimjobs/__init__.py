"""Keeps RQ job payloads small, and proves it."""

from slimjobs import orm as _orm  # noqa: F401  # models of ORMs become refs
from slimjobs.codec import register_type
from slimjobs.decorator import job
from slimjobs.errors import (
    BatchTooLargeError,
    ConfigurationError,
    PayloadDecodeError,
    PayloadTooLargeError,
    RecordNotFoundError,
    RecordUnavailableError,
    SlimjobsError,
    UnsavedModelError,
    UnsupportedTypeError,
)
from slimjobs.job import Job
from slimjobs.ledger import Ledger
from slimjobs.limits import Limits, configure
from slimjobs.queue import Queue
from slimjobs.refs import Ref
from slimjobs.registration import register
from slimjobs.scheduler import Scheduler
from slimjobs.serializer import Serializer
from slimjobs.worker import SimpleWorker, SpawnWorker, Worker

__version__ = "0.1.0"

__all__ = [
    "BatchTooLargeError",
    "ConfigurationError",
    "Job",
    "Ledger",
    "Limits",
    "PayloadDecodeError",
    "PayloadTooLargeError",
    "Queue",
    "RecordNotFoundError",
    "RecordUnavailableError",
    "Ref",
    "Scheduler",
    "Serializer",
    "SimpleWorker",
    "SlimjobsError",
    "SpawnWorker",
    "UnsavedModelError",
    "UnsupportedTypeError",
    "Worker",
    "configure",
    "job",
    "register",
    "register_type",
]
