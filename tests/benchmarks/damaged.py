"""A queue where every tenth payload is damaged, run to its end: `python tests/benchmarks/damaged.py --jobs 100000`.

All good jobs have to run once, and all damaged ones have to be in the failed registry with their
reason. One part of the jobs is run by workers that fork, the rest by workers that do not. It ends
with an error if anything is not so.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from redis import Redis

from slimjobs import Queue
from slimjobs.demo.redis_server import run_redis_server

SUPPORT_FOLDER = Path(__file__).parent.parent / "support"
sys.path.insert(0, str(SUPPORT_FOLDER))

import damages  # noqa: E402  # it is found there only

WORKER = """
import os, sys
from redis import Redis
import damages, slimjobs
worker_class = getattr(slimjobs, sys.argv[1])
worker = worker_class([sys.argv[2]], connection=Redis.from_url(os.environ[damages.URL_VARIABLE]))
worker.work(burst=True, logging_level="CRITICAL")
"""
EVERY = 10


def start(worker_class: str, queue: str, url: str) -> subprocess.Popen[bytes]:
    path = os.pathsep.join([str(SUPPORT_FOLDER), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, damages.URL_VARIABLE: url}
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, worker_class, queue], env=environment, stderr=subprocess.DEVNULL
    )


def run(redis: Redis, url: str, worker_class: str, jobs: int, workers: int) -> list[str]:
    redis.flushdb()
    queue = Queue(worker_class.lower(), connection=redis)
    began = time.monotonic()
    reasons = damages.enqueue_with_damages(queue, jobs, EVERY)
    enqueued = time.monotonic()
    processes = [start(worker_class, queue.name, url) for _ in range(workers)]
    codes = [process.wait() for process in processes]
    ended = time.monotonic()
    faults = damages.find_faults(queue, jobs, EVERY, reasons)
    print(
        f"{worker_class}: {jobs} jobs, {len(reasons)} damaged; {workers} workers; "
        f"enqueued in {enqueued - began:.0f} s, run in {ended - enqueued:.0f} s; ran {redis.hlen(damages.RUNS_KEY)}, "
        f"failed {queue.failed_job_registry.count}, workers' exits {codes}, faults {faults or 'none'}"
    )
    return faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--forked", type=int, default=5_000, help="how many of them workers run that fork")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with run_redis_server() as url, Redis.from_url(url) as redis:
        faults = run(redis, url, "SimpleWorker", options.jobs - options.forked, options.workers)
        faults += run(redis, url, "Worker", options.forked, options.workers)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
