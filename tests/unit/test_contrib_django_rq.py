"""Under django-rq: commit modes on every path, settings that are honoured, and checks of what does not agree."""

from __future__ import annotations

import importlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import sample_app
from queue_samples import snapshot
from rq.serializers import DefaultSerializer, JSONSerializer
from rq_versions import needs_django_rq, needs_serializer_aliases, needs_spawn_worker
from ways import WAYS, Call, Way, each, each_way

import slimjobs
from slimjobs import ConfigurationError, Serializer, commit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from redis import Redis

PACKAGE = "slimjobs.contrib.django_rq"
OURS: dict[str, Any] = {
    "QUEUE_CLASS": f"{PACKAGE}.Queue",
    "JOB_CLASS": f"{PACKAGE}.Job",
    "WORKER_CLASS": f"{PACKAGE}.Worker",
}
DJANGO_RQ: dict[str, Any] = {
    "QUEUE_CLASS": "django_rq.queues.DjangoRQ",
    "JOB_CLASS": "rq.job.Job",
    "WORKER_CLASS": "rq.worker.Worker",
}


class Bench:
    """django-rq over a real Redis, with settings that a test may change."""

    def __init__(self, redis: Redis, redis_url: str, models: ModuleType) -> None:
        self.redis = redis
        self.models = models
        self.url = {"URL": redis_url}
        self.queues: dict[str, dict[str, Any]] = {"default": self.url, "shop": self.url}
        self.glue = importlib.import_module(PACKAGE)

    @contextmanager
    def settings(self, queues: dict[str, Any] | None = None, **rq: Any) -> Iterator[None]:
        from django.test import override_settings

        with override_settings(RQ_QUEUES=queues or self.queues, RQ={**OURS, **rq}):
            yield

    def queue(self, name: str = "shop", **options: Any) -> Any:
        import django_rq

        return django_rq.get_queue(name, **options)

    def email(self, alias: str = "default") -> Any:
        return self.models.Email.everything.using(alias).create(subject="news")

    def is_written(self, job: Any) -> bool:
        return slimjobs.Job.exists(job.id, self.redis)


@pytest.fixture
def bench(redis: Redis, redis_url: str, shop: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    from django_rq import thread_queue

    bench = Bench(redis, redis_url, shop)
    with bench.settings():
        yield bench
    thread_queue.clear()


def end_request() -> None:
    from django.core.signals import request_finished

    request_finished.send(sender=None)


def fail_request() -> None:
    from django.core.signals import got_request_exception

    got_request_exception.send(sender=None)


@contextmanager
def rolled_back(alias: str = "default") -> Iterator[None]:
    from django.db import transaction

    with transaction.atomic(using=alias):
        yield
        transaction.set_rollback(True, using=alias)


def prepared(bench: Bench, way: Way, *args: Any) -> Call:
    """Return a call that waits for nothing but what the commit mode says, what it needs being there."""
    call = Call(slimjobs.Queue("shop", connection=bench.redis), args)
    way.prepare(call)
    call.queue = bench.queue(connection=bench.redis, is_async=call.queue.is_async)
    return call


def enqueued(way: Way, call: Call, caplog: pytest.LogCaptureFixture) -> list[Any]:
    jobs = way.enqueue(call)

    assert len(jobs) == way.jobs
    assert all(job.id for job in jobs)
    if call.pipeline is not None:
        assert "cannot wait for the transaction" in caplog.text
    return jobs


# A group writes with a pipeline of its own, and executes it at once.
each_way_that_can_wait = each({name: way for name, way in WAYS.items() if name != "a group"})


@each_way_that_can_wait
def test_on_db_commit_each_path_waits_for_the_default_database(
    bench: Bench, way: Way, caplog: pytest.LogCaptureFixture
) -> None:
    from django.db import transaction

    call = prepared(bench, way, 1)
    before = snapshot(bench.redis)
    with transaction.atomic():
        jobs = enqueued(way, call, caplog)
        assert snapshot(bench.redis) == before
    if call.pipeline is not None:
        call.pipeline.execute()

    assert all(bench.is_written(job) for job in jobs)
    assert all(sample_app.record.__name__ in job.func_name for job in jobs)


@each_way_that_can_wait
def test_on_db_commit_each_path_drops_what_is_rolled_back(
    bench: Bench, way: Way, caplog: pytest.LogCaptureFixture
) -> None:
    call = prepared(bench, way, 1)
    before = snapshot(bench.redis)
    with rolled_back():
        enqueued(way, call, caplog)

    assert snapshot(bench.redis) == before


@each_way_that_can_wait
def test_at_the_end_of_the_request_each_path_writes_what_waited(
    bench: Bench, way: Way, caplog: pytest.LogCaptureFixture
) -> None:
    with bench.settings(COMMIT_MODE="request_finished"):
        call = prepared(bench, way, 1)
        before = snapshot(bench.redis)
        jobs = enqueued(way, call, caplog)
        assert snapshot(bench.redis) == before
        end_request()
        if call.pipeline is not None:
            call.pipeline.execute()

    assert all(bench.is_written(job) for job in jobs)


@each_way_that_can_wait
def test_a_request_that_raises_drops_what_waited_on_each_path(
    bench: Bench, way: Way, caplog: pytest.LogCaptureFixture
) -> None:
    with bench.settings(COMMIT_MODE="request_finished"):
        call = prepared(bench, way, 1)
        before = snapshot(bench.redis)
        enqueued(way, call, caplog)
        fail_request()
        end_request()

    assert snapshot(bench.redis) == before


@each_way
def test_in_auto_mode_each_path_writes_at_once(bench: Bench, way: Way) -> None:
    with bench.settings(COMMIT_MODE="auto"):
        call = prepared(bench, way, bench.email())
        with rolled_back():
            jobs = way.enqueue(call)
            if call.pipeline is not None:
                call.pipeline.execute()
            assert all(bench.is_written(job) for job in jobs)


def test_on_db_commit_a_job_waits_for_the_databases_of_all_its_rows(bench: Bench) -> None:
    from django.db import transaction

    queue = bench.queue()
    with transaction.atomic(using="archive"), transaction.atomic():
        old = bench.email("archive")
        job = queue.enqueue(sample_app.record, old)
        plain = queue.enqueue(sample_app.record, 1)
        assert not bench.is_written(job)
        assert not bench.is_written(plain)
    assert bench.is_written(job)
    with transaction.atomic(using="archive"):
        with transaction.atomic():
            job = queue.enqueue(sample_app.record, bench.email(), old)
            plain = queue.enqueue(sample_app.record, 1)
        assert bench.is_written(plain)
        assert not bench.is_written(job)
    assert bench.is_written(job)


def test_on_db_commit_a_rollback_of_another_database_drops_only_the_jobs_of_its_rows(bench: Bench) -> None:
    queue = bench.queue()
    with rolled_back("archive"):
        job = queue.enqueue(sample_app.record, bench.email("archive"))
        plain = queue.enqueue(sample_app.record, 1)

    assert not bench.is_written(job)
    assert bench.is_written(plain)


def test_a_savepoint_that_is_rolled_back_drops_its_jobs_alone(bench: Bench) -> None:
    from django.db import transaction

    queue = bench.queue()
    with transaction.atomic():
        kept = queue.enqueue(sample_app.record, 1)
        with rolled_back():
            dropped = queue.enqueue(sample_app.record, 2)

    assert bench.is_written(kept)
    assert not bench.is_written(dropped)


def test_a_job_that_depends_on_one_that_waits_waits_too(bench: Bench) -> None:
    from django.db import transaction

    with transaction.atomic():
        first = bench.queue().enqueue(sample_app.record, 1)
        second = bench.queue(commit="auto").enqueue(sample_app.record, 2, depends_on=first)
        assert not bench.is_written(second)

    assert second.get_status() == "deferred"


def test_at_the_end_of_a_request_a_job_also_waits_for_its_rows(bench: Bench) -> None:
    queue = bench.queue(commit_mode="request_finished")
    with rolled_back():
        lost = queue.enqueue(sample_app.record, bench.email())
    kept = queue.enqueue(sample_app.record, bench.email())
    end_request()

    assert bench.is_written(kept)
    assert not bench.is_written(lost)


def test_a_request_is_of_its_thread(bench: Bench) -> None:
    import threading

    job = bench.queue(commit_mode="request_finished").enqueue(sample_app.record, 1)
    thread = threading.Thread(target=end_request)
    thread.start()
    thread.join()
    assert not bench.is_written(job)

    end_request()
    end_request()
    assert bench.is_written(job)
    assert bench.queue().count == 1


@pytest.mark.parametrize("mode", ["on_db_commit", "request_finished"])
@pytest.mark.parametrize("told", ["the job", "the task", "the queue"])
def test_commit_now_replaces_the_mode(bench: Bench, mode: str, told: str) -> None:
    now = {"commit": "now"}
    if told == "the task":
        commit.set_commit("sample_app.give_back", "now")
    with bench.settings(COMMIT_MODE=mode), rolled_back():
        email = bench.email()
        queue = bench.queue(**(now if told == "the queue" else {}))
        options = now if told == "the job" else {}
        assert bench.is_written(queue.enqueue(sample_app.give_back, email, **options))
        data = queue.prepare_data(sample_app.give_back, (email,), **options)
        assert all(bench.is_written(job) for job in queue.enqueue_many([data]))


@pytest.mark.parametrize("mode", ["auto", "on_db_commit", "request_finished"])
def test_commit_auto_replaces_the_mode_by_the_transactions_of_the_rows(bench: Bench, mode: str) -> None:
    from django.db import transaction

    with bench.settings(COMMIT_MODE=mode):
        queue = bench.queue()
        with transaction.atomic():
            assert bench.is_written(queue.enqueue(sample_app.give_back, 1, commit="auto"))
            job = queue.enqueue(sample_app.give_back, bench.email(), commit="auto")
            assert not bench.is_written(job)
        assert bench.is_written(job)


def test_refusals_come_at_the_call_and_leave_nothing_to_wait(bench: Bench) -> None:
    from django.db import transaction
    from django_rq import thread_queue

    queue = bench.queue(commit_mode="request_finished")
    with transaction.atomic(), pytest.raises(slimjobs.PayloadTooLargeError):
        queue.enqueue(sample_app.record, "x" * 100_000)

    waiting: Any = thread_queue
    assert waiting.get_queue() == []


def test_a_retry_by_the_worker_follows_no_mode(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    from rq import Retry

    with bench.settings(COMMIT_MODE="request_finished"):
        job = bench.queue(commit="now").enqueue(sample_app.fail, retry=Retry(max=1))
        run_simple_worker(bench, "shop")

    assert job.get_status() == "failed"
    assert slimjobs.Job.fetch(job.id, bench.redis).retries_left == 0
    assert "cannot wait" not in caplog.text


def test_deprecated_autocommit_warns_and_works(bench: Bench) -> None:
    from django.db import transaction

    for value, is_written in ((True, True), (False, False)):
        with pytest.warns(DeprecationWarning, match="commit_mode"):
            queue = bench.queue(autocommit=value)
        with transaction.atomic():
            assert bench.is_written(queue.enqueue(sample_app.record, 1)) is is_written
        with bench.settings(AUTOCOMMIT=value), pytest.warns(DeprecationWarning, match="COMMIT_MODE"):
            queue = bench.queue()
        with transaction.atomic():
            assert bench.is_written(queue.enqueue(sample_app.record, 1)) is is_written


def test_a_mode_that_there_is_not_is_refused(bench: Bench) -> None:
    from django.core.exceptions import ImproperlyConfigured

    with pytest.raises(ImproperlyConfigured, match="commit_mode must be one of auto, request_finished, on_db_commit"):
        bench.queue(commit_mode="later")
    with bench.settings(COMMIT_MODE="later"), pytest.raises(ImproperlyConfigured, match="COMMIT_MODE"):
        bench.queue()


def test_in_a_test_case_jobs_are_enqueued_at_once_and_blocks_inside_count(bench: Bench) -> None:
    from django.db import transaction
    from django.test import TestCase

    seen: list[bool] = []

    class Case(TestCase):
        databases = ("default", "archive")

        def runTest(self) -> None:  # noqa: N802  # unittest's name
            queue = bench.queue()
            seen.append(bench.is_written(queue.enqueue(sample_app.record, bench.email())))
            with transaction.atomic():
                job = queue.enqueue(sample_app.record, 1)
                seen.append(bench.is_written(job))
            seen.append(bench.is_written(job))

    result = Case().run()
    assert result is not None
    assert not result.errors, result.errors
    assert seen == [True, False, True]


@each_way
def test_each_path_has_the_lifetime_of_results_that_the_settings_name(bench: Bench, way: Way) -> None:
    with bench.settings({"shop": {**bench.url, "DEFAULT_RESULT_TTL": 700}}, COMMIT_MODE="auto"):
        call = prepared(bench, way, 1)
        jobs = way.enqueue(call)

    made_elsewhere = {"enqueue_job, made elsewhere", "enqueue_job, in a pipeline", "schedule_job, made elsewhere"}
    name = next(name for name, each in WAYS.items() if each is way)
    assert {job.result_ttl for job in jobs} == {None if name in made_elsewhere else 700}


def test_a_lifetime_of_results_that_a_job_was_told_wins(bench: Bench) -> None:
    with bench.settings(DEFAULT_RESULT_TTL=900):
        queue = bench.queue()
        assert queue.enqueue(sample_app.record).result_ttl == 900
        assert queue.enqueue(sample_app.record, result_ttl=0).result_ttl == 0
        unknown = bench.glue.Queue("not in the settings", connection=bench.redis)
        assert unknown.enqueue(sample_app.record).result_ttl is None


def test_get_queue_without_the_job_class_names_the_setting(bench: Bench) -> None:
    with bench.settings(JOB_CLASS="rq.job.Job"), pytest.raises(ConfigurationError) as refusal:
        bench.queue()

    assert str(refusal.value).startswith("JOB_CLASS is rq.job.Job, which is no slimjobs.Job")
    assert str(refusal.value).endswith('Set RQ = {"JOB_CLASS": "slimjobs.contrib.django_rq.Job"}.')


# Tasks


def test_a_task_finds_its_queue_in_the_settings_of_the_first_enqueue(bench: Bench) -> None:
    from shop import mail

    email = bench.email()
    with bench.settings({"default": bench.url, "shop": {**bench.url, "DEFAULT_RESULT_TTL": 701}}):
        job = mail.send.enqueue(email, ["ann"])
        assert (job.origin, job.timeout, job.result_ttl) == ("shop", 50, 701)
    assert mail.greet.enqueue(email).origin == "default"
    assert mail.greet.delay(email=email).origin == "default"
    assert mail.send(email, ["ann"]) == "news to 1"


def test_a_task_has_the_options_of_slimjobs(bench: Bench) -> None:
    small = bench.glue.job("shop", max_bytes="1 KiB")(sample_app.record)
    with pytest.raises(slimjobs.PayloadTooLargeError):
        small.enqueue("x" * 1100)
    with pytest.raises(ConfigurationError, match="no such option of a job: on_mising"):
        bench.glue.job("shop", on_mising="none")


def test_a_task_waits_by_the_mode_of_its_queue_and_by_its_own_word(bench: Bench) -> None:
    from django.db import transaction

    waiting = bench.glue.job("shop")(sample_app.record)
    with transaction.atomic():
        jobs = [waiting.enqueue(1), *waiting.enqueue_many([waiting.prepare(2)])]
        assert not any(bench.is_written(job) for job in jobs)
    assert all(bench.is_written(job) for job in jobs)
    at_once = bench.glue.job("shop", commit="now")(sample_app.record)
    with transaction.atomic():
        assert bench.is_written(at_once.enqueue(1))


def test_a_task_keeps_its_pool_of_connections_until_the_settings_change(bench: Bench) -> None:
    from slimjobs.contrib.django_rq.decorator import _queue

    first = _queue("shop")
    assert _queue("shop") is first
    with bench.settings():
        assert _queue("shop") is not first


def test_a_task_takes_a_connection_and_a_queue(bench: Bench) -> None:
    job = bench.glue.job
    asked: list[int] = []

    def connect() -> Redis:
        asked.append(1)
        return bench.redis

    unknown = job("unknown", connection=connect)(sample_app.record)
    assert not asked
    assert unknown.enqueue(1).origin == "unknown"
    assert type(job("shop", connection=bench.redis)(sample_app.record).enqueue(1)) is slimjobs.Job
    assert job(bench.queue())(sample_app.record).enqueue(1).origin == "shop"
    with pytest.raises(ConfigurationError, match="'nowhere', which is not in RQ_QUEUES"):
        job("nowhere")(sample_app.record).enqueue(1)


def test_a_task_works_on_a_stock_queue_of_django_rq(bench: Bench) -> None:
    with bench.settings(**DJANGO_RQ):
        job = bench.glue.job("shop")(sample_app.record).enqueue(1)

    assert job.serializer is DefaultSerializer


# Workers


def run_simple_worker(bench: Bench, *names: str, **options: Any) -> Any:
    from django_rq import get_worker

    worker: Any = get_worker(*names, worker_class=bench.glue.SimpleWorker, **options)
    worker.subscribe = lambda: None
    worker.work(burst=True, logging_level="WARNING")
    return worker


HANDED_OVER = ["rq.serializers.DefaultSerializer", DefaultSerializer, None]


@pytest.mark.parametrize("handed_over", HANDED_OVER, ids=["rqworker", "rqworker-pool", "get_worker"])
@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        (None, Serializer),
        ("slimjobs.Serializer", Serializer),
        ("rq.serializers.DefaultSerializer", DefaultSerializer),
        ("rq.serializers.JSONSerializer", JSONSerializer),
    ],
)
def test_a_worker_has_the_serializer_of_its_queues(
    bench: Bench, handed_over: Any, setting: str | None, expected: Any
) -> None:
    with bench.settings({"shop": {**bench.url, "SERIALIZER": setting}}):
        queue = bench.queue()
        worker = bench.glue.Worker([queue], connection=bench.redis, serializer=handed_over)

    assert (queue.serializer, worker.serializer) == (expected, expected)


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        pytest.param("rq.serializers.PickleSerializer", DefaultSerializer, marks=needs_serializer_aliases),
        pytest.param("pickle", DefaultSerializer, marks=needs_serializer_aliases),
        ("rq.serializers.JSONSerializer", JSONSerializer),
        (JSONSerializer, JSONSerializer),
        ("slimjobs.Serializer", Serializer),
    ],
)
def test_a_serializer_that_was_chosen_is_obeyed(bench: Bench, chosen: Any, expected: Any) -> None:
    queues = [bench.queue("shop"), bench.queue("default", serializer="rq.serializers.JSONSerializer")]
    worker = bench.glue.Worker(queues, connection=bench.redis, serializer=chosen)

    assert worker.serializer is expected


def test_queues_of_different_serializers_are_refused_at_the_workers_start(bench: Bench) -> None:
    queues = [bench.queue("shop"), bench.queue("default", serializer="rq.serializers.JSONSerializer")]

    with pytest.raises(ConfigurationError, match="queue 'shop' has another serializer than 'default'"):
        bench.glue.Worker(queues, connection=bench.redis)


def test_what_rqworker_pool_makes_of_the_names_is_made_as_the_settings_say(bench: Bench) -> None:
    from rq import Queue as StockQueue

    with bench.settings({"shop": {**bench.url, "DEFAULT_TIMEOUT": 33}}):
        worker = bench.glue.Worker(
            [StockQueue("shop", connection=bench.redis)],
            connection=bench.redis,
            serializer=Serializer,
            job_class=slimjobs.Job,
            queue_class=StockQueue,
        )
        by_name = bench.glue.Worker(["shop"], connection=bench.redis)

    (configured,) = worker.queues
    assert type(configured) is bench.glue.Queue
    assert configured._default_timeout == 33
    assert configured.connection is bench.redis
    assert worker.queue_class is bench.glue.Queue
    assert type(by_name.queues[0]) is bench.glue.Queue
    assert by_name.serializer is Serializer


@needs_spawn_worker
def test_a_worker_is_found_by_its_key_without_queues(bench: Bench) -> None:
    for expected in (Serializer, DefaultSerializer):
        worker = bench.glue.SpawnWorker([bench.queue(serializer=expected)], connection=bench.redis)
        worker.register_birth()
        # As the process that it spawns finds it.
        found = bench.glue.SpawnWorker.find_by_key(
            worker.key, bench.redis, worker.job_class, worker.queue_class, worker._serializer_arg
        )
        worker.register_death()
        assert found.serializer is expected


def test_a_job_is_to_a_worker_what_a_request_is_to_a_page(bench: Bench) -> None:
    from shop import mail

    queue = bench.queue()
    queue.enqueue(mail.pass_on, bench.email(), is_failing=True)
    run_simple_worker(bench, "shop")
    assert not slimjobs.Job.exists("passed-on", bench.redis)

    queue.enqueue(mail.pass_on, bench.email())
    run_simple_worker(bench, "shop")
    assert slimjobs.Job.fetch("passed-on", bench.redis).return_value() == "news"


# Checks


def messages(*tags: str, **options: Any) -> list[Any]:
    from django.core.checks import run_checks

    found: list[Any] = run_checks(tags=tags or ("rq",), **options)
    return found


def ids(**options: Any) -> list[str]:
    return [message.id for message in messages(**options)]


def test_what_is_right_gives_no_message(bench: Bench) -> None:
    assert messages() == []
    with bench.settings(WORKER_CLASS=f"{PACKAGE}.SpawnWorker"):
        assert messages() == []
    with bench.settings({name: {**bench.url, "SERIALIZER": "slimjobs.Serializer"} for name in ("a", "b")}):
        assert messages() == []
    with bench.settings(
        {"a": bench.url, "b": {"URL": "redis://other/0", "SERIALIZER": "rq.serializers.DefaultSerializer"}}
    ):
        assert messages() == []


def test_where_nothing_is_of_slimjobs_there_is_nothing_to_say(bench: Bench) -> None:
    from django.test import override_settings

    with bench.settings(
        {"a": bench.url, "b": {**bench.url, "SERIALIZER": "rq.serializers.JSONSerializer"}}, **DJANGO_RQ
    ):
        assert messages() == []
    with override_settings(RQ={}, RQ_QUEUES={}):
        assert messages() == []


WRONG: dict[str, tuple[Callable[[Any], dict[str, Any] | None], dict[str, Any], str, str]] = {
    "a queue without its job": (lambda url: None, {"JOB_CLASS": "rq.job.Job"}, "W001", '"JOB_CLASS": "slimjobs'),
    "a job and a worker without their queue": (
        lambda url: None,
        {"QUEUE_CLASS": "django_rq.queues.DjangoRQ"},
        "W002",
        '"QUEUE_CLASS": "slimjobs',
    ),
    "one queue of two": (
        lambda url: {"a": {**url, "QUEUE_CLASS": "rq.Queue", "SERIALIZER": "slimjobs.Serializer"}, "b": url},
        {},
        "W002",
        '"QUEUE_CLASS": "slimjobs',
    ),
    "a queue without its worker": (
        lambda url: None,
        {"WORKER_CLASS": "rq.worker.Worker"},
        "W003",
        '"WORKER_CLASS": "slimjobs',
    ),
    "a worker of slimjobs that knows nothing of Django": (
        lambda url: None,
        {"WORKER_CLASS": "slimjobs.Worker"},
        "W003",
        '"WORKER_CLASS": "slimjobs.contrib.django_rq.Worker"',
    ),
    "two serializers in one Redis": (
        lambda url: {"a": url, "b": {**url, "SERIALIZER": "rq.serializers.JSONSerializer"}},
        {},
        "W004",
        '"SERIALIZER"',
    ),
    "a class that the admin does not see": (
        lambda url: {"a": {**url, "QUEUE_CLASS": f"{PACKAGE}.Queue"}},
        {"QUEUE_CLASS": "django_rq.queues.DjangoRQ"},
        "W005",
        '"SERIALIZER": "slimjobs.Serializer"',
    ),
    "a class that is not there": (lambda url: None, {"JOB_CLASS": "slimjobs.Jab"}, "E001", "import path"),
    "a class of another kind": (lambda url: None, {"WORKER_CLASS": "slimjobs.Queue"}, "E001", "import path"),
    "a serializer that is not there": (
        lambda url: {"a": {**url, "SERIALIZER": "slimjobs.Serialiser"}},
        {},
        "E001",
        "import path",
    ),
}


@pytest.mark.parametrize(("queues", "rq", "expected", "hint"), WRONG.values(), ids=WRONG)
def test_what_does_not_agree_is_reported(
    bench: Bench, queues: Callable[[Any], dict[str, Any] | None], rq: dict[str, Any], expected: str, hint: str
) -> None:
    with bench.settings(queues(bench.url), **rq):
        found = messages()

    assert [message.id for message in found] == [f"slimjobs.{expected}"]
    assert hint in found[0].hint


def test_an_entry_with_the_class_and_the_serializer_is_seen_by_the_admin(bench: Bench) -> None:
    entry = {**bench.url, "QUEUE_CLASS": f"{PACKAGE}.Queue", "SERIALIZER": "slimjobs.Serializer"}
    with bench.settings({"a": entry}, QUEUE_CLASS="django_rq.queues.DjangoRQ"):
        assert messages() == []


def test_cron_that_is_registered_on_a_queue_that_reads_no_pickles_is_reported(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rq import cron

    monkeypatch.setattr(cron, "_job_data_registry", [])
    cron.register(sample_app.record, "shop", interval=60)
    cron.register(sample_app.record, "unknown", interval=60)

    (message,) = messages()
    assert message.id == "slimjobs.W006"
    assert "record on the queue 'shop'" in message.msg
    assert "read_pickle=True" in message.hint
    with bench.settings({"shop": {**bench.url, "SERIALIZER": "rq.serializers.DefaultSerializer"}}):
        assert messages() == []
    slimjobs.configure(read_pickle=True)
    assert messages() == []


@needs_django_rq
def test_cron_that_runs_is_reported_where_redis_may_be_asked(bench: Bench) -> None:
    from django_rq.cron import DjangoCronScheduler

    scheduler = DjangoCronScheduler(connection=bench.redis)
    scheduler.register(sample_app.record, "shop", interval=60)
    scheduler.register_birth()

    assert ids() == []
    assert ids(include_deployment_checks=True) == ["slimjobs.W006"]
    scheduler.register_death()
    assert ids(include_deployment_checks=True) == []
    with bench.settings({"shop": {"URL": "redis://localhost:1/0"}}):
        assert ids(include_deployment_checks=True) == []


def test_what_the_check_says_of_cron_is_so(bench: Bench) -> None:
    from rq.cron import CronJob

    job = CronJob("shop", func=sample_app.record, interval=60).enqueue(bench.redis)
    run_simple_worker(bench, "shop")
    assert job.get_status() == "failed"

    slimjobs.configure(read_pickle=True)
    job = CronJob("shop", func=sample_app.record, interval=60).enqueue(bench.redis)
    run_simple_worker(bench, "shop")
    assert job.get_status() == "finished"


@pytest.mark.parametrize("writes", ["rq.serializers.DefaultSerializer", "slimjobs.Serializer"])
def test_in_a_migration_a_worker_runs_jobs_of_both_formats_whichever_its_queue_writes(
    bench: Bench, writes: str
) -> None:
    email = bench.email()
    jobs = []
    for serializer in ("rq.serializers.DefaultSerializer", "slimjobs.Serializer"):
        with bench.settings({"shop": {**bench.url, "SERIALIZER": serializer}}):
            jobs.append(bench.queue().enqueue(sample_app.give_back, email))
    slimjobs.configure(read_pickle=True)
    with bench.settings({"shop": {**bench.url, "SERIALIZER": writes}}):
        run_simple_worker(bench, "shop")

    assert [job.get_status() for job in jobs] == ["finished", "finished"]
