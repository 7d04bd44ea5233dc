"""Django's transactions and real workers at the same time, on SQLite files and PostgreSQL."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from processes import Processes
from queue_samples import DEADLINE_SECONDS, enqueue_due_jobs, failure, make_all_due
from rq import Callback, Retry
from rq.command import send_stop_job_command

from slimjobs import Job, Queue, Ref, Serializer

if TYPE_CHECKING:
    from pathlib import Path

    from postgres_server import PostgresServer
    from redis import Redis

pytest.importorskip("django")

pytestmark = pytest.mark.slow

# The worker of most deployments sets Django up. Where it does not, the environment names its settings, and each work
# horse does it for itself; of Django, the worker has imported what can be before.
SET_UP, NOT_SET_UP = "shop.ready", "django.contrib.auth.hashers"
MIGRATE = "import pathlib, sys; from shop import databases; databases.set_up(pathlib.Path(sys.argv[1]))"
MAKE_EMAIL = """
import sys, django
django.setup()
from shop.models import Email
print(Email.everything.create(subject=sys.argv[1]).pk)
"""


class Shop(Processes):
    """The shop's databases and processes."""

    def __init__(self, directory: Path, redis: Redis, redis_url: str, server: PostgresServer | None) -> None:
        if server is not None:
            server.make("shop_default", "shop_archive")
        super().__init__(
            "shop",
            redis,
            redis_url,
            NOT_SET_UP,
            DJANGO_SETTINGS_MODULE="shop.settings",
            SHOP_DIRECTORY=str(directory),
            SHOP_DATABASE_URL=server.url if server is not None else None,
        )
        self.run("-c", MIGRATE, str(directory))

    def make_email(self, subject: str) -> int:
        return int(self.run("-c", MAKE_EMAIL, subject))

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
    queue = Queue("shop", connection=shop.redis)
    assert queue.count == 0
    assert queue.failed_job_registry.get_job_count(cleanup=False) == 0


@pytest.mark.parametrize(("scenario", "jobs", "kept"), [("together", 50, 33), ("in_turn", 200, 100)])
def test_exactly_the_jobs_of_committed_transactions_run_and_find_their_rows(
    running: Shop, scenario: str, jobs: int, kept: int
) -> None:
    running.preloaded = (SET_UP,)
    with running.workers(2):
        expected = running.traffic(scenario)

    assert len(expected) == jobs
    assert sum(result is not None for result in expected.values()) == kept
    check(running, expected)


def test_a_worker_that_has_a_job_before_the_commit_waits_for_the_row(running: Shop) -> None:
    with running.workers(1):
        expected = running.traffic("too_early")

    check(running, expected)


def test_the_transaction_of_a_stopped_job_is_no_other_jobs(running: Shop) -> None:
    redis, queue = running.redis, Queue("shop", connection=running.redis)
    with running.workers(1):
        ref = Ref("shop.Email", running.make_email("as it was"), "default")
        for _ in range(2):  # the callback of the first opens a connection in the worker
            job = queue.enqueue_call(
                "shop.jobs.hold", (ref,), on_stopped=Callback("shop.jobs.note_stopped", timeout=DEADLINE_SECONDS)
            )
            assert redis.blpop(["held"], timeout=DEADLINE_SECONDS)
            send_stop_job_command(redis, job.id, serializer=Serializer)
            assert redis.blpop(["stopped"], timeout=DEADLINE_SECONDS) == (b"stopped", b"as it was")
        renamed = queue.enqueue_call("shop.jobs.rename", (ref, "new"))
    told = ["new", "default", ref.pk]
    assert renamed.return_value() == told
    seen = queue.enqueue_call("shop.jobs.describe_once", (ref,))
    running.work_off()
    assert seen.return_value() == told


def test_a_database_that_goes_away_and_comes_back(
    postgres: PostgresServer, tmp_path: Path, redis: Redis, redis_url: str
) -> None:
    shop, queue = Shop(tmp_path, redis, redis_url, postgres), Queue("shop", connection=redis)
    expected = shop.traffic("one")
    [told] = expected.values()
    late = queue.enqueue_call(
        "shop.jobs.describe_once", (Ref("shop.Email", told[2], "default"),), retry=Retry(max=1, interval=3600)
    )
    queue.remove(late)
    gone = queue.enqueue_call("shop.jobs.describe_once", (Ref("shop.Email", 10**9, "default"),))
    queue.remove(gone)
    shop.work_off()
    check(shop, expected)

    for job in (late, gone):
        queue.push_job_id(job.id)
    with postgres.away():
        shop.work_off()
    assert late.get_status(refresh=True) == "scheduled"
    assert "RecordUnavailableError" in failure(gone)
    assert "the rows of Email could not be asked for (OperationalError)" in failure(gone)

    gone.requeue()
    make_all_due(queue)
    enqueue_due_jobs("shop", redis)
    shop.work_off()
    assert late.return_value(refresh=True) == told
    assert "RecordNotFoundError" in failure(gone)
