"""The shop's tasks."""

from __future__ import annotations

from typing import Any

import slimjobs
from shop.models import Email


@slimjobs.job("shop")
def send_email(email: Email, recipients: list[str]) -> str:
    return email.send(*recipients)


def subject(email: Email) -> str:
    return str(email.subject)


async def subject_later(email: Email) -> str:
    return str(email.subject)


@slimjobs.job("shop", load={"email": Email.everything.select_related("newsletter").defer("html")})
def title(email: Email) -> list[Any]:
    """Return the newsletter's title, and which fields came later."""
    return [email.newsletter.title, sorted(email.get_deferred_fields())]


def primary_keys(models: list[Any]) -> list[Any]:
    return [model.pk for model in models]
