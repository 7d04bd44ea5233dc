"""The newsletter's processes: the application that enqueues, a worker and a scheduler."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING

import rq
from rq.scheduler import RQScheduler

import slimjobs
from slimjobs.demo.newsletter import fetch_email, get_queue, open_database, send_batch
from slimjobs.demo.sample import BATCH_RECIPIENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WORKER_CLASSES: dict[str, type[rq.Worker]] = {"stock": rq.Worker, "slim": slimjobs.Worker}
SCHEDULER_CLASSES: dict[str, type[RQScheduler]] = {"stock": RQScheduler, "slim": slimjobs.Scheduler}


def enqueue_campaign() -> None:
    """Enqueue a job for every batch of subscribers and write the seconds that it took, as JSON."""
    email, queue = fetch_email(1), get_queue()
    with open_database() as database:
        addresses = [address for (address,) in database.execute("SELECT address FROM subscriber ORDER BY id")]
    started = time.perf_counter()
    for start in range(0, len(addresses), BATCH_RECIPIENTS):
        queue.enqueue(send_batch, email, addresses[start : start + BATCH_RECIPIENTS])
    json.dump({"seconds": time.perf_counter() - started}, sys.stdout)


def work() -> None:
    """Work on the queue until told to stop."""
    queue = get_queue()
    WORKER_CLASSES[os.environ["NEWSLETTER_QUEUE"]]([queue], connection=queue.connection).work()


def schedule() -> None:
    """Move due jobs to the queue until told to stop."""
    queue = get_queue()
    SCHEDULER_CLASSES[os.environ["NEWSLETTER_QUEUE"]]([queue], connection=queue.connection).work()  # type: ignore[no-untyped-call]


ROLES: dict[str, Callable[[], None]] = {"enqueue": enqueue_campaign, "worker": work, "scheduler": schedule}


def main(argv: Sequence[str]) -> int:
    """Run the role that `argv[0]` names."""
    ROLES[argv[0]]()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
