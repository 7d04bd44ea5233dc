"""The shop's tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
