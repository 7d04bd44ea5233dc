"""RQ's cron with slim queues: its jobs are checked when they are registered, and none can stop the others."""

from __future__ import annotations

from slimjobs.errors import ConfigurationError

try:
    from rq.cron import get_cron_job_ids, register
except ImportError:
    raise ConfigurationError("this RQ has no cron that slimjobs knows; install RQ 3.0 or later") from None

from slimjobs.cron.jobs import CronJob
from slimjobs.cron.schedulers import CronScheduler, create_cron

__all__ = ["CronJob", "CronScheduler", "create_cron", "get_cron_job_ids", "register"]
