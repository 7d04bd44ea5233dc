"""SQLAlchemy's transactions and real workers at the same time, on an SQLite file and PostgreSQL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING, Any

import pytest
from processes import Processes

from slimjobs import Job, Queue

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

pytestmark = pytest.mark.slow

THREADS = 50


@pytest.fixture(params=["sqlite", "postgresql"])
def room(request: pytest.FixtureRequest, reading_room: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    engine = None
    if request.param == "postgresql":
        server = request.getfixturevalue("postgres")
        server.make("reading_room")
        url = server.url.replace("postgresql://", "postgresql+psycopg://").replace("/postgres?", "/reading_room?")
        monkeypatch.setenv("READING_ROOM_URL", url)
        engine = reading_room.bind()
        reading_room.Base.metadata.create_all(engine)
    yield reading_room
    if engine is not None:
        engine.dispose()


def check(room: Any, queue: Queue, expected: dict[str, Any]) -> None:
    """Exactly the jobs whose transaction committed have run, once, and each has found its row."""
    kept = {job_id: result for job_id, result in expected.items() if result is not None}
    runs: Any = queue.connection.hgetall("runs")
    assert {job_id.decode(): int(number) for job_id, number in runs.items()} == dict.fromkeys(kept, 1)
    assert {job_id: Job.fetch(job_id, connection=queue.connection).return_value() for job_id in kept} == kept
    assert not any(Job.exists(job_id, queue.connection) for job_id in expected.keys() - kept.keys())
    assert (queue.count, queue.failed_job_registry.get_job_count(cleanup=False)) == (0, 0)


def test_fifty_transactions_at_once_of_which_a_third_rolls_back(room: Any, redis: Redis, redis_url: str) -> None:
    queue = Queue("room", connection=redis)
    is_concurrent = "postgresql" in room.Session.kw["bind"].url.drivername  # where one writes, the others wait
    everyone = Barrier(THREADS, timeout=60)

    def one(number: int) -> tuple[str, Any]:
        with room.Session() as session:
            book = room.Book(title=f"{number}")
            session.add(book)
            session.flush()
            job = queue.enqueue(room.describe_once, book, job_id=f"job-{number}")
            told = ["Book", book.id, f"{number}"]
            if is_concurrent:
                everyone.wait()  # all rows are there, and no transaction has committed
            if number % 3 == 0:
                session.rollback()
                return job.id, None
            session.commit()
            return job.id, told

    processes = Processes("room", redis, redis_url, "reading_room")
    with processes.workers(2), ThreadPoolExecutor(THREADS if is_concurrent else 4) as pool:
        expected = dict(pool.map(one, range(THREADS)))

    assert sum(result is not None for result in expected.values()) == 33
    check(room, queue, expected)


def test_two_hundred_transactions_of_which_half_rolls_back(room: Any, redis: Redis, redis_url: str) -> None:
    queue = Queue("room", connection=redis)
    expected: dict[str, Any] = {}
    with Processes("room", redis, redis_url, "reading_room").workers(2):
        for number in range(200):
            with room.Session() as session:
                outer = session.begin()
                inner = session.begin_nested() if number % 3 == 0 else outer
                book = room.Book(title=f"{number}")
                session.add(book)
                session.flush()
                job = queue.enqueue(room.describe_once, book, job_id=f"job-{number}")
                expected[job.id] = None if number % 2 == 0 else ["Book", book.id, f"{number}"]
                (inner.rollback if number % 2 == 0 else inner.commit)()
                if inner is not outer:
                    outer.commit()

    assert sum(result is not None for result in expected.values()) == 100
    check(room, queue, expected)
