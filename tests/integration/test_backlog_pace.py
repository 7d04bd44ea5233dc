"""A scan leaves Redis alone for longer where others are at work, and goes through a Redis of its own quickly."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
import rq
from redis import Redis

from slimjobs.backlog.pace import Pace
from slimjobs.backlog.scan import Scan

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.slow

TEXT = b"x" * 20_000
# Two looks at what others send.
SECONDS = 0.6


def walk(pace: Pace, redis: Redis, others: Callable[[], object] = lambda: None) -> bool:
    """Take short steps for a while, with others' commands in between; return whether there are no others."""
    ends_at = time.monotonic() + SECONDS
    while time.monotonic() < ends_at:
        with pace.step("PING"):
            redis.ping()
        others()
        pace.rest()
    return pace.is_alone


def send_much(redis: Redis) -> None:
    redis.set("cache", TEXT)


def test_others_are_noticed_and_so_is_that_they_went(redis: Redis) -> None:
    pace = Pace(redis)
    assert not pace.is_alone  # before anything is known
    assert walk(pace, redis)
    assert not walk(pace, redis, lambda: send_much(redis))
    assert walk(pace, redis)


def test_a_worker_that_has_nothing_to_do_is_nobody(redis: Redis) -> None:
    pace = Pace(redis)
    assert walk(pace, redis, lambda: redis.set("heartbeat", b"1") if time.monotonic() % 1 < 0.01 else None)


def test_what_a_scan_sends_is_not_taken_for_others(redis: Redis) -> None:
    pace = Pace(redis)
    ends_at = time.monotonic() + SECONDS
    while time.monotonic() < ends_at:
        with pace.step("SET", "long", TEXT, "PX", 10_000):
            redis.set("long", TEXT, px=10_000)
        pace.rest()
    assert pace.is_alone


def test_nobody_is_not_concluded_from_counts_that_were_reset(redis: Redis) -> None:
    pace = Pace(redis)
    redis.set("large", TEXT * 1000)
    walk(pace, redis)

    def reset_once_much_was_sent() -> None:
        send_much(redis)
        redis.config_resetstat()

    assert not walk(pace, redis, reset_once_much_was_sent)


def test_a_redis_that_does_not_tell_is_taken_for_busy(redis: Redis, redis_url: str) -> None:
    redis.acl_setuser("reader", enabled=True, passwords=["+secret"], keys=["*"], commands=["+@all", "-info"])
    try:
        rq.Queue("mail", connection=redis).enqueue("time.time")
        reader = Redis.from_url(redis_url, username="reader", password="secret")
        assert not walk(Pace(reader), reader)
        assert sum(tally.jobs for step in Scan(reader) for tally in step.tallies) == 1
    finally:
        redis.acl_deluser("reader")


class Clock:
    """A clock that is turned by hand, and by whoever sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("slimjobs.backlog.pace.time", clock)
    return clock


@pytest.mark.parametrize(("is_alone", "times"), [(False, 2.8), (True, 1.5)])
def test_redis_is_left_alone_for_longer_than_a_step_takes(
    redis: Redis, clock: Clock, is_alone: bool, times: float
) -> None:
    pace = Pace(redis)
    began = clock.now
    for _ in range(20):
        pace.is_alone = is_alone
        with pace.step("EVAL"):
            clock.sleep(0.002)
        pace.rest()
    assert clock.now - began == pytest.approx(20 * 0.002 * times)


def test_the_keys_of_a_step_are_as_many_as_redis_can_walk_in_a_millisecond(redis: Redis, clock: Clock) -> None:
    quick, slow = Pace(redis), Pace(redis)
    for _ in range(20):
        with quick.step("EVAL"):
            clock.sleep(10e-6 * quick.keys)
        with slow.step("EVAL"):
            clock.sleep(500e-6 * slow.keys)
    assert quick.keys == pytest.approx(100, abs=1)
    assert slow.keys == 20  # not fewer, however slow it is
