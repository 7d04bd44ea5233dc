"""The keys that RQ keeps jobs under, and those of ours beside them."""

from __future__ import annotations

from rq.job import Job as RQJob
from rq.queue import Queue as RQQueue

from slimjobs.versions import KEY_PREFIX, RATE_LIMIT_PREFIX

JOB_PREFIX = RQJob.redis_job_namespace_prefix
QUEUE_PREFIX = RQQueue.redis_queue_namespace_prefix
QUEUES_KEY = RQQueue.redis_queues_keys
WORKERS_KEY = f"{KEY_PREFIX}:workers"
RESULTS_PREFIX = f"{KEY_PREFIX}:results:"
EXECUTIONS_PREFIX = f"{KEY_PREFIX}:executions:"
SCHEDULER_PREFIX = f"{KEY_PREFIX}:scheduler:"
SCHEDULER_LOCK_PREFIX = f"{KEY_PREFIX}:scheduler-lock:"
STARTED_PREFIX = f"{KEY_PREFIX}:wip:"
SUSPENDED_KEY = f"{KEY_PREFIX}:suspended"
CRON_JOBS_KEY = f"{KEY_PREFIX}:cron_jobs"
CRON_SCHEDULER_PREFIX = f"{KEY_PREFIX}:cron_scheduler:"
CRON_SCHEDULERS_KEY = f"{KEY_PREFIX}:cron_schedulers"
RQ_SCHEDULER_JOBS_KEY = "rq:scheduler:scheduled_jobs"  # rq-scheduler knows no other prefix
QUARANTINE_PREFIX = f"{KEY_PREFIX}:slimjobs:quarantine:"

# The sorted set that lists a queue's jobs in a state: these, and the queue's name. A stopped job is listed as failed.
REGISTRY_PREFIXES = {
    "scheduled": f"{KEY_PREFIX}:scheduled:",
    "deferred": f"{KEY_PREFIX}:deferred:",
    "finished": f"{KEY_PREFIX}:finished:",
    "failed": f"{KEY_PREFIX}:failed:",
    "stopped": f"{KEY_PREFIX}:failed:",
    "canceled": f"{KEY_PREFIX}:canceled:",
    "ready_to_enqueue": f"{KEY_PREFIX}:ready:",
}
STATES = (
    "queued",
    "scheduled",
    "deferred",
    "started",
    "failed",
    "finished",
    "canceled",
    "stopped",
    "rate_limited",
    "ready_to_enqueue",
    "created",
)

__all__ = ["KEY_PREFIX", "RATE_LIMIT_PREFIX"]


def text(value: bytes | str | None) -> str:
    """Return a name that Redis gave, whatever its bytes are."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value or ""
