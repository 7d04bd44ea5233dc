"""Jobs with SQLAlchemy's models, on a queue: the session that enqueues, and the one that a task gets."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest
import rq
from queue_samples import Parcel, run_worker

import slimjobs
from slimjobs import Job, Queue, SimpleWorker

if TYPE_CHECKING:
    from redis import Redis


@pytest.fixture
def queue(redis: Redis) -> Queue:
    return Queue("room", connection=redis)


@pytest.fixture
def book(reading_room: Any) -> Any:
    with reading_room.Session.begin() as session:
        session.add(reading_room.Book(id=7, title="Emma"))
    with reading_room.Session() as session:
        return session.get(reading_room.Book, 7)


def test_a_session_that_only_reads_holds_no_job_back(queue: Queue, reading_room: Any, book: Any) -> None:
    with reading_room.Session() as session:
        read = session.get(reading_room.Book, 7)
        assert session.in_transaction()
        jobs = [queue.enqueue(reading_room.describe, each) for each in (read, book)]
        assert queue.job_ids == [job.id for job in jobs]


@pytest.mark.parametrize("ends", ["commit", "rollback", "close"])
@pytest.mark.parametrize("is_flushed", [True, False])
def test_a_changed_row_is_waited_for(queue: Queue, reading_room: Any, book: Any, ends: str, is_flushed: bool) -> None:
    with reading_room.Session() as session:
        changed = session.get(reading_room.Book, 7)
        changed.title = "Persuasion"
        if is_flushed:
            session.flush()
        job = queue.enqueue(reading_room.describe, changed)
        many = queue.enqueue_many([Queue.prepare_data(reading_room.describe, (changed,))])
        assert queue.job_ids == []
        getattr(session, ends)()

    assert queue.job_ids == ([job.id, many[0].id] if ends == "commit" else [])
    run_worker(SimpleWorker, "room", queue.connection)
    if ends == "commit":
        assert job.return_value(refresh=True) == ["Book", 7, "Persuasion"]


def test_a_job_that_was_changed_before_it_is_enqueued_waits_all_the_same(queue: Queue, reading_room: Any) -> None:
    with reading_room.Session() as session:
        new = reading_room.Book(id=8, title="Emma")
        session.add(new)
        session.flush()
        job = queue.create_job(reading_room.describe, (new,))
        job.meta["campaign"] = 7
        queue.enqueue_job(job)
        assert queue.job_ids == []
        session.commit()

    assert queue.job_ids == [job.id]
    assert Job.fetch(job.id, connection=queue.connection).meta == {"campaign": 7}


@pytest.mark.parametrize("ends", ["commit", "rollback"])
def test_a_changed_row_in_a_value_type_is_waited_for_on_a_stock_queue_too(
    redis: Redis, reading_room: Any, book: Any, ends: str
) -> None:
    stock = rq.Queue("room", connection=redis, serializer=slimjobs.Serializer)
    task = slimjobs.job(stock)(reading_room.describe)
    with reading_room.Session() as session:
        changed = session.get(reading_room.Book, 7)
        changed.title = "Persuasion"
        jobs = [task.enqueue(Parcel(changed, 1)), *task.enqueue_many([task.prepare(Parcel(changed, 1))])]
        assert stock.job_ids == []
        getattr(session, ends)()

    assert stock.job_ids == ([job.id for job in jobs] if ends == "commit" else [])


@pytest.mark.parametrize("ends", ["commit", "rollback"])
@pytest.mark.parametrize("serializer", ["rq.serializers.DefaultSerializer", "slimjobs.Serializer"])
def test_a_changed_row_is_waited_for_by_a_call_that_was_prepared_for_a_stock_queue(
    queue: Queue, reading_room: Any, book: Any, serializer: str, ends: str
) -> None:
    stock = rq.Queue("stock", connection=queue.connection, serializer=serializer)
    prepare = slimjobs.job(stock)(reading_room.describe).prepare
    with reading_room.Session() as session:
        changed = session.get(reading_room.Book, 7)
        changed.title = "Persuasion"
        jobs = slimjobs.job(queue)(reading_room.describe).enqueue_many([prepare(book), prepare(changed)])
        assert queue.job_ids == []
        getattr(session, ends)()

    assert queue.job_ids == ([job.id for job in jobs] if ends == "commit" else [])


def test_what_a_task_forgets_to_commit_is_said_with_its_name(
    queue: Queue, reading_room: Any, book: Any, caplog: pytest.LogCaptureFixture
) -> None:
    queue.enqueue(reading_room.forget, book)
    run_worker(SimpleWorker, "room", queue.connection)

    [message] = [record.getMessage() for record in caplog.records if record.name == "slimjobs"]
    assert message.startswith("reading_room.forget: the session of its models held changes")
    with reading_room.Session() as session:
        assert session.get(reading_room.Book, 7).title == "Emma"


@pytest.mark.parametrize("is_changed", [True, False])
def test_a_job_that_is_kept_keeps_no_session(queue: Queue, reading_room: Any, book: Any, is_changed: bool) -> None:
    def enqueue() -> tuple[Any, Any]:
        session = reading_room.Session()
        row = session.get(reading_room.Book, 7)
        if is_changed:
            row.title = "Persuasion"
        return queue.enqueue(reading_room.describe, row), weakref.ref(session)

    job, session = enqueue()
    gc.collect()

    assert session() is None
    assert queue.job_ids == ([] if is_changed else [job.id])
