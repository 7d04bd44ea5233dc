"""Leave the machine to others: what reads a backlog may run beside the workers that empty it."""

from __future__ import annotations

import os
from contextlib import suppress


def stand_back() -> None:
    """Let every other process go first, as far as the system knows how to."""
    with suppress(OSError):
        os.nice(19)
    if hasattr(os, "SCHED_BATCH"):  # Linux
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
