"""Keeps RQ job payloads small, and proves it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
    from slimjobs.jobs import Job
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

# Imported when the first of them is asked for, all together: the pytest plugin is in every run of every project
# that has slimjobs installed, and must not import RQ. No module may have one of these names, whose place it would take.
_MODULES = {
    "codec": ("register_type",),
    "decorator": ("job",),
    "errors": tuple(name for name in __all__ if name.endswith("Error")),
    "jobs": ("Job",),
    "ledger": ("Ledger",),
    "limits": ("Limits", "configure"),
    "queue": ("Queue",),
    "refs": ("Ref",),
    "registration": ("register",),
    "scheduler": ("Scheduler",),
    "serializer": ("Serializer",),
    "worker": ("SimpleWorker", "SpawnWorker", "Worker"),
}


def __getattr__(name: str) -> Any:
    if name in __all__:
        found = {home: import_module(f"{__name__}.{home}") for home in _MODULES}
        globals().update({public: getattr(found[home], public) for home, names in _MODULES.items() for public in names})
        return globals()[name]
    missing = AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name.startswith("_"):
        raise missing
    try:
        return import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        if error.name == f"{__name__}.{name}":
            raise missing from None
        raise


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
