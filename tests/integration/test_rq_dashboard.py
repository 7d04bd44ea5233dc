"""rq-dashboard lists, shows, requeues and deletes slim jobs, whatever state their payloads are in."""

from __future__ import annotations

import importlib
import json
import sys
import urllib.request
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from subprocess import DEVNULL
from typing import TYPE_CHECKING, Any

import pytest
import queue_samples
import rq
import sample_app
from mirakuru import HTTPExecutor
from port_for import get_port
from queue_samples import DEADLINE_SECONDS, Letter, run_worker

from slimjobs import Job, Queue, Ref, SimpleWorker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

pytest.importorskip("rq_dashboard")

SECRET = "ann@example.org"
NAMES = ("Job", "Queue", "Worker", "requeue_job", "format_job_description")


@pytest.fixture(autouse=True)
def rows(redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(queue_samples.URL_VARIABLE, redis_url)
    Letter(1, "dear").save()


@pytest.fixture
def queue(redis: Redis) -> Queue:
    return Queue("letters", connection=redis)


@pytest.fixture(params=["descriptions", "all arguments"])
def shows_all(request: pytest.FixtureRequest, app: Any) -> None:
    app.config["RQ_DASHBOARD_SHOW_FULL_ARGS"] = request.param == "all arguments"


class Dashboard:
    """The dashboard as a browser sees it."""

    def __init__(self, app: Any) -> None:
        self._client = app.test_client()

    def get(self, path: str) -> Any:
        answer = self._client.get(path)
        assert answer.status_code == 200, (path, answer.text)
        return answer.json if path.endswith(".json") else answer.text

    def post(self, path: str) -> Any:
        answer = self._client.post(path)
        assert answer.status_code == 200, (path, answer.text)
        return answer.json

    def jobs(self, registry: str) -> Any:
        return self.get(f"/0/data/jobs/letters/{registry}/8/asc/1.json")["jobs"]


@pytest.fixture
def app(redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    flask, dashboard = importlib.import_module("flask"), importlib.import_module("rq_dashboard")
    for name in NAMES:
        monkeypatch.setattr(dashboard.web, name, getattr(dashboard.web, name))
    app = flask.Flask(__name__)
    app.config.from_object(dashboard.default_settings)
    app.config["RQ_DASHBOARD_REDIS_URL"] = redis_url
    app.config["PROPAGATE_EXCEPTIONS"] = False  # as in production: a 500
    dashboard.web.setup_rq_connection(app)
    app.register_blueprint(dashboard.blueprint)
    return app


@pytest.fixture
def dashboard(app: Any) -> Iterator[Dashboard]:
    importlib.import_module("slimjobs.contrib.rq_dashboard").install()
    yield Dashboard(app)
    app.redis_conn.close()


def test_it_shows_what_a_job_depends_on(queue: Queue, dashboard: Dashboard) -> None:
    first = queue.enqueue(queue_samples.read, Letter(1, SECRET))
    second = queue.enqueue(queue_samples.read, Letter(1, SECRET), depends_on=first)

    shown = dashboard.get(f"/0/data/job/{second.id}.json")
    assert (shown["depends_on"], shown["depends_on_status"]) == ([first.id], ["active"])


def test_it_lists_and_shows(queue: Queue, redis: Redis, dashboard: Dashboard) -> None:
    done = queue.enqueue(queue_samples.give, [Letter(1, SECRET), SECRET], meta={"by": "us"})
    failed = queue.enqueue(sample_app.fail, Letter(1, SECRET), SECRET)
    run_worker(SimpleWorker, "letters", redis)
    waiting = queue.enqueue(queue_samples.read, Letter(1, SECRET))

    (overview,) = dashboard.get("/0/data/queues.json")["queues"]
    counted = [overview[name] for name in ("count", "failed_job_registry_count", "finished_job_registry_count")]
    assert counted == [1, 1, 1]
    for registry, job, description in (
        ("queued", waiting, "queue_samples.read(<Letter 1>)"),
        ("failed", failed, f"sample_app.fail(<Letter 1>, str[{len(SECRET)}])"),
        ("finished", done, "queue_samples.give(list[2])"),
    ):
        (listed,) = dashboard.jobs(registry)
        assert (listed["id"], listed["description"]) == (job.id, description)
        assert job.id in dashboard.get(f"/0/view/job/{job.id}")
        shown = dashboard.get(f"/0/data/job/{job.id}.json")
        assert shown["description"] == description
        assert shown["status"] == registry
    assert "the task failed" in dashboard.jobs("failed")[0]["exc_info"]
    assert dashboard.get(f"/0/data/job/{done.id}.json")["metadata"] == '{"by": "us"}'
    for page in ("/", "/0/view/workers", "/0/view/jobs/letters/failed/8/asc/1"):
        dashboard.get(page)


def test_it_shows_what_a_worker_is_at(queue: Queue, redis: Redis, dashboard: Dashboard) -> None:
    with at_work(queue.enqueue(sample_app.record, Letter(1, ""), SECRET), redis) as description:
        (worker,) = dashboard.get("/0/data/workers.json")["workers"]

        assert worker["current_job"]["description"] == worker["current_job"]["call_string"] == description
        assert SECRET not in str(worker)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ([Letter(1, SECRET), {"of": Letter(1, "")}], ["<Letter 1>", {"of": "<Letter 1>"}]),
        ((Decimal("1.5"), date(2026, 1, 2)), ["1.5", "2026-01-02"]),
        ({"bytes": b"123", "set": {1, 2}}, {"bytes": "bytes[3]", "set": "set[2]"}),
        ({("a", "b"): 1}, "dict[1]"),
    ],
)
def test_results_and_metas_are_shown_that_are_no_json(
    queue: Queue, redis: Redis, dashboard: Dashboard, value: Any, shown: Any
) -> None:
    job = queue.enqueue(queue_samples.give, value, meta={"value": value})
    run_worker(SimpleWorker, "letters", redis)

    page = dashboard.get(f"/0/data/job/{job.id}.json")
    assert page["result"] == shown
    assert json.loads(page["metadata"]) == {"value": shown} or shown == "dict[1]"


def test_what_cannot_be_read_of_results_and_metas_hinders_no_page(
    queue: Queue, redis: Redis, dashboard: Dashboard
) -> None:
    job = queue.enqueue(queue_samples.read, Letter(1, ""))
    run_worker(SimpleWorker, "letters", redis)
    redis.hset(job.key, "meta", b"\xc1\x01damaged")
    redis.xadd(f"rq:results:{job.id}", {"type": 1, "return_value": "wQFkYW1hZ2Vk", "created_at": "1"})

    assert [each["id"] for each in dashboard.jobs("finished")] == [job.id]
    page = dashboard.get(f"/0/data/job/{job.id}.json")
    assert "its result cannot be read" in page["result"]
    assert "unserialized" in page["metadata"]


def test_it_requeues_with_all_that_a_job_was_told(queue: Queue, redis: Redis, dashboard: Dashboard) -> None:
    jobs = [queue.enqueue(sample_app.fail, Letter(1, ""), meta={"by": "us"}) for _ in range(3)]
    run_worker(SimpleWorker, "letters", redis)
    before = [redis.hmget(job.key, "data", "meta") for job in jobs]

    assert dashboard.post(f"/job/{jobs[0].id}/requeue") == {"status": "OK"}
    assert queue.job_ids == [jobs[0].id]
    assert dashboard.post("/requeue/letters") == {"status": "OK", "count": 2}
    assert queue.count == 3
    assert [redis.hmget(job.key, "data", "meta") for job in jobs] == before
    assert Job.fetch(jobs[0].id, redis).args == (Ref("queue_samples.Letter", 1),)
    assert queue_samples.count(redis, "sample_app.fail").jobs == 3, "counted once"


def test_it_deletes(queue: Queue, redis: Redis, dashboard: Dashboard) -> None:
    jobs = [queue.enqueue(queue_samples.read, Letter(1, "")) for _ in range(3)]

    assert dashboard.post(f"/job/{jobs[0].id}/delete") == {"status": "OK"}
    assert queue.job_ids == [job.id for job in jobs[1:]]
    assert dashboard.post("/queue/letters/queued/empty") == {"status": "OK"}
    assert not redis.exists(*[job.key for job in jobs])


@pytest.mark.usefixtures("shows_all")
@pytest.mark.parametrize("data", [b"\xc1\x01damaged", b"\xc1\x63", b"", b"\x80\x04no pickle"])
def test_a_damaged_job_hinders_no_page(queue: Queue, redis: Redis, dashboard: Dashboard, data: bytes) -> None:
    good, bad = (queue.enqueue(queue_samples.read, Letter(1, "")) for _ in range(2))
    redis.hset(bad.key, "data", data)

    assert [job["id"] for job in dashboard.jobs("queued")] == [good.id, bad.id]
    assert dashboard.get(f"/0/data/job/{bad.id}.json")["description"] == "queue_samples.read(<Letter 1>)"
    dashboard.get(f"/0/view/job/{bad.id}")
    with at_work(bad, redis) as description:
        (worker,) = dashboard.get("/0/data/workers.json")["workers"]
        assert worker["current_job"]["call_string"] == description
    run_worker(SimpleWorker, "letters", redis)
    (failed,) = dashboard.jobs("failed")
    assert failed["id"] == bad.id
    assert dashboard.post(f"/job/{bad.id}/requeue") == {"status": "OK"}
    assert dashboard.post(f"/job/{bad.id}/delete") == {"status": "OK"}
    assert not redis.exists(bad.key)


def test_its_command_line_reads_slim_jobs(queue: Queue, redis: Redis, redis_url: str) -> None:
    done = queue.enqueue(queue_samples.read, Letter(1, ""))
    run_worker(SimpleWorker, "letters", redis)
    port = get_port(None)
    command = [sys.executable, "-m", "slimjobs.contrib.rq_dashboard", "--bind", "127.0.0.1", "--port", str(port)]
    url = f"http://127.0.0.1:{port}/0/data/job/{done.id}.json"
    executor = HTTPExecutor(
        [*command, "--redis-url", redis_url], url=url, method="GET", timeout=DEADLINE_SECONDS, stdout=DEVNULL
    )
    with executor, urllib.request.urlopen(url) as answer:
        assert json.load(answer)["result"] == "dear"


def test_stock_jobs_are_shown_as_before(redis: Redis, dashboard: Dashboard) -> None:
    stock = rq.Queue("letters", connection=redis)
    done = stock.enqueue(sample_app.give_back, 5, meta={"by": "us"})
    run_worker(rq.SimpleWorker, "letters", redis)

    (listed,) = dashboard.jobs("finished")
    assert listed["description"] == "sample_app.give_back(5)"
    shown = dashboard.get(f"/0/data/job/{done.id}.json")
    assert (shown["result"], shown["metadata"]) == (5, '{"by": "us"}')


def test_without_us_pages_with_results_are_errors(queue: Queue, redis: Redis, app: Any) -> None:
    queue.enqueue(queue_samples.read, Letter(1, ""))
    run_worker(SimpleWorker, "letters", redis)

    assert app.test_client().get("/0/data/jobs/letters/finished/8/asc/1.json").status_code == 500


@contextmanager
def at_work(job: rq.job.Job, redis: Redis) -> Iterator[str | None]:
    """Have a worker that has taken a job and not ended it."""
    worker: Any = SimpleWorker(["letters"], connection=redis)
    worker.register_birth()
    worker.prepare_execution(job)
    if hasattr(worker, "set_current_job_id"):  # RQ before 3.0, where the work horse says it
        worker.set_current_job_id(job.id)
    yield job.description
    with redis.pipeline() as pipeline:
        worker.cleanup_execution(job, pipeline=pipeline)
        pipeline.execute()
    worker.register_death()
