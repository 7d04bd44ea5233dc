"""The shop's tasks under django-rq, on the queues of RQ_QUEUES."""

from __future__ import annotations

import os
import signal
from typing import Any

import django_rq
from django.db import connections
from rq import get_current_job

from shop.models import Email
from slimjobs.contrib.django_rq import job

FAILURES = "shop:failures"


@job
def greet(email: Email) -> str:
    return f"hello {email.subject}"


@job("shop", timeout=50, max_bytes="1 KiB", on_missing="discard")
def send(email: Email, recipients: list[str]) -> str:
    return email.send(*recipients)


def subject(email: Email) -> str:
    return str(email.subject)


def fail(email: Email) -> None:
    raise RuntimeError("the task failed")


def die(email: Email) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def query_on_failure(*_: Any) -> None:
    """Query as the handler of a killed work horse, which runs in the worker's own process."""
    Email.everything.count()


def connected() -> list[str]:
    """Return the aliases that were connected before the job asked for anything."""
    return [alias for alias in connections if connections[alias].connection is not None]


def pass_on(email: Email, is_failing: bool = False) -> None:
    """Enqueue another job, in the commit mode of requests."""
    django_rq.get_queue("shop", commit_mode="request_finished").enqueue(subject, email, job_id="passed-on")
    if is_failing:
        raise RuntimeError("the task failed")


def note_failure(failed: Any, *_: Any) -> bool:
    """Count failed jobs, as an exception handler whose module needs the models."""
    failed.connection.hset(FAILURES, failed.id, Email.everything.count())
    return True


def current_class() -> str:
    """Return the class of the job that runs this."""
    return type(get_current_job()).__module__
