"""Real workers: models are there for the call and nowhere else, and whatever goes wrong fails one job alone."""

from __future__ import annotations

import os
import signal
import zlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import queue_samples
import sample_app
from queue_samples import FRESH_WORKER, Empty, Letter, Parcel, Stamp, count, failure, python, run_python, run_worker
from redis import Redis
from rq import Callback, Repeat, Retry
from rq.serializers import DefaultSerializer, JSONSerializer

import slimjobs
from slimjobs import Job, Queue, Ref, Serializer, SimpleWorker, SpawnWorker, Worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from rq.worker import BaseWorker

pytestmark = pytest.mark.slow


WORKERS = [Worker, SimpleWorker, SpawnWorker]
each_worker = pytest.mark.parametrize("worker_class", WORKERS)


@pytest.fixture(autouse=True)
def rows(redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(queue_samples.URL_VARIABLE, redis_url)
    for pk, text in enumerate(("dear", "hello", "regards"), start=1):
        Letter(pk, text).save()


@pytest.fixture
def queue(redis: Redis) -> Queue:
    return Queue("letters", connection=redis)


def letter(pk: int = 1) -> Letter:
    """Return an instance whose text is not that of its row: what arrives with "dear" was loaded."""
    return Letter(pk, "as it was in the caller's process")


def loads(redis: Redis) -> list[int]:
    return [int(pk) for pk in redis.lrange("loads", 0, -1)]


def enqueue_all_kinds(queue: Queue) -> dict[str, tuple[Any, Any]]:
    """Enqueue one job of each kind; return each with the result that it should have."""
    nested = {"list": [letter(1)], ("tuple", 2): (letter(2), {"deep": [[letter(3)]]}), "set": {1, 2}}
    parcel = Parcel(letter(1), 5)
    return {
        "a function": (queue.enqueue(queue_samples.read, letter()), "dear"),
        "by import path": (queue.enqueue("queue_samples.read", letter(2)), "hello"),
        "an async function": (queue.enqueue(queue_samples.read_later, letter()), "dear"),
        "a bound method": (queue.enqueue(letter().shout), "DEAR!"),
        "a bound method with arguments": (queue.enqueue(letter(2).shout, mark="?"), "HELLO?"),
        "a bound method and its own model": (queue.enqueue(letter(2).check, letter()), "checked hello"),
        "a bound method of what is false": (queue.enqueue(Empty(9, "").shout), "EMPTY!"),
        "a class method": (queue.enqueue(Letter.name, "s"), "Letters"),
        "many models": (
            queue.enqueue(queue_samples.read_all, letter(1), letter(2), last=letter(3)),
            {"letters": ["dear", "hello"], "named": {"last": "regards"}},
        ),
        "nested models": (queue.enqueue(queue_samples.read_nested, nested), ["dear", "hello", "regards"]),
        "a dataclass that holds a model": (queue.enqueue(queue_samples.read_nested, [parcel]), ["dear"]),
        "a bound method of a dataclass": (queue.enqueue(parcel.label), "dear 5"),
        "an enum of a module that only the payload names": (
            queue.enqueue(queue_samples.give_type, sample_app.Color.RED),
            "sample_app.Color",
        ),
        "a dataclass of the task's module": (
            queue.enqueue(queue_samples.give_type, parcel),
            "queue_samples.Parcel",
        ),
    }


@each_worker
def test_every_kind_of_job_gets_its_models(queue: Queue, worker_class: type[BaseWorker]) -> None:
    jobs = enqueue_all_kinds(queue)
    run_worker(worker_class, "letters", queue.connection)

    results = {name: job.return_value() for name, (job, _) in jobs.items()}
    assert results == {name: expected for name, (_, expected) in jobs.items()}


def test_a_worker_that_has_imported_nothing_finds_all_by_their_names(queue: Queue, redis_url: str) -> None:
    jobs = enqueue_all_kinds(queue)
    run_python(FRESH_WORKER.format(queue="letters"), redis_url)

    results = {name: job.return_value() for name, (job, _) in jobs.items()}
    assert results == {name: expected for name, (_, expected) in jobs.items()}


@pytest.mark.parametrize("is_fresh", [False, True], ids=["forked", "a process that has imported nothing"])
def test_a_bound_method_of_a_value_alone_tells_where_its_class_is(queue: Queue, redis_url: str, is_fresh: bool) -> None:
    job = queue.enqueue(Parcel(None, 5).grams)
    if is_fresh:
        run_python(FRESH_WORKER.format(queue="letters"), redis_url)
    else:
        run_worker(Worker, "letters", queue.connection)

    assert job.get_status() == "finished", failure(job)
    assert job.return_value() == 5000


def test_a_class_with_a_name_of_its_own_is_found_once_something_imports_it(queue: Queue, redis_url: str) -> None:
    lost = queue.enqueue(Stamp(3, "").shout)
    run_python(FRESH_WORKER.format(queue="letters"), redis_url)
    job = queue.enqueue(Stamp(3, "").shout)
    run_worker(Worker, "letters", queue.connection)

    assert "no class is registered under the name 'post.stamp'" in failure(lost)
    assert job.return_value() == "REGARDS!"


@each_worker
def test_a_job_shows_models_while_it_runs_and_refs_before_and_after(
    queue: Queue, worker_class: type[BaseWorker]
) -> None:
    job = queue.enqueue(queue_samples.watch_itself, letter())
    assert job.args == (Ref("queue_samples.Letter", 1),)

    run_worker(worker_class, "letters", queue.connection)

    assert job.return_value() == ["Letter", "Letter", "True"]
    assert Job.fetch(job.id, connection=queue.connection).args == (Ref("queue_samples.Letter", 1),)


def test_a_synchronous_queue_loads_models_as_a_worker_does(redis: Redis) -> None:
    queue = Queue("letters", connection=redis, is_async=False)
    jobs = enqueue_all_kinds(queue)
    watched = queue.enqueue(queue_samples.watch_itself, letter())

    assert {name: job.return_value() for name, (job, _) in jobs.items()} == {
        name: expected for name, (_, expected) in jobs.items()
    }
    assert watched.return_value() == ["Letter", "Letter", "True"]
    assert watched.args == (Ref("queue_samples.Letter", 1),)


def test_one_row_is_loaded_once_for_a_call(queue: Queue) -> None:
    queue.enqueue(queue_samples.read_all, letter(1), letter(2), again=letter(1))
    run_worker(Worker, "letters", queue.connection)

    assert loads(queue.connection) == [1, 2]


@each_worker
def test_callbacks_get_the_live_result_and_a_job_with_refs(queue: Queue, worker_class: type[BaseWorker]) -> None:
    callbacks = {
        "on_success": Callback(queue_samples.on_success),
        "on_failure": Callback(queue_samples.on_failure),
    }
    queue.enqueue(queue_samples.give, letter(), **callbacks)
    queue.enqueue(sample_app.fail, letter(), **callbacks)
    run_worker(worker_class, "letters", queue.connection)

    assert queue.connection.lrange("callbacks", 0, -1) == [
        b"success Ref Letter",
        b"failure Ref RuntimeError the task failed",
    ]


@each_worker
def test_a_retry_loads_its_models_again(queue: Queue, worker_class: type[BaseWorker]) -> None:
    job = queue.enqueue(queue_samples.read_at_second_try, letter(), retry=Retry(max=1))
    run_worker(worker_class, "letters", queue.connection)

    assert job.return_value() == "dear"
    assert loads(queue.connection) == [1, 1]


@pytest.mark.parametrize("serializer", [Serializer, DefaultSerializer, JSONSerializer])
@pytest.mark.parametrize("ending", ["fail", "fail saved", "ask", "repeat"])
def test_arguments_that_a_running_task_sets_are_those_of_its_next_run(
    redis: Redis, ending: str, serializer: Any
) -> None:
    queue = Queue("letters", connection=redis, serializer=serializer)
    options: dict[str, Any] = {
        "retry": Retry(max=3) if ending.startswith("fail") else None,
        "repeat": Repeat(times=2) if ending == "repeat" else None,
    }
    job = queue.enqueue(queue_samples.go_on, args=(letter(), 0, ending), **options)
    run_worker(Worker, "letters", redis, serializer=serializer)

    assert redis.lrange("seen", 0, -1) == [b"dear 0", b"hello 1", b"regards 2"]
    assert job.return_value() == 2
    assert len(Job.fetch(job.id, connection=redis, serializer=serializer).data) < 200
    assert count(redis, "queue_samples.go_on").jobs == 1


@pytest.mark.parametrize("ending", ["return text", "return an object"])
@pytest.mark.parametrize(
    "options", [{"retry": Retry(max=3)}, {"repeat": Repeat(times=2)}, {"repeat": Repeat(times=2, interval=60)}]
)
def test_arguments_that_cannot_travel_have_no_job_do_its_work_again(
    queue: Queue, ending: str, options: dict[str, Any]
) -> None:
    job = queue.enqueue(queue_samples.go_on_with_what_cannot_travel, ending, **options)
    run_worker(Worker, "letters", queue.connection)

    assert queue.connection.lrange("sent", 0, -1) == [ending.encode()]
    assert job.get_status() == "finished"
    assert job.return_value() == "done"
    assert Job.fetch(job.id, connection=queue.connection).args == (ending,)
    assert queue.scheduled_job_registry.get_job_ids() == []


def test_a_job_that_asks_for_a_run_with_what_cannot_travel_fails_for_good(queue: Queue) -> None:
    job = queue.enqueue(queue_samples.go_on_with_what_cannot_travel, "ask", retry=Retry(max=3))
    run_worker(Worker, "letters", queue.connection)

    assert queue.connection.lrange("sent", 0, -1) == [b"ask"]
    assert job.get_status() == "failed"
    assert "PayloadTooLargeError: queue_samples.go_on_with_what_cannot_travel: payload is" in failure(job)


def test_a_job_fails_with_its_own_error_whatever_it_set_for_its_next_run(queue: Queue) -> None:
    job = queue.enqueue(queue_samples.go_on_with_what_cannot_travel, "raise an object", retry=Retry(max=1))
    run_worker(Worker, "letters", queue.connection)

    assert queue.connection.lrange("sent", 0, -1) == [b"raise an object"] * 2
    assert "ConnectionError: the real error" in failure(job)
    assert "UnsupportedTypeError" not in failure(job)


def test_a_job_passes_its_model_on_to_another(queue: Queue) -> None:
    first = queue.enqueue(queue_samples.pass_on, letter())
    run_worker(Worker, "letters", queue.connection)

    second = Job.fetch(str(first.return_value()), connection=queue.connection)
    assert second.args == (Ref("queue_samples.Letter", 1),)
    assert second.return_value() == "dear"


def test_a_ref_from_a_result_can_be_passed_to_another_job(queue: Queue) -> None:
    first = queue.enqueue(queue_samples.give, [letter()])
    run_worker(Worker, "letters", queue.connection)
    second = queue.enqueue(queue_samples.read_nested, first.return_value())
    run_worker(Worker, "letters", queue.connection)

    assert second.return_value() == ["dear"]


def test_loading_is_part_of_a_jobs_time(queue: Queue) -> None:
    queue.connection.set("letters are slow", 1)
    job = queue.enqueue(queue_samples.read, letter(), job_timeout=1)
    run_worker(Worker, "letters", queue.connection)

    assert "JobTimeoutException" in failure(job)


def test_a_workers_own_scheduler_leaves_payloads_and_counts_as_they_are(queue: Queue, redis_url: str) -> None:
    job = queue.enqueue_in(timedelta(0), queue_samples.read, letter(), meta={"by": letter(2)})
    run_python(
        "import slimjobs\n"
        "slimjobs.Worker(['letters'], connection=redis).work(burst=True, with_scheduler=True, logging_level='ERROR')\n",
        redis_url,
    )

    assert job.return_value() == "dear"
    assert Job.fetch(job.id, connection=queue.connection).meta == {"by": Ref("queue_samples.Letter", 2)}
    assert count(queue.connection, "queue_samples.read").jobs == 1


# Rows that are not there.


def test_a_missing_row_fails_a_job_with_its_name(queue: Queue) -> None:
    job = queue.enqueue(queue_samples.read_or_fail, letter(404))
    run_worker(Worker, "letters", queue.connection)

    assert job.get_status() == "failed"
    assert "RecordNotFoundError: queue_samples.read_or_fail: args[0]: no row for <Ref Letter 404>" in failure(job)
    assert count(queue.connection, "queue_samples.read_or_fail").missing == 1


def test_a_missing_row_is_asked_for_again_by_rqs_retry(queue: Queue) -> None:
    job = queue.enqueue(queue_samples.read_or_fail, letter(404), retry=Retry(max=2))
    run_worker(Worker, "letters", queue.connection)

    assert job.get_status() == "failed"
    assert loads(queue.connection) == [404, 404, 404]


@pytest.mark.parametrize("is_fresh", [False, True], ids=["forked", "a process that has imported nothing"])
def test_a_task_says_what_happens_without_a_row(queue: Queue, redis_url: str, is_fresh: bool) -> None:
    discarded = queue_samples.read_or_discard.enqueue(letter(404))
    without = queue_samples.read_or_none.enqueue(letter(404))
    if is_fresh:
        run_python(FRESH_WORKER.format(queue="letters"), redis_url)
    else:
        run_worker(Worker, "letters", queue.connection)

    assert (discarded.get_status(), discarded.return_value()) == ("finished", None)
    assert (without.get_status(), without.return_value()) == ("finished", "nothing")
    assert count(queue.connection, "queue_samples.read_or_discard").missing == 1
    assert count(queue.connection, "queue_samples.read_or_none").missing == 1


def test_a_row_that_comes_later_is_waited_for(queue: Queue, redis_url: str) -> None:
    job = queue_samples.read_when_there.enqueue(letter(9))
    with python(FRESH_WORKER.format(queue="letters"), redis_url) as worker:
        # Asked for twice: the first answer was that there is no such row.
        for _ in range(2):
            assert queue.connection.blpop(["loads"], timeout=30)
        Letter(9, "late").save()
        _, errors = worker.communicate(timeout=30)

    assert job.return_value() == "late", errors
    assert count(queue.connection, "queue_samples.read_when_there").missing == 0


def test_a_database_that_cannot_be_reached_is_not_a_missing_row(queue: Queue) -> None:
    queue.connection.set("letters are away", 1)
    jobs = [
        queue.enqueue(queue_samples.read, letter()),
        queue_samples.read_or_discard.enqueue(letter()),
        queue_samples.read_or_none.enqueue(letter()),
    ]
    run_worker(Worker, "letters", queue.connection)

    for job in jobs:
        assert "RecordUnavailableError" in failure(job)
        assert "ConnectionRefusedError" in failure(job)
    assert [row.missing for row in slimjobs.Ledger(queue.connection).totals()] == [0, 0, 0]


# Processes that die, and bytes that are damaged.


def test_a_job_whose_work_horse_is_killed_can_be_requeued(queue: Queue, redis_url: str) -> None:
    job = queue.enqueue(queue_samples.hang, letter())
    with python(FRESH_WORKER.format(queue="letters"), redis_url) as worker:
        answer: Any = queue.connection.blpop(["horse"], timeout=30)
        os.kill(int(answer[1]), signal.SIGKILL)
        worker.communicate(timeout=30)

    assert "terminated unexpectedly" in failure(job)
    Job.fetch(job.id, connection=queue.connection).requeue()
    queue.connection.rpush("go", "go")
    run_worker(Worker, "letters", queue.connection)
    assert job.return_value(refresh=True) == "dear"
    assert loads(queue.connection) == [1, 1]
    assert count(queue.connection, "queue_samples.hang").jobs == 1


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda _: b"", "DeserializationError"),
    "cut off": (cut, "DeserializationError"),
    "text": (lambda _: b"hello", "these bytes are not a slimjobs payload"),
    "a pickle": (lambda _: b"\x80\x04N.", "read_pickle=True"),
    "a newer format": (lambda data: data[:1] + b"\x63" + data[2:], "the payload has format 99"),
    "no call": (lambda _: Serializer.dumps([1, 2, 3]), "DeserializationError"),
    "arguments that are none": (lambda _: Serializer.dumps(("queue_samples.read", None, 1, 2)), "Deserialization"),
    "a function that is a number": (lambda data: data.replace(b"\xb2queue_samples.read", b"\x07"), "Error"),
    "broken zlib data": (lambda data: zlib.compress(data * 100)[:-10], "DeserializationError"),
    "a class that nobody registered": (lambda data: data.replace(b"samples.Letter", b"samples.Ladder"), "Ladder"),
    "a module that is not there": (lambda data: data.replace(b"queue_samples.read", b"queue_simples.read"), "Error"),
    "a function that is not there": (lambda data: data.replace(b"queue_samples.read", b"queue_samples.reed"), "reed"),
}


@pytest.mark.parametrize("worker_class", [Worker, SimpleWorker])
@pytest.mark.parametrize(("damage", "reason"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_payload_fails_its_job_alone(
    queue: Queue, worker_class: type[BaseWorker], damage: Callable[[bytes], bytes], reason: str
) -> None:
    job = queue.enqueue(queue_samples.read, letter())
    damaged = damage(job.data)
    assert damaged != job.data
    queue.connection.hset(job.key, "data", damaged)
    after = queue.enqueue(queue_samples.read, letter())
    run_worker(worker_class, "letters", queue.connection)

    assert after.return_value() == "dear"
    assert job.get_status() == "failed"
    assert reason in failure(job)


# What a work horse shows, and what it leaves behind.


@pytest.mark.parametrize("serializer", [None, DefaultSerializer])
def test_a_password_is_not_in_the_arguments_of_a_spawned_process(redis: Redis, redis_url: str, serializer: Any) -> None:
    redis.acl_setuser("mailer", enabled=True, passwords=["+s3cret"], keys=["*"], channels=["*"], commands=["+@all"])
    try:
        with Redis.from_url(redis_url, username="mailer", password="s3cret") as connection:
            queue = Queue("letters", connection=connection, serializer=serializer)
            job = queue.enqueue(queue_samples.give_command_line)
            run_worker(SpawnWorker, "letters", connection, serializer=serializer)
            shown = job.return_value()
    finally:
        redis.acl_deluser("mailer")

    assert shown
    assert "s3cret" not in " ".join(shown)


@pytest.mark.parametrize("worker_class", [Worker, WORKERS[2]])
def test_what_is_refused_inside_a_job_is_counted(queue: Queue, worker_class: type[BaseWorker]) -> None:
    queue.enqueue(queue_samples.refuse_one)
    run_worker(worker_class, "letters", queue.connection)

    assert count(queue.connection, "queue_samples.give", "inner").refused == 1


def test_what_is_refused_inside_a_callback_is_counted(queue: Queue) -> None:
    queue.enqueue(queue_samples.read, letter(), on_success=Callback(queue_samples.refuse_on_success))
    run_worker(Worker, "letters", queue.connection)

    assert count(queue.connection, "queue_samples.give", "inner").refused == 1
