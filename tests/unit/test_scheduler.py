"""The scheduler's rounds: all that is due, the locks meanwhile, and what stops one queue alone."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
import rq
from queue_samples import give
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from rq.scheduler import RQScheduler

from slimjobs import Scheduler, entries, scheduler
from slimjobs.schedule import CHUNK_JOBS, Schedule

if TYPE_CHECKING:
    from collections.abc import Iterator

LONG_AGO = datetime(2020, 1, 1, tzinfo=timezone.utc)


@pytest.fixture(autouse=True)
def log_level() -> Iterator[None]:
    log = logging.getLogger("rq.scheduler")
    before = log.level
    yield
    log.setLevel(before)


def fill(redis: Redis, jobs: int, *names: str) -> dict[str, rq.Queue]:
    queues = {name: rq.Queue(name, connection=redis) for name in names}
    for queue in queues.values():
        first = queue.enqueue_at(LONG_AGO, give, 1, job_id="0")
        fields: Any = redis.hgetall(first.key)
        with redis.pipeline() as pipeline:
            for number in range(1, jobs):
                pipeline.hset(f"rq:job:{number}", mapping=fields)
                pipeline.zadd(f"rq:scheduled:{queue.name}", {str(number): number})
            pipeline.execute()
    return queues


def start(redis: Redis, *names: str, **options: Any) -> Scheduler:
    """Return a scheduler that has its locks, and is about to begin a round."""
    made = Scheduler(names, redis, logging_level="INFO", **options)
    made.acquire_locks()  # type: ignore[no-untyped-call]
    made.heartbeat()
    return made


def rival(redis: Redis, name: str) -> None:
    """Let another scheduler have the lock of a queue."""
    redis.set(RQScheduler.get_locking_key(name), "rival", ex=60)


def scheduled(redis: Redis, name: str) -> int:
    return redis.zcard(f"rq:scheduled:{name}")


def test_one_round_moves_all_that_is_due(redis: Redis) -> None:
    queues = fill(redis, 3 * CHUNK_JOBS + 1, "a", "b")
    start(redis, "a", "b").enqueue_scheduled_jobs()

    for name, queue in queues.items():
        assert queue.count == 3 * CHUNK_JOBS + 1
        assert scheduled(redis, name) == 0


def test_it_stops_between_two_chunks(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(redis, 3 * CHUNK_JOBS, "a")
    made = start(redis, "a")
    after_each_chunk(monkeypatch, lambda _: made.request_stop())
    made.enqueue_scheduled_jobs()

    assert scheduled(redis, "a") == 2 * CHUNK_JOBS


def after_each_chunk(monkeypatch: pytest.MonkeyPatch, then: Any) -> None:
    move = Schedule.move_due

    def moved(self: Schedule) -> Any:
        chunk = move(self)
        then(self.queue)
        return chunk

    monkeypatch.setattr(Schedule, "move_due", moved)


@pytest.mark.skipif(not hasattr(RQScheduler, "register_birth"), reason="locks have owners since RQ 2.11")
def test_a_queue_whose_lock_was_lost_is_left_to_its_new_owner(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(redis, 3 * CHUNK_JOBS, "a", "b")
    made = start(redis, "a", "b")
    monkeypatch.setattr(scheduler, "HEARTBEAT_SECONDS", -1.0)  # before each chunk
    after_each_chunk(monkeypatch, lambda name: rival(redis, "a") if name == "a" else None)
    made.enqueue_scheduled_jobs()

    assert (scheduled(redis, "a"), scheduled(redis, "b")) == (2 * CHUNK_JOBS, 0)
    made.stop()  # type: ignore[no-untyped-call]
    assert redis.get(RQScheduler.get_locking_key("a")) == b"rival"


def test_locks_are_kept_during_a_long_round(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(redis, 3 * CHUNK_JOBS, "a")
    made = start(redis, "a")
    lock = RQScheduler.get_locking_key("a")
    left: list[int] = []
    monkeypatch.setattr(scheduler, "HEARTBEAT_SECONDS", -1.0)

    def shorten(_: str) -> None:
        left.append(redis.ttl(lock))
        redis.expire(lock, 5)

    after_each_chunk(monkeypatch, shorten)
    made.enqueue_scheduled_jobs()

    assert len(left) == 4
    assert min(left) > 55


def test_what_is_wrong_with_one_queue_does_not_stop_the_others(redis: Redis) -> None:
    fill(redis, 2 * CHUNK_JOBS, "a", "b", "c")
    redis.set("rq:queue:b", "x")
    with pytest.raises(ResponseError, match=r"the schedule of queue b: .*WRONGTYPE"):
        start(redis, "a", "b", "c").enqueue_scheduled_jobs()

    assert [scheduled(redis, name) for name in "abc"] == [0, 2 * CHUNK_JOBS, 0]


def test_a_broken_job_is_told_of_in_one_line_without_its_values(redis: Redis, caplog: pytest.LogCaptureFixture) -> None:
    rq.Queue("a", connection=redis).enqueue_at(LONG_AGO, give, "secret", job_id="x")
    redis.hdel("rq:job:x", "data")
    made = start(redis, "a")
    caplog.clear()
    made.enqueue_scheduled_jobs()
    made.enqueue_scheduled_jobs()

    assert [record.getMessage() for record in caplog.records] == [
        "Job x stays on the schedule of queue a for another hour: its hash has no data"
    ]


def test_where_scripts_may_not_run_it_moves_jobs_as_rq_does(redis: Redis, caplog: pytest.LogCaptureFixture) -> None:
    fill(redis, 3, "a")
    redis.acl_setuser("plain", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-eval", "-evalsha"])
    try:
        kwargs = redis.connection_pool.connection_kwargs
        plain = Redis(host=kwargs["host"], port=kwargs["port"], username="plain", password="any")
        made = Scheduler(["a"], plain)
        made.prepare_registries(["a"])
        made.enqueue_scheduled_jobs()
        fill(redis, 2, "a")
        made.enqueue_scheduled_jobs()
        made.connection.close()
        plain.close()
    finally:
        redis.acl_deluser("plain")

    assert scheduled(redis, "a") == 0
    assert rq.Queue("a", connection=redis).count == 5
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_fakeredis_without_scripts_is_served_as_rq_does_it(fake_redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    queues = fill(fake_redis, 3, "a")
    monkeypatch.setattr(entries, "_HAS_LUA", False)
    made = Scheduler(["a"], fake_redis)
    monkeypatch.setattr(made, "_connection", fake_redis)
    made.prepare_registries(["a"])
    made.enqueue_scheduled_jobs()

    assert queues["a"].count == 3


def test_work_goes_on_when_redis_was_away(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    queues = fill(redis, 3, "a")
    made = Scheduler(["a"], redis, interval=0)
    failures = iter([RedisConnectionError("gone"), RedisConnectionError("gone")])
    move = Scheduler.enqueue_scheduled_jobs

    def fail_first(self: Scheduler) -> None:
        for error in failures:
            raise error
        move(self)
        self.request_stop()

    monkeypatch.setattr(Scheduler, "_install_signal_handlers", lambda _: None)
    monkeypatch.setattr(Scheduler, "enqueue_scheduled_jobs", fail_first)
    made.work()

    assert queues["a"].count == 3
    assert not redis.exists(RQScheduler.get_locking_key("a"))
    assert len([record for record in caplog.records if "until Redis works: gone" in record.getMessage()]) == 1


def test_work_once_leaves_queues_of_other_schedulers(redis: Redis) -> None:
    fill(redis, 3, "a", "b")
    rival(redis, "b")
    made = Scheduler(["a", "b"], redis)

    assert made.work_once() == {"a"}
    assert [scheduled(redis, name) for name in "ab"] == [0, 3]
    assert redis.get(RQScheduler.get_locking_key("b")) == b"rival"
    assert redis.keys("rq:scheduler:*") == []
    assert not redis.exists(RQScheduler.get_locking_key("a"))


def test_a_job_that_is_not_due_waits(redis: Redis) -> None:
    queue = rq.Queue("a", connection=redis)
    queue.enqueue_in(timedelta(hours=1), give, 1)
    start(redis, "a").enqueue_scheduled_jobs()

    assert (queue.count, scheduled(redis, "a")) == (0, 1)


def test_locks_of_others_are_asked_for_every_ten_seconds(redis: Redis) -> None:
    rival(redis, "b")
    working = start(redis, "a", "b")
    asked_at: Any = working.lock_acquisition_time
    assert working.acquired_locks == {"a"}

    def asks_after(seconds: int) -> bool:
        working.lock_acquisition_time = asked_at - timedelta(seconds=seconds)
        return working.should_reacquire_locks

    assert [asks_after(9), asks_after(11)] == [False, True]
    redis.delete(RQScheduler.get_locking_key("b"))
    working.acquire_locks()  # type: ignore[no-untyped-call]
    assert not asks_after(11)
