"""How long Redis may be held up at once, and how it is left alone afterwards: it serves nobody else meanwhile."""

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


@contextmanager
def resting() -> Iterator[None]:
    """Leave Redis alone after a step for longer than the step took, if that was long."""
    began = time.perf_counter()
    yield
    took = time.perf_counter() - began
    if took > _SHORT_SECONDS:
        time.sleep(took * _REST)
