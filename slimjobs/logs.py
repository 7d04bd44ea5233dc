"""The `slimjobs` logger, and how often a task may speak in it."""

from __future__ import annotations

import logging
import os
import time
from threading import Lock

logger = logging.getLogger("slimjobs")


class Throttle:
    """Lets one line through for a key and period, and counts those held back.

    Args:
        period_seconds: How long a key is silent after it has spoken.
    """

    def __init__(self, period_seconds: float = 60.0) -> None:
        self.period_seconds = period_seconds
        self._lock = Lock()
        self._spoken: dict[object, tuple[float, int]] = {}

    def admit(self, key: object) -> int | None:
        """Return how many lines were held back since the last one, or None to hold this one back."""
        now = time.monotonic()
        with self._lock:
            spoken_at, held_back = self._spoken.get(key, (None, 0))
            if spoken_at is not None and now - spoken_at < self.period_seconds:
                self._spoken[key] = (spoken_at, held_back + 1)
                return None
            self._spoken[key] = (now, 0)
            return held_back

    def renew(self) -> None:
        """Be usable in a process that was forked."""
        self._lock = Lock()

    def reset(self) -> None:
        """Let every key speak again; for tests."""
        with self._lock:
            self._spoken.clear()


size_warnings = Throttle()
damage_warnings = Throttle()
for throttle in (size_warnings, damage_warnings):
    # Another thread of the parent may have held its lock, for ever.
    os.register_at_fork(after_in_child=throttle.renew)
