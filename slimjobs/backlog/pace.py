"""How long Redis may be held up at once, and when: it serves nobody else meanwhile."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# Redis finds an id in a list by passing all before it, which takes 30 to 60 ns each (LREM, LINSERT and LPOS of Redis
# 6.2 and 7.0 with RQ's ids), and within a script 77 ns once: so many take less than 5 ms.
DEEP_PLACES = 60_000
_SHORT_SECONDS = 0.002
# In times of what the step took.
_REST = 2.0

# A worker's commands come in bursts, 30 within some 8 ms of a forked worker's job of 20 ms (RQ 3.0), and each would
# wait for half a step. So a step is for the moments in between: a millisecond for so many keys beside a worker. Fewer
# cost more by themselves, and by more a worker loses more (tests/benchmarks/audit.py).
_FEWEST_KEYS = 20
_MOST_KEYS = 120
# What a step may take, where keys take longer.
_STEP_SECONDS = 0.002
# In times of what a step took: how long Redis is left alone while nobody else sends anything, and how long at most.
_QUIET_REST = 0.3
_LONGEST_REST = 3.0
# How soon to look again, once others were heard.
_LISTENING_SECONDS = 0.0005
# Where Redis does not tell what a step took: twice what a key takes beside a worker.
_UNTOLD_KEY_SECONDS = 0.00002
# No Redis has been sent as many commands.
_ANY_COMMANDS = 2**53

# The beginning of a step's script: it returns early where more commands have been sent to Redis than ARGV[1]. Both
# INFO and TIME may be forbidden.
BEGIN_STEP = """
local function count_commands()
  local stats = redis.pcall('INFO', 'stats')
  return type(stats) == 'string' and tonumber(string.match(stats, 'total_commands_processed:(%d+)')) or 0
end
local function read_clock()
  local time = redis.pcall('TIME')
  return time.err and 0 or time[1] * 1000000 + time[2]
end
local commands_before, began = count_commands(), read_clock()
if commands_before > tonumber(ARGV[1]) then return {false, commands_before, count_commands(), 0} end
"""
# Its end, which `found` is the result of: a value, and what `Pace.note` takes.
END_STEP = """
local took = read_clock() - began
return {found, commands_before, count_commands(), took}
"""


class Pace:
    """How many keys a step of a scan walks, and when: once nobody else has sent a command, or after a rest.

    Attributes:
        keys: How many keys the next step should walk.
    """

    def __init__(self) -> None:
        self.keys = _FEWEST_KEYS
        self._key_seconds = 0.0
        # How many commands Redis has processed, and how many of them a step is by itself: the fewest between two.
        self._commands, self._own_commands = 0, 0
        self._sent_at = self._rests_until = self._due_at = 0.0

    def next_step(self) -> int:
        """Leave Redis alone for as long as it should be.

        Returns:
            The most commands that Redis may have processed when the step comes, for ARGV[1] of its script.
        """
        time.sleep(max(self._rests_until - time.perf_counter(), 0.0))
        self._sent_at = time.perf_counter()
        is_due = self._sent_at >= self._due_at or not self._own_commands
        return _ANY_COMMANDS if is_due else self._commands + self._own_commands

    def note(self, commands_before: int, commands: int, took_microseconds: int, *, has_walked: bool) -> None:
        """Note what a step's script tells.

        Args:
            commands_before: How many commands Redis had processed before; 0 where it does not tell.
            commands: How many when the script ended.
            took_microseconds: How long it held Redis up; 0 where that is not known, and less where its clock was turned
                back.
            has_walked: Whether it walked its keys, and was not put off by others' commands.
        """
        between = commands_before - self._commands
        if self._commands and between > 0:  # less after CONFIG RESETSTAT
            self._own_commands = min(self._own_commands or between, between)
        self._commands = commands
        if not has_walked:
            self._rests_until = time.perf_counter() + _LISTENING_SECONDS
            return
        took_seconds = max(took_microseconds, 0) / 1e6 or self.keys * _UNTOLD_KEY_SECONDS
        # What the answer takes on its way is rest for Redis too.
        ended_at = self._sent_at + took_seconds
        self._due_at = ended_at + took_seconds * _LONGEST_REST
        self._rests_until = ended_at + took_seconds * _QUIET_REST if self._own_commands else self._due_at
        # The mean of the last ten steps or so; one that was much longer is not repeated.
        self._key_seconds += (took_seconds / self.keys - self._key_seconds) * (0.1 if self._key_seconds else 1.0)
        most = self.keys // 2 if took_seconds > 2 * _STEP_SECONDS else min(2 * self.keys, _MOST_KEYS)
        self.keys = int(max(min(_STEP_SECONDS / self._key_seconds, most), _FEWEST_KEYS))


@contextmanager
def resting() -> Iterator[None]:
    """Leave Redis alone after a step for longer than the step took, if that was long."""
    began = time.perf_counter()
    yield
    took = time.perf_counter() - began
    if took > _SHORT_SECONDS:
        time.sleep(took * _REST)
