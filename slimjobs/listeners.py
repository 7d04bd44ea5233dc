"""Who is told of what does not reach Redis at the call: payloads that are refused, and jobs that wait for a commit.

What records jobs in tests adds itself here; else nobody listens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from rq.job import Job as RQJob

    from slimjobs.errors import SlimjobsError

of_refusals: list[Callable[[SlimjobsError], None]] = []
of_waiting_jobs: list[Callable[[RQJob], None]] = []


def refused(error: SlimjobsError) -> None:
    """Tell of a payload or a batch that is over its limit, about to be raised."""
    for listener in of_refusals:
        listener(error)


def waits(job: RQJob) -> None:
    """Tell of a job that is written when a transaction commits, and may never be."""
    for listener in of_waiting_jobs:
        listener(job)
