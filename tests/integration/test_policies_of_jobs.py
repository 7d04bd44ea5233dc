"""What a job was told about missing rows stays with it, through retries, requeues and schedules."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
import queue_samples
import rq
import sample_app
from queue_samples import Letter, count, enqueue_due_jobs, failure, make_all_due, run_worker
from rq import Callback, Retry

import slimjobs
from slimjobs import Job, Queue, SimpleWorker, Worker

if TYPE_CHECKING:
    from redis import Redis

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def rows(redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(queue_samples.URL_VARIABLE, redis_url)
    Letter(1, "dear").save()


@pytest.fixture
def queue(redis: Redis) -> Queue:
    return Queue("letters", connection=redis)


def remove_row(redis: Redis) -> None:
    redis.hdel("letters", "1")


@pytest.mark.parametrize("worker", [Worker, SimpleWorker])
def test_a_retry_keeps_it(queue: Queue, worker: Any) -> None:
    redis = queue.connection
    job = queue.enqueue(
        queue_samples.read_at_second_try, Letter(1, ""), on_missing="discard", retry=Retry(max=2, interval=3600)
    )
    run_worker(worker, "letters", redis)
    assert job.get_status(refresh=True) == "scheduled"

    remove_row(redis)
    make_all_due(queue)
    enqueue_due_jobs("letters", redis)
    run_worker(worker, "letters", redis)

    assert job.get_status(refresh=True) == "finished"
    assert job.return_value(refresh=True) is None
    assert count(redis, "queue_samples.read_at_second_try", "letters").missing == 1


@pytest.mark.parametrize("requeue", ["job", "registry", "module"])
def test_a_requeue_keeps_it(queue: Queue, requeue: str) -> None:
    redis = queue.connection
    job = queue.enqueue_call(queue_samples.read_at_second_try, (Letter(1, ""),), on_missing="discard")
    run_worker(Worker, "letters", redis)
    assert job.get_status(refresh=True) == "failed"

    remove_row(redis)
    if requeue == "job":
        Job.fetch(job.id, connection=redis).requeue()
    elif requeue == "registry":
        queue.failed_job_registry.requeue(job.id)
    else:
        rq.job.requeue_job(job.id, redis, serializer=slimjobs.Serializer)
    run_worker(Worker, "letters", redis)

    assert job.get_status(refresh=True) == "finished"


def test_a_job_goes_over_its_task(queue: Queue) -> None:
    redis = queue.connection
    gone = Letter(9, "")
    jobs = {
        "fail": queue_samples.read_or_discard.options(on_missing="fail").enqueue(gone),
        "none": queue.enqueue(queue_samples.read_or_fail, gone, on_missing="none"),
        "discard": queue.enqueue_many([Queue.prepare_data(queue_samples.read_or_none, (gone,), on_missing="discard")])[
            0
        ],
    }
    run_worker(Worker, "letters", redis)

    assert "RecordNotFoundError" in failure(jobs["fail"])
    assert "NoneType" in failure(jobs["none"])  # the function ran, with None
    assert jobs["discard"].get_status(refresh=True) == "finished"
    assert jobs["discard"].return_value(refresh=True) is None


def test_a_job_is_discarded_wherever_a_row_is_missing(queue: Queue) -> None:
    redis, task = queue.connection, "queue_samples.read_or_discard"
    gone = {Letter(8, ""), Letter(9, "")}
    job = queue.enqueue(queue_samples.read_or_discard, gone, on_success=Callback(queue_samples.note_result))
    dependent = queue.enqueue(queue_samples.read, Letter(1, ""), depends_on=job)
    run_worker(Worker, "letters", redis)

    assert job.get_status(refresh=True) == "finished"
    assert count(redis, task, "letters").missing == 2
    assert redis.get("result") == b"NoneType"
    assert dependent.return_value(refresh=True) == "dear"


@pytest.mark.parametrize("serializer", [None, "rq.serializers.JSONSerializer"])
def test_a_job_of_a_stock_queue_keeps_it_too(redis: Redis, serializer: Any) -> None:
    queue = rq.Queue("letters", connection=redis, serializer=serializer)
    task = slimjobs.job(queue)(queue_samples.read_or_fail.__wrapped__)  # type: ignore[attr-defined]
    job = task.options(on_missing="discard", wait_for_row=0.1).enqueue(Letter(9, ""))
    assert job.meta == {"slimjobs": {"on_missing": "discard", "wait_for_row": 0.1}}

    run_worker(rq.Worker, "letters", redis, serializer=serializer)

    assert job.get_status(refresh=True) == "finished"


def test_a_job_waits_for_its_row(queue: Queue) -> None:
    job = queue.enqueue(queue_samples.read, Letter(5, ""), wait_for_row=30)
    with queue_samples.python(queue_samples.FRESH_WORKER.format(queue="letters"), redis_url_of(queue)) as worker:
        assert queue.connection.blpop(["loads"], timeout=30) == (b"loads", b"5")
        Letter(5, "late").save()
        assert worker.wait(30) == 0

    assert job.return_value(refresh=True) == "late"


# A module that imports a task gives it a second import path.


@pytest.fixture
def renamed(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(sample_app, "renamed", queue_samples.read_or_discard, raising=False)
    return "sample_app.renamed"


@pytest.mark.parametrize("worker", [Worker, SimpleWorker])
def test_what_a_task_says_holds_by_whatever_path_it_was_enqueued(queue: Queue, worker: Any, renamed: str) -> None:
    gone, there = queue.enqueue(renamed, Letter(9, "")), queue.enqueue(renamed, Letter(1, ""))
    run_worker(worker, "letters", queue.connection)

    assert (gone.get_status(refresh=True), there.return_value(refresh=True)) == ("finished", "dear")
    assert count(queue.connection, "queue_samples.read_or_discard", "letters").missing == 1


def test_a_caller_that_has_not_imported_the_task_leaves_it_to_the_worker(
    queue: Queue, renamed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.delitem(sys.modules, "sample_app")
        gone = queue.enqueue(renamed, Letter(9, ""))
        assert "sample_app" not in sys.modules
    run_worker(Worker, "letters", queue.connection)

    assert gone.get_status(refresh=True) == "finished"


def test_a_synchronous_queue_and_a_stock_worker_know_it_too(redis: Redis, renamed: str) -> None:
    assert Queue("letters", connection=redis, is_async=False).enqueue(renamed, Letter(9, "")).get_status() == "finished"
    stock = rq.Queue("letters", connection=redis, serializer=slimjobs.Serializer)
    there = stock.enqueue(renamed, Letter(1, ""))
    run_worker(rq.Worker, "letters", redis, serializer=slimjobs.Serializer)
    assert there.return_value(refresh=True) == "dear"


def test_limits_of_a_task_hold_by_another_path_where_it_is_imported(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = slimjobs.job("letters", connection=queue.connection, max_bytes=100)(sample_app.record)
    monkeypatch.setattr(sample_app, "renamed", small, raising=False)
    with pytest.raises(slimjobs.PayloadTooLargeError, match=r"^sample_app\.record: "):
        queue.enqueue("sample_app.renamed", "x" * 200)


def redis_url_of(queue: Queue) -> str:
    options = queue.connection.connection_pool.connection_kwargs
    return f"redis://{options['host']}:{options['port']}/{options['db']}"
