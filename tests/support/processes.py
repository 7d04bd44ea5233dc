"""Processes beside the tests': workers at work, and what enqueues meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from queue_samples import DEADLINE_SECONDS, SUPPORT_FOLDER, URL_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

WORKER = """
import os, sys
from importlib import import_module
from redis import Redis
import slimjobs

for module in filter(None, sys.argv[2].split(",")):
    import_module(module)

class Telling(slimjobs.Worker):
    def perform_job(self, job, queue, *args):
        job.connection.rpush("begun", job.id)
        return super().perform_job(job, queue, *args)

redis = Redis.from_url(os.environ["QUEUE_SAMPLES_REDIS_URL"])
redis.rpush("workers", os.getpid())
Telling([sys.argv[1]], connection=redis).work(burst="burst" in sys.argv, logging_level="ERROR")
"""


class Processes:
    """Processes of one application.

    Args:
        queue: The name of the queue that its workers work on.
        redis: The connection to Redis.
        redis_url: Where it is.
        preloaded: The modules that a worker imports before it forks, which saves each job doing so.
        environment: What the application finds in its environment; None for what it must not find.
    """

    def __init__(self, queue: str, redis: Redis, redis_url: str, *preloaded: str, **environment: str | None) -> None:
        self.queue = queue
        self.preloaded = preloaded
        self.redis = redis
        path = os.pathsep.join([str(SUPPORT_FOLDER), *filter(None, [os.environ.get("PYTHONPATH")])])
        changed = {"PYTHONPATH": path, URL_VARIABLE: redis_url, **environment}
        self._environment = {name: value for name, value in {**os.environ, **changed}.items() if value is not None}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *arguments],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> str:
        with self.start(*arguments) as process:
            output, errors = process.communicate(timeout=2 * DEADLINE_SECONDS)
        assert process.returncode == 0, errors
        return output

    @contextmanager
    def workers(self, count: int) -> Iterator[None]:
        """Have workers at work, and let them finish what is left at the end."""
        processes = [self.start("-c", WORKER, self.queue, ",".join(self.preloaded)) for _ in range(count)]
        try:
            for _ in processes:
                assert self.redis.blpop(["workers"], timeout=DEADLINE_SECONDS)
            yield
            self.work_off()
        finally:
            for process in processes:
                process.send_signal(signal.SIGTERM)  # once: they end when their job has
                process.communicate(timeout=DEADLINE_SECONDS)

    def work_off(self) -> None:
        """Run a worker until the queue is empty."""
        self.run("-c", WORKER, self.queue, ",".join(self.preloaded), "burst")
