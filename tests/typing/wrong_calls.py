"""Calls that a type checker must not let pass: under --strict, an ignore that ignores nothing is an error."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from redis import Redis

import slimjobs
from slimjobs import Limits, Queue
from slimjobs.contrib.django_rq import job as django_rq_job


class Email:
    id: int


def load_email(pk: int) -> Email | None:
    return None


@slimjobs.job("mail", connection=Redis())
def send_email(email: Email, recipients: list[str], *, subject: str = "") -> int:
    return len(recipients)


email = Email()
send_email(email)  # type: ignore[call-arg]
send_email(email, "ann")  # type: ignore[arg-type]
send_email.enqueue(email)  # type: ignore[call-arg]
send_email.enqueue(email, [1])  # type: ignore[list-item]
send_email.enqueue(1, ["ann"])  # type: ignore[arg-type]
send_email.enqueue(email, ["ann"], subjekt="hello")  # type: ignore[call-arg]
send_email.enqueue(email, ["ann"], job_id="x")  # type: ignore[call-arg]  # that goes into options()
send_email.delay(email, ["ann"], "hello")  # type: ignore[call-arg]
send_email.enqueue_in(5, email, ["ann"])  # type: ignore[arg-type]
send_email.enqueue_in(timedelta(1), email)  # type: ignore[call-arg]
send_email.enqueue_at(timedelta(1), email, ["ann"])  # type: ignore[arg-type]
send_email.enqueue_at(datetime.now(timezone.utc), ["ann"], email)  # type: ignore[arg-type]
send_email.prepare(email, ["ann"], subject=1)  # type: ignore[arg-type]
send_email.enqueue_many([email])  # type: ignore[list-item]
send_email.options(at_front=True).enqueue(email)  # type: ignore[call-arg]
send_email.options(at_front=True).prepare(email, 5)  # type: ignore[arg-type]
send_email.enqueue_later(email)  # type: ignore[attr-defined]

slimjobs.job("mail", mode="refuse")  # type: ignore[arg-type]
slimjobs.job("mail", on_missing="ignore")  # type: ignore[arg-type]
slimjobs.job("mail", max_bytes=1.5)  # type: ignore[arg-type]
slimjobs.configure(max_byte=5)  # type: ignore[call-arg]
slimjobs.configure(describe="all")  # type: ignore[arg-type]
slimjobs.register(Email, load=load_email, aliases=5)  # type: ignore[arg-type]
slimjobs.register(Email, load=lambda pk: "text")  # type: ignore[arg-type, return-value]
Limits(mode="refuse")  # type: ignore[arg-type]
Queue("mail", connection=Redis(), limits="64 KiB")  # type: ignore[arg-type]


@django_rq_job
def greet(email: Email) -> None:
    """Be a task."""


greet.enqueue(1)  # type: ignore[arg-type]
greet.enqueue(Email(), 1)  # type: ignore[call-arg]
