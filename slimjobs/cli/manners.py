"""Leave the machine to others: what reads a backlog may run beside the workers that empty it."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Item = TypeVar("Item")

# A small backlog is read sooner: on a machine without idle time, what stands aside waits 40 s for what takes 0.1 s.
_BRISK_SECONDS = 1.0


def stand_back() -> None:
    """Let every other process go first, as far as the system knows how to."""
    _go_after_others("SCHED_BATCH")


def standing_aside(steps: Iterable[Item]) -> Iterator[Item]:
    """Yield the steps of what only reads, and take only time that no other process wants, once it takes long.

    Args:
        steps: They do their work as they are asked for.
    """
    brisk_until, stands_aside = time.monotonic() + _BRISK_SECONDS, False
    for step in steps:
        if not stands_aside and time.monotonic() > brisk_until:
            # Beside one of SCHED_BATCH, a worker and its Redis were put on one core more often, and did 4 percent less.
            _go_after_others("SCHED_IDLE")
            stands_aside = True
        yield step


def _go_after_others(policy: str) -> None:
    with suppress(OSError):
        os.nice(19)
    if hasattr(os, policy):  # Linux
        with suppress(OSError):
            os.sched_setscheduler(0, getattr(os, policy), os.sched_param(0))
