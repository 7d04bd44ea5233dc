"""Jobs whose hash is damaged: whatever is done to them works, loses nothing of their payload, and ends no process."""

from __future__ import annotations

import json
import logging
import pickle
import subprocess
import sys
import zlib
from base64 import b64encode
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any

import damages
import pytest
import queue_samples
import rq
from queue_samples import URL_VARIABLE, failure, run_python, run_worker, snapshot
from rq import Callback, Retry
from rq.exceptions import DeserializationError
from rq.group import Group
from rq.intermediate_queue import IntermediateQueue
from rq.job import cancel_job, requeue_job
from rq.registry import FailedJobRegistry, clean_registries
from rq_versions import Webhook, needs_webhooks

import slimjobs
from slimjobs import Job, Queue, Serializer, SimpleWorker, SpawnWorker, Worker
from slimjobs import stored as stored_module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from redis import Redis
    from rq.worker import BaseWorker

JOB_ID = "it"
KEY = f"rq:job:{JOB_ID}"

# What is put in a field's place; None takes it out.
FIELD_DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "missing": lambda _: None,
    "empty": lambda _: b"",
    "no text": lambda _: b"\xff\xfe\x00\x80",
    "another text": lambda _: b"nonsense",
    "a large number": lambda _: b"9" * 30,
    "another structure": lambda _: b'{"a": [1]}',
}
PAYLOAD_DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut off": lambda stored: stored[: len(stored) // 2],
    "a newer format": lambda stored: b"\xc1\x63" + stored[2:],
    "a pickle": lambda _: pickle.dumps((queue_samples.Letter, None), protocol=4),
    "cut off when compressed": lambda stored: zlib.compress(stored * 50)[:-9],
    "damaged when compressed": lambda stored: zlib.compress(stored * 50)[:-9] + b"123456789",
    "no call and no dict": lambda _: Serializer.dumps([1, 2]),
}
each_payload_damage = pytest.mark.parametrize("damage", PAYLOAD_DAMAGES.values(), ids=PAYLOAD_DAMAGES)
each_payload_field = pytest.mark.parametrize("field", ["data", "meta"])


@pytest.fixture(autouse=True)
def rows(redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL_VARIABLE, redis_url)


@pytest.fixture
def queue(redis: Redis) -> Queue:
    return Queue("letters", connection=redis)


class Told:
    """A job that was told all there is, in Redis; it is put there again for each of its damages."""

    def __init__(self, queue: Queue, state: str) -> None:
        self.redis = queue.connection
        parent = queue.enqueue(queue_samples.give, 1, job_id="parent")
        run_worker(SimpleWorker, "letters", self.redis)
        callback = Callback("queue_samples.note_result", timeout=5)
        data = Queue.prepare_data(
            queue_samples.give,
            ("value",),
            job_id=JOB_ID,
            meta={"note": "kept"},
            timeout=50,
            ttl=1000,
            result_ttl=1001,
            failure_ttl=1002,
            retry=Retry(1, interval=[0]),
            on_success=callback,
            on_failure=Callback("queue_samples.on_failure", timeout=5),  # which asks for the arguments
            on_stopped=callback,
            depends_on=[parent],
        )
        group = Group.create(self.redis, "group")
        job = group.enqueue_many(queue, [data])[0]
        queue.enqueue(queue_samples.give, 2, job_id="child", depends_on=job)
        if state != "queued":
            self.redis.delete(queue.key)
        if state == "failed":
            queue.failed_job_registry.add(job, exc_string="once")
        elif state == "started":
            self.redis.zadd(queue.started_job_registry.key, {f"{JOB_ID}:execution": 1})
        stamp: Any = self.redis.hget(KEY, "enqueued_at")
        fields: dict[Any, Any] = dict.fromkeys(("started_at", "ended_at", "last_heartbeat"), stamp)
        fields |= {"status": state, "repeats_left": 0, "repeat_intervals": "[1]", "webhooks": "[]"}
        self.redis.hset(KEY, mapping=fields)
        self.fields: Any = self.redis.hgetall(KEY)
        self._dump = snapshot(self.redis)

    def damages(self) -> Iterator[str]:
        """Damage each field in each way, one at a time, and yield what it was."""
        for key, stored in self.fields.items():
            field = key.decode()
            for name, damage in (FIELD_DAMAGES | PAYLOAD_DAMAGES).items():
                if name in PAYLOAD_DAMAGES and field not in ("data", "meta"):
                    continue
                if field == "origin" and name in ("another text", "a large number", "another structure"):
                    continue  # it is the name of another queue
                self._put()
                damaged = damage(stored)
                if damaged is None:
                    self.redis.hdel(KEY, field)
                else:
                    self.redis.hset(KEY, field, damaged)
                yield f"{field}: {name}"

    def _put(self) -> None:
        with self.redis.pipeline() as pipeline:
            pipeline.flushdb()
            for key, value in self._dump.items():
                pipeline.restore(key, 0, value)
            pipeline.execute()

    def payload(self) -> list[bytes]:
        """Return the stored bytes of the call and of the meta; what is missing is empty."""
        stored: Any = self.redis.hmget(KEY, ["data", "meta"])
        return [each or b"" for each in stored]


@contextmanager
def naming(damage: str) -> Iterator[None]:
    """Let whatever goes wrong say what the damage was."""
    try:
        yield
    except Exception as error:
        raise AssertionError(f"{damage}: {type(error).__name__}: {error}") from error


def fetch(queue: Queue) -> Job:
    job = Job.fetch(JOB_ID, connection=queue.connection)
    assert isinstance(job, Job)
    return job


# What is done to damaged jobs.


def fetch_many(queue: Queue) -> None:
    assert all(Job.fetch_many([JOB_ID, "parent"], queue.connection))


def list_jobs(queue: Queue) -> None:
    assert [job.id for job in queue.jobs] == queue.job_ids == [JOB_ID]


def look(queue: Queue) -> None:
    """Ask for all that a dashboard may show."""
    job = fetch(queue)
    job.get_status()
    _ = job.is_failed, job.dependency, job.dependent_ids, job.meta, str(job), repr(job), job.get_position()
    job.get_call_string()
    job.get_meta()
    job.latest_result()
    job.results()
    job.return_value()
    job.get_executions()
    job.fetch_dependencies()
    job.dependencies_are_met()
    job.refresh()


def save(queue: Queue) -> None:
    job = fetch(queue)
    job.save()
    if job.meta:
        job.save_meta()
    job.save(include_meta=False)


def count(queue: Queue) -> None:
    assert [queue.count, queue.started_job_registry.count, queue.failed_job_registry.count] == [1, 0, 0]


def clean_group(queue: Queue) -> None:
    Group.fetch("group", queue.connection).cleanup()


def cancel(queue: Queue) -> None:
    job = fetch(queue)
    job.origin = job.origin or queue.name  # nothing else says in whose queue it is
    job.cancel(enqueue_dependents=True)
    assert queue.job_ids == ["child"]
    assert fetch(queue).get_status() == "canceled"


def requeue(queue: Queue) -> None:
    job = fetch(queue)
    job.origin = job.origin or queue.name  # nothing else says in whose registry it is
    job.requeue()
    assert queue.job_ids == [JOB_ID]


def requeue_by_id(queue: Queue) -> None:
    queue.failed_job_registry.requeue(JOB_ID)


def fail(queue: Queue) -> None:
    job = fetch(queue)
    SimpleWorker([queue], connection=queue.connection).handle_job_failure(job, queue, exc_string="failed")


def clean_intermediate_queue(queue: Queue) -> None:
    intermediate = IntermediateQueue(queue.key, queue.connection)
    queue.connection.lmove(queue.key, intermediate.key)
    queue.connection.set(intermediate.get_first_seen_key(JOB_ID), 1)
    intermediate.cleanup(SimpleWorker([queue], connection=queue.connection), queue)
    assert JOB_ID in queue.failed_job_registry.get_job_ids() + queue.job_ids


def delete_as_a_dependent(queue: Queue) -> None:
    queue.connection.sadd("rq:job:parent:dependents", JOB_ID)
    queue.connection.lrem(queue.key, 1, JOB_ID)  # RQ leaves it in the queue, whose workers pass over it
    Job.fetch("parent", connection=queue.connection).delete(delete_dependents=True)


LOOKS = [fetch, fetch_many, list_jobs, look, save, count, clean_group]
MOVES = [
    ("queued", cancel),
    ("failed", requeue),
    ("failed", requeue_by_id),
    ("queued", fail),
    ("started", clean_registries),
    ("queued", clean_intermediate_queue),
]
REMOVALS: dict[str, tuple[str, Callable[[Queue], object]]] = {
    "delete": ("queued", lambda queue: fetch(queue).delete()),
    "delete a failed one": ("failed", lambda queue: fetch(queue).delete()),
    "delete it and its dependents": ("failed", lambda queue: fetch(queue).delete(delete_dependents=True)),
    "delete what it depends on": ("queued", delete_as_a_dependent),
    "remove from a registry by id": ("failed", lambda q: q.failed_job_registry.remove(JOB_ID, delete_job=True)),
    "remove from a registry": ("failed", lambda q: q.failed_job_registry.remove(fetch(q), delete_job=True)),
    "empty the queue": ("queued", Queue.empty),
}


@pytest.mark.parametrize("look_at", LOOKS)
def test_looking_at_a_damaged_job_works_and_changes_nothing(queue: Queue, look_at: Callable[[Queue], object]) -> None:
    job = Told(queue, "queued")
    for damage in job.damages():
        before = job.payload()
        with naming(damage):
            look_at(queue)
            assert job.payload() == before


@pytest.mark.slow
@pytest.mark.parametrize(("state", "move"), MOVES)
def test_a_damaged_job_is_moved_with_its_payload(queue: Queue, state: str, move: Callable[[Queue], object]) -> None:
    job = Told(queue, state)
    for damage in job.damages():
        before = job.payload()
        with naming(damage):
            move(queue)
            assert job.payload() == before


@pytest.mark.parametrize(("state", "remove"), REMOVALS.values(), ids=REMOVALS)
def test_a_damaged_job_can_be_deleted(queue: Queue, state: str, remove: Callable[[Queue], object]) -> None:
    job = Told(queue, state)
    for damage in job.damages():
        with naming(damage):
            remove(queue)
            assert not job.redis.exists(KEY)
            if not damage.startswith("origin"):  # nothing else says in whose registry it was
                assert [queue.job_ids, queue.failed_job_registry.get_job_ids()] == [[], []]


@pytest.mark.slow
def test_no_damage_ends_a_worker(queue: Queue) -> None:
    job = Told(queue, "queued")
    for damage in job.damages():
        before = job.payload()
        with naming(damage):
            after = queue.enqueue(queue_samples.give, 3, job_id="after")
            run_worker(SimpleWorker, "letters", queue.connection)
            assert after.get_status() == "finished"
            assert job.payload() == before
            if fetch(queue).get_status() == "failed":
                assert JOB_ID in queue.failed_job_registry.get_job_ids()
                # Or RQ's own words, where a text names no function and a number is no time.
                reasons = [f"job {JOB_ID} (queue_samples.give", "Invalid attribute name", "OverflowError"]
                assert any(reason in failure(fetch(queue)) for reason in reasons)
            else:
                assert fetch(queue).get_status() in ("finished", "scheduled")  # a large number of repeats


TOLD = [
    "timeout",
    "ttl",
    "result_ttl",
    "dependency_ids",
    "retry_intervals",
    "retries_left",
    "group_id",
    "success_callback_name",
    "failure_callback_name",
    "stopped_callback_name",
    "success_callback_timeout",
]


@pytest.mark.parametrize("field", TOLD)
def test_no_default_takes_the_place_of_what_a_job_was_told(queue: Queue, field: str) -> None:
    job = Told(queue, "queued")
    job.redis.hset(KEY, field, b"\xff\xfe")
    run_worker(SimpleWorker, "letters", queue.connection)
    fetch(queue).save()

    assert f"its {field} cannot be read" in failure(fetch(queue))
    assert fetch(queue).unreadable.keys() == {field}
    assert job.redis.hget(KEY, field) == b"\xff\xfe"


def test_what_is_nested_more_deeply_than_anybody_writes_is_shown_and_written_back(queue: Queue) -> None:
    job = queue.enqueue(queue_samples.give, 1, job_id=JOB_ID)
    call = b"\xc1\x01\x94\xb2queue_samples.give\xc0\x91" + b"\x91" * 1000 + b"\x01\x80"
    meta = b"\xc1\x01\x91\x81\xa1a" + b"\x91" * 400 + b"\x01"
    queue.connection.hset(job.key, mapping={"data": call, "meta": meta})

    found = fetch(queue)
    # Python shows it in full from 3.12 on.
    assert str(found.get_call_string()).startswith(
        (f"<job {JOB_ID}: its call is nested too deeply", "queue_samples.give(")
    )
    assert found.unreadable == {"meta": "nested more than 256 levels deep, or contains itself"}
    found.save()
    assert queue.connection.hmget(job.key, "data", "meta") == [call, meta]
    run_worker(SimpleWorker, queue.name, queue.connection)
    assert found.get_status() == "failed"


def test_a_payload_that_nobody_looks_at_is_not_even_inflated(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = enqueue_damaged(queue, "data", PAYLOAD_DAMAGES["cut off when compressed"])
    monkeypatch.setattr(stored_module, "inflate", None)
    job = fetch(queue)
    job.get_status()
    queue.failed_job_registry.add(job, exc_string="once")
    job.requeue()
    job.cancel()
    job.save()
    _ = str(job), job.meta, queue.jobs, Job.fetch_many([JOB_ID], queue.connection)
    assert queue.connection.hget(KEY, "data") == stored
    fetch(queue).delete()


def enqueue_damaged(queue: Queue, field: str, damage: Callable[[bytes], bytes], **options: Any) -> bytes:
    """Enqueue a job, damage a part of its payload, and return that."""
    queue.enqueue(queue_samples.give, "value", job_id=JOB_ID, meta={"note": "kept"}, **options)
    stored: Any = queue.connection.hget(KEY, field)
    queue.connection.hset(KEY, field, damage(stored))
    return damage(stored)


@pytest.mark.slow
@pytest.mark.parametrize("worker_class", [Worker, SimpleWorker, SpawnWorker])
@each_payload_field
def test_neither_handlers_nor_callbacks_end_a_worker(queue: Queue, field: str, worker_class: type[BaseWorker]) -> None:
    handlers = [damages.ask_for_arguments, damages.note_failure]
    enqueue_damaged(queue, field, PAYLOAD_DAMAGES["cut off"], on_failure=Callback("queue_samples.on_failure"))
    after = queue.enqueue(queue_samples.give, 1)
    run_worker(worker_class, "letters", queue.connection, exception_handlers=handlers)

    assert after.get_status() == "finished"
    assert f"job {JOB_ID} (queue_samples.give" in failure(fetch(queue))
    assert "the payload is cut off" in failure(fetch(queue))
    assert [queue.connection.lrange(key, 0, -1) for key in ("asked", "noted")] == [[JOB_ID.encode()]] * 2


def test_an_abandoned_job_and_a_handler_that_asks_for_its_arguments_do_not_end_a_worker(queue: Queue) -> None:
    enqueue_damaged(queue, "data", PAYLOAD_DAMAGES["cut off"])
    queue.connection.delete(queue.key)
    queue.connection.hset(KEY, "status", "started")
    queue.connection.zadd(queue.started_job_registry.key, {f"{JOB_ID}:execution": 1})
    after = queue.enqueue(queue_samples.give, 1)
    run_worker(SimpleWorker, "letters", queue.connection, exception_handlers=[damages.ask_for_arguments])

    assert after.get_status() == "finished"
    assert queue.failed_job_registry.get_job_ids() == [JOB_ID]


@pytest.mark.parametrize("worker_class", [Worker, SimpleWorker, SpawnWorker])
def test_a_job_without_an_origin_belongs_to_the_queue_that_it_came_from(
    queue: Queue, worker_class: type[BaseWorker]
) -> None:
    enqueue_damaged(queue, "data", PAYLOAD_DAMAGES["cut off"])
    queue.connection.hdel(KEY, "origin")
    run_worker(worker_class, "letters", queue.connection)

    assert queue.failed_job_registry.get_job_ids() == [JOB_ID]


def test_a_job_without_an_origin_is_found_again_if_its_worker_dies(queue: Queue) -> None:
    enqueue_damaged(queue, "data", PAYLOAD_DAMAGES["cut off"])
    queue.connection.hdel(KEY, "origin")

    class Dying(SimpleWorker):
        def perform_job(self, *_: Any) -> bool:
            raise SystemExit

    with pytest.raises(SystemExit):
        run_worker(Dying, "letters", queue.connection)
    assert queue.started_job_registry.get_job_ids(cleanup=False) == [JOB_ID]


def test_what_a_newer_worker_can_read_is_run_once_one_is_there(queue: Queue) -> None:
    newer = enqueue_damaged(queue, "data", PAYLOAD_DAMAGES["a newer format"], retry=Retry(2))
    run_worker(SimpleWorker, "letters", queue.connection)
    assert "the payload has format 99" in failure(fetch(queue))
    assert queue.connection.hget(KEY, "data") == newer

    queue.failed_job_registry.requeue(JOB_ID)
    queue.connection.hset(KEY, "data", b"\xc1\x01" + newer[2:])  # as the newer worker reads it
    run_worker(SimpleWorker, "letters", queue.connection)
    assert fetch(queue).return_value() == "value"
    assert fetch(queue).meta == {"note": "kept"}


@pytest.mark.parametrize("status", ["", "nonsense"])
@pytest.mark.parametrize("registry", ["failed", "finished", "deferred", "scheduled", "canceled", "started"])
def test_a_job_without_a_status_is_deleted_from_wherever_it_is(queue: Queue, registry: str, status: str) -> None:
    job = queue.enqueue(queue_samples.give, 1, job_id=JOB_ID)
    key = getattr(queue, f"{registry}_job_registry").key
    if registry == "started":
        SimpleWorker([queue], connection=queue.connection).prepare_execution(job)
    else:
        queue.connection.zadd(key, {JOB_ID: 2e9})
    assert queue.connection.zcard(key) == 1
    queue.connection.hset(KEY, "status", status)
    job.delete()

    assert queue.connection.zcard(key) == 0
    assert not queue.connection.exists(KEY)


def test_what_is_no_job_is_passed_over_and_reported(queue: Queue, caplog: pytest.LogCaptureFixture) -> None:
    queue.enqueue(queue_samples.give, 1, job_id=JOB_ID)
    queue.connection.delete(KEY)
    queue.connection.rpush(KEY, "a list")
    after = queue.enqueue(queue_samples.give, 2)
    with caplog.at_level(logging.ERROR, "slimjobs"):
        run_worker(SimpleWorker, "letters", queue.connection)

    assert after.return_value() == 2
    assert [record.message for record in caplog.records if record.name == "slimjobs"] == [
        f"job {JOB_ID}: what Redis holds under its key is no job"
    ]
    found = Job.fetch_many([JOB_ID, after.id], queue.connection)
    assert found == [None, after]


def test_what_rq_leaves_of_a_deleted_job_is_no_job(queue: Queue) -> None:
    queue.connection.hset("rq:job:left", mapping={"last_heartbeat": "2026-11-24T09:00:00.000000Z", "status": "started"})
    whole = queue.enqueue(queue_samples.give, 1)

    assert Job.fetch_many(["left", whole.id], queue.connection) == [None, whole]
    assert queue.fetch_job("left") is None


# RQ's own functions and classes, which know its own job class alone.


@each_payload_field
@each_payload_damage
def test_rqs_own_functions_work_on_what_cannot_be_decoded(
    queue: Queue, field: str, damage: Callable[[bytes], bytes]
) -> None:
    enqueue_damaged(queue, field, damage)
    before = fetch(queue)
    cancel_job(JOB_ID, queue.connection)
    assert fetch(queue).get_status() == "canceled"

    queue.failed_job_registry.add(fetch(queue), exc_string="once")
    queue.connection.hset(KEY, "status", "failed")
    requeue_job(JOB_ID, queue.connection)
    assert queue.job_ids == [JOB_ID]
    assert fetch(queue).data == before.data

    group = Group.create(queue.connection, "group")
    queue.connection.sadd(group.key, JOB_ID)
    assert [job.id for job in group.get_jobs()] == [JOB_ID]
    registry = FailedJobRegistry(queue=queue)
    registry.add(fetch(queue), exc_string="once")
    registry.remove(JOB_ID, delete_job=True)
    assert not queue.connection.exists(KEY)


@each_payload_field
@each_payload_damage
def test_a_stock_worker_fails_it_with_the_reason(queue: Queue, field: str, damage: Callable[[bytes], bytes]) -> None:
    enqueue_damaged(queue, field, damage)
    stock = rq.Queue("letters", connection=queue.connection, serializer=Serializer)
    after = stock.enqueue(queue_samples.give, 1)
    run_worker(rq.SimpleWorker, "letters", queue.connection, serializer=Serializer)

    assert after.get_status() == "finished"
    if field == "data":
        assert "DeserializationError" in failure(fetch(queue))
    else:
        assert fetch(queue).get_status() == "finished"  # RQ runs it without its meta


def test_the_command_line_lists_requeues_and_empties(queue: Queue, redis_url: str) -> None:
    enqueue_damaged(queue, "data", PAYLOAD_DAMAGES["cut off"])
    queue.connection.hset(KEY, "created_at", "nonsense")
    run_worker(Worker, "letters", queue.connection)
    classes = ["--job-class", "slimjobs.Job", "--queue-class", "slimjobs.Queue"]

    def rq_(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "rq.cli", *arguments, "--url", redis_url, *classes],
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.stdout + done.stderr

    assert "letters" in rq_("info", "--raw")
    assert "Requeueing 1 jobs" in rq_("requeue", "--queue", "letters", "--all", "--serializer", "slimjobs.Serializer")
    assert queue.job_ids == [JOB_ID]
    assert "1 jobs removed" in rq_("empty", "letters")
    assert not queue.connection.exists(KEY)


# What is said.


def test_the_log_says_it_once_a_minute_for_a_queue(queue: Queue, caplog: pytest.LogCaptureFixture) -> None:
    enqueue_damaged(queue, "meta", PAYLOAD_DAMAGES["cut off"])
    with caplog.at_level(logging.WARNING, "slimjobs"):
        for _ in range(3):
            fetch(queue)

    assert [record.message for record in caplog.records] == [
        f"job {JOB_ID}: its meta cannot be read: the payload is cut off"
    ]
    assert (caplog.records[0].job_id, caplog.records[0].queue) == (JOB_ID, "letters")  # type: ignore[attr-defined]


@needs_webhooks
def test_a_webhook_names_the_function_of_what_cannot_be_read(queue: Queue) -> None:
    received: list[Any] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = Thread(target=server.handle_request)
    thread.start()
    hook = Webhook(f"http://127.0.0.1:{server.server_port}/", "failed", method="POST")
    enqueue_damaged(queue, "data", PAYLOAD_DAMAGES["cut off"], webhooks=[hook])
    run_worker(SimpleWorker, "letters", queue.connection)
    thread.join(timeout=10)
    server.server_close()

    assert [(each["job_id"], each["func_name"]) for each in received] == [(JOB_ID, "queue_samples.give")]
    assert "the payload is cut off" in received[0]["exc_info"]


def test_what_names_the_function_to_webhooks_names_it_to_nobody_else(queue: Queue) -> None:
    enqueue_damaged(queue, "data", PAYLOAD_DAMAGES["cut off"])
    job = fetch(queue)
    if hasattr(rq.job.Job, "send_webhooks"):  # RQ before 3.0 has none
        job.send_webhooks("failed")
    with pytest.raises(DeserializationError):
        _ = job.func_name


def test_a_result_that_cannot_be_read_says_so(queue: Queue) -> None:
    job = queue.enqueue(queue_samples.give, "value", job_id=JOB_ID)
    run_worker(SimpleWorker, "letters", queue.connection)
    entry: Any = queue.connection.xrange(f"rq:results:{JOB_ID}")[0][1]  # type: ignore[index]
    queue.connection.xadd(f"rq:results:{JOB_ID}", {**entry, b"return_value": b"eA=="})

    with pytest.raises(DeserializationError, match=rf"job {JOB_ID} \(queue_samples.give\): its result cannot be read"):
        job.return_value(refresh=True)
    latest = job.latest_result()
    assert latest is not None
    assert repr(latest.return_value) == "<unreadable: these bytes are not a slimjobs payload>"
    assert [result.return_value for result in job.results()][1:] == ["value"]


def test_a_bad_pickle_fails_its_job_where_pickles_are_read(queue: Queue) -> None:
    slimjobs.configure(read_pickle=True)
    good = rq.Queue("letters", connection=queue.connection).enqueue(queue_samples.give, "good")
    bad = rq.Queue("letters", connection=queue.connection).enqueue(queue_samples.give, "bad", meta={"a": 1})
    for field in ("data", "meta"):
        stored = bad.to_dict()[field] if field == "meta" else bad.data
        queue.connection.hset(bad.key, field, stored[:-5])
    after = queue.enqueue(queue_samples.give, "after")
    run_worker(Worker, "letters", queue.connection)

    assert [good.get_status(), bad.get_status(), after.get_status()] == ["finished", "failed", "finished"]
    assert f"job {bad.id} (queue_samples.give, by its description): its payload cannot be read: the pickle" in failure(
        Job.fetch(bad.id, connection=queue.connection)
    )


# A bomb.

MEASURE = """
import re, slimjobs

def kibibytes(name):
    return int(re.search(rf"{name}:\\s+(\\d+)", open("/proc/self/status").read())[1])

redis.ping()
slimjobs.SimpleWorker(["idle"], connection=redis).work(burst=True, logging_level="CRITICAL")
open("/proc/self/clear_refs", "w").write("5")  # the peak begins anew
before = kibibytes("VmRSS")
"""
READ = f"""
try:
    slimjobs.Job.fetch({JOB_ID!r}, connection=redis).args
except Exception as error:
    print("inflates to more than 64.0 MiB" in str(error), end=" ")
"""
WORK = """
print(slimjobs.SimpleWorker(["letters"], connection=redis).work(burst=True, logging_level="CRITICAL"), end=" ")
"""
REPORT = 'print(kibibytes("VmHWM") - before)\n'


def make_bomb(size_bytes: int) -> bytes:
    """Return zlib data for so many zeros; its checksum is wrong, which would be found out at the end."""
    deflating = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = deflating.compress(bytes(2**20)) + deflating.flush(zlib.Z_FULL_FLUSH)
    return b"\x78\xda" + block * (size_bytes // 2**20) + b"\x03\x00" + b"adlr"


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process's memory is read from /proc")
@pytest.mark.parametrize("act", [READ, WORK], ids=["fetched", "worked on"])
def test_a_bomb_of_ten_gigabytes_takes_less_than_32_megabytes(queue: Queue, redis_url: str, act: str) -> None:
    bomb = make_bomb(10 * 10**9)
    enqueue_damaged(queue, "data", lambda _: bomb)
    said, kibibytes = run_python(MEASURE + act + REPORT, redis_url).split()

    assert said == "True"
    assert int(kibibytes) * 1024 < 32 * 10**6
    assert queue.connection.hget(KEY, "data") == bomb


@pytest.mark.parametrize("field", ["exc_info", "result"])
def test_what_rq_compresses_is_inflated_with_a_bound_too(queue: Queue, redis_url: str, field: str) -> None:
    queue.enqueue(queue_samples.give, 1, job_id=JOB_ID)
    bomb = make_bomb(10 * 10**9)
    if field == "exc_info":
        queue.connection.hset(KEY, "exc_info", bomb)
    else:
        queue.connection.xadd(f"rq:results:{JOB_ID}", {"type": 2, "exc_string": b64encode(bomb)})
    output = run_python(
        f"import slimjobs\njob = slimjobs.Job.fetch({JOB_ID!r}, connection=redis)\n"
        "print(job._exc_info or job.latest_result().exc_string)",
        redis_url,
    )
    assert output.startswith("<the compressed data inflates to more than 64.0 MiB")


# All together.


@pytest.mark.slow
def test_of_many_jobs_all_good_ones_run_and_all_bad_ones_fail_with_their_reason(
    queue: Queue, redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(damages.URL_VARIABLE, redis_url)
    reasons = damages.enqueue_with_damages(queue, 300, 10)
    assert len(reasons) == 30
    run_worker(Worker, "letters", redis)

    assert damages.find_faults(queue, 300, 10, reasons) == []
