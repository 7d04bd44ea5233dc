"""What goes over the wire to Redis: how often, and in which form."""

from __future__ import annotations

import zlib
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import queue_samples
import rq
import sample_app
from queue_samples import run_worker
from redis import Connection, ConnectionPool, Redis
from rq import Retry
from rq.serializers import DefaultSerializer
from rq_versions import RateLimit, needs_scheduling_in_pipelines, needs_unique_jobs, needs_unique_schedules

import slimjobs
from slimjobs import Job, Ledger, Queue, Serializer, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rq.worker import BaseWorker


class Trips:
    """How often a client asked, and how much it sent."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def during(self, act: Callable[[], object]) -> int:
        self.sent.clear()
        act()
        return len(self.sent)


@pytest.fixture
def trips() -> Trips:
    return Trips()


@pytest.fixture
def counted(redis: Redis, redis_url: str, trips: Trips) -> Iterator[Redis]:
    """A client that notes each message that it sends, one for each round trip."""

    class CountedConnection(Connection):
        def send_packed_command(self, command: Any, check_health: bool = True) -> None:
            trips.sent.append(b"".join(command) if isinstance(command, (list, tuple)) else command)
            super().send_packed_command(command, check_health)  # type: ignore[no-untyped-call]

    pool = ConnectionPool.from_url(redis_url, connection_class=CountedConnection)
    client = Redis(connection_pool=pool)
    sample_app.reset()
    yield client
    sample_app.reset()
    client.close()
    pool.disconnect()


@pytest.fixture
def queue(counted: Redis) -> Queue:
    """A queue that has been used, so that its connection is open and the server's version known."""
    queue = Queue("q", connection=counted)
    queue.enqueue(sample_app.give_back, 1)
    return queue


def refused(queue: Queue) -> None:
    with pytest.raises(slimjobs.PayloadTooLargeError):
        queue.enqueue(sample_app.record, "x" * 100_000)


def test_a_plain_enqueue_is_one_round_trip_with_the_ledger_where_stock_rq_takes_two(
    queue: Queue, trips: Trips, counted: Redis
) -> None:
    stock = rq.Queue("s", connection=counted)
    stock.enqueue(sample_app.give_back, 1)
    assert trips.during(lambda: stock.enqueue(sample_app.record, 1)) == 2

    assert trips.during(lambda: queue.enqueue(sample_app.record, 1, "ann@example.org")) == 1
    assert b"rq:slimjobs:totals" in trips.sent[0]
    assert b"rq:queue:q" in trips.sent[0]


def ways(queue: Queue) -> dict[str, Callable[[], object]]:
    def enqueue_after_a_refusal() -> None:
        refused(queue)
        queue.enqueue(sample_app.record, 1)

    task = slimjobs.job(queue)(sample_app.record)
    data = [Queue.prepare_data(sample_app.record, (number,)) for number in range(200)]
    return {
        "a model": lambda: queue.enqueue(sample_app.record, sample_app.EMAILS[1], [sample_app.EMAILS[2]]),
        "a bound method": lambda: queue.enqueue(sample_app.EMAILS[1].send),
        "at the front": lambda: queue.enqueue(sample_app.record, 1, at_front=True),
        "with meta": lambda: queue.enqueue(sample_app.record, 1, meta={"note": 1}),
        "enqueue_call": lambda: queue.enqueue_call(sample_app.record, (1,)),
        "enqueue_in": lambda: queue.enqueue_in(timedelta(hours=1), sample_app.record, 1),
        "enqueue_job": lambda: queue.enqueue_job(queue.create_job(sample_app.record, (1,))),
        "two hundred at once": lambda: queue.enqueue_many(data),
        "the decorator": lambda: task.enqueue(1),
        "after a refusal": enqueue_after_a_refusal,
    }


@needs_scheduling_in_pipelines
def test_other_ways_in_are_one_round_trip_too(queue: Queue, trips: Trips) -> None:
    assert {name: trips.during(way) for name, way in ways(queue).items()} == dict.fromkeys(ways(queue), 1)


@needs_scheduling_in_pipelines
def test_a_further_connection_to_the_same_redis_adds_none(
    queue: Queue, trips: Trips, counted: Redis, redis_url: str
) -> None:
    queue.enqueue_in(timedelta(hours=1), sample_app.record, 1)
    pool = ConnectionPool.from_url(redis_url, connection_class=counted.connection_pool.connection_class)
    with Redis(connection_pool=pool) as client:
        further = Queue("q", connection=client)
        client.ping()
        assert trips.during(lambda: further.enqueue_in(timedelta(hours=1), sample_app.record, 1)) == 1
    pool.disconnect()


def test_where_rq_asks_redis_itself_no_trip_is_added(queue: Queue, trips: Trips, counted: Redis) -> None:
    stock = rq.Queue("s", connection=counted)
    stock.enqueue(sample_app.give_back, 1)
    dependency = queue.enqueue(sample_app.give_back, 1)
    limit = {"rate_limit": RateLimit("letters", 5)} if RateLimit else {}
    for options in ({"depends_on": dependency}, limit):
        stock_trips = trips.during(partial(stock.enqueue, sample_app.record, 1, **options))
        assert trips.during(partial(queue.enqueue, sample_app.record, 1, **options)) <= stock_trips


def test_a_workers_heartbeat_is_one_round_trip_that_does_what_rqs_do(counted: Redis, trips: Trips) -> None:
    def beat(worker_class: type[BaseWorker]) -> tuple[int, set[bytes], int]:
        worker = worker_class(["q"], connection=counted)
        counted.hset(worker.key, "birth", "today")
        asked = trips.during(lambda: worker.heartbeat(77))
        told: Any = counted.hgetall(worker.key)
        assert told[b"last_heartbeat"].startswith(str(datetime.now(timezone.utc).year).encode())
        return asked, set(told), counted.ttl(worker.key)

    asked, told, seconds = beat(rq.SimpleWorker)
    assert asked > 1
    assert (told, seconds) == ({b"birth", b"last_heartbeat"}, 77)
    assert beat(slimjobs.SimpleWorker) == (1, told, seconds)


def test_between_two_jobs_a_worker_tells_once_that_it_is_alive(queue: Queue, counted: Redis, trips: Trips) -> None:
    for _ in range(3):
        queue.enqueue(sample_app.give_back, 1, job_timeout=5)
    left: list[tuple[int, Any]] = []

    class Watched(slimjobs.SimpleWorker):
        def reorder_queues(self, reference_queue: rq.Queue) -> None:
            left.append((counted.ttl(self.key), counted.hget(self.key, "state")))

    trips.during(partial(run_worker, Watched, queue, counted, worker_ttl=1000))
    alone = [sent for sent in trips.sent if b"MULTI" not in sent]
    told = [sent for sent in alone if b"rq:worker:" in sent and b"last_heartbeat" in sent]
    assert len(told) == len(left) + 1, "once before each job, and once after the last"
    assert all(1059 <= seconds <= 1060 and state == b"idle" for seconds, state in left), "not the seconds of a job"
    assert len(left) >= 3


def test_a_heartbeat_that_promises_more_is_sent_at_once_and_one_that_promises_less_is_not(counted: Redis) -> None:
    worker = slimjobs.SimpleWorker(["q"], connection=counted, worker_ttl=100)
    counted.hset(worker.key, "birth", "today")
    for seconds, left in ((None, 160), (90, 160), (500, 500), (None, 500)):
        worker.heartbeat(seconds)
        assert left - 1 <= counted.ttl(worker.key) <= left
    counted.delete(worker.key)
    worker.set_state("busy")
    worker.set_state("idle")
    assert set(counted.hgetall(worker.key)) == {b"state", b"last_heartbeat"}


def test_a_refusal_asks_redis_nothing(queue: Queue, trips: Trips) -> None:
    assert trips.during(lambda: refused(queue)) == 0


# What is stored.


@pytest.mark.parametrize(("length", "is_compressed"), [(10, False), (900, False), (1100, True), (50_000, True)])
def test_payloads_from_one_kibibyte_on_are_compressed_and_stock_rq_reads_both(
    redis: Redis, length: int, is_compressed: bool
) -> None:
    job = Queue("q", connection=redis).enqueue(sample_app.record, "x" * length)

    stored = redis.hget(job.key, "data")
    assert isinstance(stored, bytes)
    assert stored == (zlib.compress(job.data) if is_compressed else job.data)
    stock = rq.job.Job.fetch(job.id, connection=redis, serializer=Serializer)
    assert stock.args == ("x" * length,)
    assert stock.data == job.data


@pytest.mark.parametrize("length", [10, 50_000])
def test_a_pickle_is_stored_so_that_stock_rq_reads_it(redis: Redis, length: int) -> None:
    queue = Queue("q", connection=redis, serializer=DefaultSerializer)
    job = queue.enqueue(sample_app.record, "x" * length)

    assert rq.job.Job.fetch(job.id, connection=redis).args == ("x" * length,)


@pytest.mark.parametrize("length", [10, 5000])
def test_the_stored_bytes_stay_the_same_whatever_a_worker_writes(
    redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    monkeypatch.setenv(queue_samples.URL_VARIABLE, redis_url)
    letter = queue_samples.Letter(1, "dear").save()
    queue = Queue("q", connection=redis)
    jobs = [
        queue.enqueue(queue_samples.read_at_second_try, letter, retry=Retry(max=3)),
        queue.enqueue(queue_samples.save_itself, letter),
        queue.enqueue(sample_app.record, "x" * length),
        queue.enqueue(sample_app.fail, "x" * length),
    ]
    stored = [redis.hget(job.key, "data") for job in jobs]
    run_worker(Worker, "q", redis)

    assert [job.get_status() for job in jobs] == ["finished", "finished", "finished", "failed"]
    assert [redis.hget(job.key, "data") for job in jobs] == stored


def test_a_job_whose_arguments_are_edited_is_stored_with_them(redis: Redis) -> None:
    queue = Queue("q", connection=redis)
    queued = queue.enqueue(sample_app.record, 1, two=2)
    job = Job.fetch(queued.id, connection=redis)
    job.args = (3,)
    job.save()

    again = Job.fetch(queued.id, connection=redis)
    assert (again.func_name, again.args, again.kwargs) == ("sample_app.record", (3,), {"two": 2})


@needs_unique_schedules
def test_a_unique_job_is_counted_by_the_command_that_writes_it(redis: Redis) -> None:
    queue = Queue("q", connection=redis)
    queue.enqueue(sample_app.record, 1, unique=True, job_id="warm")
    watched: Any = redis
    with watched.monitor() as monitor:
        queue.enqueue(sample_app.record, 2, unique=True, job_id="one")
        queue.enqueue_in(timedelta(hours=1), sample_app.record, 3, unique=True, job_id="two")
        redis.echo("the end")
        commands: list[str] = []
        for command in monitor.listen():
            if "the end" in command["command"]:
                break
            if command["client_type"] != "lua":
                commands.append(command["command"].split()[0].upper())

    assert [name for name in commands if name in ("EVAL", "EVALSHA", "HINCRBY", "HSET")] == ["EVAL", "EVAL"]
    assert [row.jobs for row in Ledger(redis).totals()] == [3]


@needs_unique_jobs
def test_a_unique_job_that_is_there_already_is_not_counted(redis: Redis) -> None:
    queue = Queue("q", connection=redis)
    queue.enqueue(sample_app.record, 1, unique=True, job_id="one")
    for _ in range(2):
        with pytest.raises(rq.exceptions.DuplicateJobError):
            queue.enqueue(sample_app.record, 2, unique=True, job_id="one")

    assert [row.jobs for row in Ledger(redis).totals()] == [1]


def test_nothing_of_an_earlier_job_is_left_where_its_id_is_used_again(redis: Redis) -> None:
    queue = Queue("q", connection=redis)
    queue.enqueue(sample_app.give_back, 1, job_id="daily")
    run_worker(Worker, "q", redis)
    job = queue.enqueue(sample_app.give_back, 2, job_id="daily")

    assert redis.hmget(job.key, ["started_at", "ended_at", "worker_name", "last_heartbeat"]) == [b""] * 4
    fetched = Job.fetch("daily", connection=redis)
    assert (fetched.args, fetched.started_at, fetched.ended_at, fetched.worker_name) == ((2,), None, None, None)
