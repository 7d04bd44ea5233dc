"""The shop's tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rq import get_current_job

import slimjobs

if TYPE_CHECKING:
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
