"""Our classes beside RQ's own: the serializer alone, pickle kept for a while, and pickled jobs of old."""

from __future__ import annotations

import sys
import zlib
from base64 import b64decode
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import queue_samples
import rq
import sample_app
from queue_samples import Letter, count, failure, run_worker, snapshot
from rq.job import Job as RQJob
from rq.serializers import DefaultSerializer, JSONSerializer

import slimjobs
from slimjobs import Job, PayloadTooLargeError, Queue, Ref, Serializer, SimpleWorker, Worker

if TYPE_CHECKING:
    from redis import Redis

TASK = "sample_app.record"


class PickleQueue(Queue):
    """Limits and counts first, the new format later."""

    default_serializer: ClassVar[Any] = DefaultSerializer


class PickleWorker(Worker):
    default_serializer: ClassVar[Any] = DefaultSerializer


@pytest.fixture(autouse=True)
def rows(redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(queue_samples.URL_VARIABLE, redis_url)
    Letter(1, "dear").save()
    sample_app.reset()


# The serializer alone, in a stock queue.


def test_the_serializer_alone_makes_refs(redis: Redis) -> None:
    stock = rq.Queue("q", connection=redis, serializer=Serializer)
    job = stock.enqueue(queue_samples.give, [Letter(1, "x" * 1_000_000)], meta={"by": Letter(1, "")})
    run_worker(rq.Worker, "q", redis, serializer=Serializer)

    ref = Ref("queue_samples.Letter", 1)
    stored = RQJob.fetch(job.id, connection=redis, serializer=Serializer)
    assert stored.args == ([ref],)
    assert stored.meta == {"by": ref}
    result: Any = stored.return_value()
    assert result == [ref]
    assert result[0].load().text == "dear"


def test_the_serializer_alone_loads_models_for_a_task_with_the_decorator(redis: Redis) -> None:
    stock = rq.Queue("q", connection=redis, serializer=Serializer)
    job = stock.enqueue(queue_samples.read_or_fail, Letter(1, ""))
    run_worker(rq.Worker, "q", redis, serializer=Serializer)

    assert job.return_value() == "dear"


def test_the_serializer_alone_is_the_backstop_for_limits(redis: Redis) -> None:
    stock = rq.Queue("q", connection=redis, serializer=Serializer)
    with pytest.raises(PayloadTooLargeError) as caught:
        stock.enqueue(sample_app.record, "x" * 70_000)

    assert caught.value.task == TASK
    assert stock.count == 0
    assert not redis.keys("rq:job:*")


def test_the_serializer_can_be_named_by_its_path(redis: Redis) -> None:
    stock = rq.Queue("q", connection=redis, serializer="slimjobs.Serializer")
    job = stock.enqueue(sample_app.record, 1)

    assert job.data[:1] == b"\xc1"
    assert Queue("q", connection=redis, serializer="slimjobs.Serializer").serializer is Serializer


def test_a_stock_worker_with_the_serializer_does_the_jobs_of_our_queue(redis: Redis) -> None:
    queue = Queue("q", connection=redis)
    short, long = queue.enqueue(sample_app.give_back, "x"), queue.enqueue(sample_app.give_back, "x" * 5000)
    run_worker(rq.Worker, "q", redis, serializer=Serializer)

    assert (short.return_value(), long.return_value()) == ("x", "x" * 5000)


# Pickle in our queue.


def test_a_queue_that_keeps_pickle_is_read_by_a_stock_worker(redis: Redis) -> None:
    queue = PickleQueue("q", connection=redis)
    jobs = [queue.enqueue(queue_samples.read, Letter(1, "pickled whole")), queue.enqueue(sample_app.give_back, {1: 2})]
    run_worker(rq.Worker, "q", redis)

    assert [job.return_value() for job in jobs] == ["pickled whole", {1: 2}]
    assert all(row.jobs == 1 for row in slimjobs.Ledger(redis).totals())


def test_a_queue_that_keeps_pickle_is_read_by_a_worker_that_does(redis: Redis) -> None:
    job = PickleQueue("q", connection=redis).enqueue(queue_samples.read, Letter(1, "pickled whole"))
    run_worker(PickleWorker, "q", redis)

    assert job.return_value() == "pickled whole"


def test_limits_and_counts_hold_where_pickle_is_kept(redis: Redis) -> None:
    queue = PickleQueue("q", connection=redis)
    job = queue.enqueue(sample_app.record, "x" * 100, meta={"note": 1})
    before = snapshot(redis)
    for refused in ("x" * 70_000, ["x" * 100] * 1000 + list(range(30_000)), Letter(1, "x" * 70_000)):
        with pytest.raises(PayloadTooLargeError) as caught:
            queue.enqueue(sample_app.record, refused)
        assert caught.value.parts[0][0].startswith("args[0]")
    with pytest.raises(PayloadTooLargeError, match="meta"):
        queue.enqueue(sample_app.record, 1, meta={"note": "x" * 70_000})

    assert snapshot(redis) == before
    row = count(redis, TASK)
    assert (row.jobs, row.refused) == (1, 4)
    assert row.payload_bytes == len(job.data) + len(DefaultSerializer.dumps({"note": 1}))


def test_what_a_pickle_holds_once_is_weighed_once(redis: Redis) -> None:
    body = "x" * 2000
    queue = PickleQueue("q", connection=redis)
    job = queue.enqueue(sample_app.give_back, [body] * 100)

    assert len(job.data) < 3000


def test_the_description_holds_no_values_where_pickle_is_kept(redis: Redis) -> None:
    job = PickleQueue("q", connection=redis).enqueue(sample_app.record, "hidden", [1, 2])

    assert job.description == "sample_app.record(str[6], list[2])"


@pytest.mark.parametrize("serializer", [DefaultSerializer, JSONSerializer])
def test_a_task_with_the_decorator_makes_refs_whatever_our_queue_writes(redis: Redis, serializer: Any) -> None:
    queue = Queue("q", connection=redis, serializer=serializer)
    read = slimjobs.job(queue, max_bytes=1000)(queue_samples.read_tree.__wrapped__)  # type: ignore[attr-defined]
    letter = Letter(1, "x" * 1_000_000)
    jobs = [
        read.enqueue([letter]),
        *read.enqueue_many([read.prepare({"a": letter})]),
        queue.enqueue(queue_samples.read_tree, letter),
    ]
    for refused, problem in (
        (Letter(None, ""), "has no primary key"),
        ([letter, "y" * 2000], r"largest is args\[0\]\[1\] "),
    ):
        with pytest.raises(slimjobs.SlimjobsError, match=rf"^queue_samples.read_tree: .*{problem}"):
            read.enqueue(refused)

    assert all(len(Job.fetch(job.id, connection=redis, serializer=serializer).data) < 200 for job in jobs)
    run_worker(rq.Worker, "q", redis, serializer=serializer)
    assert [job.return_value() for job in jobs] == [["dear"]] * 3
    again = read.enqueue(letter)
    run_worker(Worker, "q", redis, serializer=serializer)
    assert again.return_value() == ["dear"]
    row = count(redis, "queue_samples.read_tree")
    assert (row.jobs, row.refused) == (4, 1)


@pytest.mark.parametrize("path", ["queue_samples.read_tree", "posts.read"], ids=["its own", "another"])
@pytest.mark.parametrize("serializer", [DefaultSerializer, JSONSerializer])
def test_a_task_makes_refs_also_where_it_is_given_by_its_path(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, serializer: Any, path: str
) -> None:
    posts: Any = ModuleType("posts")
    posts.read = queue_samples.read_tree
    monkeypatch.setitem(sys.modules, "posts", posts)
    queue = Queue("q", connection=redis, serializer=serializer)
    job = queue.enqueue(path, [Letter(1, "x" * 1_000_000)])

    assert len(job.data) < 200
    queue.run_job(job)
    assert job.return_value(refresh=True) == ["dear"]
    assert count(redis, "queue_samples.read_tree").jobs == 1


@pytest.mark.parametrize("job_class", [Job, RQJob])
@pytest.mark.parametrize("serializer", [DefaultSerializer, JSONSerializer])
def test_a_task_makes_refs_also_of_what_a_job_is_told_before_it_is_enqueued(
    redis: Redis, serializer: Any, job_class: type[RQJob]
) -> None:
    queue = Queue("q", connection=redis, serializer=serializer)
    job = job_class.create(queue_samples.read_tree, ([],), connection=redis, serializer=serializer, origin="q")
    job.args = ([Letter(1, "x" * 1_000_000)],)
    queue.enqueue_job(job)

    again = Job.fetch(job.id, connection=redis, serializer=serializer)
    assert len(again.data) < 200
    again.kwargs = {}  # the others are refs already, as this serializer knows them
    queue.enqueue_job(again)
    assert Job.fetch(job.id, connection=redis, serializer=serializer).data == again.data
    run_worker(rq.Worker, "q", redis, serializer=serializer)
    assert job.return_value(refresh=True) == ["dear"]


def make_function() -> Any:
    return lambda: 1


@pytest.mark.parametrize("function", [sample_app.record, queue_samples.read_tree], ids=["function", "task"])
@pytest.mark.parametrize("queue_class", [Queue, rq.Queue], ids=["ours", "stock"])
@pytest.mark.parametrize(
    ("serializer", "value", "path"),
    [
        (JSONSerializer, {"a": [2, {3}]}, r"\['a'\]\[1\]: a set"),
        (JSONSerializer, [{("a", 1): 2}], r"\[0\]: a dict"),
        (DefaultSerializer, [lambda: 1], r"\[0\]: a function"),
        (DefaultSerializer, {"a": make_function()}, r"\['a'\]: a function"),
        (DefaultSerializer, (number for number in [1]), ": a generator"),
    ],
)
def test_what_a_serializer_cannot_write_is_refused_with_its_task_and_path(
    redis: Redis, function: Any, queue_class: Any, serializer: Any, value: Any, path: str
) -> None:
    queue = queue_class("q", connection=redis, serializer=serializer)
    task = f"{function.__module__}.{function.__name__}"
    problem = rf"^{task}: args\[0\]{path} cannot be written by the serializer"
    with pytest.raises(slimjobs.UnsupportedTypeError, match=problem):
        slimjobs.job(queue)(getattr(function, "__wrapped__", function)).enqueue(value)
    if queue_class is Queue:
        with pytest.raises(slimjobs.UnsupportedTypeError, match=problem):
            queue.enqueue(function, value)
        with pytest.raises(slimjobs.UnsupportedTypeError, match=rf"^{task}: meta\['a'\]"):
            queue.enqueue(function, 1, meta={"a": value})

    assert queue.job_ids == []


def test_json_in_our_queue_is_weighed_and_counted_too(redis: Redis) -> None:
    queue = Queue("q", connection=redis, serializer=JSONSerializer)
    job = queue.enqueue(sample_app.give_back, [1, "two"])
    with pytest.raises(PayloadTooLargeError):
        queue.enqueue(sample_app.give_back, "x" * 70_000)
    run_worker(rq.Worker, "q", redis, serializer=JSONSerializer)

    assert job.return_value() == [1, "two"]
    row = count(redis, "sample_app.give_back")
    assert (row.jobs, row.payload_bytes, row.refused) == (1, len(job.data), 1)


class Hidden(Serializer):
    """Writes no text that can be read in Redis."""

    @staticmethod
    def dumps(value: Any, /) -> bytes:
        return b"hidden" + Serializer.dumps(value)[::-1]

    @staticmethod
    def loads(data: bytes, /) -> Any:
        assert data.startswith(b"hidden")
        return Serializer.loads(data[:5:-1])


@pytest.mark.parametrize("serializer", [Hidden, Hidden()], ids=["class", "instance"])
def test_a_serializer_that_builds_on_ours_writes_all_there_is_of_a_job(redis: Redis, serializer: Any) -> None:
    queue = Queue("q", connection=redis, serializer=serializer)
    read = slimjobs.job(queue)(queue_samples.read_tree.__wrapped__)  # type: ignore[attr-defined]
    job = read.options(meta={"note": 1}).enqueue([Letter(1, "")])
    written: Any = redis.hgetall(job.key)
    queue.run_job(job)
    results: Any = redis.xrange(f"rq:results:{job.id}")

    call = Hidden.loads(zlib.decompress(written[b"data"]))
    assert call == ("queue_samples.read_tree", None, ([Ref("queue_samples.Letter", 1)],), {})
    assert Hidden.loads(written[b"meta"]) == {"note": 1}
    assert Hidden.loads(b64decode(results[0][1][b"return_value"])) == ["dear"]


class Lucky:
    """Writes bytes whose first is that of our format, as one of 256 that are encrypted does."""

    @staticmethod
    def dumps(value: Any) -> bytes:
        return b"\xc1" + DefaultSerializer.dumps(value)

    @staticmethod
    def loads(data: bytes) -> Any:
        return DefaultSerializer.loads(data[1:])


def test_a_serializer_may_write_the_first_byte_of_our_format(redis: Redis) -> None:
    job = Queue("q", connection=redis, serializer=Lucky).enqueue(sample_app.give_back, "x", meta={"note": 1})
    run_worker(Worker, "q", redis, serializer=Lucky)

    again = Job.fetch(job.id, connection=redis, serializer=Lucky)
    assert (again.return_value(), again.args, again.meta) == ("x", ("x",), {"note": 1})


# A migration: readers first, writers second.


@pytest.mark.parametrize("worker_class", [Worker, SimpleWorker])
def test_jobs_that_stock_rq_pickled_are_read_once_that_is_switched_on(
    redis: Redis, worker_class: type[rq.worker.BaseWorker]
) -> None:
    stock = rq.Queue("q", connection=redis)
    refused = stock.enqueue(queue_samples.read, Letter(1, "pickled"), meta={"note": 1})
    run_worker(worker_class, "q", redis)

    assert refused.get_status() == "failed"
    reason = failure(Job.fetch(refused.id, connection=redis))
    assert "looks like a pickle" in reason
    assert "slimjobs.configure(read_pickle=True)" in reason

    slimjobs.configure(read_pickle=True)
    Job.fetch(refused.id, connection=redis).requeue()
    read = stock.enqueue(queue_samples.read, Letter(1, "pickled later"))
    method = stock.enqueue(Letter(1, "pickled with it").shout)
    ours = Queue("q", connection=redis).enqueue(queue_samples.read, Letter(1, "not this"))
    run_worker(worker_class, "q", redis)

    results = [Job.fetch(job.id, connection=redis).return_value(refresh=True) for job in (refused, read, method, ours)]
    assert results == ["pickled", "pickled later", "PICKLED WITH IT!", "dear"]
    assert Job.fetch(refused.id, connection=redis).meta == {"note": 1}


def test_refs_that_the_decorator_pickled_are_loaded_in_a_migration(redis: Redis) -> None:
    stock = rq.Queue("q", connection=redis)
    function: Any = queue_samples.read_or_fail
    job = slimjobs.job(stock)(function.__wrapped__).enqueue(Letter(1, ""))
    slimjobs.configure(read_pickle=True)
    run_worker(Worker, "q", redis)

    assert Job.fetch(job.id, connection=redis).return_value() == "dear"


def test_a_pickled_job_stays_one_that_stock_rq_can_read(redis: Redis) -> None:
    stock = rq.Queue("q", connection=redis)
    retried = stock.enqueue(queue_samples.read_at_second_try, Letter(1, "dear"), meta={"n": 1}, retry=rq.Retry(max=1))
    waiting = stock.enqueue(queue_samples.read, Letter(1, "dear"), meta={"n": 2}, depends_on=retried)
    slimjobs.configure(read_pickle=True)
    run_worker(Worker, "q", redis)

    for job, number in ((retried, 1), (waiting, 2)):
        read = RQJob.fetch(job.id, connection=redis)
        assert (read.return_value(), read.meta) == ("dear", {"n": number})
        ours = Job.fetch(job.id, connection=redis)
        assert (ours.return_value(), ours.meta) == ("dear", {"n": number})


def test_reading_pickles_leaves_damaged_ones_to_fail_alone(redis: Redis) -> None:
    slimjobs.configure(read_pickle=True)
    job = rq.Queue("q", connection=redis).enqueue(queue_samples.read, Letter(1, ""))
    redis.hset(job.key, "data", job.data[:-9])
    after = Queue("q", connection=redis).enqueue(queue_samples.read, Letter(1, ""))
    run_worker(SimpleWorker, "q", redis)

    assert "the pickle cannot be read" in failure(Job.fetch(job.id, connection=redis))
    assert after.return_value() == "dear"


def test_a_requeued_job_forgets_when_it_ran(redis: Redis) -> None:
    job = Queue("q", connection=redis).enqueue(sample_app.fail)
    run_worker(Worker, "q", redis)
    failed = Job.fetch(job.id, connection=redis)
    assert failed.ended_at is not None
    failed.requeue()

    again = Job.fetch(job.id, connection=redis)
    assert (again.started_at, again.ended_at, again.get_status()) == (None, None, "queued")


def test_a_job_of_ours_is_read_as_such_whatever_serializer_its_reader_has(redis: Redis) -> None:
    made = Queue("q", connection=redis).enqueue(queue_samples.read, Letter(1, ""), meta={"by": Letter(1, "")})

    read = Job.fetch(made.id, connection=redis, serializer=DefaultSerializer)
    assert (read.args, read.meta) == ((Ref("queue_samples.Letter", 1),), {"by": Ref("queue_samples.Letter", 1)})
    read.save()
    assert Job.fetch(made.id, connection=redis).meta == read.meta

    listed = rq.Queue("q", connection=redis, serializer=Serializer).enqueue(sample_app.record, args=[1], kwargs={})
    assert Job.fetch(listed.id, connection=redis, serializer=DefaultSerializer).args == [1]


def test_with_pickle_a_job_is_written_and_shown_as_rqs_own(redis: Redis) -> None:
    given = [1]
    ours = PickleQueue("q", connection=redis).enqueue(sample_app.give_back, given)
    theirs = rq.Queue("q", connection=redis).enqueue(sample_app.give_back, given)

    assert ours.args[0] is given
    written: list[Any] = [redis.hgetall(job.key) for job in (ours, theirs)]
    assert set(written[0]) == set(written[1])
    assert written[0][b"data"] == written[1][b"data"]
