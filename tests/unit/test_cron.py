"""`slimjobs.cron`: what is refused when it is registered, what is shown of jobs, and what one can do to the others."""

from __future__ import annotations

import importlib
import json
import logging
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import queue_samples
import rq.cron
import sample_app
from port_for import get_port
from queue_samples import Letter, count
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from rq.exceptions import StopRequested
from rq.serializers import PickleSerializer

import slimjobs
from slimjobs import ConfigurationError, PayloadTooLargeError, Queue, Ref, UnsavedModelError, UnsupportedTypeError, cron
from slimjobs.cron import CronJob, CronScheduler

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "ann@example.org"


@pytest.fixture(autouse=True)
def rows(redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(queue_samples.URL_VARIABLE, redis_url)
    Letter(1, "dear").save()


@pytest.fixture
def scheduler(redis: Redis) -> CronScheduler:
    return CronScheduler(connection=redis)


def test_a_model_travels_as_a_ref_and_counts_once(redis: Redis, scheduler: CronScheduler) -> None:
    scheduler.register(queue_samples.read, "letters", args=(Letter(1, "as it was"),), interval=60)
    scheduler.enqueue_jobs()

    (job,) = Queue("letters", connection=redis).get_jobs()
    assert job.args == (Ref("queue_samples.Letter", 1),)
    assert job.description == "queue_samples.read(<Letter 1>)"
    assert count(redis, "queue_samples.read", "letters").jobs == 1


@pytest.mark.parametrize(
    ("argument", "error", "told"),
    [
        (Letter(None, SECRET), UnsavedModelError, "sample_app.record: args[0]: "),
        (sample_app.Unregistered(), UnsupportedTypeError, "sample_app.record: args[0]: "),
        ("x" * 100_000, PayloadTooLargeError, "sample_app.record: payload is "),
    ],
)
def test_what_cannot_be_enqueued_is_refused_when_it_is_registered(
    redis: Redis, scheduler: CronScheduler, argument: Any, error: type[Exception], told: str
) -> None:
    with pytest.raises(error) as caught:
        scheduler.register(sample_app.record, "letters", args=(argument,), interval=60)

    assert str(caught.value).startswith(told)
    assert scheduler.get_jobs() == []
    assert redis.keys() == [b"letters"], "the rows alone"


def test_the_meta_counts_to_the_payload(scheduler: CronScheduler) -> None:
    with pytest.raises(PayloadTooLargeError):
        scheduler.register(sample_app.record, "letters", meta={"note": "x" * 100_000}, interval=60)


def test_arguments_are_shown_by_their_types(redis: Redis, scheduler: CronScheduler) -> None:
    kwargs = {"by": Letter(1, SECRET), "of": None}
    scheduler.register(sample_app.record, "letters", args=(SECRET, list(range(100))), kwargs=kwargs, interval=60)
    scheduler.register_birth()

    assert all(SECRET.encode() not in stored for stored in redis.hgetall(scheduler.key).values())
    (shown,) = CronScheduler.fetch(scheduler.name, redis).get_jobs()
    assert shown.args == (f"str[{len(SECRET)}]", "list[100]")
    assert shown.kwargs == {"by": "<Letter 1>", "of": "None"}
    assert scheduler.get_jobs()[0].kwargs is kwargs


def test_values_are_shown_where_they_are_asked_for(scheduler: CronScheduler) -> None:
    slimjobs.configure(describe="values")
    job = scheduler.register(sample_app.record, "letters", args=(SECRET, "x" * 5000), interval=60)

    short, long = json.loads(job.to_dict()["args"])
    assert short == f"'{SECRET}'"
    assert len(long) < 100


def test_what_is_shown_is_bounded(scheduler: CronScheduler) -> None:
    slimjobs.configure(mode="track")
    named = {f"name{number}": number for number in range(1000)}
    meta = {"note": "x" * 100_000}
    job = scheduler.register(sample_app.record, "letters", args=(1, 2), kwargs=named, meta=meta, interval=60)

    assert len(json.dumps(job.to_dict())) < 1000
    assert json.loads(job.to_dict()["kwargs"])["..."] == "994"


def decorated(monkeypatch: pytest.MonkeyPatch, redis: Redis, **options: Any) -> Any:
    """Return a task of the application with these options."""

    def nightly(*_: Any) -> None: ...

    nightly.__module__, nightly.__qualname__ = sample_app.__name__, "nightly"
    task: Any = slimjobs.job("elsewhere", connection=redis, **options)(nightly)
    monkeypatch.setattr(sample_app, "nightly", task, raising=False)
    return task


def test_the_options_of_a_decorated_task_hold_where_the_cron_job_has_none(
    redis: Redis, scheduler: CronScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = decorated(monkeypatch, redis, timeout=77, result_ttl=88, ttl=99, max_bytes=300)

    scheduler.register(task, "letters", interval=60)
    scheduler.register(task, "letters", interval=60, job_timeout=5, result_ttl=6, ttl=7)
    scheduler.enqueue_jobs()

    jobs = Queue("letters", connection=redis).get_jobs()
    assert [(job.timeout, job.result_ttl, job.ttl) for job in jobs] == [(77, 88, 99), (5, 6, 7)]
    with pytest.raises(PayloadTooLargeError):
        scheduler.register(task, "letters", args=("x" * 400,), interval=60)


def test_jobs_whose_rate_is_limited_are_enqueued_and_recorded(
    redis: Redis, scheduler: CronScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = decorated(monkeypatch, redis, rate_limit=rq.RateLimit("api", 1), at_front=True)
    Queue("letters", connection=redis).enqueue(sample_app.record)
    for _ in range(2):
        scheduler.register(task, "letters", interval=60)

    assert len(scheduler.enqueue_jobs()) == 2

    first, _ = Queue("letters", connection=redis).get_jobs()
    recorded = rq.cron.get_cron_job_ids("sample_app.nightly", redis)
    assert len(recorded) == 2
    assert first.id in recorded, "at the front, before the other job"
    (waiting,) = slimjobs.Job.fetch_many([each for each in recorded if each != first.id], redis)
    assert waiting is not None
    assert waiting.get_status() == "rate_limited"
    assert count(redis, "sample_app.nightly", "letters").jobs == 2


def test_a_job_of_limited_rate_that_cannot_be_enqueued_is_not_recorded(
    redis: Redis, scheduler: CronScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = decorated(monkeypatch, redis, rate_limit=rq.RateLimit("api", 1))
    growing: list[str] = []
    scheduler.register(task, "letters", args=(growing,), interval=60)
    growing.extend([SECRET] * 10_000)

    assert scheduler.enqueue_jobs() == []
    assert rq.cron.get_cron_job_ids("sample_app.nightly", redis) == []


def test_a_unique_job_with_an_id_is_enqueued(
    redis: Redis, scheduler: CronScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler.register(decorated(monkeypatch, redis, unique=True, job_id="nightly"), "letters", interval=60)

    assert len(scheduler.enqueue_jobs()) == 1
    assert rq.cron.get_cron_job_ids("sample_app.nightly", redis) == Queue("letters", connection=redis).job_ids


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"unique": True}, "sample_app.nightly: unique=True needs an id"),
        ({"unique": True, "job_id": "n", "rate_limit": rq.RateLimit("a", 1)}, "not supported with rate-limited jobs"),
        ({"unique": True, "job_id": "n", "depends_on": "other"}, "not supported with job dependencies"),
        ({"ttl": 0}, "ttl must be greater than 0"),
        ({"timeout": 0}, "0 timeout is not allowed"),
    ],
)
def test_options_that_cannot_work_are_refused_when_the_job_is_registered(
    redis: Redis, scheduler: CronScheduler, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        scheduler.register(decorated(monkeypatch, redis, **options), "letters", interval=60)

    assert scheduler.get_jobs() == []


def test_a_subclass_names_its_queue_class(redis: Redis) -> None:
    class PickleQueue(Queue):
        default_serializer = PickleSerializer

    class PickleJob(CronJob):
        queue_class = PickleQueue

    class PickleScheduler(CronScheduler):
        cron_job_class = PickleJob

    scheduler = PickleScheduler(connection=redis)
    scheduler.register(sample_app.record, "letters", args=(1,), interval=60)
    scheduler.enqueue_jobs()

    (job,) = rq.Queue("letters", connection=redis).get_jobs()
    assert job.args == (1,)


def test_one_job_that_fails_stops_no_other(
    redis: Redis, scheduler: CronScheduler, caplog: pytest.LogCaptureFixture
) -> None:
    growing: list[str] = []
    scheduler.register(sample_app.record, "letters", args=(growing,), interval=60)
    scheduler.register(sample_app.subject, "letters", args=(1,), interval=60)
    growing.extend([SECRET] * 10_000)

    with caplog.at_level(logging.INFO, "rq.cron"):
        enqueued = scheduler.enqueue_jobs()
        again = scheduler.enqueue_jobs()

    assert [job.func_name for job in enqueued] == ["sample_app.subject"]
    assert again == [], "a job that fails comes again when it is due, not at once"
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert line.startswith("cron job not enqueued: sample_app.record: payload is ")
    assert SECRET not in caplog.text
    assert count(redis, "sample_app.record").refused == 1


def test_errors_of_others_are_logged_with_the_task(
    scheduler: CronScheduler, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler.register(sample_app.record, "letters", interval=60)
    scheduler.register(sample_app.subject, "letters", args=(1,), interval=60)
    enqueue = CronJob.enqueue

    def fail_once(job: CronJob, connection: Redis) -> Any:
        monkeypatch.setattr(CronJob, "enqueue", enqueue)
        raise RuntimeError

    monkeypatch.setattr(CronJob, "enqueue", fail_once)
    enqueued = scheduler.enqueue_jobs()

    assert [job.func_name for job in enqueued] == ["sample_app.subject"]
    assert "sample_app.record: cron job not enqueued (RuntimeError)" in caplog.text


def test_without_redis_jobs_stay_due_and_it_does_not_spin(caplog: pytest.LogCaptureFixture) -> None:
    closed_port = get_port(None)
    assert closed_port is not None
    scheduler = CronScheduler(Redis(port=closed_port, retry=Retry(NoBackoff(), 0)))  # else it waits between tries
    job = scheduler.register(sample_app.record, "letters", interval=60)

    assert scheduler.enqueue_jobs() == []
    assert job.should_run()
    assert scheduler.calculate_sleep_interval() > 0
    scheduler.heartbeat()
    scheduler.save()
    assert caplog.text.count("Redis does not answer (ConnectionError), waiting") == 1


def test_a_row_of_an_open_transaction_is_told_of_and_not_waited_for(
    redis: Redis, scheduler: CronScheduler, shop: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with importlib.import_module("django.db").transaction.atomic():
        newsletter = shop.Newsletter.objects.create(title="weekly")
        scheduler.register(sample_app.record, "letters", args=(newsletter,), interval=60)
        scheduler.enqueue_jobs()
        assert Queue("letters", connection=redis).count == 1

    assert "sample_app.record: enqueued in a pipeline, which cannot wait" in caplog.text


def test_a_signal_ends_it_between_two_jobs(
    redis: Redis, scheduler: CronScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        scheduler.register(sample_app.record, "letters", interval=60)
    enqueue = CronJob.enqueue

    def interrupted(job: CronJob, connection: Redis) -> Any:
        scheduler._request_stop(signal.SIGTERM, None)
        return enqueue(job, connection)

    monkeypatch.setattr(CronJob, "enqueue", interrupted)
    with pytest.raises(StopRequested):
        scheduler.enqueue_jobs()

    assert Queue("letters", connection=redis).count == 1


def test_a_second_signal_ends_it_at_once(scheduler: CronScheduler, monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler.register(sample_app.record, "letters", interval=60)

    def hang(*given: Any) -> None:
        for _ in range(2):
            scheduler._request_stop(signal.SIGTERM, None)
        pytest.fail("it went on")

    monkeypatch.setattr(CronJob, "enqueue", hang)
    with pytest.raises(StopRequested):
        scheduler.enqueue_jobs()


def test_a_signal_ends_its_sleep(scheduler: CronScheduler) -> None:
    scheduler.calculate_sleep_interval()

    with pytest.raises(StopRequested):
        scheduler._request_stop(signal.SIGTERM, None)


def test_a_configuration_with_bad_jobs_is_refused_as_a_whole(
    redis: Redis, scheduler: CronScheduler, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = tmp_path / "bad.py"
    config.write_text(
        "from rq.cron import register\n"
        "import sample_app\n"
        "register(sample_app.record, 'letters', interval=60)\n"
        f"register(sample_app.record, 'letters', args=([{SECRET!r}, object()],), interval=60)\n"
        "register(sample_app.record, 'letters', cron='every day')\n"
        "register(sample_app.record, 'letters')\n"
        "register(lambda: None, 'letters', interval=60)\n"
    )
    with caplog.at_level(logging.INFO), pytest.raises(ConfigurationError) as caught:
        scheduler.load_config_from_file(str(config))

    head, *lines = str(caught.value).split("\n")
    assert head == f"{config}: 4 of 5 cron jobs are refused"
    assert [line.split(": ")[0] for line in lines[:3]] == ["sample_app.record"] * 3
    assert lines[0].startswith("sample_app.record: args[0][1]: ")
    assert "<lambda>: no worker could import" in lines[3]
    assert scheduler.get_jobs() == []
    assert SECRET not in str(caught.value) + caplog.text
    assert "Registered" not in caplog.text.replace("Registered 'sample_app.record'", "")


def test_one_configuration_works_for_both(redis: Redis, scheduler: CronScheduler, tmp_path: Path) -> None:
    config = tmp_path / "both.py"
    config.write_text(
        "from slimjobs.cron import register\nimport sample_app\nregister(sample_app.record, 'q', interval=5)"
    )
    stock = rq.cron.CronScheduler(connection=redis)
    for each in (scheduler, stock):
        each.load_config_from_file(str(config))

    assert [(job.func_name, job.interval) for job in scheduler.get_jobs()] == [("sample_app.record", 5)]
    assert [(job.func_name, job.interval) for job in stock.get_jobs()] == [("sample_app.record", 5)]


def test_create_cron_takes_what_was_registered(redis: Redis) -> None:
    cron.register(sample_app.record, "letters", interval=60)

    scheduler = cron.create_cron(redis)
    assert [type(job) for job in scheduler.get_jobs()] == [CronJob]
    assert cron.create_cron(redis).get_jobs() == []


def test_slimjobs_does_not_import_it() -> None:
    code = "import sys, slimjobs.cli.main; sys.exit('rq.cron' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_rq_without_such_a_cron_is_named() -> None:
    code = "import rq.cron; del rq.cron.get_cron_job_ids; import slimjobs.cron"
    process = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)

    assert "ConfigurationError: this RQ has no cron that slimjobs knows; install RQ 3.0 or later" in process.stderr


def test_what_is_enqueued_leaves_the_same_keys_as_stock(redis: Redis) -> None:
    left = []
    for scheduler in (rq.cron.CronScheduler(redis, name="one"), CronScheduler(redis, name="one")):
        redis.flushdb()
        named: dict[str, Any] = {"interval": 60, "name": "greeter", "meta": {"by": "us"}, "job_timeout": 5}
        scheduler.register(sample_app.record, "letters", args=(1,), kwargs={"description": "mine"}, **named)
        scheduler.register_birth()
        scheduler.enqueue_jobs()
        scheduler.save()
        scheduler.heartbeat()
        left.append(keys_left(redis))
        scheduler.register_death()
    stock, slim = left

    slim["rq:cron_scheduler:one"][0][0].remove("slimjobs")  # what `slimjobs doctor` reads
    assert slim == stock
    assert slim["rq:cron_job:greeter:jobs"] == (["JOB"], True)


def keys_left(redis: Any) -> dict[str, Any]:
    """Return what is in the database, without times, ids and payloads."""
    (job_id,) = Queue("letters", connection=redis).get_job_ids()
    found: dict[str, Any] = {}
    for key in redis.scan_iter():
        name = key.decode().replace(job_id, "JOB")
        kind = redis.type(key).decode()
        if name.startswith("rq:slimjobs:"):
            continue
        if kind == "hash":
            fields = {field.decode(): value for field, value in redis.hgetall(key).items() if value}
            jobs = json.loads(fields.pop("cron_jobs", b"[]"))
            value: Any = {field for field in fields if field != "group_id"}
            value = (
                value,
                [
                    {**job, "args": None, "kwargs": None, "latest_enqueue_time": None, "next_enqueue_time": None}
                    for job in jobs
                ],
            )
        elif kind == "zset":
            value = [member.decode().replace(job_id, "JOB") for member in redis.zrange(key, 0, -1)]
        elif kind == "list":
            value = [member.decode().replace(job_id, "JOB") for member in redis.lrange(key, 0, -1)]
        else:
            value = {member.decode() for member in redis.smembers(key)}
        found[name] = value, redis.ttl(key) > 0
    return found
