"""The ledger in a real Redis: each job is counted once, whatever happens to it and to the ledger's own keys."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
import queue_samples
import sample_app
from queue_samples import between_watch_and_exec, count, make_all_due, run_python, run_worker, snapshot
from redis import Redis
from redis.exceptions import ResponseError, WatchError
from rq import Repeat, Retry
from rq_versions import UNIQUE, needs_key_prefix, needs_unique_jobs

import slimjobs
from slimjobs import Job, Ledger, Limits, Queue, Serializer, SimpleWorker, Worker
from slimjobs.entries import KEPT_HOURS

if TYPE_CHECKING:
    from collections.abc import Iterator


TASK = "sample_app.record"
TOTALS = "rq:slimjobs:totals"


@pytest.fixture(autouse=True)
def rows(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(queue_samples.URL_VARIABLE, redis_url)
    sample_app.reset()
    yield
    sample_app.reset()


@pytest.fixture
def queue(redis: Redis) -> Queue:
    return Queue("q", connection=redis)


def hour_key() -> str:
    return f"rq:slimjobs:hour:{datetime.now(timezone.utc):%Y%m%d%H}"


def test_a_row_sums_up_the_jobs_of_one_task_on_one_queue(redis: Redis) -> None:
    queue = Queue("q", connection=redis, limits=Limits(warn_bytes=300, max_bytes=10_000))
    jobs = [queue.enqueue(sample_app.record, "x" * length) for length in (1, 10, 100, 1000)]
    queue.enqueue(sample_app.give_back, 1)
    Queue("other", connection=redis).enqueue(sample_app.record, 1)
    with pytest.raises(slimjobs.PayloadTooLargeError):
        queue.enqueue(sample_app.record, "x" * 20_000)

    sizes = [len(job.data) for job in jobs]
    stored = [len(redis.hget(job.key, "data") or b"") for job in jobs]
    row = count(redis, TASK, "q")
    assert (row.jobs, row.payload_bytes, row.stored_bytes) == (4, sum(sizes), sum(stored))
    assert (row.largest_bytes, row.warned, row.refused, row.missing) == (max(sizes), 1, 1, 0)
    assert sum(row.sizes.values()) == 4
    for size_bytes in sizes:
        bound = next(bound for bound in row.sizes if size_bytes <= bound)
        assert bound // 2 < size_bytes
        assert bound.bit_count() == 1
    assert sum(stored) < sum(sizes)
    assert [(each.queue, each.task) for each in Ledger(redis).totals()] == [
        ("q", TASK),
        ("q", "sample_app.give_back"),
        ("other", TASK),
    ]


def test_meta_is_part_of_a_payload(queue: Queue) -> None:
    job = queue.enqueue(sample_app.record, 1, meta={"note": "y" * 200})

    assert count(queue.connection, TASK).payload_bytes == len(job.data) + len(Serializer.dumps(job.meta))


def test_hours_are_kept_in_utc_for_fourteen_days(queue: Queue) -> None:
    before = datetime.now(timezone.utc)
    queue.enqueue(sample_app.record, 1)
    after = datetime.now(timezone.utc)
    redis = queue.connection

    (row,) = Ledger(redis).hours()
    assert row.hour.utcoffset() == timedelta(0)
    assert before - timedelta(hours=1) < row.hour <= after
    assert (row.hour.minute, row.hour.second, row.hour.microsecond) == (0, 0, 0)
    total = count(redis, TASK)
    assert (row.queue, row.task, row.jobs, row.sizes) == (total.queue, total.task, 1, total.sizes)
    (key,) = redis.keys("rq:slimjobs:hour:*")
    days = timedelta(seconds=redis.ttl(key)) / timedelta(days=1)
    assert 14 <= days < 14.1
    assert redis.ttl(TOTALS) == -1


def test_the_hours_of_the_last_fourteen_days_are_read_oldest_first(queue: Queue) -> None:
    redis = queue.connection
    this_hour = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0)
    for back in (0, 5, KEPT_HOURS, KEPT_HOURS + 1):
        key = f"rq:slimjobs:hour:{this_hour - timedelta(hours=back):%Y%m%d%H}"
        redis.hset(key, f"jobs:{TASK}:q", back + 1)

    assert [(this_hour - row.hour, row.jobs) for row in Ledger(redis).hours()] == [
        (timedelta(hours=back), back + 1) for back in (KEPT_HOURS, 5, 0)
    ]


def test_rows_without_a_database_row_are_counted_as_missing(queue: Queue) -> None:
    queue.enqueue(sample_app.subject, sample_app.Email(404))
    run_worker(SimpleWorker, "q", queue.connection)

    row = count(queue.connection, "sample_app.subject")
    assert (row.jobs, row.missing) == (1, 1)


def test_what_a_bound_method_misses_is_counted_with_its_enqueues(queue: Queue) -> None:
    queue.enqueue(queue_samples.Stamp(404, "gone").shout)
    run_worker(SimpleWorker, "q", queue.connection)

    (row,) = Ledger(queue.connection).totals()
    assert (row.jobs, row.missing) == (1, 1)


# Counted once, at its enqueue.


def test_a_job_that_is_retried_after_an_error_counts_once(queue: Queue) -> None:
    letter = queue_samples.Letter(1, "dear").save()
    job = queue.enqueue(queue_samples.read_at_second_try, letter, retry=Retry(max=2))
    run_worker(Worker, "q", queue.connection)

    assert job.return_value() == "dear"
    assert count(queue.connection, "queue_samples.read_at_second_try").jobs == 1


def test_a_job_that_is_retried_later_counts_once(queue: Queue) -> None:
    letter = queue_samples.Letter(1, "dear").save()
    job = queue.enqueue(queue_samples.read_at_second_try, letter, retry=Retry(max=2, interval=60))
    run_worker(Worker, "q", queue.connection)
    assert job.get_status() == "scheduled"
    make_all_due(queue)
    queue_samples.enqueue_due_jobs("q", queue.connection)
    run_worker(Worker, "q", queue.connection)

    assert job.return_value() == "dear"
    assert count(queue.connection, "queue_samples.read_at_second_try").jobs == 1


@pytest.mark.parametrize("interval", [0, 60])
def test_a_job_that_returns_a_retry_counts_once(queue: Queue, interval: int) -> None:
    job = queue.enqueue(queue_samples.ask_for_a_retry, queue_samples.Letter(1, "dear").save(), interval)
    run_worker(Worker, "q", queue.connection)
    if interval:
        assert job.get_status() == "scheduled"
        make_all_due(queue)
        queue_samples.enqueue_due_jobs("q", queue.connection)
        run_worker(Worker, "q", queue.connection)

    assert job.return_value() == "dear"
    assert count(queue.connection, "queue_samples.ask_for_a_retry").jobs == 1


@pytest.mark.parametrize("interval", [0, 60])
def test_a_job_that_repeats_counts_once(queue: Queue, interval: int) -> None:
    job = queue.enqueue(sample_app.record, 1, repeat=Repeat(times=2, interval=interval))
    for _ in range(3):
        run_worker(Worker, "q", queue.connection)
        make_all_due(queue)
        queue_samples.enqueue_due_jobs("q", queue.connection)

    assert len(job.results()) == 3
    assert count(queue.connection, TASK).jobs == 1


def test_a_job_that_is_requeued_counts_once(queue: Queue) -> None:
    job = queue.enqueue(sample_app.fail)
    for _ in range(2):
        run_worker(Worker, "q", queue.connection)
        assert job.get_status() == "failed"
        Job.fetch(job.id, connection=queue.connection).requeue()

    assert count(queue.connection, "sample_app.fail").jobs == 1


def test_a_job_that_is_saved_again_counts_once(queue: Queue) -> None:
    letter = queue_samples.Letter(1, "dear").save()
    job = queue.enqueue(queue_samples.save_itself, letter)
    job.meta["by"] = "the caller"
    job.save_meta()  # type: ignore[no-untyped-call]
    job.save()
    run_worker(Worker, "q", queue.connection)
    Job.fetch(job.id, connection=queue.connection).save()

    assert job.return_value() == "dear"
    assert count(queue.connection, "queue_samples.save_itself").jobs == 1


def test_a_job_that_is_edited_and_enqueued_again_counts_once(queue: Queue) -> None:
    queued = queue.enqueue(sample_app.record, 1)
    job = Job.fetch(queued.id, connection=queue.connection)
    job.args = (2,)
    queue.enqueue_job(job)

    assert count(queue.connection, TASK).jobs == 1


def test_a_job_with_a_dependency_that_is_enqueued_by_hand_counts_once(queue: Queue) -> None:
    dependency = queue.enqueue(sample_app.give_back, 1)
    job = queue.enqueue(sample_app.record, 1, depends_on=dependency)
    queue.enqueue_job(job)

    assert count(queue.connection, TASK).jobs == 1


def test_a_failed_write_leaves_a_job_and_refusals_to_be_counted_when_it_is_enqueued_again(redis: Redis) -> None:
    queue = Queue("q", connection=redis)
    redis.set("rq:queue:q", "not a list")
    job = queue.create_job(sample_app.record, (1,))
    queue_samples.refuse(queue)
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        queue.enqueue_job(job)
    redis.delete("rq:queue:q")
    queue.enqueue_job(job)

    assert queue.job_ids == [job.id]
    assert count(redis, TASK).jobs == 1
    assert count(redis, "queue_samples.give").refused == 1


# A dependency that changes while it is watched, so that RQ begins anew.


@pytest.mark.parametrize("is_finished", [True, False], ids=["finished meanwhile", "touched meanwhile"])
def test_a_dependency_that_changes_meanwhile_neither_loses_nor_doubles_a_count(
    redis: Redis, redis_url: str, is_finished: bool
) -> None:
    dependency = Queue("first", connection=redis).enqueue(sample_app.give_back, 1)

    def meddle() -> None:
        with type(redis).from_url(redis_url) as other:
            other.hset(dependency.key, mapping={"status": "finished"} if is_finished else {"worker_name": "w"})

    with between_watch_and_exec(meddle) as job_class:
        queue = Queue("q", connection=redis, job_class=job_class)
        job = queue.enqueue(sample_app.record, 1, depends_on=dependency)

    assert job.get_status() == ("queued" if is_finished else "deferred")
    row = count(redis, TASK)
    assert (row.jobs, row.payload_bytes) == (1, len(job.data))


def test_in_a_callers_pipeline_a_changed_dependency_is_the_callers_to_try_again(redis: Redis, redis_url: str) -> None:
    dependency = Queue("first", connection=redis).enqueue(sample_app.give_back, 1)

    def meddle() -> None:
        with type(redis).from_url(redis_url) as other:
            other.hset(dependency.key, "worker_name", "w")

    with between_watch_and_exec(meddle) as job_class:
        queue = Queue("q", connection=redis, job_class=job_class)
        job = queue.create_job(sample_app.record, (1,), depends_on=dependency)
        with redis.pipeline() as pipeline:
            queue.enqueue_job(job, pipeline=pipeline)
            with pytest.raises(WatchError):
                pipeline.execute()
            assert count(redis, TASK).jobs == 0
            queue.enqueue_job(job, pipeline=pipeline)
            pipeline.execute()

    assert job.get_status() == "deferred"
    assert count(redis, TASK).jobs == 1


# Ledger keys that are broken.


def break_totals_type(redis: Redis) -> None:
    redis.set(TOTALS, "not a hash")


def break_hour_type(redis: Redis) -> None:
    redis.rpush(hour_key(), "not a hash")


def break_fields(redis: Redis) -> None:
    for metric in ("jobs", "payload_bytes", "largest_bytes", "size_32"):
        redis.hset(TOTALS, f"{metric}:{TASK}:q", "not a number")
        redis.hset(hour_key(), f"{metric}:{TASK}:q", "1e400")


def break_names(redis: Redis) -> None:
    redis.hset(TOTALS, mapping={"garbage": "1", "size_many:a:b": "2", b"\xff:a:b": "3", "unknown:a:b": "4"})
    redis.hset(TOTALS, "jobs:a:b", "\N{SUPERSCRIPT TWO}")


BREAKS = [break_totals_type, break_hour_type, break_fields, break_names]
each_break = pytest.mark.parametrize("break_keys", BREAKS, ids=lambda each: each.__name__)


@each_break
@pytest.mark.parametrize("in_pipeline", [False, True], ids=["alone", "in a pipeline"])
def test_broken_ledger_keys_neither_lose_nor_double_a_job(redis: Redis, break_keys: Any, in_pipeline: bool) -> None:
    break_keys(redis)
    queue = Queue("q", connection=redis)
    if in_pipeline:
        with redis.pipeline() as pipeline:
            queue.enqueue(sample_app.record, 1, pipeline=pipeline)
            pipeline.set("mine", 1)
            pipeline.execute()
        assert redis.get("mine") == b"1"
    else:
        queue.enqueue(sample_app.record, 1)
    queue.enqueue_many([Queue.prepare_data(sample_app.record, (2,)), Queue.prepare_data(sample_app.record, (3,))])
    queue.enqueue(sample_app.record, 4, **UNIQUE, job_id="one")

    assert queue.count == 4
    run_worker(SimpleWorker, "q", redis)
    assert sorted(args[0] for args, _ in sample_app.CALLS) == [1, 2, 3, 4]


@each_break
def test_broken_ledger_keys_can_be_read(redis: Redis, break_keys: Any) -> None:
    break_keys(redis)
    Queue("q", connection=redis).enqueue(sample_app.give_back, 1)

    rows = [row for row in (*Ledger(redis).totals(), *Ledger(redis).hours()) if row.task == "sample_app.give_back"]
    assert [row.jobs for row in rows] == [1] * (2 - (break_keys in (break_totals_type, break_hour_type)))


# Where the keys are.


@needs_key_prefix
def test_the_keys_begin_with_rqs_prefix(redis: Redis, redis_url: str) -> None:
    output = run_python(
        "import slimjobs, sample_app\n"
        "slimjobs.Queue('q', connection=redis).enqueue(sample_app.record, 1)\n"
        "print([row.jobs for row in slimjobs.Ledger(redis).totals()], len(slimjobs.Ledger(redis).hours()))\n",
        redis_url,
        RQ_KEY_PREFIX="{shop}.rq",
    )

    assert output.split() == ["[1]", "1"]
    keys = sorted(key.decode() for key in snapshot(redis))
    assert all(key.startswith("{shop}.rq:") for key in keys)
    assert [key for key in keys if ":slimjobs:" in key] == [
        hour_key().replace("rq:", "{shop}.rq:", 1),
        "{shop}.rq:slimjobs:totals",
    ]


def test_all_keys_of_ours_are_under_slimjobs(queue: Queue) -> None:
    queue.enqueue(sample_app.record, 1)
    with pytest.raises(slimjobs.PayloadTooLargeError):
        queue.enqueue(sample_app.record, "x" * 70_000)
    Ledger(queue.connection).totals()
    with queue.connection.pipeline() as pipeline:
        pipeline.delete(TOTALS, hour_key())
        pipeline.execute()

    assert not queue.connection.keys("*slim*")


# A Redis that does not let this user count.


def save_in_a_pipeline(queue: Queue) -> Any:
    with queue.connection.pipeline() as pipeline:
        job = queue.enqueue(sample_app.record, 1, pipeline=pipeline)
        pipeline.execute()
    return job


UNCOUNTED_WAYS: dict[str, Any] = {
    "enqueue": lambda queue: queue.enqueue(sample_app.record, 1),
    "enqueue_in": lambda queue: queue.enqueue_in(timedelta(hours=1), sample_app.record, 1),
    "enqueue_many": lambda queue: queue.enqueue_many([Queue.prepare_data(sample_app.record, (1,))])[0],
    "depends_on": lambda queue: queue.enqueue(sample_app.record, 1, depends_on="first"),
    "save": lambda queue: queue.create_job(sample_app.record, (1,)),
    "a pipeline": save_in_a_pipeline,
}


@pytest.mark.parametrize("way", UNCOUNTED_WAYS.values(), ids=list(UNCOUNTED_WAYS))
@pytest.mark.parametrize(
    "rights",
    [["~*", "+@all", "-@scripting"], ["~rq:[^s]*", "~rq:scheduled:*", "~rq::*", "+@all"]],
    ids=["no scripts", "no keys of ours"],
)
def test_a_user_who_may_not_count_enqueues_all_the_same(
    queue: Queue, redis_url: str, rights: list[str], way: Any, caplog: pytest.LogCaptureFixture
) -> None:
    administer: Any = queue.connection
    queue.enqueue(sample_app.give_back, 1, job_id="first")
    administer.execute_command("ACL", "SETUSER", "newcomer", "on", ">secret", "&*", *rights)
    try:
        with Redis.from_url(redis_url, username="newcomer", password="secret") as connection:
            jobs = [way(Queue("q", connection=connection)) for _ in range(2)]
            for job in jobs:
                job.save()
    finally:
        administer.execute_command("ACL", "DELUSER", "newcomer")

    assert all(Job.fetch(job.id, connection=queue.connection).args == (1,) for job in jobs)
    assert [row.task for row in Ledger(queue.connection).totals()] == ["sample_app.give_back"]
    assert [record.levelname for record in caplog.records if record.name == "slimjobs"] == ["WARNING"]


@needs_unique_jobs
def test_a_user_who_may_not_use_our_keys_enqueues_unique_jobs(redis: Redis, redis_url: str) -> None:
    administer: Any = redis
    administer.execute_command("ACL", "SETUSER", "newcomer", "on", ">secret", "&*", "~rq:job*", "~rq:queue*", "+@all")
    try:
        with type(redis).from_url(redis_url, username="newcomer", password="secret") as connection:
            for number in range(2):
                Queue("q", connection=connection).enqueue(sample_app.record, 1, unique=True, job_id=f"u{number}")
    finally:
        administer.execute_command("ACL", "DELUSER", "newcomer")

    assert Queue("q", connection=redis).job_ids == ["u0", "u1"]
    assert Ledger(redis).totals() == []


def test_a_subclass_may_write_what_no_script_may(redis: Redis) -> None:
    class Announced(Queue):
        def push_job_id(self, job_id: str, pipeline: Any = None, at_front: bool = False) -> None:
            super().push_job_id(job_id, pipeline=pipeline, at_front=at_front)
            pipeline.eval("return redis.call('INCR', KEYS[1])", 1, "announced")

    queue = Announced("q", connection=redis)
    queue.enqueue(sample_app.record, 1)

    assert (queue.count, redis.get("announced"), count(redis, TASK).jobs) == (1, b"1", 1)
