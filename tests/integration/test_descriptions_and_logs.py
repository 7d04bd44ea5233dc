"""What is said of a job in Redis and in the log: its task, its refs and its sizes, and no value that it carries."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
import queue_samples
import sample_app
from queue_samples import Letter, run_worker
from rq import Retry

import slimjobs
from slimjobs import Job, Limits, Queue, SimpleWorker
from slimjobs.logs import size_warnings

if TYPE_CHECKING:
    from redis import Redis

SECRET = "correct-horse-battery"  # it stands for any value


class Loud:
    """What tells on itself whenever somebody looks."""

    def __repr__(self) -> str:
        raise AssertionError("its repr was called")

    __str__ = __repr__


@pytest.fixture(autouse=True)
def rows(redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(queue_samples.URL_VARIABLE, redis_url)
    Letter(1, "dear").save()
    sample_app.reset()


@pytest.fixture
def queue(redis: Redis) -> Queue:
    return Queue("q", connection=redis)


def test_a_description_shows_refs_and_types(queue: Queue) -> None:
    job = queue.enqueue(
        sample_app.record,
        sample_app.EMAILS[1],
        ["ann@example.org"] * 100,
        SECRET,
        7,
        None,
        who=sample_app.SUBSCRIBERS["ann"],
        color=sample_app.Color.RED,
    )

    stored = Job.fetch(job.id, connection=queue.connection)
    assert stored.description == (
        "sample_app.record(<Email 1>, list[100], str[21], int, None, who=<subscriber ann>, color=Color)"
    )


def test_a_bound_methods_description_names_its_class(queue: Queue) -> None:
    assert queue.enqueue(sample_app.EMAILS[1].send, SECRET).description == "sample_app.Email.send(str[21])"


def test_a_description_that_is_given_is_kept(queue: Queue) -> None:
    assert queue.enqueue(sample_app.record, SECRET, description="the june campaign").description == "the june campaign"


def test_values_are_shown_bounded_to_those_who_want_them(queue: Queue) -> None:
    slimjobs.configure(describe="values")
    job = queue.enqueue(sample_app.record, sample_app.EMAILS[1], "short", "x" * 500, [1, 2], n=7)

    text = str(job.description)
    assert text.startswith("sample_app.record(<Email 1>, 'short', 'xxx")
    assert text.endswith("..., [1, 2], n=7)")
    assert len(text) < 200


def test_no_repr_of_the_users_runs(queue: Queue) -> None:
    with pytest.raises(slimjobs.UnsupportedTypeError) as caught:
        queue.enqueue(sample_app.record, {"inner": [Loud()]})

    assert caught.value.path == "args[0]['inner'][0]"
    assert ".Loud cannot travel" in str(caught.value)


def test_no_value_of_an_argument_is_in_redis_but_in_the_data(queue: Queue) -> None:
    queue.enqueue(sample_app.record, SECRET, [SECRET], {"key": SECRET}, named=SECRET)
    queue.enqueue(sample_app.fail, SECRET, named=(SECRET, {SECRET}))
    queue.enqueue(queue_samples.read_or_fail, Letter(404, SECRET))
    queue.enqueue(sample_app.fail, Letter(1, SECRET), retry=Retry(max=1, interval=60))
    before = [field for field, _ in _stored_with_secret(queue)]
    run_worker(SimpleWorker, "q", queue.connection)

    assert before == [b"data", b"data"]
    # The first task returns what it was given, which is its own business.
    fields = [(field, key) for field, key in _stored_with_secret(queue) if not key.startswith(b"rq:results:")]
    assert [field for field, _ in fields] == [b"data", b"data"]


def test_no_value_of_an_argument_is_logged(queue: Queue, caplog: pytest.LogCaptureFixture) -> None:
    slimjobs.configure(warn_bytes=100, max_bytes=10_000, max_result_bytes=200)
    with caplog.at_level(logging.DEBUG):
        queue.enqueue(sample_app.fail, [SECRET] * 20, named=SECRET)
        queue.enqueue(queue_samples.read, Letter(1, SECRET))
        queue.enqueue(sample_app.fail, Letter(404, SECRET))
        for refused in ([SECRET] * 1000, Loud(), {"a": lambda: SECRET}):
            with pytest.raises(slimjobs.SlimjobsError) as caught:
                queue.enqueue(sample_app.record, refused)
            assert SECRET not in str(caught.value)
        run_worker(SimpleWorker, "q", queue.connection)

    assert any(record.name == "slimjobs" for record in caplog.records)
    assert not [record.getMessage() for record in caplog.records if SECRET in record.getMessage()]
    ours: list[Any] = [vars(record) for record in caplog.records if record.name.startswith("slimjobs")]
    assert SECRET not in repr(ours)


def test_a_large_payload_is_warned_about_with_both_numbers_and_the_largest_part(
    redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    queue = Queue("campaigns", connection=redis, limits=Limits(warn_bytes="2 KiB"))
    with caplog.at_level(logging.INFO, "slimjobs"):
        job = queue.enqueue(sample_app.record, 1, rows=[{"body": "x" * 3000}])

    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        "sample_app.record: payload is 3.0 KiB, warning from is 2.0 KiB; largest is kwargs['rows'][0]['body'] (2.9 KiB)"
    )
    shown = {name: record.__dict__[name] for name in ("task", "queue", "payload_bytes", "limit_bytes", "largest_path")}
    assert shown == {
        "task": "sample_app.record",
        "queue": "campaigns",
        "payload_bytes": len(job.data),
        "limit_bytes": 2048,
        "largest_path": "kwargs['rows'][0]['body']",
    }


def test_a_task_is_warned_about_once_a_minute_with_the_number_held_back(
    queue: Queue, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    slimjobs.configure(warn_bytes=100)
    assert size_warnings.period_seconds == 60
    with caplog.at_level(logging.INFO, "slimjobs"):
        for _ in range(5):
            queue.enqueue(sample_app.record, "x" * 200)
        queue.enqueue(sample_app.give_back, "x" * 200)
        monkeypatch.setattr(size_warnings, "period_seconds", 0)
        queue.enqueue(sample_app.record, "x" * 200)

    assert [(record.__dict__["task"], record.__dict__["held_back"]) for record in caplog.records] == [
        ("sample_app.record", 0),
        ("sample_app.give_back", 0),
        ("sample_app.record", 4),
    ]
    assert caplog.records[-1].getMessage().endswith("(4 more held back)")


def test_meta_makes_no_difference_to_the_number_held_back(
    queue: Queue, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    slimjobs.configure(warn_bytes=100)
    with caplog.at_level(logging.INFO, "slimjobs"):
        queue.enqueue(sample_app.record, "x" * 200, meta={"note": 1})
        queue.enqueue(sample_app.record, "x" * 200, meta={"note": 1})
        monkeypatch.setattr(size_warnings, "period_seconds", 0)
        queue.enqueue(sample_app.record, "x" * 200)

    assert [record.__dict__["held_back"] for record in caplog.records] == [0, 1]


def _stored_with_secret(queue: Queue) -> list[tuple[bytes, bytes]]:
    """Return (field, key) of all that holds the secret, compressed or not."""
    found = []
    redis: Any = queue.connection
    for key in sorted(redis.keys()):
        kind = redis.type(key)
        if kind == b"hash":
            found += [(field, key) for field, value in redis.hgetall(key).items() if SECRET.encode() in value]
        elif kind == b"stream":
            job_id = key.decode().rpartition(":")[2]
            for result in Job.fetch(job_id, connection=redis).results():
                if SECRET in f"{result.return_value!r} {result.exc_string}":
                    found.append((b"result", key))
    return found
