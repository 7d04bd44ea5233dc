"""A queue and its options, on fakeredis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import sample_app
from rq.job import Job as RQJob
from rq.serializers import DefaultSerializer, JSONSerializer
from rq_versions import needs_unique_ids_in_batches

import slimjobs
from slimjobs import Job, Limits, Queue, Serializer

if TYPE_CHECKING:
    from redis import Redis


class PickleQueue(Queue):
    default_serializer: ClassVar[Any] = DefaultSerializer


class OtherJob(Job):
    pass


class StockJob(RQJob):
    pass


def data(*args: Any, **options: Any) -> Any:
    return Queue.prepare_data(sample_app.record, args, **options)


def test_the_serializer_is_ours_unless_it_is_named(fake_redis: Redis) -> None:
    assert Queue("q", fake_redis).serializer is Serializer
    assert Queue("q", fake_redis, serializer=None).serializer is Serializer
    assert Queue("q", fake_redis, serializer="rq.serializers.JSONSerializer").serializer is JSONSerializer
    assert Queue("q", fake_redis, None, True, None, JSONSerializer).serializer is JSONSerializer
    assert PickleQueue("q", connection=fake_redis).serializer is DefaultSerializer
    assert Queue.from_queue_key("rq:queue:q", fake_redis).serializer is Serializer
    assert PickleQueue.from_queue_key("rq:queue:q", fake_redis).serializer is DefaultSerializer


@pytest.mark.parametrize("job_class", [OtherJob, f"{__name__}.OtherJob"])
def test_a_job_class_may_be_a_subclass_of_ours(fake_redis: Redis, job_class: Any) -> None:
    queue = Queue("q", connection=fake_redis, job_class=job_class)

    assert type(queue.enqueue(sample_app.record)) is OtherJob


@pytest.mark.parametrize("name", ["job_class", "serializer"])
def test_what_the_command_line_of_rq_gives_by_default_is_no_choice(fake_redis: Redis, name: str) -> None:
    given: dict[str, Any] = {"job_class": RQJob, "serializer": "rq.serializers.DefaultSerializer"}
    queue = PickleQueue("q", connection=fake_redis, **{name: given[name]})

    assert (queue.job_class, queue.serializer) == (Job, DefaultSerializer)
    assert Queue("q", connection=fake_redis, **given).serializer is Serializer


@pytest.mark.parametrize("job_class", [StockJob, f"{__name__}.StockJob"])
def test_a_job_class_that_would_not_check_is_refused(fake_redis: Redis, job_class: Any) -> None:
    with pytest.raises(slimjobs.ConfigurationError, match=r"slimjobs\.Job"):
        Queue("q", connection=fake_redis, job_class=job_class)


def test_limits_may_be_given_as_a_dict(fake_redis: Redis) -> None:
    queue = Queue("q", connection=fake_redis, limits={"max_bytes": "1 KiB"})

    assert queue.limits == Limits(max_bytes=1024)
    assert queue.limits_for("any.task").max_bytes == 1024
    assert queue.limits_for("any.task").warn_bytes == 16 * 1024


def test_enqueue_many_returns_the_jobs_in_their_order(fake_redis: Redis) -> None:
    queue = Queue("q", connection=fake_redis)
    jobs = queue.enqueue_many([data(number) for number in range(5)])

    assert [job.args for job in jobs] == [(number,) for number in range(5)]
    assert queue.job_ids == [job.id for job in jobs]


def test_enqueue_many_of_nothing_is_nothing(fake_redis: Redis) -> None:
    queue = Queue("q", connection=fake_redis)

    assert queue.enqueue_many([]) == []
    assert queue.count == 0


def test_enqueue_many_keeps_what_each_job_was_told(fake_redis: Redis) -> None:
    queue = Queue("q", connection=fake_redis)
    (job,) = queue.enqueue_many(
        [data(1, job_id="one", timeout=5, description="first", meta={"a": 1}, result_ttl=7)], group_id="g"
    )

    assert (job.id, job.timeout, job.description, job.meta) == ("one", 5, "first", {"a": 1})
    assert (job.result_ttl, job.group_id) == (7, "g")


@needs_unique_ids_in_batches
def test_a_job_id_twice_in_one_batch_is_refused_whole(fake_redis: Redis) -> None:
    queue = Queue("q", connection=fake_redis)
    with pytest.raises(ValueError, match="more than once"):
        queue.enqueue_many([data(1, job_id="one"), data(2, job_id="one")])
    assert fake_redis.keys() == []


def test_a_queue_without_lua_in_fakeredis_enqueues_all_the_same(
    fake_redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slimjobs.entries._HAS_LUA", False)
    queue = Queue("q", connection=fake_redis)
    queue.enqueue(sample_app.record, 1)
    queue.enqueue_many([data(2), data(3)])
    with fake_redis.pipeline() as pipeline:
        queue.enqueue(sample_app.record, 4, pipeline=pipeline)
        pipeline.execute()

    assert [job.args for job in queue.jobs] == [(1,), (2,), (3,), (4,)]
    assert slimjobs.Ledger(fake_redis).totals() == []


def test_enqueue_many_defers_what_depends_on_a_job_that_has_not_finished(fake_redis: Redis) -> None:
    queue = Queue("q", connection=fake_redis)
    first = queue.enqueue(sample_app.give_back, 1)

    free, dependent = queue.enqueue_many([data(depends_on=first), data()])

    assert [job.get_status(refresh=True) for job in (free, dependent)] == ["queued", "deferred"]
    assert queue.job_ids == [first.id, free.id]
