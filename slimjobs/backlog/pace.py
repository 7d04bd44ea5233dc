"""How long Redis may be held up at once, and how it is left alone afterwards: it serves nobody else meanwhile."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from redis.exceptions import ResponseError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

# Redis finds an id in a list by passing all before it, which takes 30 to 60 ns each (LREM, LINSERT and LPOS of Redis
# 6.2 and 7.0 with RQ's ids), and within a script 77 ns once: so many take less than 5 ms.
DEEP_PLACES = 60_000
_SHORT_SECONDS = 0.002
# In times of what the step took.
_REST = 2.0


class _Manner(NamedTuple):
    """How long a step of a scan should take in Redis, and how long Redis is left alone after it, in times of that."""

    step_seconds: float
    rest: float


# The commands of others wait less for shorter steps, of which more goes to what every step costs; a longer rest costs a
# worker less, and makes the audit take longer. Measured with tests/benchmarks/audit.py: a rest of 0.8 left a forked
# worker 0.80 of its rate, this one 0.89.
_BESIDE_OTHERS = _Manner(0.001, 1.8)
_ALONE = _Manner(0.002, 0.5)
# What others may send in a second and nobody is at work: a stock worker of RQ 3.0 sends 6 KiB a job.
_NOBODY_BYTES = 16 * 2**10
_LOOK_SECONDS = 0.25
_FEWEST_KEYS, _MOST_KEYS = 20, 400
# A step that seems to take longer was none of Redis: this process was stopped, or the network.
_LONGEST_SECONDS = 0.05


class Pace:
    """How many keys a step of a scan walks, and how long Redis is left alone after it: longer where others are at work.

    Args:
        connection: The Redis.

    Attributes:
        keys: How many keys the next step should walk.
        is_alone: Whether nobody else has sent Redis much lately.
    """

    def __init__(self, connection: Redis) -> None:
        self._connection = connection
        self.keys = _FEWEST_KEYS
        self.is_alone = False
        self._key_seconds = self._rest_seconds = self._late_seconds = 0.0
        self._travel_seconds = self._measure_travel()
        self._sent_bytes, self._received_bytes = 0, self._count_received()
        self._ended_at = self._looked_at = time.perf_counter()

    @contextmanager
    def step(self, *arguments: bytes | float | str) -> Iterator[None]:
        """Measure a step.

        Args:
            arguments: The command that it sends.
        """
        began = time.perf_counter()
        yield
        self._ended_at = time.perf_counter()
        busy_seconds = min(max(self._ended_at - began - self._travel_seconds, 0.0), _LONGEST_SECONDS)
        self._sent_bytes += _bytes_of(arguments)
        step_seconds, rest = self._manner
        self._rest_seconds = busy_seconds * rest
        # The mean of the last ten steps or so; one that was much longer is not repeated.
        self._key_seconds += (busy_seconds / self.keys - self._key_seconds) * (0.1 if self._key_seconds else 1.0)
        most = self.keys // 2 if busy_seconds > 2 * step_seconds else min(2 * self.keys, _MOST_KEYS)
        self.keys = int(max(min(step_seconds / max(self._key_seconds, 1e-9), most), _FEWEST_KEYS))

    def rest(self) -> None:
        """Leave Redis alone after a step; the time since it ended counts."""
        if self._ended_at - self._looked_at > _LOOK_SECONDS:
            self._look()
        until = self._ended_at + self._rest_seconds - self._late_seconds
        time.sleep(max(until - time.perf_counter(), 0.0))
        # A sleep ends some 0.1 ms late, which the next makes up for.
        self._late_seconds = min(time.perf_counter() - until, self._manner.step_seconds)

    @property
    def _manner(self) -> _Manner:
        return _ALONE if self.is_alone else _BESIDE_OTHERS

    def _look(self) -> None:
        """Find whether others have sent anything since the last look."""
        received_bytes, now = self._count_received(), time.perf_counter()
        others_bytes = received_bytes - self._received_bytes - self._sent_bytes
        # Less than nothing is known after CONFIG RESETSTAT, and where a Redis does not tell.
        self.is_alone = 0 < others_bytes < _NOBODY_BYTES * (now - self._looked_at)
        self._sent_bytes, self._received_bytes, self._looked_at = 0, received_bytes, now

    def _count_received(self) -> int:
        """Return how many bytes Redis has been sent so far, by all; 0 where it does not tell."""
        try:
            stats: Any = self._connection.info("stats")
        except ResponseError:  # not allowed
            return 0
        return int(stats.get("total_net_input_bytes", 0))

    def _measure_travel(self) -> float:
        """Return how long a command takes that does nothing, after a rest: both sides wake up first."""
        seconds = []
        for _ in range(8):
            time.sleep(_BESIDE_OTHERS.step_seconds)
            began = time.perf_counter()
            self._connection.ping()
            seconds.append(time.perf_counter() - began)
        return sorted(seconds)[2]  # others may have been served in between


def _bytes_of(arguments: tuple[bytes | float | str, ...]) -> int:
    """Return how many bytes a command has on its way to Redis (RESP: an array of bulk strings)."""
    lengths = [len(argument if isinstance(argument, bytes) else str(argument)) for argument in arguments]
    return 3 + len(str(len(lengths))) + sum(5 + len(str(length)) + length for length in lengths)


@contextmanager
def resting() -> Iterator[None]:
    """Leave Redis alone after a step for longer than the step took, if that was long."""
    began = time.perf_counter()
    yield
    took = time.perf_counter() - began
    if took > _SHORT_SECONDS:
        time.sleep(took * _REST)
