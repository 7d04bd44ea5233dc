"""Jobs that wait for a transaction are recorded at the call, and reach Redis as they do without a record."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest
import rq
import sample_app
from rq_versions import UNIQUE, needs_django_rq, needs_unique_jobs

import slimjobs
from slimjobs.testing import record

pytestmark = needs_django_rq

transaction: Any = pytest.importorskip("django.db.transaction")

if TYPE_CHECKING:
    from redis import Redis


@pytest.fixture
def queue(redis: Redis, shop: Any) -> Any:
    """A queue of stock django-rq, as it is by default."""
    queues: Any = pytest.importorskip("django_rq.queues")
    return queues.DjangoRQ("shop", connection=redis, commit_mode="on_db_commit")


class Holder:
    def __init__(self, inside: Any) -> None:
        self.inside = inside


@pytest.mark.parametrize("wrap", [lambda rows: rows, lambda rows: [{"rows": rows}], Holder])
def test_a_query_is_read_at_the_commit_and_not_before(wrap: Any, queue: Any, shop: Any) -> None:
    import django.db
    from django.test.utils import CaptureQueriesContext

    rows = shop.Email.everything.all()
    with record() as recorded, transaction.atomic():
        with CaptureQueriesContext(django.db.connection) as queries:
            queue.enqueue(sample_app.give_back, wrap(rows), job_id="one")
        assert len(queries) == 0
        ((_, label),) = recorded.jobs[0].models
        assert (recorded.jobs[0].task, label) == ("sample_app.give_back", "QuerySet[Email]")
        shop.Email.everything.create(subject="news")
    assert len(rq.job.Job.fetch("one", connection=queue.connection).data) > recorded.jobs[0].size_bytes
    assert [email.subject for email in rows] == ["news"]


def test_a_lazy_object_is_made_at_the_commit_and_not_before(queue: Any) -> None:
    from django.utils.functional import SimpleLazyObject

    made: list[str] = []

    def make() -> str:
        made.append("ann")
        return made[0]

    with record() as recorded, transaction.atomic():
        queue.enqueue(sample_app.give_back, SimpleLazyObject(make))
        assert made == []
        assert recorded.jobs[0].models == ()
    assert made == ["ann"]


@needs_unique_jobs
@pytest.mark.parametrize("block", [nullcontext, transaction.atomic])
def test_a_unique_job_without_an_id_is_refused_as_ever(block: Any, queue: Any) -> None:
    with record(), pytest.raises(ValueError, match="requires an explicit job_id"), block():
        queue.enqueue(sample_app.give_back, "abc", **UNIQUE)
    assert queue.job_ids == []


def test_a_job_that_has_grown_while_it_waited_is_recorded_as_it_was_written(queue: Any) -> None:
    recipients: list[str] = []
    with record() as recorded, transaction.atomic():
        queue.enqueue(sample_app.give_back, recipients)
        recipients += ["ann@example.org"] * 9
    told, written = recorded.jobs
    assert told.id == written.id == queue.job_ids[0]
    assert told.size_bytes < written.size_bytes == len(queue.jobs[0].data)


def test_a_job_that_has_not_grown_while_it_waited_is_recorded_once(queue: Any, shop: Any) -> None:
    with record() as recorded, transaction.atomic():
        queue.enqueue(sample_app.give_back, shop.Email.everything.create(subject="news"))
    assert [job.id for job in recorded.jobs] == queue.job_ids


def test_a_larger_job_of_the_same_id_is_recorded_after_one_was_dropped(queue: Any) -> None:
    with record() as recorded:
        with transaction.atomic():
            queue.enqueue(sample_app.give_back, "x", job_id="digest")
            transaction.set_rollback(True)
        queue.enqueue(sample_app.give_back, "x" * 1000, job_id="digest")
    assert [job.size_bytes > 1000 for job in recorded.jobs] == [False, True]


def test_a_job_of_the_same_id_is_recorded_after_one_of_ours_was_written(redis: Redis, shop: Any) -> None:
    queue = slimjobs.Queue("letters", connection=redis)
    with record() as recorded:
        with transaction.atomic():
            email = shop.Email.everything.create(subject="news")
            queue.enqueue(sample_app.record, email, job_id="digest")
        assert queue.job_ids == ["digest"]
        queue.enqueue(sample_app.record, email, job_id="digest")
    assert [job.id for job in recorded.jobs] == ["digest", "digest"]
