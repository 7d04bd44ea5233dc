"""Models of ORMs in real workers: every kind of function, in every kind of worker."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
import rq
from queue_samples import run_worker

import slimjobs
from slimjobs import Queue, SimpleWorker, SpawnWorker, Worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

pytest.importorskip("django")

WORKERS: dict[str, Callable[[Queue], None]] = {
    "Worker": lambda queue: run_worker(Worker, queue.name, queue.connection),
    "SimpleWorker": lambda queue: run_worker(SimpleWorker, queue.name, queue.connection),
    "SpawnWorker": lambda queue: run_worker(SpawnWorker, queue.name, queue.connection),
    "synchronous": lambda _: None,
}
each_worker = pytest.mark.parametrize("worker", WORKERS)

FUNCTIONS: dict[str, Callable[[Any, Any], tuple[Any, ...]]] = {
    "undecorated": lambda jobs, email: (jobs.describe, email),
    "undecorated, async": lambda jobs, email: (jobs.describe_later, email),
    "decorated": lambda jobs, email: (jobs.describe_decorated, email),
    "decorated, async": lambda jobs, email: (jobs.describe_decorated_later, email),
    "a bound method": lambda _, email: (email.describe,),
    "by import path": lambda _, email: ("shop.jobs.describe", email),
}
each_function = pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)


@pytest.fixture
def jobs(shop: Any) -> Any:
    return import_module("shop.jobs")


def run(worker: str, redis: Redis, *call: Any) -> Any:
    """Enqueue a call, let a worker of this kind do it, and return its result."""
    queue = Queue("shop", connection=redis, is_async=worker != "synchronous")
    job = queue.enqueue(*call)
    import_module("django.db").connections.close_all()  # a forked process must not use them
    WORKERS[worker](queue)
    result = job.latest_result()
    assert result is not None
    assert result.exc_string is None
    return result.return_value


@each_function
@each_worker
def test_django_models(worker: str, function: Any, redis: Redis, shop: Any, jobs: Any) -> None:
    email = shop.Email.everything.using("archive").create(subject="news", is_hidden=True)

    result = run(worker, redis, *function(jobs, email))

    assert result == ["news", "archive", email.pk]


@each_worker
def test_what_a_django_job_returns_comes_back_as_refs(worker: str, redis: Redis, shop: Any, jobs: Any) -> None:
    email = shop.Email.everything.create(subject="news")

    result = run(worker, redis, jobs.give_back, [email])

    assert result == [slimjobs.Ref("shop.Email", email.pk, "default")]
    assert result[0].load().subject == "news"


# Not SpawnWorker: stock RQ imports the task in a process in which nobody has set Django up.
@pytest.mark.parametrize("worker_class", [rq.Worker, rq.SimpleWorker])
def test_a_decorated_task_gets_its_models_in_stock_workers(
    worker_class: Any, redis: Redis, shop: Any, shop_databases: Any, jobs: Any
) -> None:
    email = shop.Email.everything.using("archive").create(subject="news")
    queue = rq.Queue("stock", connection=redis, serializer="json")
    ours = [slimjobs.job(queue)(each.__wrapped__) for each in (jobs.describe_decorated, jobs.describe_decorated_later)]
    enqueued = [task.enqueue(email) for task in ours]
    shop_databases.close()

    run_worker(worker_class, "stock", redis, serializer="json")

    fetched = [rq.job.Job.fetch(job.id, connection=redis, serializer=queue.serializer) for job in enqueued]
    assert [job.return_value() for job in fetched] == [["news", "archive", email.pk]] * 2
