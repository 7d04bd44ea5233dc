"""rq-scheduler with our classes: refs are made, limits hold, and workers load."""

from __future__ import annotations

import importlib
import subprocess
import sys
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import queue_samples
import sample_app
from queue_samples import Letter, count, run_worker

from slimjobs import Job, PayloadTooLargeError, Queue, Ref, UnsavedModelError, Worker
from slimjobs.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

    from redis import Redis

pytest.importorskip("rq_scheduler")
pytestmark = [
    pytest.mark.filterwarnings("ignore:datetime.datetime.utc:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Version 0.22.0:FutureWarning"),
]

LONG_AGO = datetime(2020, 1, 1)  # noqa: DTZ001  # rq-scheduler wants it without a zone
REF = Ref("queue_samples.Letter", 1)


@pytest.fixture(autouse=True)
def rows(redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(queue_samples.URL_VARIABLE, redis_url)
    Letter(1, "dear").save()


@pytest.fixture(params=["by class", "by name"])
def scheduler(request: pytest.FixtureRequest, redis: Redis) -> Any:
    by_name = request.param == "by name"
    classes: Any = {"job_class": "slimjobs.Job", "queue_class": "slimjobs.Queue"}
    if not by_name:
        classes = {"job_class": Job, "queue_class": Queue}
    return importlib.import_module("rq_scheduler").Scheduler("letters", connection=redis, **classes)


def enqueue_due(scheduler: Any) -> None:
    for job in scheduler.get_jobs_to_queue():
        scheduler.enqueue_job(job)


def test_its_jobs_hold_refs_and_are_loaded_in_the_worker(redis: Redis, scheduler: Any) -> None:
    jobs = [
        scheduler.enqueue_at(LONG_AGO, queue_samples.read, Letter(1, "as it was")),
        scheduler.enqueue_in(timedelta(seconds=-1), queue_samples.read, letter=Letter(1, "as it was")),
        scheduler.schedule(LONG_AGO, queue_samples.read, args=[Letter(1, "as it was")], interval=60, repeat=2),
    ]
    listed = {job.id: job for job in scheduler.get_jobs()}
    assert [listed[job.id].args or listed[job.id].kwargs for job in jobs] == [(REF,), {"letter": REF}, (REF,)]

    enqueue_due(scheduler)
    assert Queue("letters", connection=redis).count == 3
    run_worker(Worker, "letters", redis)

    results: Any = [Job.fetch(job.id, redis).return_value() for job in jobs]
    assert results == ["dear"] * 3
    assert count(redis, "queue_samples.read", "letters").jobs == 3
    assert redis.lrange("loads", 0, -1) == [b"1"] * 3


def test_what_comes_again_keeps_its_payload(redis: Redis, scheduler: Any) -> None:
    job = scheduler.schedule(LONG_AGO, queue_samples.read, args=[Letter(1, "")], interval=60, repeat=3)
    before = redis.hget(job.key, "data")
    for _ in range(2):
        enqueue_due(scheduler)
        run_worker(Worker, "letters", redis)
        redis.zadd(scheduler.scheduled_jobs_key, {job.id: 1})

    assert redis.hget(job.key, "data") == before
    meta = Job.fetch(job.id, redis).meta
    assert (meta["interval"], meta["repeat"]) == (60, 1)
    assert redis.llen("loads") == 2
    assert count(redis, "queue_samples.read", "letters").jobs == 1


@pytest.mark.parametrize("state", ["queued", "finished"])
def test_what_comes_again_is_not_set_aside(
    state: str, redis: Redis, redis_url: str, scheduler: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = scheduler.schedule(LONG_AGO, queue_samples.read, args=[Letter(1, "")], interval=60)
    enqueue_due(scheduler)
    if state == "finished":
        run_worker(Worker, "letters", redis)
    arguments = ["--state", state, "--to", str(tmp_path / "jobs"), "--redis-url", redis_url]
    assert main(["quarantine", *arguments, "--apply"]) == 1
    assert f"{job.id}: left where it is, rq-scheduler will run it again" in capsys.readouterr().out
    redis.zadd(scheduler.scheduled_jobs_key, {job.id: 1})
    enqueue_due(scheduler)
    run_worker(Worker, "letters", redis)
    assert redis.llen("loads") == 2


def test_its_process_moves_slim_jobs(redis: Redis, redis_url: str, scheduler: Any) -> None:
    job = scheduler.enqueue_at(LONG_AGO, queue_samples.read, Letter(1, ""))
    options = ["--burst", "--url", redis_url, "--job-class", "slimjobs.Job", "--queue-class", "slimjobs.Queue"]
    code = "from rq_scheduler.scripts.rqscheduler import main; main()"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, *options], check=True, capture_output=True)
    run_worker(Worker, "letters", redis)

    assert Job.fetch(job.id, redis).return_value() == "dear"


def test_a_row_of_an_open_transaction_is_not_waited_for(redis: Redis, scheduler: Any, shop: Any) -> None:
    with importlib.import_module("django.db").transaction.atomic():
        job = scheduler.enqueue_at(LONG_AGO, sample_app.record, shop.Newsletter.objects.create(title="weekly"))
        assert redis.exists(job.key)


def test_cron_strings(redis: Redis, scheduler: Any) -> None:
    job = scheduler.cron("* * * * *", queue_samples.read, args=[Letter(1, "")])

    assert Job.fetch(job.id, redis).args == (REF,)
    scheduler.enqueue_job(job)
    run_worker(Worker, "letters", redis)
    assert Job.fetch(job.id, redis).return_value() == "dear"


@pytest.mark.parametrize(
    ("argument", "error"), [("x" * 100_000, PayloadTooLargeError), (Letter(None, ""), UnsavedModelError)]
)
def test_what_cannot_be_enqueued_is_refused(
    redis: Redis, scheduler: Any, argument: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        scheduler.enqueue_at(LONG_AGO, sample_app.record, argument)
    with pytest.raises(error):
        scheduler.cron("* * * * *", sample_app.record, args=[argument])

    assert list(scheduler.get_jobs()) == []
    assert redis.keys() == [b"letters"], "the rows alone"
