"""The script that moves due jobs: what it leaves in Redis is what RQ's own scheduler leaves there."""

from __future__ import annotations

import time
import zlib
from datetime import datetime, timedelta, timezone
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
import rq
from queue_samples import give, snapshot
from redis.exceptions import ResponseError
from rq.job import Job as RQJob
from rq.registry import DeferredJobRegistry
from rq.scheduler import RQScheduler

import slimjobs
from slimjobs.schedule import PUT_OFF_SECONDS, Schedule

if TYPE_CHECKING:
    from redis import Redis

LONG_AGO = datetime(2020, 1, 1, tzinfo=timezone.utc)
KNOWS_RATE_LIMITS = hasattr(RQJob, "has_rate_limit")  # RQ 3.0, which has unique jobs too
QUEUE = "letters"
SCHEDULED = f"rq:scheduled:{QUEUE}"
TIMES = {b"created_at", b"enqueued_at"}


def schedule_every_kind(queue: rq.Queue) -> None:
    """Put jobs of every kind on the schedule of a queue, and let some change there."""
    redis, name = queue.connection, type(queue).__module__.partition(".")[0]

    times = (LONG_AGO + timedelta(seconds=number) for number in count())

    def add(kind: str, **options: Any) -> Any:
        return queue.enqueue_at(next(times), give, kind, job_id=f"{name}-{kind}", **options)

    def edit(kind: str, fields: dict[Any, Any]) -> None:
        redis.hset(add(kind, retry=retry).key, mapping=fields)

    retry = rq.Retry(max=3, interval=[1, 2], **({"enqueue_at_front": True} if KNOWS_RATE_LIMITS else {}))
    add("plain")
    add("front", at_front=True)
    add("ttl", job_timeout=7, ttl=1000, result_ttl=60, meta={"by": 1}, description="a description")
    add("front-again", at_front=True, ttl=1000)
    add("repeat", repeat=rq.Repeat(times=3, interval=5))
    add("retry", retry=retry)
    edit("retried", {"ended_at": "2026-01-01T00:00:00.000000Z", "retries_left": 1})
    edit("elsewhere", {"origin": "another queue"})
    edit("canceled", {"status": "canceled"})
    redis.hdel(add("no-timeout").key, "timeout")
    add("canceled-in-order").cancel()
    add("deleted").delete()
    redis.delete(add("expired").key)
    redis.set(f"rq:job:{name}-to-be-kept", "x")
    if KNOWS_RATE_LIMITS:
        deferred = add("deferred")
        redis.hset(deferred.key, "status", "deferred")
        redis.zadd(DeferredJobRegistry(queue=queue).key, {deferred.id: 1})
        redis.rpush(deferred.dependents_key, "other")
        add("unique", unique=True)
        add("unique-ttl", unique=True, ttl=1000)
        for number in range(3):
            add(f"limited-{number}", rate_limit=rq.RateLimit(f"{name} narrow", 1), ttl=1000)
            add(f"limited-front-{number}", rate_limit=rq.RateLimit(f"{name} wide", 2), at_front=True)
        redis.hdel(add("limited-no-timeout", rate_limit=rq.RateLimit("x", 9)).key, "timeout")
    add("last")


def contents(redis: Redis) -> dict[bytes, Any]:
    """Return what the database holds, without times; an empty field counts as none."""
    keys: Any = redis.keys()
    return {key: _content(redis, key) for key in keys if b":slimjobs:hour:" not in key}


def _content(redis: Redis, key: bytes) -> Any:
    kind, expires = redis.type(key), redis.ttl(key) > 0
    if kind == b"hash":
        fields: Any = redis.hgetall(key)
        return expires, {name: _field(name, value) for name, value in fields.items() if value}
    if kind == b"zset":
        return expires, redis.zrange(key, 0, -1)
    if kind == b"list":
        return expires, redis.lrange(key, 0, -1)
    return expires, redis.smembers(key) if kind == b"set" else redis.get(key)


def _field(name: bytes, value: bytes) -> bytes:
    if name in TIMES:
        return b"a time"
    return _inflated(value) if name == b"data" else value


def _inflated(data: bytes) -> bytes:
    try:
        return zlib.decompress(data)
    except zlib.error:
        return data


@pytest.mark.parametrize("queue_class", [rq.Queue, slimjobs.Queue])
@pytest.mark.parametrize("at_most", [100, 1])
def test_it_leaves_all_that_rqs_own_scheduler_leaves(redis: Redis, queue_class: type[rq.Queue], at_most: int) -> None:
    found = []
    queue = queue_class(QUEUE, connection=redis)
    for is_ours in (False, True):
        redis.flushdb()
        schedule_every_kind(queue)
        if is_ours:
            schedule = Schedule(QUEUE, redis)
            while schedule.move_due(at_most).due:
                pass
        else:
            scheduler = RQScheduler([QUEUE], redis, serializer=queue.serializer, logging_level="WARNING")
            scheduler.prepare_registries([QUEUE])
            scheduler.enqueue_scheduled_jobs()  # type: ignore[no-untyped-call]
        found.append(contents(redis))
    stock, ours = found

    for here in (stock, ours):
        assert SCHEDULED.encode() not in here
        if at_most == 1:  # RQ moves those with a rate limit last, of all that it reads at once
            here[b"rq:queue:letters"] = sorted(here[b"rq:queue:letters"][1])
    assert ours == stock


@pytest.fixture
def queue(redis: Redis) -> rq.Queue:
    return rq.Queue(QUEUE, connection=redis)


def due_job(queue: rq.Queue, job_id: str, **options: Any) -> Any:
    return queue.enqueue_at(LONG_AGO, give, job_id, job_id=job_id, **options)


def break_type(job: RQJob) -> None:
    job.connection.delete(job.key)
    job.connection.rpush(job.key, "x")


def break_field(name: str) -> Any:
    return lambda job: job.connection.hset(job.key, name, "many")


BROKEN = {
    "its key holds a list": break_type,
    "its hash has no data": lambda job: job.connection.hdel(job.key, "data"),
    "its ttl is no number": break_field("ttl"),
    "its enqueue_at_front is no number": break_field("enqueue_at_front"),
    "its rate_limit_concurrency is no number": break_field("rate_limit_concurrency"),
}


@pytest.mark.parametrize("problem", BROKEN)
def test_a_broken_job_is_put_off_and_holds_up_nobody(queue: rq.Queue, problem: str) -> None:
    redis = queue.connection
    due_job(queue, "a")
    broken = due_job(queue, "b")
    due_job(queue, "c")
    BROKEN[problem](broken)
    before = redis.dump(broken.key)
    began = time.time()
    chunk = Schedule(QUEUE, redis).move_due()

    assert (chunk.due, chunk.put_off) == (3, {"b": problem})
    assert queue.job_ids == ["a", "c"]
    assert redis.dump(broken.key) == before
    assert redis.zscore(SCHEDULED, "b") == pytest.approx(began + PUT_OFF_SECONDS, abs=5)
    assert Schedule(QUEUE, redis).move_due().due == 0, "it would be looked at without an end"


def test_a_broken_job_that_is_repaired_moves_in_its_new_time(queue: rq.Queue) -> None:
    job = due_job(queue, "a")
    data = queue.connection.hget(job.key, "data")
    queue.connection.hdel(job.key, "data")
    schedule = Schedule(QUEUE, queue.connection)
    schedule.move_due()
    queue.connection.hset(job.key, "data", data)
    queue.connection.zadd(SCHEDULED, {job.id: 1})  # an hour later

    assert schedule.move_due().put_off == {}
    assert queue.job_ids == ["a"]


@pytest.mark.skipif(not KNOWS_RATE_LIMITS, reason="RQ 3.0 has rate limits")
@pytest.mark.parametrize("key", ["rq:rl:a:allowed", "rq:rl:a:rate_limited", "rq:rl:a", "rq:rl-keys"])
def test_a_rate_limit_that_cannot_be_written_puts_off_its_jobs_alone(queue: rq.Queue, key: str) -> None:
    for job_id, name in (("a", "a"), ("b", "b")):
        due_job(queue, job_id, rate_limit=rq.RateLimit(name, 1))
    due_job(queue, "c")
    queue.connection.set(key, "x")
    put_off = Schedule(QUEUE, queue.connection).move_due().put_off

    expected = ["a", "b"] if key == "rq:rl-keys" else ["a"]
    assert put_off == dict.fromkeys(expected, "the keys of its rate limit cannot be written")
    assert queue.job_ids == ["c", "b"][: 3 - len(expected)]
    assert queue.connection.hget("rq:job:a", "status") == b"scheduled"


def test_nothing_changes_where_the_queue_cannot_be_written(queue: rq.Queue) -> None:
    redis = queue.connection
    due_job(queue, "a", ttl=1000)
    redis.delete(due_job(queue, "gone").key)
    redis.set(queue.key, "x")
    before = snapshot(redis)
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        Schedule(QUEUE, redis).move_due()

    assert snapshot(redis) == before


def test_it_moves_so_many_that_are_due_longest_and_none_that_is_not(queue: rq.Queue) -> None:
    for number in (3, 1, 2):
        queue.enqueue_at(LONG_AGO + timedelta(seconds=number), give, number, job_id=str(number))
    queue.enqueue_at(datetime.now(timezone.utc) + timedelta(hours=1), give, "later", job_id="later")
    schedule = Schedule(QUEUE, queue.connection)

    assert (schedule.move_due(2).due, queue.job_ids) == (2, ["1", "2"])
    assert (schedule.move_due(2).due, queue.job_ids) == (1, ["1", "2", "3"])
    assert schedule.move_due(2).due == 0
    assert queue.connection.zrange(SCHEDULED, 0, -1) == [b"later"]


def test_it_reads_no_payload(queue: rq.Queue) -> None:
    """What Redis sends for a hundred megabytes of jobs."""
    for number in range(20):
        job = due_job(queue, str(number), meta={"note": "x" * 1000})
        queue.connection.hset(job.key, "data", b"x" * 5_000_000)
    connection = queue.connection
    before = connection.info("stats")["total_net_output_bytes"]
    assert Schedule(QUEUE, connection).move_due().due == 20

    assert connection.info("stats")["total_net_output_bytes"] - before < 20_000
    assert connection.hstrlen("rq:job:7", "data") == 5_000_000
