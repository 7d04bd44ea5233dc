"""Payloads that are damaged in the ways that happen, and a task that tells how often it ran."""

from __future__ import annotations

import os
import pickle
import zlib
from functools import lru_cache
from typing import TYPE_CHECKING

from redis import Redis

import slimjobs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rq.job import Job

URL_VARIABLE = "QUEUE_SAMPLES_REDIS_URL"
RUNS_KEY = "runs"


@lru_cache(maxsize=1)
def _connect(url: str) -> Redis:
    return Redis.from_url(url)


def run(number: int, text: str) -> None:
    _connect(os.environ[URL_VARIABLE]).hincrby(RUNS_KEY, str(number), 1)


def ask_for_arguments(job: Job, *_: object) -> None:
    """Handle an exception as handlers do that report what a job was called with."""
    job.connection.rpush("asked", job.id)
    job.args  # noqa: B018  # it raises


def note_failure(job: Job, *_: object) -> None:
    job.connection.rpush("noted", job.id)


def flip(data: bytes) -> bytes:
    return data[:2] + bytes(255 - byte for byte in data[2:6]) + data[6:]


@lru_cache(maxsize=1)
def _bomb() -> bytes:
    deflating = zlib.compressobj(9)
    zeros = bytes(2**20)
    return b"".join([*(deflating.compress(zeros) for _ in range(70)), deflating.flush()])


# By what it is: what becomes of the payload, and of the reason that the failed job must name.
DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut off": (lambda data: data[: len(data) // 2], "cut off"),
    "flipped bytes": (flip, "damaged"),
    "a newer version": (lambda data: b"\xc1\x63" + data[2:], "format 99"),
    "a pickle": (lambda _: pickle.dumps(("damages.run", None, (1, "x"), {})), "looks like a pickle"),
    "a bomb": (lambda _: _bomb(), "inflates to more than"),
    "compressed data that is cut off": (lambda data: zlib.compress(data * 99)[:-9], "compressed data is cut off"),
    "compressed data that is damaged": (lambda data: zlib.compress(data)[:-4] + b"\0\0\0\0", "compressed data is dam"),
    "empty": (lambda _: b"", "empty"),
    "something else": (lambda _: b'{"json": 1}', "not a slimjobs payload"),
}
IN_META = "meta"
KINDS = (*DAMAGES, IN_META)


def damage(job: Job, kind: str, redis: Redis) -> str:
    """Damage a job in Redis, and return what its failure must say."""
    if kind == IN_META:
        redis.hset(job.key, "meta", b"\xc1\x01\x91\x81")
        return "its meta cannot be read: the payload is cut off"
    change, reason = DAMAGES[kind]
    redis.hset(job.key, "data", change(job.data))
    return reason


def enqueue_with_damages(queue: slimjobs.Queue, jobs: int, every: int) -> dict[str, str]:
    """Enqueue so many jobs, damage every so manieth, and return the damaged ones' ids with what they must say."""
    redis = queue.connection
    reasons: dict[str, str] = {}
    for start in range(0, jobs, 1000):
        numbers: Iterable[int] = range(start, min(jobs, start + 1000))
        made = queue.enqueue_many([slimjobs.Queue.prepare_data(run, (number, "text")) for number in numbers])
        for number, job in zip(numbers, made, strict=True):
            if number % every == 0:
                reasons[job.id] = damage(job, KINDS[number // every % len(KINDS)], redis)
    return reasons


def find_faults(queue: slimjobs.Queue, jobs: int, every: int, reasons: dict[str, str]) -> list[str]:
    """Return what is not as it has to be once all is run, the first of it."""
    redis = queue.connection
    runs = {int(number): int(times) for number, times in redis.hgetall(RUNS_KEY).items()}
    faults = [
        f"job number {number} ran {runs.get(number, 0)} times"
        for number in range(jobs)
        if runs.get(number, 0) != (0 if number % every == 0 else 1)
    ]
    failed = set(queue.failed_job_registry.get_job_ids())
    faults += [f"{job_id} is not in the failed registry" for job_id in sorted(reasons.keys() - failed)]
    faults += [f"{job_id} is in the failed registry" for job_id in sorted(failed - reasons.keys())]
    for job_id in sorted(failed & reasons.keys()):
        job = slimjobs.Job.fetch(job_id, connection=redis)
        result = job.latest_result()
        text = (result.exc_string if result else None) or ""
        if reasons[job_id] not in text or f"job {job_id} (damages.run" not in text:
            faults.append(f"{job_id} does not say {reasons[job_id]!r}: {text.splitlines()[-1:]}")
    if queue.count:
        faults.append(f"{queue.count} jobs are left in the queue")
    return faults[:10]
