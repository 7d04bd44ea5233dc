"""Calls that a type checker lets pass, and what it knows of them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from redis import Redis
from rq import Queue as StockQueue
from rq import Retry
from rq.job import Job as StockJob
from rq.queue import EnqueueData
from typing_extensions import assert_type

import slimjobs
from slimjobs import Ledger, Limits, Queue, Ref, SimpleWorker, SpawnWorker, Worker
from slimjobs.contrib.django_rq import job as django_rq_job
from slimjobs.ledger import HourRow, LedgerRow

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

connection = Redis()


class Email:
    id: int

    def send(self) -> int:
        return self.id


def load_email(pk: int) -> Email | None:
    return None


def load_emails(pks: list[int]) -> dict[int, Email]:
    return {}


def connect() -> Redis:
    return connection


@slimjobs.job("mail", connection=connection, timeout="5m", max_bytes="1 MiB", on_missing="discard", retry=Retry(max=3))
def send_email(email: Email, recipients: list[str], *, subject: str = "") -> int:
    return len(recipients)


@slimjobs.job("mail", connection=connect, queue_class=StockQueue)
async def send_later(email: Email) -> str:
    return ""


@slimjobs.job(Queue("mail", connection=connection))
def nothing() -> None: ...


email = Email()
assert_type(send_email(email, ["ann"]), int)
assert_type(send_email.enqueue(email, ["ann"], subject="hello"), StockJob)
assert_type(send_email.delay(email, recipients=["ann"]), StockJob)
assert_type(send_email.enqueue_in(timedelta(minutes=5), email, ["ann"]), StockJob)
assert_type(send_email.enqueue_at(datetime.now(timezone.utc), email, ["ann"], subject=""), StockJob)
assert_type(send_email.prepare(email, ["ann"]), EnqueueData)
assert_type(send_email.enqueue_many(send_email.prepare(email, [name]) for name in "abc"), list[StockJob])
assert_type(send_email.options(at_front=True, job_id="x").enqueue(email, ["ann"]), StockJob)
assert_type(send_email.options(at_front=True).options(ttl=5).enqueue_in(timedelta(1), email, []), StockJob)
assert_type(nothing.enqueue(), StockJob)
later: Coroutine[Any, Any, str] = send_later(email)
assert_type(send_later.enqueue(email), StockJob)

a_callable: Callable[..., int] = send_email
name: str = send_email.__name__

queue = Queue("mail", connection=connection, limits=Limits(max_bytes="1 MiB", mode="warn"))
assert_type(queue.enqueue(send_email, email, ["ann"]), StockJob)
assert_type(queue.enqueue(email.send), StockJob)
Queue("mail", connection=connection, limits={"max_bytes": 5}, is_async=False)
Worker(["mail"], connection=connection)
SimpleWorker([queue], connection=connection, name="one")
SpawnWorker("mail", connection=connection)

assert_type(slimjobs.register(Email, load=load_email), type[Email])
slimjobs.register(Email, load_many=load_emails, name="mail.email", id=lambda each: each.id, aliases=["old.Email"])
assert_type(slimjobs.register_type(Email, "email", lambda each: each.id, lambda pk: Email()), type[Email])
slimjobs.configure(max_bytes="1 MiB", mode="track", describe="values", read_pickle=True)

assert_type(Ledger(connection).totals(), list[LedgerRow])
assert_type(Ledger(connection).hours(), list[HourRow])
assert_type(Ref("a", 1).name, str)


def django_rq_tasks() -> None:
    assert_type(greet(Email()), str)
    assert_type(greet.enqueue(Email()), StockJob)
    assert_type(remind.enqueue_in(timedelta(1), Email(), ["ann"]), StockJob)


@django_rq_job
def greet(email: Email) -> str:
    return str(email.id)


@django_rq_job("mail", timeout=50, max_bytes="8 KiB", on_missing="discard")
def remind(email: Email, recipients: list[str]) -> None:
    """Be a task."""
