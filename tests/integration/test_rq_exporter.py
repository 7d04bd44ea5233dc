"""rq-exporter counts slim jobs, from an environment of its own: its releases want RQ 2 and redis-py 5.

SLIMJOBS_TEST_RQ_EXPORTER names the Python of that environment; without it, it is looked for in this one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import queue_samples
import sample_app
from mirakuru import HTTPExecutor
from port_for import get_port
from queue_samples import DEADLINE_SECONDS, Letter, run_worker

from slimjobs import Queue, SimpleWorker

if TYPE_CHECKING:
    from redis import Redis

PYTHON = os.environ.get("SLIMJOBS_TEST_RQ_EXPORTER") or sys.executable


@pytest.fixture
def exporter(redis_url: str) -> Any:
    # Without what this process has on its path, which the other environment may not be able to import.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    asked = subprocess.run(
        [PYTHON, "-c", "import rq_exporter.collector"], env=environment, check=False, stderr=subprocess.DEVNULL
    )
    if asked.returncode != 0:
        pytest.skip(
            "no rq-exporter: install it in a virtual environment, and name its python in SLIMJOBS_TEST_RQ_EXPORTER"
        )
    port = get_port(None)
    options = ["--host", "127.0.0.1", "--port", str(port), "--redis-url", redis_url]
    return HTTPExecutor(
        [PYTHON, "-m", "rq_exporter", *options],
        url=f"http://127.0.0.1:{port}/metrics",
        method="GET",
        timeout=DEADLINE_SECONDS,
        envvars=environment,
    )


def test_it_counts_jobs_and_workers(
    redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch, exporter: Any
) -> None:
    monkeypatch.setenv(queue_samples.URL_VARIABLE, redis_url)
    letter = Letter(1, "dear").save()
    queue = Queue("letters", connection=redis)
    for _ in range(2):
        queue.enqueue(queue_samples.read, letter)
    failing = queue.enqueue(sample_app.fail, letter)
    queue.enqueue(queue_samples.read, letter, depends_on=failing)
    worker: Any = SimpleWorker([queue], connection=redis, name="postman")
    run_worker(SimpleWorker, queue, redis)
    damaged = queue.enqueue(queue_samples.read, letter)
    redis.hset(damaged.key, "data", b"\xc1\x01damaged")
    queue.enqueue_in(timedelta(hours=1), queue_samples.read, letter)
    worker.register_birth()
    worker.set_state("idle")

    with exporter, urllib.request.urlopen(f"{exporter.url.geturl()}") as answer:
        lines = answer.read().decode().splitlines()
    worker.register_death()

    states = ("queued", "started", "finished", "failed", "deferred", "scheduled")
    counts = dict(zip(states, (1, 0, 2, 1, 1, 1), strict=True))
    for state, number in counts.items():
        assert f'rq_jobs{{queue="letters",status="{state}"}} {number}.0' in lines
    assert 'rq_workers{name="postman",queues="letters",state="idle"} 1.0' in lines
