"""Django's transactions and real workers at the same time, on SQLite files and PostgreSQL."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from queue_samples import DEADLINE_SECONDS, SUPPORT_FOLDER, URL_VARIABLE, enqueue_due_jobs, failure, make_all_due
from rq import Retry

from slimjobs import Job, Queue, Ref

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from postgres_server import PostgresServer
    from redis import Redis

pytest.importorskip("django")

WORKER = """
import os, sys
from redis import Redis
import slimjobs

class Telling(slimjobs.Worker):
    def perform_job(self, job, queue, *args):
        job.connection.rpush("begun", job.id)
        return super().perform_job(job, queue, *args)

redis = Redis.from_url(os.environ["QUEUE_SAMPLES_REDIS_URL"])
redis.rpush("workers", os.getpid())
Telling(["shop"], connection=redis).work(burst="burst" in sys.argv, logging_level="ERROR")
"""
# Nobody sets Django up in the workers: the environment names its settings.
MIGRATE = "import pathlib, sys; from shop import databases; databases.set_up(pathlib.Path(sys.argv[1]))"


class Shop:
    """The shop's databases and processes."""

    def __init__(self, directory: Path, redis: Redis, redis_url: str, server: PostgresServer | None) -> None:
        self.redis = redis
        self.queue = Queue("shop", connection=redis)
        self.environment = {
            **{name: value for name, value in os.environ.items() if name != "SHOP_DATABASE_URL"},
            "PYTHONPATH": os.pathsep.join([str(SUPPORT_FOLDER), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "DJANGO_SETTINGS_MODULE": "shop.settings",
            "SHOP_DIRECTORY": str(directory),
            URL_VARIABLE: redis_url,
        }
        if server is not None:
            server.make("shop_default", "shop_archive")
            self.environment["SHOP_DATABASE_URL"] = server.url
        self.run("-c", MIGRATE, str(directory))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *arguments],
            env=self.environment,
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
        processes = [self.start("-c", WORKER) for _ in range(count)]
        try:
            for _ in processes:
                assert self.redis.blpop(["workers"], timeout=DEADLINE_SECONDS)
            yield
            self.run("-c", WORKER, "burst")
        finally:
            for process in processes:
                process.send_signal(signal.SIGTERM)  # once: they end when their job has
                process.communicate(timeout=DEADLINE_SECONDS)

    def traffic(self, scenario: str) -> dict[str, Any]:
        expected: dict[str, Any] = json.loads(self.run("-m", "shop.traffic", scenario))
        return expected


@pytest.fixture(params=["sqlite", "postgresql"])
def running(request: pytest.FixtureRequest, tmp_path: Path, redis: Redis, redis_url: str) -> Shop:
    server = request.getfixturevalue("postgres") if request.param == "postgresql" else None
    return Shop(tmp_path, redis, redis_url, server)


def check(shop: Shop, expected: dict[str, Any]) -> None:
    """Exactly the jobs whose transaction committed have run, once, and each has found its row."""
    runs: Any = shop.redis.hgetall("runs")
    assert {job_id.decode(): int(number) for job_id, number in runs.items()} == {
        job_id: 1 for job_id, result in expected.items() if result is not None
    }
    for job_id, result in expected.items():
        if result is None:
            assert not Job.exists(job_id, shop.redis)
        else:
            assert Job.fetch(job_id, connection=shop.redis).return_value() == result
    assert shop.queue.count == 0
    assert shop.queue.failed_job_registry.get_job_count(cleanup=False) == 0


@pytest.mark.parametrize(("scenario", "jobs", "kept"), [("together", 50, 33), ("in_turn", 200, 100)])
def test_exactly_the_jobs_of_committed_transactions_run_and_find_their_rows(
    running: Shop, scenario: str, jobs: int, kept: int
) -> None:
    with running.workers(2):
        expected = running.traffic(scenario)

    assert len(expected) == jobs
    assert sum(result is not None for result in expected.values()) == kept
    check(running, expected)


def test_a_worker_that_has_a_job_before_the_commit_waits_for_the_row(running: Shop) -> None:
    with running.workers(1):
        expected = running.traffic("too_early")

    check(running, expected)


def test_a_database_that_goes_away_and_comes_back(
    postgres: PostgresServer, tmp_path: Path, redis: Redis, redis_url: str
) -> None:
    shop = Shop(tmp_path, redis, redis_url, postgres)
    expected = shop.traffic("one")
    [told] = expected.values()
    late = shop.queue.enqueue_call(
        "shop.jobs.describe_once", (Ref("shop.Email", told[2], "default"),), retry=Retry(max=1, interval=3600)
    )
    shop.queue.remove(late)
    gone = shop.queue.enqueue_call("shop.jobs.describe_once", (Ref("shop.Email", 10**9, "default"),))
    shop.queue.remove(gone)
    shop.run("-c", WORKER, "burst")
    check(shop, expected)

    for job in (late, gone):
        shop.queue.push_job_id(job.id)
    with postgres.away():
        shop.run("-c", WORKER, "burst")
    assert late.get_status(refresh=True) == "scheduled"
    assert "RecordUnavailableError" in failure(gone)
    assert "the rows of Email could not be asked for (OperationalError)" in failure(gone)

    gone.requeue()
    make_all_due(shop.queue)
    enqueue_due_jobs("shop", redis)
    shop.run("-c", WORKER, "burst")
    assert late.return_value(refresh=True) == told
    assert "RecordNotFoundError" in failure(gone)
