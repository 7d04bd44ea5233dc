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

pytestmark = pytest.mark.slow

WORKERS: dict[str, Callable[[Queue], None]] = {
    "Worker": lambda queue: run_worker(Worker, queue.name, queue.connection),
    "SimpleWorker": lambda queue: run_worker(SimpleWorker, queue.name, queue.connection),
    "SpawnWorker": lambda queue: run_worker(SpawnWorker, queue.name, queue.connection),
    "synchronous": lambda _: None,
}
each_worker = pytest.mark.parametrize("worker", WORKERS)

FUNCTIONS: dict[str, Callable[[Any, Any], tuple[Any, ...]]] = {
    "undecorated": lambda jobs, model: (jobs.describe, model),
    "undecorated, async": lambda jobs, model: (jobs.describe_later, model),
    "decorated": lambda jobs, model: (jobs.describe_decorated, model),
    "decorated, async": lambda jobs, model: (jobs.describe_decorated_later, model),
    "a bound method": lambda _, model: (model.describe,),
    "by import path": lambda jobs, model: (f"{jobs.__name__}.describe", model),
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
def test_a_task_says_how_its_django_models_are_fetched(worker: str, redis: Redis, shop: Any, jobs: Any) -> None:
    capture = import_module("django.test.utils").CaptureQueriesContext
    connection = import_module("django.db").connections["archive"]
    letters = [shop.Newsletter.objects.using("archive").create(title=f"title {number}") for number in range(9)]
    emails = [shop.Email.everything.using("archive").create(newsletter=letter) for letter in letters]

    with capture(connection) as asked:
        result = run(worker, redis, jobs.list_titles, emails)

    assert result == [[letter.title, ["html"]] for letter in letters]
    assert len(asked) == (1 if worker in ("SimpleWorker", "synchronous") else 0)  # else in another process


@each_function
@each_worker
def test_sqlalchemy_models(worker: str, function: Any, redis: Redis, reading_room: Any) -> None:
    with reading_room.Session.begin() as session:
        session.add(reading_room.Book(id=7, title="Emma"))
    with reading_room.Session() as session:
        book = session.get(reading_room.Book, 7)
        result = run(worker, redis, *function(reading_room, book))

    assert result == ["Book", 7, "Emma"]


@each_function
@each_worker
def test_peewee_models(worker: str, function: Any, redis: Redis, reading_room: Any) -> None:
    card = reading_room.Card.create(title="Emma")
    reading_room.cards.close()

    assert run(worker, redis, *function(reading_room, card)) == ["Card", card.id, "Emma"]


@each_worker
def test_a_task_commits_in_the_session_of_its_models(worker: str, redis: Redis, reading_room: Any) -> None:
    with reading_room.Session.begin() as session:
        session.add(reading_room.Book(id=7, title="Emma"))
    with reading_room.Session() as session:
        run(worker, redis, reading_room.rename, session.get(reading_room.Book, 7), "Persuasion")
        assert session.get(reading_room.Book, 7, populate_existing=True).title == "Persuasion"


@each_worker
def test_what_a_sqlalchemy_job_returns_comes_back_as_refs(worker: str, redis: Redis, reading_room: Any) -> None:
    with reading_room.Session.begin() as session:
        session.add(reading_room.Book(id=7, title="Emma"))
    with reading_room.Session() as session:
        result = run(worker, redis, reading_room.give_back, [session.get(reading_room.Book, 7)])

    assert result == [slimjobs.Ref("reading_room.Book", 7)]


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
    queue = rq.Queue("stock", connection=redis, serializer="rq.serializers.JSONSerializer")
    ours = [slimjobs.job(queue)(each.__wrapped__) for each in (jobs.describe_decorated, jobs.describe_decorated_later)]
    enqueued = [task.enqueue(email) for task in ours]
    shop_databases.close()

    run_worker(worker_class, "stock", redis, serializer="rq.serializers.JSONSerializer")

    fetched = [rq.job.Job.fetch(job.id, connection=redis, serializer=queue.serializer) for job in enqueued]
    assert [job.return_value() for job in fetched] == [["news", "archive", email.pk]] * 2
