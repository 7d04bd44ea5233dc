"""Limits where jobs are enqueued: which one holds, what counts, and what each mode does."""

from __future__ import annotations

import logging
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
import queue_samples
import rq
import sample_app
from mirakuru import TCPExecutor
from port_for import get_port
from queue_samples import DEADLINE_SECONDS, count, python, run_python, snapshot
from redis import ConnectionPool, Redis
from rq.job import Job as RQJob

import slimjobs
from slimjobs import (
    BatchTooLargeError,
    Job,
    Ledger,
    Limits,
    PayloadTooLargeError,
    Queue,
    Serializer,
    UnsupportedTypeError,
)
from slimjobs.demo.redis_server import find_redis_server

if TYPE_CHECKING:
    from pathlib import Path


TASK = "sample_app.record"


def size_of(queue: Queue, *args: Any, **options: Any) -> int:
    job = queue.create_job(sample_app.record, args, **options)
    assert isinstance(job, Job)
    assert job.payload is not None
    return job.payload.size_bytes


def data(*args: Any, **options: Any) -> Any:
    return Queue.prepare_data(sample_app.record, args, **options)


@pytest.mark.parametrize("meta", [None, {"note": "y" * 100}], ids=["without meta", "with meta"])
def test_a_payload_at_its_limit_is_inside_it(redis: Redis, meta: Any) -> None:
    queue = Queue("q", connection=redis)
    size_bytes = size_of(queue, "x" * 500, meta=meta)

    at_limit = Queue("q", connection=redis, limits={"max_bytes": size_bytes})
    at_limit.enqueue(sample_app.record, "x" * 500, meta=meta)
    below = Queue("q", connection=redis, limits={"max_bytes": size_bytes - 1})
    with pytest.raises(PayloadTooLargeError) as caught:
        below.enqueue(sample_app.record, "x" * 500, meta=meta)

    assert (caught.value.size_bytes, caught.value.limit_bytes) == (size_bytes, size_bytes - 1)
    assert caught.value.parts[0][0] == "args[0]"
    assert f"{size_bytes} bytes, limit is {size_bytes - 1} bytes" in str(caught.value)
    assert queue.count == 1


def test_a_task_has_the_last_word_then_the_queue_then_configure_then_the_environment(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def limit_of(queue: Queue) -> int | None:
        with pytest.raises(PayloadTooLargeError) as caught:
            queue.enqueue(sample_app.record, "x" * 70_000)
        return caught.value.limit_bytes

    plain = Queue("q", connection=redis)
    assert limit_of(plain) == 65_536
    monkeypatch.setenv("SLIMJOBS_MAX_BYTES", "4 KiB")
    slimjobs.limits.reset()
    assert limit_of(plain) == 4096
    slimjobs.configure(max_bytes="3 KiB")
    assert limit_of(plain) == 3072
    limited = Queue("q", connection=redis, limits=Limits(max_bytes="2 KiB"))
    assert limit_of(limited) == 2048
    slimjobs.job("q", redis, max_bytes="1 KiB")(sample_app.record)
    assert limit_of(limited) == limit_of(plain) == 1024


def test_a_limit_that_is_given_where_rq_would_ignore_it_is_told_of(redis: Redis) -> None:
    with pytest.raises(slimjobs.ConfigurationError, match=r"limits=slimjobs\.Limits\(max_bytes=\.\.\.\)"):
        Queue("q", connection=redis, max_bytes="1 MiB")


def test_a_task_may_have_more_room_than_its_queue(redis: Redis) -> None:
    task = slimjobs.job(Queue("q", connection=redis), max_bytes="1 MiB")(sample_app.record)

    task.enqueue("x" * 200_000)

    assert count(redis, TASK).jobs == 1


def test_the_error_names_what_is_to_blame_and_no_value(redis: Redis) -> None:
    queue = Queue("q", connection=redis)
    with pytest.raises(PayloadTooLargeError) as caught:
        queue.enqueue(sample_app.record, "small", rows=[{"body": "hidden" * 20_000}])

    assert caught.value.task == TASK
    assert caught.value.parts[0][0] == "kwargs['rows'][0]['body']"
    assert "hidden" not in str(caught.value)
    assert "slimjobs.register()" in str(caught.value)


def test_the_next_step_is_for_what_is_to_blame(redis: Redis) -> None:
    queue = Queue("q", connection=redis)
    addresses = [f"subscriber{number}@example.org" for number in range(30_000)]
    for many in (addresses, set(addresses), [sample_app.Email(number) for number in range(3000)]):
        with pytest.raises(PayloadTooLargeError, match="\nEnqueue a job for every so many of its items") as caught:
            queue.enqueue(sample_app.record, "x" * 3000, to=many)
        assert caught.value.parts[0][0] == "kwargs['to']"
    for one in ("x" * 70_000, ["x" * 70_000], {"body": "x" * 70_000}):
        with pytest.raises(PayloadTooLargeError, match="\nPass an id, register the class"):
            queue.enqueue(sample_app.record, one)


@pytest.mark.parametrize("in_pipeline", [False, True])
def test_one_batch_is_enqueued_whole_or_not_at_all(redis: Redis, in_pipeline: bool) -> None:
    size_bytes = size_of(Queue("q", connection=redis), "x" * 100)
    queue = Queue("q", connection=redis, limits=Limits(max_batch_bytes=10 * size_bytes))
    pipeline = redis.pipeline() if in_pipeline else None
    before = snapshot(redis)
    read = []

    def calls(number: int) -> Any:
        for index in range(number):
            read.append(index)
            yield data("x" * 100)

    with pytest.raises(BatchTooLargeError) as caught:
        queue.enqueue_many(calls(1000), pipeline=pipeline)

    assert (caught.value.size_bytes, caught.value.limit_bytes) == (11 * size_bytes, 10 * size_bytes)
    assert caught.value.jobs == len(read) == 11
    assert snapshot(redis) == before
    assert pipeline is None or pipeline.command_stack == []
    assert count(redis, TASK).refused == 11

    queue.enqueue_many(calls(10), pipeline=pipeline)
    if pipeline is not None:
        pipeline.execute()
    assert queue.count == 10
    assert count(redis, TASK).jobs == 10


@pytest.mark.parametrize("queue_class", [rq.Queue, Queue])
def test_a_batch_of_a_task_has_its_limit_on_a_stock_queue_too(
    redis: Redis, queue_class: Any, caplog: pytest.LogCaptureFixture
) -> None:
    task = slimjobs.job(queue_class("q", connection=redis))(sample_app.record)
    read = []

    def calls(number: int) -> Any:
        for index in range(number):
            read.append(index)
            # `_replace` is how one changes what RQ's `prepare_data` returned.
            yield task.prepare("x" * 1000)._replace(job_id=f"{slimjobs.limits.settings().limits.mode}-{index}")

    slimjobs.configure(max_batch_bytes=5000)
    before = snapshot(redis)
    with pytest.raises(BatchTooLargeError) as caught:
        task.enqueue_many(calls(1000))
    assert caught.value.jobs == len(read) == 5
    assert (caught.value.task, caught.value.limit_bytes) == (TASK, 5000)
    assert 5000 < (caught.value.size_bytes or 0) < 5500
    assert snapshot(redis) == before
    assert count(redis, TASK).refused == 5
    assert len(task.enqueue_many(calls(4))) == 4

    with caplog.at_level(logging.WARNING, "slimjobs"):
        slimjobs.configure(mode="track")
        assert len(task.enqueue_many(calls(5))) == 5
        assert not caplog.records
        slimjobs.configure(mode="warn")
        assert len(task.enqueue_many(calls(5))) == 5
    assert [record.getMessage()[:40] for record in caplog.records] == ["q: 5 payloads of one enqueue_many are 5."]


def test_one_payload_that_is_too_large_stops_its_whole_batch(redis: Redis) -> None:
    queue = Queue("q", connection=redis)
    pipeline = redis.pipeline()
    pipeline.set("mine", 1)
    stack = list(pipeline.command_stack)

    with pytest.raises(PayloadTooLargeError):
        queue.enqueue_many([data(1), data("x" * 70_000), data(3)], pipeline=pipeline)

    assert pipeline.command_stack == stack
    pipeline.execute()
    assert redis.keys() == [b"mine"]


def test_in_mode_warn_what_is_too_large_is_enqueued_and_logged(redis: Redis, caplog: pytest.LogCaptureFixture) -> None:
    queue = Queue("q", connection=redis, limits=Limits(max_bytes=1000, max_batch_bytes=3000, mode="warn"))
    with caplog.at_level(logging.WARNING, "slimjobs"):
        queue.enqueue(sample_app.record, "x" * 2000)
        queue.enqueue_many([data("y" * 2000), data("z" * 2000)])

    assert queue.count == 3
    row = count(redis, TASK)
    assert (row.jobs, row.warned, row.refused) == (3, 3, 0)
    payload, batch = caplog.records
    assert "limit is 1000 bytes; largest is args[0]" in payload.getMessage()
    assert "2 payloads of one enqueue_many are" in batch.getMessage()


def test_in_mode_track_what_is_too_large_is_enqueued_and_counted(
    redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    queue = Queue("q", connection=redis, limits=Limits(max_bytes=1000, max_batch_bytes=3000, mode="track"))
    with caplog.at_level(logging.DEBUG, "slimjobs"):
        queue.enqueue(sample_app.record, "x" * 2000)
        queue.enqueue_many([data("y" * 2000), data("z" * 2000)])

    row = count(redis, TASK)
    assert (row.jobs, row.warned, row.refused) == (3, 3, 0)
    assert not caplog.records


def test_a_job_made_elsewhere_is_held_against_the_queue_that_it_comes_to(redis: Redis) -> None:
    queue = Queue("q", connection=redis, limits=Limits(max_bytes=1000))
    job = Job.create(sample_app.record, ("x" * 2000,), connection=redis)
    before = snapshot(redis)

    for enqueue in (queue.enqueue_job, lambda job: queue.schedule_job(job, job.created_at)):
        with pytest.raises(PayloadTooLargeError) as caught:
            enqueue(job)
        assert caught.value.limit_bytes == 1000

    assert snapshot(redis) == before
    assert count(redis, TASK).refused == 2
    Queue("roomy", connection=redis).enqueue_job(job)
    assert count(redis, TASK, "roomy").jobs == 1


def test_a_job_that_was_saved_before_is_held_against_its_queue_too(redis: Redis) -> None:
    queue = Queue("q", connection=redis, limits=Limits(max_bytes=1000))
    job = Job.create(sample_app.record, ("x" * 2000,), connection=redis)
    job.save()

    with pytest.raises(PayloadTooLargeError):
        queue.enqueue_job(job)

    assert queue.count == 0


@pytest.mark.parametrize("enqueue", ["enqueue_job", "schedule_job"])
def test_a_job_of_rqs_own_class_is_held_against_the_queue_too(redis: Redis, enqueue: str) -> None:
    queue = Queue("q", connection=redis)
    pipeline = redis.pipeline()

    def bring(value: Any, pipeline: Any = None) -> None:
        job = RQJob.create(sample_app.record, (value,), connection=redis, serializer=Serializer)
        if enqueue == "enqueue_job":
            queue.enqueue_job(job, pipeline=pipeline)
        else:
            queue.schedule_job(job, job.created_at, pipeline=pipeline)

    with pytest.raises(PayloadTooLargeError):
        bring("x" * 70_000, pipeline)
    assert pipeline.command_stack == []
    bring(1)
    bring(2, pipeline)
    pipeline.execute()

    row = count(redis, TASK)
    assert (row.jobs, row.refused) == (2, 1)


def test_meta_that_is_set_after_a_job_was_made_counts(redis: Redis) -> None:
    queue = Queue("q", connection=redis)
    job = queue.create_job(sample_app.record, (1,))
    job.meta["note"] = "x" * 70_000
    before = snapshot(redis)

    with pytest.raises(PayloadTooLargeError) as caught:
        queue.enqueue_job(job)

    assert caught.value.parts[0][0] == "meta['note']"
    assert snapshot(redis) == before
    job.meta["note"] = "x" * 100
    queue.enqueue_job(job)
    assert count(redis, TASK).payload_bytes == size_of(queue, 1, meta={"note": "x" * 100})


def test_meta_that_cannot_travel_is_refused_by_its_path_whenever_it_was_set(redis: Redis) -> None:
    queue = Queue("q", connection=redis)
    job = queue.create_job(sample_app.record, (1,))
    job.meta["lock"] = object()
    before = snapshot(redis)

    with pytest.raises(UnsupportedTypeError, match=r"sample_app\.record: meta\['lock'\]: "):
        queue.enqueue_job(job)

    assert snapshot(redis) == before


def test_arguments_that_are_set_after_a_job_was_made_are_checked_before_anything_is_written(redis: Redis) -> None:
    queue = Queue("q", connection=redis)
    job = queue.create_job(sample_app.record, (1,))
    job.args = ("x" * 70_000,)
    pipeline = redis.pipeline()

    with pytest.raises(PayloadTooLargeError):
        queue.enqueue_job(job, pipeline=pipeline)

    assert pipeline.command_stack == []
    job.args = ("x" * 100,)
    queue.enqueue_job(job)
    assert count(redis, TASK).payload_bytes == size_of(queue, "x" * 100)


def test_a_method_whose_arguments_are_set_later_is_counted_under_its_class(redis: Redis) -> None:
    queue = Queue("q", connection=redis)
    job = queue.create_job(sample_app.Email(1).send, ("ann",))
    job.args = ("bob",)
    queue.enqueue_job(job)

    assert [row.task for row in Ledger(redis).totals()] == ["sample_app.Email.send"]


def test_a_refusal_shows_in_the_ledger_whatever_client_reads_it(redis: Redis, redis_url: str) -> None:
    queue = Queue("q", connection=redis)
    with pytest.raises(PayloadTooLargeError):
        queue.enqueue(sample_app.record, "x" * 70_000)

    with type(redis).from_url(redis_url) as other:
        assert [(row.task, row.refused) for row in Ledger(other).totals()] == [(TASK, 1)]
        assert [(row.task, row.refused) for row in Ledger(other).hours()] == [(TASK, 1)]


def test_refusals_of_a_process_are_counted_when_it_ends(redis: Redis, redis_url: str) -> None:
    run_python(
        "import slimjobs, queue_samples\n"
        "queue = slimjobs.Queue('q', connection=redis)\n"
        "queue_samples.refuse(queue)\n"
        "queue_samples.refuse(queue)\n"
        "assert not redis.keys(), 'a refusal wrote something'\n",
        redis_url,
    )

    assert count(redis, "queue_samples.give").refused == 2


REFUSES_AND_ENDS = """
import multiprocessing, signal, slimjobs, queue_samples
redis = Redis.from_url(os.environ[queue_samples.URL_VARIABLE], socket_timeout=None)
def refuse():
    queue_samples.refuse(slimjobs.Queue("q", connection=redis))
    os.kill({server_pid}, signal.SIGSTOP)
Child = multiprocessing.get_context("fork").Process
"""


@pytest.mark.parametrize("process", ["refuse()", "child = Child(target=refuse); child.start(); child.join()"])
def test_a_process_ends_though_redis_does_not_answer(tmp_path: Path, process: str) -> None:
    port = get_port(None)
    assert port is not None
    command = [find_redis_server() or "redis-server", "--port", str(port), "--save", ""]
    with TCPExecutor(command, host="127.0.0.1", port=port, timeout=DEADLINE_SECONDS, cwd=tmp_path) as server:
        assert server.process is not None
        server_pid = server.process.pid
        code = REFUSES_AND_ENDS.format(server_pid=server_pid) + process
        with python(code, f"redis://127.0.0.1:{port}/0") as ending:
            try:
                _, errors = ending.communicate(timeout=30)
            finally:
                os.kill(server_pid, signal.SIGCONT)
    assert ending.returncode == 0, errors
    assert "the ledger could not be written (TimeoutError)" in errors


REFUSED_BY_SILENT_ONES = """
import socket, slimjobs, queue_samples
queue_samples.refuse(slimjobs.Queue("q", connection=redis))
servers = [socket.create_server(("127.0.0.1", 0)) for _ in range({servers})]
for server in servers:
    silent = Redis(port=server.getsockname()[1], socket_timeout=None)
    queue_samples.refuse(slimjobs.Queue("q", connection=silent))
"""


def test_a_process_ends_though_many_redises_do_not_answer(redis_url: str) -> None:
    with python(REFUSED_BY_SILENT_ONES.format(servers=60), redis_url) as ending:
        _, errors = ending.communicate(timeout=30)
    assert ending.returncode == 0, errors


def test_a_redis_that_does_not_answer_costs_another_no_counts(redis: Redis, redis_url: str) -> None:
    run_python(REFUSED_BY_SILENT_ONES.format(servers=1), redis_url)

    assert count(redis, "queue_samples.give").refused == 1


def test_a_fork_counts_its_own_refusals_and_not_its_parents(redis: Redis, redis_url: str) -> None:
    run_python(
        "import slimjobs, queue_samples\n"
        "queue = slimjobs.Queue('q', connection=redis)\n"
        "queue_samples.refuse(queue)\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    queue_samples.refuse(queue)\n"
        "    raise SystemExit\n"
        "assert os.waitpid(child, 0)[1] == 0\n",
        redis_url,
    )

    assert count(redis, "queue_samples.give").refused == 2


def test_a_forked_process_of_multiprocessing_counts_its_refusals(redis: Redis, redis_url: str) -> None:
    run_python(
        "import multiprocessing, slimjobs, queue_samples\n"
        "queue = slimjobs.Queue('q', connection=redis)\n"
        "child = multiprocessing.get_context('fork').Process(target=queue_samples.refuse, args=(queue,))\n"
        "child.start()\n"
        "child.join()\n"
        "assert child.exitcode == 0\n",
        redis_url,
    )

    assert count(redis, "queue_samples.give").refused == 1


def test_the_next_enqueue_takes_refusals_along(redis: Redis) -> None:
    queue = Queue("q", connection=redis)
    with pytest.raises(PayloadTooLargeError):
        queue.enqueue(sample_app.record, "x" * 70_000)
    queue.enqueue(sample_app.record, 1)

    assert redis.hget("rq:slimjobs:totals", f"refused:{TASK}:q") == b"1"


def test_the_next_enqueue_takes_along_what_was_refused_on_further_connections(redis: Redis, redis_url: str) -> None:
    for _ in range(20):
        with Redis.from_url(redis_url) as connection:
            queue_samples.refuse(Queue("q", connection=connection))
    Queue("q", connection=redis).enqueue(sample_app.record, 1)

    assert redis.hget("rq:slimjobs:totals", "refused:queue_samples.give:q") == b"20"


def test_refusals_are_written_in_between_where_each_has_a_pool_of_a_class_of_its_own(
    redis: Redis, redis_url: str
) -> None:
    class Routed(ConnectionPool):
        """It may lead anywhere."""

    for _ in range(150):
        queue_samples.refuse(Queue("q", connection=Redis(connection_pool=Routed.from_url(redis_url))))

    assert redis.hget("rq:slimjobs:totals", "refused:queue_samples.give:q") == b"50"
    assert count(redis, "queue_samples.give").refused == 150
