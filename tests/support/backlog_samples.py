"""A backlog with a job in every state, each written by RQ itself."""

from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rq
from queue_samples import rows
from rq.serializers import DefaultSerializer
from rq_versions import RQ, RateLimit

from slimjobs.backlog.quarantine import Quarantine
from slimjobs.backlog.scan import Scan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis
    from rq.job import Job

LATER = timedelta(hours=5)
# What makes a job one of another task.
LARGE: dict[Any, Any] = {"description": "app.large()", "data": DefaultSerializer.dumps(("app.large", None, (), {}))}


def fail(*_: Any) -> None:
    raise ValueError("x" * 3000)


def give_text(length: int) -> str:
    return "y" * length


def note_run(name: str) -> None:
    """Leave the name of a job that has run."""
    rows().rpush("runs", name)


def work(queue: rq.Queue) -> list[bytes]:
    """Run what is queued, and return the names of the jobs that have run so far."""
    rq.SimpleWorker([queue], connection=queue.connection).work(burst=True, logging_level="CRITICAL")
    runs: Any = queue.connection.lrange("runs", 0, -1)
    return list(runs)


@contextmanager
def no_room(redis: Redis) -> Iterator[None]:
    """Let Redis refuse to write, as one does that is at its maxmemory."""
    before: Any = redis.config_get("maxmemory*")
    redis.config_set("maxmemory-policy", "noeviction")
    redis.config_set("maxmemory", 1)
    try:
        yield
    finally:
        for name in ("maxmemory", "maxmemory-policy"):
            redis.config_set(name, before[name])


def look_around(*_: Any) -> None:
    """Leave what a scan finds while this job runs."""
    found = [job for step in Scan(rows(), more_than=-1) for job in step.rows]
    states = {row.id: (row.measured.name.state, row.measured.is_listed) for row in found}
    rows().set("seen", json.dumps(states))


def fill(redis: Redis, queue: rq.Queue) -> dict[str, Job]:
    """Return a job of each state by its state, on a queue and in its registries."""
    jobs = {
        "failed": queue.enqueue(fail, "x" * 10),
        "finished": queue.enqueue(give_text, 2000),
        "stopped": queue.enqueue(fail, "x" * 20),
    }
    worker = rq.SimpleWorker([queue], connection=redis)
    worker._stopped_job_id = jobs["stopped"].id  # as after `send_stop_job_command`
    worker.work(burst=True, logging_level="CRITICAL")
    jobs["queued"] = queue.enqueue(give_text, 1, meta={"note": "x" * 500})
    jobs["scheduled"] = queue.enqueue_at(datetime.now(timezone.utc) + LATER, give_text, "x" * 700)
    jobs["deferred"] = queue.enqueue(give_text, 3, depends_on=jobs["queued"])
    jobs["canceled"] = queue.enqueue(give_text, 4)
    jobs["canceled"].cancel()
    jobs["created"] = rq.job.Job.create(give_text, [5], origin=queue.name, connection=redis)
    jobs["created"].save()
    if RQ >= (3, 0):
        queue.enqueue(give_text, 6, rate_limit=RateLimit("texts", 1), job_id="holds-the-slot")
        jobs["rate_limited"] = queue.enqueue(give_text, 7, rate_limit=RateLimit("texts", 1))
    if hasattr(rq.registry, "ReadyJobRegistry"):
        ready = rq.job.Job.create(give_text, [8], origin=queue.name, connection=redis)
        with redis.pipeline() as pipeline:
            ready.save(pipeline=pipeline)
            rq.registry.ReadyJobRegistry(queue.name, connection=redis).register_jobs([ready], pipeline)
            pipeline.execute()
        jobs["ready_to_enqueue"] = ready
    return jobs


def set_itself_aside(path: str) -> None:
    """Leave what becomes of this job when it is to be set aside while it runs."""
    rows_of_it = [row for step in Scan(rows(), more_than=-1) for row in step.rows]
    (outcome,) = Quarantine(rows(), Path(path)).set_aside(rows_of_it)
    rows().set("outcome", outcome.problem)
