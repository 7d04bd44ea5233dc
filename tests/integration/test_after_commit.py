"""Jobs with rows of open transactions: written at the commit and dropped at a rollback, on every path."""

from __future__ import annotations

import gc
import logging
import socket
import threading
import weakref
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import rq
import sample_app
from queue_samples import count, enqueue_due_jobs, run_worker, snapshot
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from rq_versions import RateLimit, needs_rate_limits, needs_unique_jobs
from ways import NOW, TASK, WAYS, Call, Way, each

import slimjobs
from slimjobs import Job, Queue, Ref, SimpleWorker
from slimjobs.testing import record

transaction: Any = pytest.importorskip("django.db.transaction")

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

IN_A_PIPELINE = {name: way for name, way in WAYS.items() if "pipeline" in name or name == "a group"}
WAITING = {name: way for name, way in WAYS.items() if name not in IN_A_PIPELINE}

each_way = each(WAITING)


@slimjobs.job("stock")
def first_subject(emails: list[Any]) -> Any:
    return emails[0].subject


@pytest.fixture(autouse=True)
def rows() -> Iterator[None]:
    sample_app.reset()
    yield
    sample_app.reset()


@pytest.fixture
def call(redis: Redis) -> Call:
    return Call(Queue("letters", connection=redis))


def undo(alias: str = "default") -> None:
    """Let the atomic block roll back where it ends."""
    transaction.set_rollback(True, using=alias)


def email(shop: Any, alias: str = "default", subject: str = "news") -> Any:
    return shop.Email.everything.using(alias).create(subject=subject)


@each_way
def test_a_job_is_written_when_the_transaction_of_its_rows_commits(way: Way, call: Call, shop: Any) -> None:
    way.prepare(call)
    sample_app.CALLS.clear()
    before = snapshot(call.redis)

    with transaction.atomic():
        model = email(shop)
        call.args, call.kwargs, call.meta = (model, [model]), {"again": {"it": model}}, {"campaign": 7}
        jobs = way.enqueue(call)
        assert snapshot(call.redis) == before
        assert not sample_app.CALLS

    assert len(jobs) == way.jobs
    for job in jobs:
        stored = Job.fetch(job.id, connection=call.redis)
        assert stored.args == (Ref("shop.Email", model.pk, "default"), [Ref("shop.Email", model.pk, "default")])
        assert stored.meta == {"campaign": 7}
        assert stored.data == job.data
    assert count(call.redis, TASK, "letters").jobs == way.jobs

    enqueue_due_jobs(call.queue.name, call.redis)
    run_worker(SimpleWorker, call.queue.name, call.redis)

    assert [args[0].subject for args, _ in sample_app.CALLS] == ["news"] * way.jobs
    assert all(args[0] is args[1][0] is kwargs["again"]["it"] for args, kwargs in sample_app.CALLS)
    assert {job.latest_result().type for job in jobs} == {rq.results.Result.Type.SUCCESSFUL}
    assert count(call.redis, TASK, "letters").jobs == way.jobs


@each_way
def test_a_job_is_dropped_when_the_transaction_of_its_rows_is_rolled_back(way: Way, call: Call, shop: Any) -> None:
    way.prepare(call)
    before = snapshot(call.redis)

    with transaction.atomic():
        call.args = (email(shop),)
        jobs = way.enqueue(call)
        undo()

    assert snapshot(call.redis) == before
    assert not slimjobs.commit._waiting
    assert len(jobs) == way.jobs
    email(shop)  # what comes next in the connection wakes nothing up
    assert snapshot(call.redis) == before


@pytest.mark.parametrize("way", IN_A_PIPELINE.values(), ids=IN_A_PIPELINE)
def test_a_pipeline_cannot_wait_and_the_log_says_so(
    way: Way, call: Call, shop: Any, caplog: pytest.LogCaptureFixture
) -> None:
    way.prepare(call)
    with transaction.atomic():
        call.args = (email(shop),)
        jobs = way.enqueue(call)
        if call.pipeline is not None:
            call.pipeline.execute()
        assert Job.exists(jobs[0].id, call.redis)

    [record] = [record for record in caplog.records if record.name == "slimjobs"]
    assert record.levelno == logging.WARNING
    assert TASK in record.getMessage()
    assert "a pipeline, which cannot wait" in record.getMessage()


STOCK: dict[str, Callable[[Any, Any], list[Any]]] = {
    "enqueue": lambda task, value: [task.enqueue(value)],
    "delay": lambda task, value: [task.delay(value, job_id="mine")],
    "enqueue_at": lambda task, value: [task.enqueue_at(NOW, value)],
    "enqueue_in": lambda task, value: [task.enqueue_in(timedelta(0), value)],
    "unique": lambda task, value: [task.options(unique=True, job_id="one").enqueue(value)],
    "enqueue_many": lambda task, value: task.enqueue_many([task.prepare(value), task.prepare(value)]),
}


@pytest.mark.parametrize("serializer", [None, "rq.serializers.JSONSerializer"])
@pytest.mark.parametrize(
    "way",
    [pytest.param(way, id=name, marks=needs_unique_jobs if name == "unique" else ()) for name, way in STOCK.items()],
)
def test_a_decorated_task_on_a_stock_queue_waits_too(way: Any, serializer: Any, redis: Redis, shop: Any) -> None:
    queue = rq.Queue("stock", connection=redis, serializer=serializer)
    task = slimjobs.job(queue)(first_subject.__wrapped__)  # type: ignore[attr-defined]
    before = snapshot(redis)
    with transaction.atomic():
        way(task, [email(shop)])
        undo()
    assert snapshot(redis) == before
    assert not slimjobs.commit._waiting

    with transaction.atomic():
        jobs = way(task, [email(shop, subject="stock")])
        assert snapshot(redis) == before

    scheduler = rq.scheduler.RQScheduler(["stock"], redis, logging_level="WARNING", serializer=queue.serializer)
    scheduler.prepare_registries(["stock"])
    scheduler.enqueue_scheduled_jobs()  # type: ignore[no-untyped-call]
    run_worker(rq.SimpleWorker, "stock", redis, serializer=serializer)
    fetched = [rq.job.Job.fetch(job.id, connection=redis, serializer=queue.serializer) for job in jobs]
    assert [job.return_value() for job in fetched] == ["stock"] * len(jobs)


@pytest.mark.parametrize("serializer", ["rq.serializers.DefaultSerializer", "rq.serializers.JSONSerializer"])
def test_a_decorated_task_on_a_queue_of_ours_with_another_serializer_waits_too(
    redis: Redis, shop: Any, serializer: Any
) -> None:
    queue = Queue("mine", connection=redis, serializer=serializer)
    task = slimjobs.job(queue)(first_subject.__wrapped__)  # type: ignore[attr-defined]
    ways: list[Callable[[Any], Any]] = [task.enqueue, lambda value: queue.enqueue(f"{__name__}.first_subject", value)]
    with transaction.atomic():
        for enqueue in ways:
            enqueue([email(shop)])
        undo()
    with transaction.atomic():
        jobs = [enqueue([email(shop, subject="mine")]) for enqueue in ways]
        assert queue.job_ids == []

    assert queue.job_ids == [job.id for job in jobs]
    assert count(redis, f"{__name__}.first_subject").jobs == 2
    run_worker(rq.SimpleWorker, "mine", redis, serializer=queue.serializer)
    assert [job.return_value() for job in jobs] == ["mine", "mine"]


def test_a_query_of_too_many_rows_is_counted_as_refused_on_a_stock_queue_too(redis: Redis, shop: Any) -> None:
    shop.Email.everything.bulk_create([shop.Email(subject="news") for _ in range(50)])
    for queue in (rq.Queue("stock", connection=redis), Queue("slim", connection=redis)):
        task = slimjobs.job(queue, max_bytes=500)(first_subject.__wrapped__)  # type: ignore[attr-defined]
        with pytest.raises(slimjobs.PayloadTooLargeError, match=r"first_subject: args\[0\]: "):
            task.enqueue(shop.Email.everything.all())
        assert count(redis, f"{__name__}.first_subject", queue.name).refused == 1


def test_savepoints_count(call: Call, shop: Any) -> None:
    queue = call.queue
    with transaction.atomic():
        kept = queue.enqueue(sample_app.record, email(shop))
        with transaction.atomic():
            queue.enqueue(sample_app.record, email(shop))
            with transaction.atomic():
                queue.enqueue(sample_app.record, email(shop))
            undo()
        with transaction.atomic():
            also_kept = queue.enqueue(sample_app.record, email(shop))
        assert queue.job_ids == []
    assert queue.job_ids == [kept.id, also_kept.id]

    with transaction.atomic():
        with transaction.atomic():
            queue.enqueue(sample_app.record, email(shop))
        undo()
    assert queue.job_ids == [kept.id, also_kept.id]
    assert not slimjobs.commit._waiting


@pytest.mark.parametrize("outer", ["default", "archive"])
@pytest.mark.parametrize("fails", [None, "inner", "outer"])
def test_a_job_with_rows_of_two_databases_waits_for_both(outer: str, fails: str | None, call: Call, shop: Any) -> None:
    inner = "archive" if outer == "default" else "default"
    seen: list[list[str]] = []
    with transaction.atomic(using=outer):
        with transaction.atomic(using=inner):
            both = [email(shop, "default"), {"x": email(shop, "archive")}]
            job = call.queue.enqueue(sample_app.record, both)
            if fails == "inner":
                undo(inner)
        seen.append(call.queue.job_ids)
        if fails == "outer":
            undo(outer)

    assert seen == [[]]
    assert call.queue.job_ids == ([job.id] if fails is None else [])
    assert not slimjobs.commit._waiting


@pytest.mark.parametrize("db", ["default", None])
def test_a_ref_that_is_made_by_hand_waits_as_its_model_would(call: Call, shop: Any, db: str | None) -> None:
    with transaction.atomic():
        pk = shop.Email.everything.bulk_create([shop.Email(subject="news")])[0].pk
        job = call.queue.enqueue(sample_app.record, Ref("shop.Email", pk, db), Ref("no.such", 5))
        assert call.queue.job_ids == []
    assert call.queue.job_ids == [job.id]


def test_only_transactions_of_the_jobs_own_rows_are_waited_for(call: Call, shop: Any) -> None:
    other = email(shop, "archive")
    with transaction.atomic():
        email(shop)
        first = call.queue.enqueue(sample_app.record, other)
        second = call.queue.enqueue(sample_app.record, "no row at all")
        assert call.queue.job_ids == [first.id, second.id]


def test_the_jobs_of_one_enqueue_many_wait_together(call: Call, shop: Any) -> None:
    def batch() -> list[Any]:
        return [Queue.prepare_data(sample_app.record, args) for args in ((1,), (email(shop),), (2,))]

    with transaction.atomic():
        call.queue.enqueue_many(batch())
        undo()
    assert call.queue.job_ids == []
    with transaction.atomic():
        jobs = call.queue.enqueue_many(batch())
        assert call.queue.job_ids == []
    assert call.queue.job_ids == [job.id for job in jobs]


def test_a_job_that_depends_on_one_that_waits_does_so_too(call: Call, shop: Any) -> None:
    def both() -> tuple[Any, Any]:
        first = call.queue.enqueue(sample_app.record, email(shop))
        return first, call.queue.enqueue(sample_app.give_back, "no row", depends_on=first)

    before = snapshot(call.redis)
    with transaction.atomic():
        both()
        undo()
    assert snapshot(call.redis) == before

    with transaction.atomic():
        first, second = both()
        assert snapshot(call.redis) == before
    assert call.queue.job_ids == [first.id]
    assert call.queue.deferred_job_registry.get_job_ids() == [second.id]
    run_worker(SimpleWorker, call.queue.name, call.redis)
    assert second.return_value() == "no row"


@pytest.mark.parametrize("who", ["job", "queue"])
def test_what_goes_now_still_comes_after_what_it_depends_on(call: Call, shop: Any, who: str) -> None:
    hasty = Queue("letters", connection=call.redis, commit="now")
    with transaction.atomic():
        first = call.queue.enqueue(sample_app.record, email(shop))
        if who == "queue":
            second = hasty.enqueue(sample_app.give_back, 1, depends_on=first)
        else:
            second = call.queue.enqueue(sample_app.give_back, 1, depends_on=first, commit="now")
        assert not call.redis.keys("rq:job:*")
    assert call.queue.job_ids == [first.id]
    assert call.queue.deferred_job_registry.get_job_ids() == [second.id]


def test_a_refusal_is_raised_at_the_call_and_leaves_other_hooks_alone(call: Call, shop: Any) -> None:
    called: list[str] = []
    with transaction.atomic():
        transaction.on_commit(lambda: called.append("before"))
        model = email(shop)
        hooks = list(transaction.get_connection().run_on_commit)
        for value, error in (
            ("x" * 100_000, slimjobs.PayloadTooLargeError),
            (shop.Email(subject="unsaved"), slimjobs.UnsavedModelError),
            (object(), slimjobs.UnsupportedTypeError),
        ):
            with pytest.raises(error):
                call.queue.enqueue(sample_app.record, model, value)
            with pytest.raises(error):
                call.queue.enqueue_many([Queue.prepare_data(sample_app.record, (each,)) for each in (model, value)])
        assert transaction.get_connection().run_on_commit == hooks
        transaction.on_commit(lambda: called.append("after"))
    assert called == ["before", "after"]
    assert call.queue.job_ids == []


@needs_rate_limits
def test_what_rq_refuses_is_refused_at_the_call(call: Call, shop: Any) -> None:
    queue = call.queue
    synchronous = Queue("now", connection=call.redis, is_async=False)
    limit = RateLimit("letters", 1)
    with transaction.atomic():
        model = email(shop)
        waiting = queue.enqueue(sample_app.record, args=(model,), unique=True, job_id="one")
        hooks = list(transaction.get_connection().run_on_commit)
        with pytest.raises(rq.exceptions.DuplicateJobError):
            queue.enqueue(sample_app.record, args=(model,), unique=True, job_id="one")
        with pytest.raises(ValueError, match="dependencies"):
            queue.enqueue(sample_app.record, args=(model,), unique=True, job_id="two", depends_on=waiting)
        with pytest.raises(ValueError, match="rate-limited"):
            queue.enqueue(sample_app.record, args=(model,), unique=True, job_id="two", rate_limit=limit)
        with pytest.raises(ValueError, match="is_async=False"):
            synchronous.enqueue(sample_app.record, args=(model,), rate_limit=limit)
        with pytest.raises(ValueError, match="more than once"):
            queue.enqueue_many([Queue.prepare_data(sample_app.record, (model,), job_id="two")] * 2)
        assert transaction.get_connection().run_on_commit == hooks
    with transaction.atomic(), pytest.raises(rq.exceptions.DuplicateJobError):
        queue.enqueue(sample_app.record, args=(model,), unique=True, job_id="one")


@needs_unique_jobs
def test_a_unique_job_whose_id_was_taken_meanwhile_is_a_warning(
    call: Call, shop: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with transaction.atomic():
        waiting = call.queue.enqueue(sample_app.record, args=(email(shop),), unique=True, job_id="one")
        other = Queue("letters", connection=call.redis, commit="now")
        other.enqueue(sample_app.give_back, "first", job_id="one")

    assert Job.fetch("one", connection=call.redis).args == ("first",)
    assert waiting.id == "one"
    assert [record.getMessage() for record in caplog.records if record.name == "slimjobs"] == [
        "after the commit: job one was not enqueued, there is one of its id"
    ]


def test_the_nearest_that_says_when_wins(redis: Redis, shop: Any) -> None:
    waiting, hasty = Queue("a", connection=redis), Queue("b", connection=redis, commit="now")
    task = slimjobs.job(hasty, commit="auto")(first_subject.__wrapped__)  # type: ignore[attr-defined]
    with transaction.atomic():
        models = [email(shop)]
        at_once = [
            hasty.enqueue(sample_app.give_back, models),
            waiting.enqueue(sample_app.give_back, models, commit="now"),
            waiting.enqueue_call(sample_app.give_back, (models,), commit="now"),
            *waiting.enqueue_many([Queue.prepare_data(sample_app.give_back, (models,), commit="now")]),
            task.options(commit="now").enqueue(models),
        ]
        later = [task.enqueue(models), hasty.enqueue(sample_app.give_back, models, commit="auto")]
        assert all(Job.exists(job.id, redis) for job in at_once)
        assert not any(Job.exists(job.id, redis) for job in later)
    assert all(Job.exists(job.id, redis) for job in later)
    assert all(job.meta == {} for job in (*at_once, *later))


def test_whoever_commits_is_told_that_redis_is_away(shop: Any, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    away = Queue("letters", connection=Redis(port=port))
    called: list[str] = []

    with pytest.raises(RedisConnectionError), transaction.atomic():  # noqa: PT012  # it is the commit that raises
        model = email(shop)
        job = away.enqueue(sample_app.record, model)
        transaction.on_commit(lambda: called.append("a hook after"))

    assert shop.Email.everything.filter(pk=model.pk).exists()
    assert f"after the commit: job {job.id} was not enqueued (ConnectionError)" in caplog.messages
    assert called == []  # as after any hook of Django's that raises and was not registered as robust


def test_an_edited_job_is_checked_again_before_it_is_written(call: Call, shop: Any) -> None:
    with pytest.raises(slimjobs.PayloadTooLargeError), transaction.atomic():  # noqa: PT012  # it is the commit that raises
        job = call.queue.enqueue(sample_app.record, email(shop))
        job.args = ("x" * 100_000,)
    assert call.queue.job_ids == []


def test_a_synchronous_job_runs_at_the_commit(redis: Redis, shop: Any) -> None:
    queue = Queue("now", connection=redis, is_async=False)
    with transaction.atomic():
        job = queue.enqueue(sample_app.record, email(shop, subject="later"))
        assert not sample_app.CALLS
    [((model,), _)] = sample_app.CALLS
    assert model.subject == "later"
    assert job.is_finished


def test_each_thread_waits_for_its_own_transaction(call: Call, shop: Any) -> None:
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with transaction.atomic(using="archive"):
            email(shop, "archive")
            inside.set()
            assert leave.wait(30)
        transaction.get_connection("archive").close()

    row = email(shop, "archive")
    thread = threading.Thread(target=other)
    thread.start()
    assert inside.wait(30)
    job = call.queue.enqueue(sample_app.record, row)
    assert call.queue.job_ids == [job.id]
    leave.set()
    thread.join()


def test_a_stock_queues_job_that_depends_on_one_that_waits_does_so_too(redis: Redis, shop: Any) -> None:
    queue = rq.Queue("stock", connection=redis)
    task = slimjobs.job(queue)(first_subject.__wrapped__)  # type: ignore[attr-defined]
    with transaction.atomic():
        first = task.enqueue([email(shop)])
        second = task.options(depends_on=first).enqueue([])
        [third] = task.enqueue_many([task.options(depends_on=first).prepare([])])
        assert not redis.keys("rq:job:*")

    assert queue.job_ids == [first.id]
    assert sorted(queue.deferred_job_registry.get_job_ids()) == sorted([second.id, third.id])


def test_a_job_that_waits_does_not_hold_its_models(call: Call, shop: Any) -> None:
    with transaction.atomic():
        model = email(shop)
        seen = weakref.ref(model)
        job = call.queue.enqueue(sample_app.record, [model])
        del model
        gc.collect()
        assert seen() is None
    assert call.queue.job_ids == [job.id]


@pytest.mark.parametrize("is_committed", [True, False])
@pytest.mark.parametrize("queue_class", [Queue, rq.Queue])
def test_a_waiting_job_is_recorded_at_the_call_and_once(
    queue_class: Any, is_committed: bool, redis: Redis, shop: Any
) -> None:
    task = slimjobs.job(queue_class("stock", connection=redis))(sample_app.record)
    with record() as recorded:
        with transaction.atomic():
            task.enqueue(email(shop))
            assert [job.task for job in recorded.jobs] == [TASK]
            if not is_committed:
                undo()
        assert len(recorded) == 1
    assert len(queue_class("stock", connection=redis).job_ids) == is_committed
