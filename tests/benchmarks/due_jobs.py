"""What stock RQ's scheduler holds in memory for a byte of due payload: `python tests/benchmarks/due_jobs.py`.

Each run is a process of its own without a cap: its memory before and at its peak are read from /proc, so that it needs
Linux. RQ makes one job, and its hash is written under many ids. Bytes "at random" do not compress at all, "words" are
drawn from a few hundred, as in a text, and "one line" is the same line over and over. Nothing here is a test.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
from contextlib import ExitStack
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from redis import Redis
from rq.job import Job
from rq.registry import ScheduledJobRegistry
from rq.scheduler import RQScheduler

from slimjobs.demo.redis_server import run_redis_server
from slimjobs.sizes import format_size, parse_size

if TYPE_CHECKING:
    from collections.abc import Sequence

QUEUE = "newsletter"
KINDS = ("at random", "words", "one line")
RUNS = ((1_000, "1 KiB"), (1_000, "16 KiB"), (1_000, "64 KiB"), (1_000, "256 KiB"), (100, "1 MiB"), (100, "5 MB"))
# A process that does nothing but what the scheduler does.
CHILD = "import sys; sys.path[:] = {path!r}; import runpy; runpy.run_path({file!r}, run_name='__main__')"


def body_of(kind: str, size_bytes: int) -> bytes:
    """Return the argument of the jobs."""
    chance = random.Random(1)
    if kind == "at random":
        return chance.randbytes(size_bytes)
    if kind == "one line":
        return (b"<p>All work and no play makes Jack a dull boy.</p>\n" * (size_bytes // 40))[:size_bytes]
    words = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 10))) for _ in range(400)]
    return " ".join(chance.choices(words, k=size_bytes // 3)).encode()[:size_bytes]


def fill(connection: Redis, jobs: int, body: bytes) -> tuple[int, int]:
    """Put so many due jobs on the schedule, and return the payload bytes and the stored bytes of one."""
    connection.flushdb()
    job = Job.create("newsletter.send", (body,), connection=connection, id="first", origin=QUEUE, description="send")
    job.timeout = 180
    fields = {**job.to_dict(), "status": "scheduled"}
    key = ScheduledJobRegistry(QUEUE, connection=connection).key  # type: ignore[no-untyped-call]
    for start in range(0, jobs, 100):
        with connection.pipeline(transaction=False) as pipeline:
            for number in range(start, min(start + 100, jobs)):
                pipeline.hset(Job.key_for(f"job-{number}"), mapping=fields)
                pipeline.zadd(key, {f"job-{number}": number + 1})
            pipeline.execute()
    return len(job.data), len(fields["data"])


def memory_of_this_process(field: str) -> int:
    """Return the memory that Linux gives for this process, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name == field:
            return int(rest.split()[0]) * 1024
    raise SystemExit(f"/proc/self/status has no {field}: this needs Linux")


def move(url: str) -> None:
    """Be the scheduler: move one round of due jobs, and print the memory before and at its peak."""
    scheduler = RQScheduler([QUEUE], Redis.from_url(url), logging_level="WARNING")
    scheduler.acquire_locks()  # type: ignore[no-untyped-call]
    before_bytes = memory_of_this_process("VmRSS")
    scheduler.enqueue_scheduled_jobs()  # type: ignore[no-untyped-call]
    print(json.dumps([before_bytes, memory_of_this_process("VmHWM")]))


def measure(url: str, kind: str, jobs: int, payload: str) -> None:
    """Let a scheduler of its own move the jobs, and print a line."""
    with Redis.from_url(url) as connection:
        payload_bytes, stored_bytes = fill(connection, jobs, body_of(kind, parse_size(payload)))
    command = [sys.executable, "-c", CHILD.format(path=sys.path, file=__file__), "--as-scheduler", "--redis-url", url]
    ended = subprocess.run(command, capture_output=True, check=True)
    before_bytes, peak_bytes = json.loads(ended.stdout.splitlines()[-1])
    held_bytes = peak_bytes - before_bytes
    print(
        f"{jobs:>6,} {payload:>9} {kind:>10} {format_size(stored_bytes):>12} {format_size(before_bytes):>10} "
        f"{format_size(peak_bytes):>10} {held_bytes / (jobs * payload_bytes):>18.2f} "
        f"{held_bytes / (jobs * stored_bytes):>17.2f}",
        flush=True,
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Run all, or, in a process that this one starts, one scheduler."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--redis-url", help="an empty database of a Redis; default: a private redis-server")
    parser.add_argument("--as-scheduler", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.as_scheduler:
        move(options.redis_url)
        return
    versions = ", ".join(f"{name} {version(name)}" for name in ("rq", "redis"))
    print(f"{datetime.now(timezone.utc):%Y-%m-%d}, Python {platform.python_version()}, {versions};", end=" ")
    print(f"{os.cpu_count()} cores")
    print("  jobs   payload   contents   stored each     before       peak   per payload byte   per stored byte")
    with ExitStack() as stack:
        url = options.redis_url or stack.enter_context(run_redis_server())
        with Redis.from_url(url) as connection:
            if connection.dbsize():
                parser.error("the database is not empty, and would be flushed")
            for jobs, payload in RUNS:
                for kind in KINDS:
                    measure(url, kind, jobs, payload)
            connection.flushdb()


if __name__ == "__main__":
    main()
