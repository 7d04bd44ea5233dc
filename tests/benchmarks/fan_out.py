"""One email to many recipients, by the size of the chunks: `python tests/benchmarks/fan_out.py`.

Stock RQ, whose jobs hold the email, beside slimjobs, whose jobs hold its id. Each with `enqueue_many`, on a Redis of
its own. Nothing here is a test.
"""

from __future__ import annotations

import argparse
import platform
import random
import statistics
import time
from importlib.metadata import version
from typing import Any

import rq
from redis import Redis

import slimjobs
from slimjobs.demo.redis_server import run_redis_server
from slimjobs.sizes import format_size


class Email:
    """An email with its text."""

    def __init__(self, id: int, body: str) -> None:
        self.id = id
        self.body = body


def send_chunk(email: Email, recipient_ids: list[int]) -> None:
    """Stand for what sends."""


slimjobs.register(Email, load=lambda pk: Email(pk, ""))


def memory_bytes(redis: Redis) -> int:
    """Return what Redis takes."""
    info: Any = redis.info("memory")
    return int(info["used_memory"])


def enqueue(queue: Any, email: Email, recipients: int, chunk: int) -> tuple[float, int]:
    """Enqueue a newsletter, and return the seconds that it took and the bytes that Redis took."""
    ids = list(range(1, recipients + 1))
    before_bytes = memory_bytes(queue.connection)
    begun = time.perf_counter()
    chunks = [ids[start : start + chunk] for start in range(0, recipients, chunk)]
    # An import path, since this module is no module of a worker's.
    queue.enqueue_many([queue.prepare_data("app.jobs.send_chunk", (email, each)) for each in chunks])
    return time.perf_counter() - begun, memory_bytes(queue.connection) - before_bytes


def main() -> None:
    """Print a row for each size of chunks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipients", type=int, default=30_000)
    parser.add_argument("--body", type=int, default=100_000, help="characters of the email's text")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, RQ {version('rq')}, slimjobs {slimjobs.__version__}, medians")
    words = random.Random(1)
    email = Email(1, "".join(words.choices("abcdefghijklmnopqrstuvwxyz     ", k=options.body)))
    with run_redis_server() as url, Redis.from_url(url) as redis:
        for chunk in (1, 10, 100, 1_000):
            for name, queue_class in (("stock", rq.Queue), ("slim", slimjobs.Queue)):
                rounds = []
                if name == "stock" and chunk < 100:
                    continue  # gigabytes
                for _ in range(options.rounds):
                    redis.flushdb()
                    queue = queue_class("newsletter", connection=redis)
                    rounds.append(enqueue(queue, email, options.recipients, chunk))
                seconds, taken_bytes = (statistics.median(column) for column in zip(*rounds, strict=True))
                job = queue.fetch_job(queue.job_ids[-1])
                payload = format_size(len(job.data)) if job else ""
                taken = format_size(int(taken_bytes))
                print(f"| {chunk:,} | {len(queue):,} | {name} | {payload} | {seconds:.2f} s | {taken} |")


if __name__ == "__main__":
    main()
