"""The shop's tasks."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from rq import get_current_job

import slimjobs
from shop.models import Email


@slimjobs.job("shop")
def send_email(email: Email, recipients: list[str]) -> str:
    return email.send(*recipients)


def subject(email: Email) -> str:
    return str(email.subject)


async def subject_later(email: Email) -> str:
    return str(email.subject)


def primary_keys(models: list[Any]) -> list[Any]:
    return [model.pk for model in models]


@slimjobs.job("shop", load={"emails": Email.everything.select_related("newsletter").defer("html")})
def list_titles(emails: list[Email]) -> list[Any]:
    """Tell the newsletters' titles, and which fields would take another query."""
    return [[email.newsletter.title, sorted(email.get_deferred_fields())] for email in emails]


# The same function in every form: each tells which row it was given.


def describe(email: Email) -> list[Any]:
    return email.describe()


async def describe_later(email: Email) -> list[Any]:
    return email.describe()


@slimjobs.job("shop")
def describe_decorated(email: Email) -> list[Any]:
    return email.describe()


@slimjobs.job("shop")
async def describe_decorated_later(email: Email) -> list[Any]:
    return email.describe()


def describe_once(email: Email) -> list[Any]:
    """Tell which row it was given, and count how often a job has run."""
    job = get_current_job()
    assert job is not None
    job.connection.hincrby("runs", job.id, 1)
    return email.describe()


def give_back(value: Any) -> Any:
    return value


def hold(email: Email) -> None:
    """Change a row, and hold its transaction open until the job is stopped."""
    job = get_current_job()
    assert job is not None
    with transaction.atomic():
        Email.everything.filter(pk=email.pk).update(subject="half done")
        job.connection.rpush("held", job.id)
        job.connection.blpop(["never"], timeout=60)


def note_stopped(job: Any, connection: Any) -> None:
    """Tell what a stopped job's row holds; it runs in the worker itself."""
    connection.rpush("stopped", job.args[0].load().subject)


def rename(email: Email, subject: str) -> list[Any]:
    email.subject = subject
    email.save()
    return email.describe()
