"""`slimjobs audit` of a million jobs, and what it costs a stock worker beside it: `python tests/benchmarks/audit.py`.

The jobs are copies of some that RQ wrote. The audit runs once with Redis for itself, then beside each kind of worker;
the worker is measured beside it and while it is stopped, in short turns (A B A B), since what a shared machine can do
changes within seconds. Nothing here is a test.
"""

from __future__ import annotations

import argparse
import random
import resource
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from statistics import mean
from typing import Any
from uuid import uuid4

import rq
from redis import Redis
from rq.worker_registration import WORKERS_BY_QUEUE_KEY

from slimjobs.demo.redis_server import run_redis_server

TASKS = ("app.jobs.send_email", "app.jobs.render", "app.reports.monthly", "app.jobs.sync_contact", "shop.tasks.charge")
QUEUES = ("default", "mail", "reports", "low")
STEP_JOBS = 200
WINDOW_SECONDS, SETTLING_SECONDS = 1.5, 0.3


def fill(connection: Redis, jobs: int) -> None:
    """Write jobs: half of them queued, half scheduled."""
    random.seed(1)
    copies = jobs // (2 * len(QUEUES) * len(TASKS))
    for name in QUEUES:
        queue = rq.Queue(name, connection=connection)
        for task in TASKS:
            body = "".join(random.choices("abcdefgh ", k=random.choice([100, 300, 900])))
            recipients = [f"a{number}@example.org" for number in range(random.choice([1, 10, 60]))]
            queued = queue.enqueue(task, body, recipients)
            at = datetime.now(timezone.utc) + timedelta(minutes=random.choice([-10, 10, 500]))
            for job in (queued, queue.enqueue_at(at, task, body)):
                copy(connection, queue, job, copies - 1)


def copy(connection: Redis, queue: rq.Queue, job: rq.job.Job, copies: int) -> None:
    """Write copies of a job, in the list or the registry where it is."""
    fields: Any = connection.hgetall(job.key)
    score = connection.zscore(queue.scheduled_job_registry.key, job.id)
    pipeline = connection.pipeline(transaction=False)
    for start in range(0, copies, STEP_JOBS):
        ids = [str(uuid4()) for _ in range(min(STEP_JOBS, copies - start))]
        for job_id in ids:
            pipeline.hset(f"rq:job:{job_id}", mapping=fields)
        if score is None:
            pipeline.rpush(queue.key, *ids)
        else:
            pipeline.zadd(queue.scheduled_job_registry.key, dict.fromkeys(ids, score))
        pipeline.execute()


def audit(url: str) -> subprocess.Popen[bytes]:
    """Start an audit."""
    command = [sys.executable, "-m", "slimjobs.cli", "audit", "--redis-url", url]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def rate(queue: rq.Queue) -> float:
    """Return the jobs a second that leave a queue."""
    time.sleep(SETTLING_SECONDS)
    began, before = time.perf_counter(), queue.count
    time.sleep(WINDOW_SECONDS)
    return (before - queue.count) / (time.perf_counter() - began)


def compare(connection: Redis, url: str, kind: str, jobs: int, rounds: int) -> None:
    """Print what a worker does alone and beside an audit, and how long an audit takes beside it."""
    queue = rq.Queue("bench", connection=connection)
    for _ in range(jobs // 1000):
        queue.enqueue_many([rq.Queue.prepare_data("time.time", result_ttl=0) for _ in range(1000)])
    command = [sys.executable, "-m", "rq.cli", "worker", "bench", "-u", url, "-w", f"rq.{kind}", "-q"]
    worker = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not connection.scard(WORKERS_BY_QUEUE_KEY % "bench"):
            time.sleep(0.1)
        began = time.perf_counter()
        audit(url).wait()
        took = time.perf_counter() - began
        alone, beside = [], []
        auditing = start(url)
        for _ in range(rounds):
            auditing.send_signal(signal.SIGSTOP)
            alone.append(rate(queue))
            auditing.send_signal(signal.SIGCONT)
            jobs_a_second = rate(queue)
            if auditing.poll() is None:
                beside.append(jobs_a_second)
            else:
                auditing = start(url)
        auditing.kill()
        auditing.wait()
        assert queue.count, "the worker ran out of jobs"
    finally:
        worker.kill()
        worker.wait()
        connection.delete(queue.key)
    ratio = mean(beside) / mean(alone)
    rates = f"alone {mean(alone):6.1f} jobs/s  beside it {mean(beside):6.1f}"
    print(f"{kind:13}{rates}  ratio {ratio:.3f}   (to reach: 0.85)   the audit {took:.1f} s", flush=True)


def start(url: str) -> subprocess.Popen[bytes]:
    """Start an audit, and wait until it is at work."""
    auditing = audit(url)
    time.sleep(2)
    return auditing


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description="What an audit takes, and what it costs a worker.")
    parser.add_argument("--jobs", type=int, default=1_000_000, metavar="N", help="jobs (default: 1,000,000)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="rounds of each side (default: 3)")
    arguments = parser.parse_args()
    with run_redis_server() as url:
        connection = Redis.from_url(url)
        fill(connection, arguments.jobs)
        connection.config_set("slowlog-log-slower-than", 1000)
        connection.config_resetstat()
        connection.slowlog_reset()
        began = time.perf_counter()
        audit(url).wait()
        took = time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        slowest: Any = max((entry["duration"] for entry in connection.slowlog_get(128)), default=0)
        print(
            f"{arguments.jobs:,} jobs: {took:.1f} s   (to reach: 30)   {peak:.0f} MiB   (80)   "
            f"slowest command {slowest / 1000:.1f} ms   (5)",
            flush=True,
        )
        for kind, jobs in (("Worker", 20_000), ("SimpleWorker", 80_000)):
            compare(connection, url, kind, jobs, arguments.rounds)


if __name__ == "__main__":
    main()
