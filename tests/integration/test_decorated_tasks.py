"""`@job` with stock queues, stock workers and any serializer: models are refs in Redis and models in the function."""

from __future__ import annotations

import json
import pickle
from datetime import timedelta
from threading import Barrier, Thread
from typing import TYPE_CHECKING, Any

import pytest
import queue_samples
import rq
import sample_app
from queue_samples import Letter, count, failure, run_python, run_worker, snapshot
from rq.job import Job as RQJob
from rq.serializers import DefaultSerializer, JSONSerializer
from rq_versions import UNIQUE, needs_unique_jobs

import slimjobs
from slimjobs import Queue, Ref, SimpleWorker, UnsupportedTypeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

SERIALIZERS = {"pickle": DefaultSerializer, "json": JSONSerializer, "slimjobs": slimjobs.Serializer}


@pytest.fixture(autouse=True)
def rows(redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(queue_samples.URL_VARIABLE, redis_url)
    for pk, text in enumerate(("dear", "hello", "regards"), start=1):
        Letter(pk, text).save()


@pytest.fixture(params=SERIALIZERS.values(), ids=list(SERIALIZERS))
def stock(request: pytest.FixtureRequest, redis: Redis) -> rq.Queue:
    """A stock queue, with each serializer in turn."""
    return rq.Queue("letters", connection=redis, serializer=request.param)


def task(function: Callable[..., Any], queue: rq.Queue, **options: Any) -> Any:
    """Return a task of queue_samples, as if it had been decorated with another queue."""
    return slimjobs.job(queue, **options)(function.__wrapped__)  # type: ignore[attr-defined]


def run_stock_worker(queue: rq.Queue, worker_class: type[rq.worker.BaseWorker] = rq.Worker) -> None:
    run_worker(worker_class, "letters", queue.connection, serializer=queue.serializer)


def letter(pk: int = 1) -> Letter:
    return Letter(pk, "as it was in the caller's process")


# Stock queue, stock worker.


@pytest.mark.parametrize("worker_class", [rq.Worker, rq.SimpleWorker])
def test_a_stock_worker_calls_the_function_with_models(
    stock: rq.Queue, worker_class: type[rq.worker.BaseWorker]
) -> None:
    plain = task(queue_samples.read_or_fail, stock).enqueue(letter())
    named = task(queue_samples.read_or_fail, stock).enqueue(letter=letter(2))
    coroutine = task(queue_samples.read_async, stock).enqueue(letter())
    tree = {"list": [letter(1), [letter(2)]], "deep": {"er": {"est": [letter(3)]}}}
    nested = task(queue_samples.read_tree, stock).enqueue(tree)
    run_stock_worker(stock, worker_class)

    assert [job.return_value() for job in (plain, named, coroutine)] == ["dear", "hello", "dear"]
    assert nested.return_value() == ["dear", "hello", "regards"]


def test_a_stock_queue_stores_refs(stock: rq.Queue) -> None:
    job = task(queue_samples.read_tree, stock).enqueue({"letter": [letter()]})

    stored = RQJob.fetch(job.id, connection=stock.connection, serializer=stock.serializer)
    found = stored.args[0]["letter"][0]
    if stock.serializer is JSONSerializer:
        assert list(found) == ["__slimjobs_ref__"]
        assert len(found["__slimjobs_ref__"]) < 100
    else:
        assert found == Ref("queue_samples.Letter", 1)
    assert job.description == "queue_samples.read_tree(dict[1])"
    assert b"caller's process" not in stored.data


def test_a_stock_queues_job_is_described_by_refs_and_types(stock: rq.Queue) -> None:
    read = task(queue_samples.read_tree, stock)
    assert read.enqueue(letter(2)).description == "queue_samples.read_tree(<Letter 2>)"
    slimjobs.configure(describe="values")
    assert read.enqueue([letter(2), 7]).description == "queue_samples.read_tree([<Letter 2>, 7])"


def test_all_ways_in_work_on_a_stock_queue(stock: rq.Queue) -> None:
    read = task(queue_samples.read_or_fail, stock)
    jobs = [
        read.enqueue(letter(1)),
        read.delay(letter(2)),
        read.options(job_id="third", at_front=True).enqueue(letter(3)),
        *read.enqueue_many(read.prepare(letter(pk)) for pk in (1, 2)),
    ]
    assert stock.job_ids[0] == "third"
    run_stock_worker(stock)

    assert [job.return_value() for job in jobs] == ["dear", "hello", "regards", "dear", "hello"]


def test_what_is_refused_on_a_stock_queue_leaves_everything_as_it_was(stock: rq.Queue) -> None:
    read = task(queue_samples.read_tree, stock)
    pipeline = stock.connection.pipeline()
    before = snapshot(stock.connection)

    for refused, error in (
        ("x" * 70_000, slimjobs.PayloadTooLargeError),
        ([{"rows": ["x" * 70_000]}], slimjobs.PayloadTooLargeError),
        ([Letter(None, "")], slimjobs.UnsavedModelError),
    ):
        for enqueue in (
            read.enqueue,
            read.options(pipeline=pipeline).enqueue,
            read.options(**UNIQUE, job_id="one").enqueue,
            lambda value: read.enqueue_in(timedelta(1), value),
            lambda value: read.enqueue_many(read.prepare(each) for each in ("fine", value)),
        ):
            with pytest.raises(error) as caught:
                enqueue(refused)
            assert getattr(caught.value, "task", None) == "queue_samples.read_tree"

    assert snapshot(stock.connection) == before
    assert pipeline.command_stack == []


@pytest.mark.parametrize("worker_class", [rq.SimpleWorker, SimpleWorker])
def test_what_a_pickle_holds_many_times_is_walked_once(redis: Redis, worker_class: type[rq.worker.BaseWorker]) -> None:
    stock = rq.Queue("letters", connection=redis)
    pairs: Any = [letter()]
    for _ in range(150):
        pairs = [pairs, pairs]
    job = task(queue_samples.read_first, stock).enqueue(pairs)
    run_stock_worker(stock, worker_class)

    assert len(job.data) < 2000
    assert job.return_value() == "dear"


def test_a_batch_of_a_stock_queue_takes_nothing_that_was_not_made_slim_for_it(stock: rq.Queue) -> None:
    connection = stock.connection
    read = task(queue_samples.read_tree, stock)
    other = JSONSerializer if stock.serializer is DefaultSerializer else DefaultSerializer
    before = snapshot(connection)
    for elsewhere in (
        task(queue_samples.read_tree, Queue("letters", connection=connection)).prepare(letter()),
        task(queue_samples.read_tree, rq.Queue("letters", connection=connection, serializer=other)).prepare(letter()),
        rq.Queue.prepare_data(queue_samples.read_tree, (letter(),)),
    ):
        with pytest.raises(
            slimjobs.ConfigurationError, match=r"^queue_samples\.read_tree: .*stock queue 'letters' was not"
        ):
            read.enqueue_many([read.prepare(letter()), elsewhere])

    assert snapshot(connection) == before


@pytest.mark.parametrize("serializer", SERIALIZERS.values(), ids=list(SERIALIZERS))
def test_a_batch_of_ours_takes_what_was_prepared_for_a_stock_queue(stock: rq.Queue, serializer: Any) -> None:
    queue = Queue("letters", connection=stock.connection, serializer=serializer)
    prepare = task(queue_samples.read_tree, stock).prepare
    jobs = [
        *task(queue_samples.read_tree, queue).enqueue_many([prepare(letter())]),
        *queue.enqueue_many([prepare(tree={"a": [letter(2)]})]),
    ]
    run_worker(SimpleWorker, "letters", stock.connection, serializer=serializer)
    assert [job.return_value() for job in jobs] == [["dear"], ["hello"]]


class Instance:
    """A serializer whose instances are used."""

    def dumps(self, value: Any) -> bytes:
        return json.dumps(value).encode()

    def loads(self, data: bytes) -> Any:
        return json.loads(data)


def test_a_batch_takes_what_its_task_prepared_where_each_call_has_its_own_serializer(redis: Redis) -> None:
    def queue() -> rq.Queue:
        return rq.Queue("letters", connection=redis, serializer=Instance())

    read = slimjobs.job(queue)(queue_samples.read_tree.__wrapped__)  # type: ignore[attr-defined]
    jobs = read.enqueue_many([read.prepare(letter())])
    run_worker(rq.SimpleWorker, "letters", redis, serializer=JSONSerializer)
    assert [job.return_value() for job in jobs] == [["dear"]]


@pytest.mark.parametrize(("own", "other"), [(json, pickle), (Instance(), JSONSerializer)])
def test_a_batch_takes_nothing_that_was_prepared_for_an_unlike_serializer(redis: Redis, own: Any, other: Any) -> None:
    read, elsewhere = (
        task(queue_samples.read_tree, rq.Queue("letters", connection=redis, serializer=each)) for each in (own, other)
    )
    with pytest.raises(slimjobs.ConfigurationError, match="was not prepared for"):
        read.enqueue_many([elsewhere.prepare([])])


def test_what_rq_refuses_of_a_batch_leaves_nothing_of_it(stock: rq.Queue) -> None:
    read = task(queue_samples.read_tree, stock)
    before = snapshot(stock.connection)
    with pytest.raises(ValueError, match="ttl"):
        read.enqueue_many([read.prepare(letter()), read.prepare(letter(), depends_on="another", ttl=0)])

    assert snapshot(stock.connection) == before


def test_limits_of_the_task_hold_on_a_stock_queue(stock: rq.Queue) -> None:
    read = task(queue_samples.read_tree, stock, max_bytes=500)
    with pytest.raises(slimjobs.PayloadTooLargeError) as caught:
        read.enqueue("x" * 600)
    assert caught.value.limit_bytes == 500
    assert caught.value.parts[0][0] == "args[0]"
    with pytest.raises(slimjobs.PayloadTooLargeError, match=r"largest is args\[1\]\[0\] ") as caught:
        read.enqueue(Letter(1, "x" * 1_000_000), ["x" * 600])
    assert count(stock.connection, "queue_samples.read_tree").refused == 2

    task(queue_samples.read_tree, stock, max_bytes="1 MiB").enqueue("x" * 100_000)
    assert stock.count == 1


def test_a_list_that_contains_itself_is_refused_on_a_stock_queue(stock: rq.Queue) -> None:
    endless: list[Any] = []
    endless.append(endless)

    with pytest.raises(UnsupportedTypeError, match="contains itself"):
        task(queue_samples.read_tree, stock).enqueue(endless)


def test_missing_rows_are_settled_in_a_stock_worker(stock: rq.Queue) -> None:
    missing = letter(404)
    failed = task(queue_samples.read_or_fail, stock).enqueue(missing)
    discarded = task(queue_samples.read_or_discard, stock, on_missing="discard").enqueue(missing)
    without = task(queue_samples.read_or_none, stock, on_missing="none").enqueue(missing)
    run_stock_worker(stock)

    assert "RecordNotFoundError" in failure(failed)
    assert (discarded.get_status(), discarded.return_value()) == ("finished", None)
    assert without.return_value() == "nothing"
    for job in (failed, discarded, without):
        assert count(stock.connection, job.func_name).missing == 1


def test_a_synchronous_stock_queue_loads_models_too(stock: rq.Queue) -> None:
    stock = rq.Queue("letters", connection=stock.connection, serializer=stock.serializer, is_async=False)

    assert task(queue_samples.read_or_fail, stock).enqueue(letter()).return_value() == "dear"


def test_a_worker_of_ours_reads_what_a_stock_queue_wrote(stock: rq.Queue) -> None:
    job = task(queue_samples.read_or_fail, stock).enqueue(letter())
    run_worker(slimjobs.Worker, "letters", stock.connection, serializer=stock.serializer)

    assert job.get_status() == "finished", failure(job)
    assert job.return_value() == "dear"


def test_a_plain_call_stays_plain_inside_another_job(stock: rq.Queue) -> None:
    job = task(queue_samples.call_another, stock).enqueue(letter())
    run_stock_worker(stock)

    assert job.return_value() == ["dear", "nothing", "dear"]


@pytest.mark.parametrize("worker_class", [rq.Worker, slimjobs.Worker])
def test_a_function_that_calls_itself_makes_plain_calls(redis: Redis, worker_class: type[rq.worker.BaseWorker]) -> None:
    queue_class = rq.Queue if worker_class is rq.Worker else Queue
    queue = queue_class("letters", connection=redis)
    job = task(queue_samples.gather, queue).enqueue([letter(1), [letter(2), [letter(3)]]], [])
    run_worker(worker_class, "letters", redis)

    assert job.return_value() == ["dear", "hello", "regards"]


def test_a_decorator_around_it_may_add_arguments(stock: rq.Queue) -> None:
    read: Any = queue_samples.read_marked
    job = slimjobs.job(stock)(read.__wrapped__.__wrapped__).enqueue(letter())
    run_stock_worker(stock)

    assert job.return_value() == "dear!"


# JSON.


def test_a_dict_that_looks_like_a_ref_is_refused_where_refs_are_dicts(redis: Redis) -> None:
    read = task(queue_samples.read_tree, rq.Queue("letters", connection=redis, serializer=JSONSerializer))
    with pytest.raises(UnsupportedTypeError, match=r"read_tree: args\[0\]\[0\]: .*__slimjobs_ref__"):
        read.enqueue([{"__slimjobs_ref__": "wQGRkwQ="}])


@pytest.mark.parametrize("damaged", ["", "!", "wQGRAQ==", 5, None])
def test_a_damaged_tag_fails_its_job(redis: Redis, damaged: Any) -> None:
    stock = rq.Queue("letters", connection=redis, serializer=JSONSerializer)
    job = stock.enqueue("queue_samples.read_or_fail", {"__slimjobs_ref__": damaged})
    run_stock_worker(stock)

    assert "PayloadDecodeError" in failure(job)


@pytest.mark.parametrize("place", ["key", "set"])
def test_a_model_where_json_has_no_place_for_it_is_refused_with_its_path(redis: Redis, place: str) -> None:
    read = task(queue_samples.read_tree, rq.Queue("letters", connection=redis, serializer=JSONSerializer))
    value = {letter(): 1} if place == "key" else [{letter()}]

    with pytest.raises(UnsupportedTypeError, match=r"read_tree: args\[0\]"):
        read.enqueue(value)


# Plain calls, options and connections.


def test_a_plain_call_is_a_plain_call(redis: Redis) -> None:
    before = snapshot(redis)

    assert queue_samples.read_or_fail(Letter(1, "mine")) == "mine"
    assert snapshot(redis) == before


def test_the_decorated_function_keeps_its_identity() -> None:
    read: Any = queue_samples.read_or_fail
    assert (read.__name__, read.__module__) == ("read_or_fail", "queue_samples")
    assert rq.utils.resolve_function_reference(read) == (None, "queue_samples.read_or_fail")


def test_reserved_names_are_options_unless_the_function_has_them(redis: Redis) -> None:
    queue = Queue("letters", connection=redis)

    def takes_meta(value: int, meta: str = "", description: str = "") -> None:
        """Have parameters that RQ has options of the same name for."""

    takes_meta.__module__, takes_meta.__qualname__ = "queue_samples", "give"
    wrapped: Any = slimjobs.job(queue, result_ttl=77)(takes_meta)
    job = wrapped.enqueue(1, meta="mine", job_id="named", job_timeout=55, failure_ttl=66)

    assert job.kwargs == {"meta": "mine"}
    assert job.meta == {}
    assert (job.id, job.timeout, job.failure_ttl, job.result_ttl) == ("named", 55, 66, 77)
    with_options = wrapped.options(meta={"for": "rq"}, description="ours").enqueue(1, description="mine")
    assert (with_options.meta, with_options.description) == ({"for": "rq"}, "ours")
    assert with_options.kwargs == {"description": "mine"}


def test_options_are_those_of_rq(redis: Redis) -> None:
    read = task(queue_samples.read_or_fail, Queue("letters", connection=redis))
    with pytest.raises(slimjobs.ConfigurationError, match="no such option of a job: at_fornt"):
        read.options(at_fornt=True)
    with pytest.raises(slimjobs.ConfigurationError, match="no such option of a job: colour"):
        slimjobs.job("letters", redis, colour="red")
    with pytest.raises(slimjobs.ConfigurationError, match=r"max_byte \(is it max_bytes\?\); .*load, max_bytes"):
        slimjobs.job("letters", redis, max_byte="8 KiB")


def test_a_decorator_without_its_parentheses_and_the_url_of_a_redis_are_told_of(redis_url: str) -> None:
    with pytest.raises(slimjobs.ConfigurationError, match=r"Write @slimjobs\.job\(queue\)"):
        slimjobs.job(queue_samples.read_or_fail)  # type: ignore[arg-type]
    bare: Any = slimjobs.job(list)  # type: ignore[arg-type]  # like a function that finds the queue
    with pytest.raises(slimjobs.ConfigurationError, match=r"Write @slimjobs\.job\(queue\)"):
        bare(1)
    with pytest.raises(slimjobs.ConfigurationError, match=r"Redis\.from_url"):
        slimjobs.job("letters", redis_url)  # type: ignore[arg-type]


@needs_unique_jobs
def test_options_that_enqueue_many_has_not_are_refused_by_name(redis: Redis) -> None:
    read = task(queue_samples.read_or_fail, Queue("letters", connection=redis))
    with pytest.raises(slimjobs.ConfigurationError, match="unique"):
        read.options(unique=True, job_id="one").prepare(letter())


def test_options_leave_the_task_as_it_was(redis: Redis) -> None:
    read = task(queue_samples.read_or_fail, Queue("letters", connection=redis))
    read.options(description="once", result_ttl=5).enqueue(letter())

    assert read.enqueue(letter()).result_ttl is None


def test_a_connection_that_is_a_function_is_asked_at_the_first_enqueue_only(redis: Redis) -> None:
    asked = []

    def connect() -> Redis:
        asked.append(1)
        return redis

    read: Any = slimjobs.job("letters", connection=connect)(queue_samples.read_or_fail.__wrapped__)  # type: ignore[attr-defined]
    read(letter())
    assert asked == []
    for _ in range(3):
        read.enqueue(letter())
    read.options(at_front=True).enqueue(letter())
    assert asked == [1]


def test_threads_that_enqueue_first_share_one_connection(redis: Redis) -> None:
    asked = []
    barrier = Barrier(8)

    def connect() -> Redis:
        asked.append(1)
        redis.ping()
        return redis

    read: Any = slimjobs.job("letters", connection=connect)(queue_samples.read_or_fail.__wrapped__)  # type: ignore[attr-defined]

    def enqueue() -> None:
        barrier.wait()
        read.prepare(letter())

    threads = [Thread(target=enqueue) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert asked == [1]


FORKS_IN_A_FIRST_ENQUEUE = """
import signal, slimjobs, queue_samples
from threading import Event, Thread
asked, go_on, parent = Event(), Event(), os.getpid()
def connect():
    if os.getpid() == parent:
        asked.set()
        go_on.wait()
    return redis
task = slimjobs.job("letters", connection=connect)(queue_samples.give)
thread = Thread(target=task.enqueue, args=(1,))
thread.start()
asked.wait()
child = os.fork()
if child == 0:
    signal.alarm(20)  # a lock cannot be interrupted otherwise
    task.enqueue(2)
    os._exit(0)
ended = os.waitpid(child, 0)[1]
go_on.set()
thread.join()
assert ended == 0, ended
"""


def test_a_process_forked_during_a_first_enqueue_can_enqueue_too(redis: Redis, redis_url: str) -> None:
    run_python(FORKS_IN_A_FIRST_ENQUEUE, redis_url)

    assert Queue("letters", connection=redis).count == 2


def test_a_task_without_a_connection_says_so() -> None:
    read: Any = slimjobs.job("letters")(queue_samples.read_or_fail.__wrapped__)  # type: ignore[attr-defined]
    with pytest.raises(slimjobs.ConfigurationError, match="'letters' has no connection=") as caught:
        read.enqueue(letter())
    assert str(caught.value).startswith("queue_samples.read_or_fail: ")


def test_limits_are_no_options_of_one_job(redis: Redis) -> None:
    read = task(queue_samples.read_or_fail, Queue("letters", connection=redis))
    enqueues: list[Callable[[], Any]] = [
        lambda: read.options(max_bytes="1 MiB"),
        lambda: read.enqueue(letter(), max_bytes="1 MiB"),
        lambda: read.enqueue_in(timedelta(1), letter(), max_bytes=1),
    ]
    for enqueue in enqueues:
        with pytest.raises(slimjobs.ConfigurationError, match=r"Write @slimjobs\.job\(\.\.\., max_bytes=") as caught:
            enqueue()
        assert str(caught.value).startswith("queue_samples.read_or_fail: ")
    reads_any: Any = slimjobs.job(Queue("letters", connection=redis))(queue_samples.read_all)
    assert reads_any.enqueue(max_bytes=1).kwargs == {"max_bytes": 1}


def test_a_task_is_enqueued_and_done_by_processes_that_share_only_its_name(redis: Redis, redis_url: str) -> None:
    job_id = run_python(
        "import queue_samples\nprint(queue_samples.read_or_fail.enqueue(queue_samples.Letter(2, '')).id)", redis_url
    ).strip()
    run_python(
        "import rq\nrq.Worker(['letters'], connection=redis, serializer='slimjobs.Serializer')"
        ".work(burst=True, logging_level='ERROR')",
        redis_url,
    )

    job = slimjobs.Job.fetch(job_id, connection=redis)
    assert job.return_value() == "hello"


def test_a_decorated_method_is_the_same_task_however_it_is_enqueued(redis: Redis) -> None:
    sample_app.reset()
    queue = Queue("letters", connection=redis)
    ann, gone = sample_app.SUBSCRIBERS["ann"], sample_app.Subscriber("zoe", "")
    task = "sample_app.Subscriber.greet"
    with pytest.raises(slimjobs.PayloadTooLargeError) as caught:
        queue.enqueue(ann.greet, "x" * 500)
    assert (caught.value.task, caught.value.limit_bytes) == (task, 300)

    jobs = [
        queue.enqueue(ann.greet, "hello", sample_app.EMAILS[2]),
        queue.enqueue(sample_app.Subscriber.greet, ann, "hello", sample_app.EMAILS[2]),
        queue.enqueue(gone.greet, "hello"),
    ]
    sample_app.LOADS.clear()
    run_worker(SimpleWorker, "letters", redis)

    told = ["ann@example.org", "hello", "subject 2"]
    assert [job.return_value(refresh=True) for job in jobs] == [told, told, None]
    assert [job.get_status(refresh=True) for job in jobs] == ["finished"] * 3
    assert sample_app.LOADS == [("Subscriber", ["ann"]), ("Subscriber", ["ann"]), ("Subscriber", ["zoe"])]
    row = count(redis, task, "letters")
    assert (row.jobs, row.refused, row.missing) == (3, 1, 1)
