"""What moving due jobs costs, stock RQ's scheduler against slimjobs': `python tests/benchmarks/scheduler.py`.

Both sides take turns in one run, on a real Redis, each in a process of its own under the same memory cap; "died" is a
result. The jobs are those that stock RQ pickles: one is made by RQ, and its hash is written under many ids, so that
nothing is pickled and compressed thousands of times. The text compresses well, as an email does, and so ten thousand
payloads of 5 MB fit into Redis. Stock RQ moves at most 1,000 jobs at a time and waits a second in between; the waits
are left out of its time. Nothing here is a test.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from statistics import median
from typing import TYPE_CHECKING, Any

from redis import Redis
from rq.job import Job
from rq.queue import Queue
from rq.registry import ScheduledJobRegistry
from rq.scheduler import RQScheduler

import slimjobs
from slimjobs.demo import capped
from slimjobs.demo.redis_server import run_redis_server
from slimjobs.sizes import format_size, parse_size

if TYPE_CHECKING:
    from collections.abc import Sequence

QUEUE = "newsletter"
SECONDS_KEY = "seconds"
SCHEDULERS: dict[str, type[RQScheduler]] = {"stock": RQScheduler, "slim": slimjobs.Scheduler}
SENTENCE = "<p>All work and no play makes Jack a dull boy.</p>\n"
FULL = ((100, 1_000, 10_000), ("1 KB", "100 KB", "5 MB"))
QUICK = ((100, 1_000), ("1 KB", "100 KB"))
# A process that does nothing but what the scheduler does.
CHILD = "import sys; sys.path[:] = {path!r}; import runpy; runpy.run_path({file!r}, run_name='__main__')"


@dataclass(frozen=True)
class Run:
    """One process that moved the jobs, or died.

    Attributes:
        seconds: How long it took, or None where it died.
        peak_bytes: The most memory that it had resident.
    """

    seconds: float | None
    peak_bytes: int


def fill(connection: Redis, jobs: int, payload_bytes: int) -> int:
    """Put so many due jobs on the schedule, and return the bytes that Redis takes for all."""
    connection.flushdb()
    body = (SENTENCE * (payload_bytes // len(SENTENCE) + 1))[:payload_bytes]
    job = Job.create("newsletter.send", (body,), connection=connection, id="first", origin=QUEUE, description="send")
    job.timeout = 180
    fields = {**job.to_dict(), "status": "scheduled"}
    key = ScheduledJobRegistry(QUEUE, connection=connection).key  # type: ignore[no-untyped-call]
    for start in range(0, jobs, 500):
        with connection.pipeline(transaction=False) as pipeline:
            for number in range(start, min(start + 500, jobs)):
                pipeline.hset(Job.key_for(f"job-{number}"), mapping=fields)
                pipeline.zadd(key, {f"job-{number}": number + 1})
            pipeline.execute()
    return int(connection.info("memory")["used_memory"])


def run_scheduler(side: str, url: str, jobs: int, cap_bytes: int) -> Run:
    """Let a scheduler move the jobs in a capped process of its own."""
    command = [sys.executable, "-I", "-S", capped.__file__, str(cap_bytes), sys.executable, "-c"]
    child = [CHILD.format(path=sys.path, file=__file__), "--as", side, "--redis-url", url]
    ended = subprocess.run([*command, *child], capture_output=True, check=False)
    report = json.loads(ended.stdout)
    with Redis.from_url(url) as connection:
        seconds: Any = connection.get(SECONDS_KEY)
        moved = connection.llen(Queue(QUEUE, connection=connection).key)
    if report["exit_code"] == 0 and moved != jobs:
        raise SystemExit(f"{side} moved {moved} of {jobs} jobs: {ended.stderr.decode()}")
    return Run(float(seconds) if report["exit_code"] == 0 else None, report["peak_bytes"])


def move(side: str, url: str) -> None:
    """Be the capped process: move all that is due, and leave the seconds that it took in Redis."""
    connection = Redis.from_url(url)
    scheduler = SCHEDULERS[side]([QUEUE], connection, logging_level="WARNING")
    scheduler.acquire_locks()  # type: ignore[no-untyped-call]
    key = ScheduledJobRegistry(QUEUE, connection=connection).key  # type: ignore[no-untyped-call]
    began = time.perf_counter()
    while connection.zcard(key):
        scheduler.enqueue_scheduled_jobs()  # type: ignore[no-untyped-call]
    connection.set(SECONDS_KEY, time.perf_counter() - began)


def compare(url: str, jobs: int, payload: str, rounds: int, cap_bytes: int) -> None:
    """Let both sides move the same jobs in turn, and print a line for each."""
    runs: dict[str, list[Run]] = {side: [] for side in SCHEDULERS}
    used_bytes = 0
    with Redis.from_url(url) as connection:
        for _ in range(rounds):
            for side, done in runs.items():
                used_bytes = fill(connection, jobs, parse_size(payload))
                done.append(run_scheduler(side, url, jobs, cap_bytes))
    for side, done in runs.items():
        times = [run.seconds for run in done if run.seconds is not None]
        died = len(done) - len(times)
        seconds = f"{median(times):9.3f} s" if times else "-"
        rate = f"{jobs / median(times):12,.0f}" if times else "-"
        peak = format_size(max(run.peak_bytes for run in done))
        fate = f"died, {died} of {len(done)}" if died else "survived"
        print(
            f"{jobs:>7,} {payload:>8} {side:>7} {seconds:>12} {rate:>12} {peak:>12}   {fate:15} "
            f"{format_size(used_bytes):>10}",
            flush=True,
        )


def main(argv: Sequence[str] | None = None) -> None:
    """Run all comparisons, or, in a process that this one starts, one scheduler."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--redis-url", help="an empty database of a Redis; default: a private redis-server")
    parser.add_argument("--rounds", type=int, default=3, help="how often each side takes its turn (default: 3)")
    parser.add_argument("--cap", default="512 MiB", help="the memory that a scheduler may have (default: 512 MiB)")
    parser.add_argument("--quick", action="store_true", help="the small sizes only, a few seconds")
    parser.add_argument("--as", dest="side", choices=SCHEDULERS, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.side:
        move(options.side, options.redis_url)
        return
    counts, payloads = QUICK if options.quick else FULL
    versions = ", ".join(f"{name} {version(name)}" for name in ("rq", "redis", "slimjobs"))
    print(f"{datetime.now(timezone.utc):%Y-%m-%d}, Python {platform.python_version()}, {versions};", end=" ")
    print(f"{os.cpu_count()} cores, {options.rounds} round(s): medians of time, highest peak; cap {options.cap}")
    print("   jobs  payload    side         time       jobs/s         peak   fate                 Redis")
    with ExitStack() as stack:
        url = options.redis_url or stack.enter_context(run_redis_server())
        with Redis.from_url(url) as connection:
            if connection.dbsize():
                parser.error("the database is not empty, and would be flushed")
            for payload in payloads:
                for jobs in counts:
                    compare(url, jobs, payload, options.rounds, parse_size(options.cap))
            connection.flushdb()


if __name__ == "__main__":
    main()
