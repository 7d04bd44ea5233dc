"""Jobs with models in Django's own test cases."""

from __future__ import annotations

import unittest
from typing import TYPE_CHECKING, Any

import pytest
import sample_app
from queue_samples import run_worker

from slimjobs import Job, Queue

pytestmark = pytest.mark.slow

transaction: Any = pytest.importorskip("django.db.transaction")

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis


@pytest.fixture
def queue(redis: Redis) -> Queue:
    return Queue("letters", connection=redis)


@pytest.fixture
def enqueue(queue: Queue, shop: Any) -> Callable[[], Job]:
    """What an application does: save a row, and enqueue a job for it."""

    def save_and_enqueue(alias: str = "default") -> Any:
        return queue.enqueue(sample_app.record, shop.Email.everything.using(alias).create(subject="news"))

    return save_and_enqueue


def run(test: Callable[[Any], None], base: str = "TestCase") -> None:
    """Run a function as the test of one of Django's test cases."""
    import django.test

    case = type("Case", (getattr(django.test, base),), {"databases": {"default", "archive"}, "test_it": test})
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)  # with what is done once for the class
    assert result.testsRun == 1
    assert not result.errors + result.failures, "\n".join(text for _, text in result.errors + result.failures)


def test_a_test_case_enqueues_at_once(queue: Queue, enqueue: Callable[[], Job]) -> None:
    def test(_: Any) -> None:
        job = enqueue()
        assert queue.job_ids == [job.id]

    run(test)


@pytest.mark.parametrize("alias", ["default", "archive"])
def test_a_block_of_the_application_holds_back_until_it_ends(queue: Queue, enqueue: Any, alias: str) -> None:
    def test(_: Any) -> None:
        with transaction.atomic(using=alias):
            kept = enqueue(alias)
            with transaction.atomic(using=alias):
                inner = enqueue(alias)
            with transaction.atomic(using=alias):
                enqueue(alias)
                transaction.set_rollback(True, using=alias)
            assert queue.job_ids == []
        assert queue.job_ids == [kept.id, inner.id]
        with transaction.atomic(using=alias):
            enqueue(alias)
            transaction.set_rollback(True, using=alias)
        assert queue.job_ids == [kept.id, inner.id]

    run(test)
    assert queue.count == 2


@pytest.mark.parametrize("executes", [True, False])
def test_jobs_are_among_the_captured_callbacks_and_enqueued_once(queue: Queue, enqueue: Any, executes: bool) -> None:
    def test(case: Any) -> None:
        with case.captureOnCommitCallbacks(execute=executes) as callbacks, transaction.atomic():
            job = enqueue()
            assert queue.job_ids == []
        assert len(callbacks) == 1
        callbacks[0]()
        assert queue.job_ids == [job.id]

    run(test)


def test_a_transaction_test_case_commits(queue: Queue, enqueue: Callable[[], Job]) -> None:
    def test(_: Any) -> None:
        at_once = enqueue()
        with transaction.atomic():
            later = enqueue()
            assert queue.job_ids == [at_once.id]
        assert queue.job_ids == [at_once.id, later.id]

    run(test, "TransactionTestCase")


def test_a_synchronous_queue_runs_in_the_test(redis: Redis, shop: Any) -> None:
    queue = Queue("now", connection=redis, is_async=False)

    def test(_: Any) -> None:
        sample_app.CALLS.clear()
        with transaction.atomic():
            queue.enqueue(sample_app.record, shop.Email.everything.create(subject="news"))
            assert sample_app.CALLS == []
        [((email,), _)] = sample_app.CALLS
        assert email.subject == "news"

    run(test)


def test_a_worker_in_a_test_leaves_its_transaction_open(redis: Redis, shop: Any) -> None:
    from slimjobs.contrib import django_rq

    def test(_: Any) -> None:
        queue = django_rq.Queue("letters", connection=redis)
        email = shop.Email.everything.create(subject="news")
        job = queue.enqueue(sample_app.record, email)
        run_worker(django_rq.SimpleWorker, queue, redis)
        assert job.get_status(refresh=True) == "finished"
        assert shop.Email.everything.get() == email

    run(test)
    assert not shop.Email.everything.exists()
