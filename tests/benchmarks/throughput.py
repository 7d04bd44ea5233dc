"""Jobs a second through workers, stock RQ with pickle against slimjobs: `python tests/benchmarks/throughput.py`.

Both sides take turns in one run (A B A B), on a real Redis, and medians are compared: only the
ratios mean anything on a shared machine. A round enqueues its jobs first, which is not timed, and
works until the queue is empty. Nothing here is a test.
"""

from __future__ import annotations

import argparse
import logging
import platform
import time
from importlib.metadata import version
from statistics import median
from typing import TYPE_CHECKING, Any

import rq
from redis import Redis

import slimjobs
from slimjobs.demo.redis_server import run_redis_server

if TYPE_CHECKING:
    from rq.worker import BaseWorker

QUEUE = "letters"
ARGUMENTS = (12345, ["alice@example.com", "bob@example.org"])
SIDES: dict[str, Any] = {"stock": rq, "slim": slimjobs}


def nothing(*_: Any) -> None:
    """Do nothing: what is measured is all the rest."""


def work(worker_class: type[BaseWorker], connection: Redis) -> float:
    """Work until the queue is empty, and return the seconds that took."""
    worker = worker_class([QUEUE], connection=connection)
    worker.subscribe = lambda: None  # type: ignore[method-assign]  # its thread takes up to a second to end
    began = time.perf_counter()
    worker.work(burst=True, logging_level="WARNING")
    return time.perf_counter() - began


def compare(kind: str, jobs: int, rounds: int, connection: Redis) -> None:
    """Work off as many jobs with each side in turn, and print the medians and their ratio."""
    times: dict[str, list[float]] = {side: [] for side in SIDES}
    for number in range(rounds + 1):
        for side, module in SIDES.items():
            queue = module.Queue(QUEUE, connection=connection)
            queue.enqueue_many([queue.prepare_data(nothing, ARGUMENTS, result_ttl=60) for _ in range(jobs)])
            seconds = work(getattr(module, kind), connection)
            assert queue.finished_job_registry.get_job_count(cleanup=False) == jobs
            connection.flushdb()
            if number:  # the first one warms up
                times[side].append(seconds)
    rates = {side: jobs / median(seconds) for side, seconds in times.items()}
    shown = "  ".join(f"{side} {rate:8.0f} jobs/s" for side, rate in rates.items())
    ratio = rates["slim"] / rates["stock"]
    print(f"{kind:14}{jobs:6} jobs  {shown}  ratio {ratio:6.3f}   (to reach: 1.00)", flush=True)


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description="Jobs a second through workers, stock RQ against slimjobs.")
    parser.add_argument("--rounds", type=int, default=21, metavar="N", help="rounds of each side (default: 21)")
    rounds = parser.parse_args().rounds
    logging.getLogger("rq").setLevel(logging.WARNING)
    print(f"Python {platform.python_version()}, RQ {version('rq')}, redis-py {version('redis')}; medians of {rounds}")
    with run_redis_server() as url, Redis.from_url(url) as connection:
        compare("SimpleWorker", 500, rounds, connection)
        compare("Worker", 50, rounds, connection)


if __name__ == "__main__":
    main()
