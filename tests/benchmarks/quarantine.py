"""`slimjobs quarantine` and `restore`: time, memory, longest command: `python tests/benchmarks/quarantine.py`.

The outage's own backlog (300 jobs of 5 MB), one job of 100 MB, and jobs all over a queue of a million. Nothing here is
a test.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import rq
from redis import Redis

from slimjobs.demo.redis_server import run_redis_server

if TYPE_CHECKING:
    from collections.abc import Callable

REPORT = """
import sys
from pathlib import Path
from slimjobs.cli.main import main
status = main(sys.argv[1:])
sys.stdout.flush()
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0], status)
"""
# Commands that hold Redis up: the scripts, and what executes several of them at once.
SCRIPTS = (b"EVAL", b"EXEC")


def outage(connection: Redis) -> list[str]:
    """Write 300 scheduled jobs of 5 MB; return the options that choose them."""
    queue = rq.Queue("five_minutes", connection=connection)
    for _ in range(300):
        job = queue.enqueue_at(datetime.now(timezone.utc), "app.jobs.send_email")
        connection.hset(job.key, "data", os.urandom(5 * 10**6))
    return ["--task", "app.jobs.send_email"]


def huge(connection: Redis) -> list[str]:
    """Write a job of 100 MB."""
    job = rq.Queue("mail", connection=connection).enqueue("app.jobs.huge")
    connection.hset(job.key, "data", os.urandom(10**8))
    return ["--task", "app.jobs.huge"]


def long_queue(connection: Redis, jobs: int, chosen: int) -> list[str]:
    """Write a long queue, some of whose jobs are of another task, at even distances."""
    queue = rq.Queue("mail", connection=connection)
    fields: Any = connection.hgetall(queue.enqueue("app.jobs.small", "x" * 100).key)
    other = {**fields, b"description": b"app.jobs.chosen()"}
    ids = [str(uuid4()) for _ in range(jobs)]
    for start in range(0, jobs, 1000):
        with connection.pipeline(transaction=False) as pipeline:
            for number, job_id in enumerate(ids[start : start + 1000], start):
                pipeline.hset(f"rq:job:{job_id}", mapping=fields if number % (jobs // chosen) else other)
            pipeline.rpush(queue.key, *ids[start : start + 1000])
            pipeline.execute()
    return ["--task", "app.jobs.chosen"]


def measure(connection: Redis, url: str, *arguments: str) -> str:
    """Run a command and return what it took."""
    connection.config_set("slowlog-log-slower-than", 500)
    connection.config_set("slowlog-max-len", 10_000)
    connection.slowlog_reset()
    began = time.perf_counter()
    run = subprocess.run(
        [sys.executable, "-c", REPORT, *arguments, "--apply", "--redis-url", url],
        check=True,
        capture_output=True,
        text=True,
    )
    took = time.perf_counter() - began
    *said, last = [line for line in run.stdout.splitlines() if line]
    memory, status = last.split()
    entries: Any = connection.slowlog_get(10_000)
    scripts = sorted(entry["duration"] / 1000 for entry in entries if entry["command"].startswith(SCRIPTS))
    slowest = scripts[-1] if scripts else 0.0
    done = next(line for line in said if "set aside in" in line or "put back" in line)
    return (
        f"{arguments[0]:10} {took:6.1f} s  {int(memory) / 1024:4.0f} MiB (80)  "
        f"scripts above 5 ms: {sum(each > 5 for each in scripts)}, slowest {slowest:.1f} ms  "
        f"status {status}  {done.partition(' jobs')[0]} jobs"
    )


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description="What it takes to set jobs aside and to put them back.")
    parser.add_argument("--jobs", type=int, default=1_000_000, metavar="N", help="the long queue (default: 1,000,000)")
    arguments = parser.parse_args()
    backlogs: list[tuple[str, Callable[[Redis], list[str]], list[str]]] = [
        ("300 jobs of 5 MB", outage, []),
        ("a job of 100 MB", huge, []),
        ("100 jobs of a long queue", lambda redis: long_queue(redis, arguments.jobs, 100), []),
        ("the same with --deep", lambda redis: long_queue(redis, arguments.jobs, 100), ["--deep"]),
        ("10,000 of 100,000 jobs", lambda redis: long_queue(redis, 100_000, 10_000), []),
    ]
    for title, write, options in backlogs:
        with run_redis_server() as url, tempfile.TemporaryDirectory() as folder:
            connection = Redis.from_url(url)
            chosen = write(connection)
            file = str(Path(folder) / "jobs")
            print(title)
            print("  " + measure(connection, url, "quarantine", *chosen, "--to", file, *options), flush=True)
            print("  " + measure(connection, url, "restore", file, *options), flush=True)


if __name__ == "__main__":
    main()
