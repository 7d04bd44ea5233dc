"""The backlog of an outage, for the pages: due jobs with pickled emails, and small ones, which nobody has scheduled."""

from __future__ import annotations

import importlib
from datetime import datetime, timedelta, timezone
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any
from zlib import compress

import rq
from rq.job import UNEVALUATED

if TYPE_CHECKING:
    from redis import Redis

MODELS = """
import slimjobs


class Email:
    def __init__(self, id, body=b""):
        self.id = id
        self.body = body


slimjobs.register(Email, load=Email)
"""
JOBS = """
from app.models import Email


def send_email(email, recipients): ...


def remind(number): ...
"""


def fill(redis: Redis, size_bytes: int, large_jobs: int, small_jobs: int) -> rq.Queue:
    """Write the application, schedule its jobs with stock RQ for 20 minutes ago, and return their queue."""
    Path("app/models.py").write_text(MODELS)
    Path("app/jobs.py").write_text(JOBS)
    jobs: Any = importlib.import_module("app.jobs")
    queue = rq.Queue("five_minutes", connection=redis)
    due = datetime.now(timezone.utc) - timedelta(minutes=20)
    for number in range(small_jobs):
        queue.enqueue_at(due, jobs.remind, number)
    large = b""
    for _ in range(large_jobs):
        job: Any = queue.enqueue_at(due, jobs.send_email, jobs.Email(1), ["ann@example.org"])
        if not large:  # pickled and compressed once, and not for every job
            job._args = (jobs.Email(1, Random(1).randbytes(size_bytes)), ["ann@example.org"])
            job._data = UNEVALUATED
            large = compress(job.data)
        redis.hset(job.key, "data", large)
    return queue
