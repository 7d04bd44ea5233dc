"""Transactions that make rows and enqueue jobs for them: a process of its own, `python -m shop.traffic SCENARIO`.

It prints what is expected of the workers, as JSON: by job id, what the job is to return.
"""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import django

django.setup()

from django.db import connections, transaction  # noqa: E402  # Django comes first
from redis import Redis  # noqa: E402  # Django is set up first

import slimjobs  # noqa: E402  # Django is set up first
from shop import jobs  # noqa: E402  # Django is set up first
from shop.models import Email  # noqa: E402  # Django is set up first

ALIASES = ("default", "archive")
THREADS = 50


def queue(**options: Any) -> slimjobs.Queue:
    return slimjobs.Queue("shop", connection=Redis.from_url(os.environ["QUEUE_SAMPLES_REDIS_URL"]), **options)


def save(alias: str, subject: str) -> Any:
    return Email.everything.using(alias).create(subject=subject)


def together() -> dict[str, Any]:
    """Run 50 transactions at once, each of which makes a row and its job; a third of them is rolled back."""
    is_concurrent = connections["default"].vendor != "sqlite"  # where one writes, the others wait
    everyone = Barrier(THREADS, timeout=60)
    target = queue()

    def one(number: int) -> tuple[str, Any]:
        alias = ALIASES[number % 2]
        with transaction.atomic(using=alias):
            email = save(alias, f"{number}")
            job = target.enqueue(jobs.describe_once, email, job_id=f"job-{number}")
            if is_concurrent:
                everyone.wait()  # all rows are there, and no transaction has committed
            if number % 3 == 0:
                transaction.set_rollback(True, using=alias)
        connections.close_all()
        return job.id, None if number % 3 == 0 else [f"{number}", alias, email.pk]

    with ThreadPoolExecutor(THREADS) as pool:
        return dict(pool.map(one, range(THREADS)))


def one() -> dict[str, Any]:
    """Enqueue a job in a transaction."""
    with transaction.atomic():
        email = save("default", "one")
        return {queue().enqueue(jobs.describe_once, email).id: ["one", "default", email.pk]}


def in_turn() -> dict[str, Any]:
    """Enqueue two hundred jobs in transactions, every other of which rolls back, some of them to a savepoint."""
    target = queue()
    expected: dict[str, Any] = {}
    for number in range(200):
        alias = ALIASES[number // 2 % 2]
        is_undone = number % 2 == 0
        with transaction.atomic(using=alias):
            save(alias, "before")
            with transaction.atomic(using=alias, savepoint=number % 3 == 0):
                email = save(alias, f"{number}")
                job = target.enqueue(jobs.describe_once, email, job_id=f"job-{number}")
                if is_undone and number % 3 == 0:
                    transaction.set_rollback(True, using=alias)
            if is_undone and number % 3:
                transaction.set_rollback(True, using=alias)
        expected[job.id] = None if is_undone else [f"{number}", alias, email.pk]
    return expected


def too_early() -> dict[str, Any]:
    """Enqueue a job at once that is told to wait for its row, and commit when a worker has it."""
    target = queue(commit="now")
    with transaction.atomic():
        email = save("default", "late")
        job = target.enqueue(jobs.describe_once, email, wait_for_row=60)
        if target.connection.blpop(["begun"], timeout=60) is None:
            raise TimeoutError
    return {job.id: ["late", "default", email.pk]}


if __name__ == "__main__":
    scenario = {"one": one, "together": together, "in_turn": in_turn, "too_early": too_early}[sys.argv[1]]
    sys.stdout.write(json.dumps(scenario()))
