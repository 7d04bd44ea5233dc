"""What differs between the versions of RQ that are supported, 2.6 and up."""

from __future__ import annotations

from typing import Any

from rq.exceptions import AbandonedJobError
from rq.job import Job as RQJob
from rq.queue import Queue as RQQueue

try:
    from rq import scripts
    from rq.exceptions import DuplicateJobError  # pyright: ignore[reportAssignmentType]  # for the class below
except ImportError:  # pragma: no cover  # before RQ 2.8, which knows no unique jobs
    scripts = None  # type: ignore[assignment]

    class DuplicateJobError(Exception):  # type: ignore[no-redef]
        """What is never raised there."""


try:
    from rq.rate_limit import ACQUIRE_AND_ENQUEUE_SCRIPT as RATE_LIMIT_SCRIPT
    from rq.rate_limit import RateLimitRegistry

    RATE_LIMITS_KEY = RateLimitRegistry.rl_keys_key
    RATE_LIMIT_PREFIX = RATE_LIMITS_KEY.removesuffix("-keys") + ":"
except ImportError:  # pragma: no cover  # before RQ 3.0, which knows no rate limits and moves such jobs as any other
    RATE_LIMIT_SCRIPT = RATE_LIMITS_KEY = RATE_LIMIT_PREFIX = ""

__all__ = [
    "KEY_PREFIX",
    "RATE_LIMITS_KEY",
    "RATE_LIMIT_PREFIX",
    "RATE_LIMIT_SCRIPT",
    "DuplicateJobError",
    "GuardedJob",
    "has_rate_limit",
    "scripts",
]

# RQ takes it from the environment since 3.0, and keeps it inside its classes before.
KEY_PREFIX = RQQueue.redis_queues_keys.removesuffix(":queues")


def has_rate_limit(job: RQJob) -> bool:
    """Return whether a job's rate is limited, which RQ can since 3.0."""
    return getattr(job, "has_rate_limit", False)


class GuardedJob(RQJob):
    """RQ's Job, whose failure callback cannot end a worker that fails abandoned jobs, as before RQ 3.0 it can."""

    if hasattr(RQJob, "execute_failure_callback"):  # pragma: no cover  # before RQ 3.0

        def execute_failure_callback(self, death_penalty_class: Any, kind: type[BaseException], *error: Any) -> None:
            """Run the failure callback; what it raises for an abandoned job is in the log, and nowhere else."""
            try:
                super().execute_failure_callback(death_penalty_class, kind, *error)  # type: ignore[misc, unused-ignore]
            except Exception:
                if kind is not AbandonedJobError:
                    raise
