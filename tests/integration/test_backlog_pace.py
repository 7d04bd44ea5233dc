"""A scan takes its steps while nobody else sends commands, and rests for longer where somebody always does."""

from __future__ import annotations

import statistics
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import pytest
import rq
from redis import Redis

from slimjobs.backlog.pace import Pace
from slimjobs.backlog.scan import Scan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.slow

JOBS = 500


class Clock:
    """A clock that is turned by hand, and by whoever sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Walk:
    """A scan of a real Redis, each step of which is said to have taken a millisecond there.

    Args:
        connection: The Redis.
        clock: The clock of the scan.
        others: Called before each step, with how many have been asked for: what others send.
        took_microseconds: What a step is said to have taken; None for what Redis tells.

    Attributes:
        sent_at: When each step came to Redis, by the clock.
        jobs: How many jobs the scan has found.
        walked_at: When those came that walked keys, and were not put off.
        took: How long each took by what Redis tells, in microseconds.
    """

    def __init__(
        self,
        connection: Redis,
        clock: Clock,
        others: Callable[[int], object] = lambda steps: None,
        took_microseconds: int | None = 1000,
    ) -> None:
        self.sent_at: list[float] = []
        self.walked_at: list[float] = []
        self.took: list[int] = []
        self._connection, self._clock, self._others = connection, clock, others
        self._took_microseconds = took_microseconds
        self.jobs = sum(tally.jobs for step in Scan(cast("Redis", self)) for tally in step.tallies)

    def evalsha(self, *arguments: Any) -> Any:
        """Let others send what they do, and then the step."""
        self._others(len(self.sent_at))
        self.sent_at.append(self._clock.now)
        answer: Any = self._connection.evalsha(*arguments)
        found, *commands, took = answer
        self.took.append(took)
        if found is not None:
            self.walked_at.append(self._clock.now)
        return found, *commands, took if self._took_microseconds is None else self._took_microseconds

    @property
    def rests(self) -> list[float]:
        """The time between steps that walked, in milliseconds."""
        return [round((after - before) * 1000, 3) for before, after in pairwise(self.walked_at)]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("slimjobs.backlog.pace.time", clock)
    return clock


@pytest.fixture(autouse=True)
def _backlog(redis: Redis) -> None:
    queue = rq.Queue("mail", connection=redis)
    queue.enqueue_many([rq.Queue.prepare_data("time.time") for _ in range(JOBS)])
    list(Scan(redis))  # Redis has its script


def test_a_redis_that_nobody_uses_is_left_alone_for_a_moment_only(redis: Redis, clock: Clock) -> None:
    walk = Walk(redis, clock)

    assert walk.jobs == JOBS
    assert walk.sent_at == walk.walked_at
    # Nothing is known of others before the second step.
    assert walk.rests[0] == 4.0
    assert set(walk.rests[1:]) == {1.3}


def test_a_step_is_put_off_while_others_send_commands_but_not_for_ever(redis: Redis, clock: Clock) -> None:
    walk = Walk(redis, clock, lambda steps: redis.ping() if steps > 2 else None)

    assert walk.jobs == JOBS
    assert len(walk.sent_at) > 5 * len(walk.walked_at)
    # Looked at after 1.3 ms and then every 0.5: the first look once three times the step have passed.
    assert set(walk.rests[2:]) == {4.3}


def test_a_step_is_taken_as_soon_as_others_are_silent(redis: Redis, clock: Clock) -> None:
    walk = Walk(redis, clock, lambda steps: redis.ping() if steps in (3, 4, 8) else None)

    assert walk.jobs == JOBS
    assert walk.rests[:6] == [4.0, 1.3, 2.3, 1.3, 1.3, 1.8]


def test_silence_is_known_after_counts_were_reset_and_others_are_too(redis: Redis, clock: Clock) -> None:
    def reset(steps: int) -> None:
        if steps == 4:
            redis.config_resetstat()
        if steps > 6:
            redis.ping()

    walk = Walk(redis, clock, reset)

    assert walk.jobs == JOBS
    assert set(walk.rests[1:6]) == {1.3}
    assert set(walk.rests[6:]) == {4.3}


def without(command: str, redis: Redis, redis_url: str) -> Redis:
    """Return a connection that may do all but this."""
    redis.acl_setuser("reader", enabled=True, passwords=["+secret"], keys=["*"], commands=["+@all", f"-{command}"])
    return Redis.from_url(redis_url, username="reader", password="secret")


@pytest.fixture(autouse=True)
def _no_reader(redis: Redis) -> Iterator[None]:
    yield
    redis.acl_deluser("reader")


def test_a_redis_that_does_not_tell_of_others_is_taken_for_busy(redis: Redis, redis_url: str, clock: Clock) -> None:
    walk = Walk(without("info", redis, redis_url), clock)

    assert walk.jobs == JOBS
    assert set(walk.rests) == {4.0}


def test_a_redis_that_tells_no_time_is_taken_for_slow(redis: Redis, redis_url: str, clock: Clock) -> None:
    walk = Walk(without("time", redis, redis_url), clock, took_microseconds=None)

    assert walk.jobs == JOBS
    assert set(walk.took) == {0}
    # 20 microseconds for each of 20 keys, and then of as many as go into a step.
    assert walk.rests[0] == pytest.approx(4 * 0.4)
    assert walk.rests[-1] == pytest.approx(1.3 * 2.0, rel=0.02)


def test_redis_tells_how_long_it_was_held_up(redis: Redis, clock: Clock) -> None:
    walk = Walk(redis, clock, took_microseconds=None)

    assert walk.jobs == JOBS
    assert min(walk.took) >= 1  # microseconds; the last step may find next to nothing
    assert statistics.median(walk.took) > 10


def test_a_step_has_fewer_keys_where_redis_takes_longer_for_each() -> None:
    quick, usual, slow = Pace(), Pace(), Pace()
    for _ in range(20):
        quick.note(1, 1, 10 * quick.keys, has_walked=True)
        usual.note(1, 1, 40 * usual.keys, has_walked=True)
        slow.note(1, 1, 500 * slow.keys, has_walked=True)

    assert quick.keys == 120
    assert usual.keys == pytest.approx(50, abs=1)  # two milliseconds
    assert slow.keys == 20  # not fewer, however slow it is


def test_a_clock_that_is_turned_back_is_no_step_of_negative_length(clock: Clock) -> None:
    pace = Pace()
    for _ in range(20):
        pace.next_step()
        pace.note(1, 1, -5_000_000, has_walked=True)

    assert pace.keys == 100  # as where no time is told
    assert clock.now > 20 * 0.0004
