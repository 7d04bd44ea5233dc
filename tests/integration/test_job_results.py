"""Results: models come back as refs, and what cannot be stored costs a marker and a log line, never the job."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
import queue_samples
import sample_app
from queue_samples import Letter, run_worker, snapshot
from rq import Callback
from rq_versions import needs_live_results

import slimjobs
from slimjobs import Limits, Queue, Ref, SimpleWorker, Worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis
    from rq.job import Job as RQJob


@pytest.fixture(autouse=True)
def rows(redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(queue_samples.URL_VARIABLE, redis_url)
    Letter(1, "dear").save()


@pytest.fixture(params=["worker", "synchronous"])
def run(request: pytest.FixtureRequest, redis: Redis) -> Callable[..., RQJob]:
    """Enqueue a call, and have it done: by a worker in this process, whose log can be seen, or at once."""
    is_async = request.param == "worker"
    queue = Queue("q", connection=redis, is_async=is_async)

    def enqueue_and_run(task: Any, *args: Any, **options: Any) -> RQJob:
        job = queue.enqueue(task, *args, **options)
        if is_async:
            run_worker(SimpleWorker, "q", redis)
        return job

    return enqueue_and_run


def test_models_in_a_result_come_back_as_refs_that_load(run: Callable[..., RQJob]) -> None:
    result = run(queue_samples.give, {"letters": [Letter(1, "")], "number": 1}).return_value()

    assert result == {"letters": [Ref("queue_samples.Letter", 1)], "number": 1}
    assert result["letters"][0].load().text == "dear"


def test_the_result_of_a_forked_work_horse_holds_refs_too(redis: Redis) -> None:
    queue = Queue("q", connection=redis)
    job = queue.enqueue(queue_samples.give_letter, 1)
    run_worker(Worker, "q", redis)

    ref = job.return_value()
    assert ref == Ref("queue_samples.Letter", 1)
    with pytest.raises(AttributeError, match=r"<Ref Letter 1>\.load\(\)"):
        _ = ref.text
    assert ref.load().text == "dear"


def test_plain_results_come_back_equal_and_of_the_same_type(run: Callable[..., RQJob]) -> None:
    value = [1, (2.5, "three"), {4, 5}, b"six", None, {7: sample_app.Color.RED, "8": sample_app.Money(9)}]

    assert run(queue_samples.give, value).return_value() == value


def unstored() -> dict[str, tuple[Any, tuple[Any, ...], str]]:
    return {
        "too large": (sample_app.give_text, (100_000,), "at least 64.0 KiB, limit is 64.0 KiB"),
        "of no known type": (sample_app.give_unregistered, (), "result: a sample_app.Unregistered cannot travel"),
        "with a model that is not saved": (queue_samples.give_letter, (None,), "Letter has no primary key yet"),
    }


@pytest.mark.parametrize("case", unstored())
def test_a_result_that_cannot_be_stored_leaves_its_job_finished(
    run: Callable[..., RQJob], redis: Redis, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    task, args, reason = unstored()[case]
    with caplog.at_level(logging.INFO, "slimjobs"):
        job = run(task, *args)

    assert job.get_status() == "finished"
    (record,) = [record for record in caplog.records if record.name == "slimjobs"]
    name = f"{task.__module__}.{task.__qualname__}"
    assert record.levelno == logging.ERROR
    assert name in record.getMessage()
    assert job.id in record.getMessage()
    assert record.__dict__["task"] == name
    marker = job.return_value()
    assert isinstance(marker, str)
    assert len(marker) < 300
    assert name in marker
    if case == "too large":
        assert "limit is" in record.getMessage()
        assert "limit is" in marker
        assert record.__dict__["limit_bytes"] == 65_536
    else:
        assert reason in record.getMessage()
        assert reason in marker
    assert "xxx" not in record.getMessage() + marker
    assert all(redis.memory_usage(key) < 10_000 for key in snapshot(redis))  # type: ignore[operator]


@pytest.mark.parametrize("length", [10, 700])
def test_a_result_that_is_shaped_like_a_call_is_held_to_the_limit_of_results(
    run: Callable[..., RQJob], caplog: pytest.LogCaptureFixture, length: int
) -> None:
    slimjobs.configure(max_bytes=500, max_result_bytes="1 MiB")
    job = run(sample_app.give_call, length)

    expected: Any = ("ann@example.org", True, ["x" * 100] * length, {})
    assert job.return_value() == expected
    job.save()
    assert job.return_value(refresh=True) == expected
    assert "ann" not in caplog.text


def test_a_result_at_its_limit_is_stored(run: Callable[..., RQJob]) -> None:
    size_bytes = len(slimjobs.Serializer.dumps("x" * 1000))
    slimjobs.configure(max_result_bytes=size_bytes)
    assert run(sample_app.give_text, 1000).return_value() == "x" * 1000
    slimjobs.configure(max_result_bytes=size_bytes - 1)
    assert f"it is {size_bytes} bytes, limit is {size_bytes - 1} bytes" in str(
        run(sample_app.give_text, 1000).return_value()
    )


@pytest.mark.parametrize(("mode", "level"), [("warn", logging.WARNING), ("track", None)])
def test_in_the_milder_modes_a_large_result_is_stored(
    run: Callable[..., RQJob], caplog: pytest.LogCaptureFixture, mode: Any, level: int | None
) -> None:
    slimjobs.configure(mode=mode)
    with caplog.at_level(logging.INFO, "slimjobs"):
        job = run(sample_app.give_text, 100_000)

    assert job.return_value() == "x" * 100_000
    levels = [record.levelno for record in caplog.records if record.name == "slimjobs"]
    assert levels == ([] if level is None else [level])


def test_a_queues_own_limit_for_results_holds(redis: Redis) -> None:
    limits = Limits(max_result_bytes="1 MiB")
    synchronous = Queue("q", connection=redis, is_async=False, limits=limits)
    assert synchronous.enqueue(sample_app.give_text, 100_000).return_value() == "x" * 100_000

    queue = Queue("q", connection=redis, limits=limits)
    job = queue.enqueue(sample_app.give_text, 100_000)
    run_worker(SimpleWorker, queue, redis)
    assert job.return_value() == "x" * 100_000


@pytest.mark.parametrize("run", ["worker", pytest.param("synchronous", marks=needs_live_results)], indirect=True)
def test_a_callback_gets_the_live_result_even_where_it_is_not_stored(run: Callable[..., RQJob], redis: Redis) -> None:
    run(sample_app.give_unregistered, on_success=Callback(queue_samples.note_result))

    assert redis.get("result") == b"Unregistered"
