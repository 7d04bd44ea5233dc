"""django-rq as it is run: manage.py's workers in processes of their own, requests, and the admin's pages."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from queue_samples import failure
from rq_versions import RQ

import slimjobs
from slimjobs import Job

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from redis import Redis

pytestmark = pytest.mark.slow

SUPPORT_FOLDER = Path(__file__).parents[1] / "support"
PACKAGE = "slimjobs.contrib.django_rq"
DEADLINE_SECONDS = 60
COMMANDS = ["rqworker", "rqworker-pool"]


@pytest.fixture(autouse=True)
def settings(redis: Redis, redis_url: str, shop: ModuleType) -> Iterator[None]:
    from django.test import override_settings

    with override_settings(RQ_QUEUES={"default": {"URL": redis_url}, "shop": {"URL": redis_url}}):
        yield


@pytest.fixture
def queue(settings: None) -> Any:
    import django_rq

    return django_rq.get_queue("shop")


@pytest.fixture
def email(shop: Any) -> Any:
    return shop.Email.everything.create(subject="news", html="the text of the mail")


def manage(redis_url: str, *arguments: str) -> str:
    """Run a command of manage.py in a process of its own, and return what it logs."""
    path = os.pathsep.join([str(SUPPORT_FOLDER), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", "django", *arguments],
        env={**os.environ, "PYTHONPATH": path, "SHOP_REDIS_URL": redis_url},
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_the_shops_settings_pass_the_check(redis_url: str) -> None:
    assert "no issues" in manage(redis_url, "check")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("worker", ["Worker", "SimpleWorker", "SpawnWorker"])
def test_a_worker_needs_no_serializer_said_again(
    queue: Any, shop: Any, email: Any, redis_url: str, *, command: str, worker: str
) -> None:
    from shop import mail

    old = shop.Email.everything.using("archive").create(subject="olds")
    jobs = {
        "news to 1": mail.send.enqueue(email, ["ann"]),
        "news": queue.enqueue(mail.subject, email),
        "olds": queue.enqueue(mail.subject, old),
        "olds to 2": queue.enqueue(old.send, "ann", "bob"),
        "slimjobs.jobs": queue.enqueue(mail.current_class),
    }
    failing = queue.enqueue(mail.fail, email)
    manage(redis_url, command, "shop", "default", "--burst", "--worker-class", f"{PACKAGE}.{worker}")

    assert {name: job.get_status() for name, job in jobs.items()} == dict.fromkeys(jobs, "finished")
    assert [job.return_value() for job in jobs.values()] == list(jobs)
    assert failing.get_status() == "failed"
    assert "the task failed" in failure(failing)


def test_the_serializer_that_a_queue_is_told_is_its_workers_too(redis_url: str, queue: Any, email: Any) -> None:
    from shop import mail

    pickled = type(queue)("shop", connection=queue.connection, serializer="rq.serializers.JSONSerializer")
    job = pickled.enqueue(mail.current_class)
    manage(redis_url, "rqworker", "shop", "--burst", "--serializer", "rq.serializers.JSONSerializer")

    assert job.get_status() == "finished", failure(job)


def test_a_scheduled_job_goes_through_the_pools_scheduler(queue: Any, email: Any, redis_url: str) -> None:
    from datetime import datetime, timezone

    from shop import mail

    job = queue.enqueue_at(datetime(2020, 1, 1, tzinfo=timezone.utc), mail.subject, email)
    manage(redis_url, "rqworker-pool", "shop", "--burst")

    assert job.return_value() == "news"


def test_children_never_get_a_connection_of_the_worker(queue: Any, email: Any) -> None:
    from django.db import connections
    from django_rq import get_worker
    from shop import mail

    def query(*_: Any) -> None:
        mail.query_on_failure()
        queried.append(connections["default"].connection is not None)

    def look_first(*arguments: Any) -> None:
        queue.connection.rpush("connected", ",".join(mail.connected()) or "none")
        run_horse(*arguments)

    queried: list[bool] = []
    queue.enqueue(mail.connected)
    queue.enqueue(mail.die, email)
    last = queue.enqueue(mail.connected)
    assert connections["default"].connection is not None
    worker: Any = get_worker("shop", worker_class=f"{PACKAGE}.Worker", work_horse_killed_handler=query)
    worker.subscribe = lambda: None
    run_horse, worker.main_work_horse = worker.main_work_horse, look_first
    worker.work(burst=True, logging_level="CRITICAL")

    assert queried == [True]
    assert queue.connection.lrange("connected", 0, -1) == [b"none"] * 3
    assert last.return_value() == []


# Requests


def client() -> Any:
    from django.contrib.auth import get_user_model
    from django.test import Client

    user = get_user_model().objects.create_superuser("ann", "ann@example.org", "secret")
    visitor = Client()
    visitor.force_login(user)
    return visitor


def test_a_page_enqueues_at_its_end(email: Any, queue: Any) -> None:
    job_id, count = client().get(f"/send/{email.pk}/").content.decode().split()

    assert count == "0"
    assert queue.job_ids == [job_id]


def test_a_page_that_fails_enqueues_nothing(email: Any, queue: Any, redis: Redis) -> None:
    visitor = client()
    with pytest.raises(RuntimeError, match="the page failed"):
        visitor.get(f"/send/{email.pk}/?fail")

    assert queue.count == 0
    visitor.get(f"/send/{email.pk}/")
    assert queue.count == 1


# The admin


class Pages:
    """The admin's pages of one queue, asked for while all SQL is listened to."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.client = client()
        self.index = 1  # "shop" comes after "default"

    def __call__(self, path: str, data: dict[str, Any] | None = None, status: int = 200) -> str:
        from django.db import connections
        from django.test.utils import CaptureQueriesContext

        url = f"{self.prefix}{path.format(q=f'queues/{self.index}')}"
        with (
            CaptureQueriesContext(connections["default"]) as asked,
            CaptureQueriesContext(connections["archive"]) as old,
        ):
            answer = self.client.get(url) if data is None else self.client.post(url, data)
        assert answer.status_code == status, answer.content
        of_the_shop = [each["sql"] for each in (*asked, *old) if '"shop_' in each["sql"]]
        assert not of_the_shop
        return str(answer.content.decode())


@pytest.fixture(params=["/rq/", "/admin/django_rq/dashboard/"], ids=["urls", "admin"])
def pages(request: pytest.FixtureRequest) -> Pages:
    return Pages(request.param)


@pytest.fixture
def states(queue: Any, email: Any) -> dict[str, Job]:
    """One job in each state; each has options of ours, which are in its meta."""
    from datetime import datetime, timezone

    from django_rq import get_worker
    from shop import mail

    options = {"on_missing": "none"}
    finished = queue.enqueue(mail.subject, email, **options)
    failed = queue.enqueue(mail.fail, email, **options)
    worker: Any = get_worker("shop", worker_class=f"{PACKAGE}.SimpleWorker")
    worker.subscribe = lambda: None
    worker.work(burst=True, logging_level="CRITICAL")
    queued = queue.enqueue(mail.subject, email, **options)
    return {
        "finished": finished,
        "failed": failed,
        "queued": queued,
        "deferred": queue.enqueue(mail.subject, email, depends_on=queued, **options),
        "scheduled": queue.enqueue_at(datetime(2099, 1, 1, tzinfo=timezone.utc), mail.subject, email, **options),
    }


LISTS = {"queued": "", "finished": "finished/", "failed": "failed/", "scheduled": "scheduled/", "deferred": "deferred/"}


def test_lists_and_details_show_refs(pages: Pages, states: dict[str, Job], email: Any) -> None:
    for state, path in LISTS.items():
        shown = pages(f"{{q}}/{path}")
        assert states[state].id in shown, state
        assert "shop.mail." in shown
        detail = pages(f"{{q}}/{states[state].id}/")
        assert f"&lt;Ref Email {email.pk}&gt;" in detail, state
        assert f"(<Email {email.pk}>)" in str(states[state].description)
        assert "the text of the mail" not in detail
        assert "Unpickling Error" not in detail
    assert "shop" in pages("")
    assert "shop" in pages("{q}/details/")
    assert pages(f"workers/{pages.index}/")
    assert pages("{q}/started/")


def test_a_result_is_shown(pages: Pages, states: dict[str, Job]) -> None:
    result = states["finished"].latest_result()
    assert result is not None

    assert "news" in pages(f"{{q}}/{states['finished'].id}/results/{result.id}/")


def test_the_numbers_are_right(pages: Pages, states: dict[str, Job]) -> None:
    numbers = json.loads(pages("stats.json"))["queues"][pages.index]

    assert (numbers["name"], numbers["jobs"]) == ("shop", 1)
    assert {state: numbers[f"{state}_jobs"] for state in LISTS if state != "queued"} == {
        "finished": 1,
        "failed": 1,
        "scheduled": 1,
        "deferred": 1,
    }


@pytest.mark.parametrize("state", LISTS)
@pytest.mark.parametrize("by", ["its page", "an action"])
def test_a_job_is_deleted(pages: Pages, states: dict[str, Job], redis: Redis, state: str, by: str) -> None:
    job_id = states[state].id
    if by == "its page":
        assert job_id in pages(f"{{q}}/{job_id}/delete/")
        pages(f"{{q}}/{job_id}/delete/", {"post": "yes"}, status=302)
    else:
        shown = pages(f"queues/confirm-action/{pages.index}/", {"action": "delete", "_selected_action": [job_id]})
        assert job_id in shown
        pages(f"queues/actions/{pages.index}/", {"action": "delete", "job_ids": [job_id]}, status=302)

    assert not Job.exists(job_id, redis)


@pytest.mark.parametrize(
    ("state", "by"),
    [
        ("failed", "requeue"),
        ("failed", "all"),
        ("failed", "action"),
        ("finished", "action"),
        ("scheduled", "enqueue"),
        ("deferred", "enqueue"),
    ],
)
def test_a_job_is_enqueued_again_and_runs_with_its_options(
    pages: Pages, states: dict[str, Job], redis: Redis, redis_url: str, *, state: str, by: str
) -> None:
    job_id = states[state].id
    before = Job.fetch(job_id, redis)
    if by == "all":
        pages("{q}/requeue-all/", {"post": "yes"}, status=302)
    elif by == "action":
        pages(f"queues/actions/{pages.index}/", {"action": "requeue", "job_ids": [job_id]}, status=302)
    else:
        pages(f"{{q}}/{job_id}/{by}/", {"post": "yes"}, status=302)

    again = Job.fetch(job_id, redis)
    assert again.get_status() == "queued"
    assert (again.data, again.meta) == (before.data, before.meta)
    manage(redis_url, "rqworker", "shop", "--burst")
    assert Job.fetch(job_id, redis).get_status(refresh=True) == ("failed" if state == "failed" else "finished")


class Touch:
    """What creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.fixture
def started(queue: Any, redis: Redis, states: dict[str, Job], tmp_path: Path) -> Iterator[Job]:
    """A job that a worker has begun, whose meta is a pickle that would create a file."""
    from rq.executions import Execution

    job: Job = states["queued"]
    worker = slimjobs.SimpleWorker([queue], connection=redis, name="ann")
    worker.register_birth()
    redis.hset(worker.key, "current_job", job.id)
    with redis.pipeline() as pipeline:
        Execution.create(job, 60, pipeline)
        pipeline.execute()
    pickled = pickle.dumps(Touch(tmp_path / "touched"))
    redis.hset(job.key, mapping={"meta": pickled, "worker_name": "ann", "status": "started"})
    yield job
    assert not (tmp_path / "touched").exists()


def test_a_started_job_is_shown_and_its_pickle_is_not_run(pages: Pages, started: Job) -> None:
    shown = pages("{q}/started/")
    assert "shop.mail.subject" in shown
    assert started.id in shown
    of_worker = pages(f"workers/{pages.index}/rq:worker:ann/")
    assert "ann" in of_worker
    if RQ < (3, 0):  # which knows the job in the worker's own process alone
        assert "shop.mail.subject" in of_worker


def test_a_started_job_is_stopped_and_its_pickle_is_not_run(pages: Pages, started: Job, redis: Any) -> None:
    with redis.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe("rq:pubsub:ann")
        listener.get_message(timeout=5)
        pages(f"{{q}}/{started.id}/stop/", {"post": "yes"}, status=302)
        told = listener.get_message(timeout=5)
    assert told is not None
    assert json.loads(told["data"]) == {"command": "stop-job", "job_id": started.id}


def test_pages_leave_an_abandoned_job_to_workers(pages: Pages, started: Job, redis: Any) -> None:
    registry = slimjobs.Queue("shop", connection=redis).started_job_registry
    for execution_id in redis.zrange(registry.key, 0, -1):
        redis.zadd(registry.key, {execution_id: 1})
    pages("{q}/details/")
    pages("{q}/started/")
    assert Job.fetch(started.id, redis).get_status() == "started"


def test_failed_jobs_are_deleted_and_their_pickles_are_not_run(
    pages: Pages, states: dict[str, Job], redis: Redis, tmp_path: Path
) -> None:
    redis.hset(states["failed"].key, "meta", pickle.dumps(Touch(tmp_path / "touched")))
    pages("{q}/failed/clear/", {"post": "yes"}, status=302)
    assert not Job.exists(states["failed"].id, redis)
    assert not (tmp_path / "touched").exists()


def test_queues_are_emptied(pages: Pages, states: dict[str, Job], redis: Redis) -> None:
    pages("{q}/failed/clear/", {"post": "yes"}, status=302)
    assert not Job.exists(states["failed"].id, redis)
    pages("{q}/empty/", {"post": "yes"}, status=302)
    assert not Job.exists(states["queued"].id, redis)
    assert slimjobs.Queue("shop", connection=redis).count == 0
