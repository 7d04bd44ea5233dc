"""Jobs that stock RQ pickled with models of Django, SQLAlchemy and Peewee: rewritten, they run with the rows."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

import slimjobs
from slimjobs.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable

    import rq
    from redis import Redis

    Run = Callable[..., str]

pytestmark = pytest.mark.slow

LARGE = "".join(f"{number:06}" for number in range(100_000))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str, status: int = 0) -> str:
        assert main(["repack", "--trust-pickle", "--apply", *arguments]) == status
        return capsys.readouterr().out

    return run


def work(redis: Redis) -> None:
    slim = slimjobs.Queue("mail", connection=redis)
    slimjobs.Worker([slim], connection=redis).work(burst=True, logging_level="CRITICAL")


def result_of(redis: Redis, job: Any) -> Any:
    found = slimjobs.Queue("mail", connection=redis).fetch_job(job.id)
    assert found is not None
    return found.return_value()


def data_bytes(redis: Redis, *jobs: Any) -> list[int]:
    return [redis.hstrlen(job.key, "data") for job in jobs]


def test_models_of_django(redis: Redis, queue: rq.Queue, run: Run, shop: Any) -> None:
    newsletter = shop.Newsletter.objects.create(title="weekly")
    email = shop.Email.objects.create(newsletter=newsletter, subject="hello", html=LARGE)
    hidden = shop.Email.everything.using("archive").create(subject="old", html=LARGE, is_hidden=True)
    campaign = shop.Campaign.objects.create(title="sale", budget="12.50")
    loaded = shop.Email.objects.select_related("newsletter").get(pk=email.pk)
    jobs = [
        queue.enqueue(email.describe),
        queue.enqueue("shop.models.Email.describe", loaded),
        queue.enqueue("shop.models.Email.describe", hidden),
        queue.enqueue("shop.jobs.subject", email=shop.Draft.objects.defer("html").get(pk=email.pk)),
        queue.enqueue("shop.models.Campaign.__str__", campaign),
        queue.enqueue("shop.jobs.subject", shop.Email.objects.all()),
    ]
    assert max(data_bytes(redis, *jobs[:3])) > 100_000
    output = run(status=1)
    *slim, query = data_bytes(redis, *jobs)
    assert max(slim) < 300
    assert query > 300
    assert "args[0]: it would be a list of its rows, and not a query" in output
    shop.Email.objects.filter(pk=email.pk).update(subject="hello again")
    work(redis)
    assert result_of(redis, jobs[0]) == ["hello again", "default", email.pk]
    assert result_of(redis, jobs[1]) == ["hello again", "default", email.pk]
    assert result_of(redis, jobs[2]) == ["old", "archive", hidden.pk]
    assert result_of(redis, jobs[3]) == "hello again"
    assert result_of(redis, jobs[4]) == f"Campaign object ({campaign.pk})"
    assert os.environ["DJANGO_SETTINGS_MODULE"] == "shop.settings"  # no --app was needed


def test_a_row_of_django_that_is_gone(redis: Redis, queue: rq.Queue, run: Run, shop: Any) -> None:
    email = shop.Email.objects.create(subject="hello", html=LARGE)
    job = queue.enqueue("shop.jobs.subject", email)
    before = data_bytes(redis, job)
    pk = email.pk
    email.delete()
    assert f"it has the only copy of Email {pk}" in run(status=1)
    assert data_bytes(redis, job) == before


def test_models_of_sqlalchemy_and_peewee(redis: Redis, queue: rq.Queue, run: Run, reading_room: Any) -> None:
    with reading_room.Session() as session:
        book = reading_room.Book(title=LARGE)
        session.add(book)
        session.commit()
        session.refresh(book)
        session.expunge(book)
    card = reading_room.Card.create(title=LARGE)
    jobs = [queue.enqueue(reading_room.describe, item) for item in (book, card)]
    jobs.append(queue.enqueue(book.describe))
    assert min(data_bytes(redis, *jobs)) > 100_000
    run("--app", "reading_room")
    assert max(data_bytes(redis, *jobs)) < 200
    with reading_room.Session() as session:
        session.get(reading_room.Book, 1).title = "new"
        session.commit()
    reading_room.Card.update(title="newer").execute()
    work(redis)
    assert result_of(redis, jobs[0]) == ["Book", 1, "new"]
    assert result_of(redis, jobs[1]) == ["Card", 1, "newer"]
    assert result_of(redis, jobs[2]) == ["Book", 1, "new"]
