"""What Django's settings say of RQ: the checks of `slimjobs.contrib.django_rq`, and the queues of RQ_QUEUES."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.conf import settings
from django.core.checks import ERROR
from django_rq import get_queue

from slimjobs.contrib.django_rq import checks
from slimjobs.doctor.findings import CRITICAL, OK, WARNING, Finding
from slimjobs.doctor.writers import Writer

if TYPE_CHECKING:
    from collections.abc import Iterator


def look() -> Iterator[Finding | Writer]:
    """Yield the queues of RQ_QUEUES, and what does not agree; nothing where django-rq is not installed there."""
    if not apps.is_installed("django_rq"):
        return
    subject, problems = f"settings {os.environ['DJANGO_SETTINGS_MODULE']}", 0
    for check in (checks.check_settings, checks.check_cron, checks.check_running_cron):
        messages: list[Any] = check()
        for message in messages:
            problems += 1
            yield Finding(subject, CRITICAL if message.level >= ERROR else WARNING, message.msg, message.hint or "")
    if not problems:
        yield Finding(subject, OK, "the queues, jobs, workers, cron and admin of django-rq agree")
    for name in getattr(settings, "RQ_QUEUES", {}):
        yield _make_writer(name, subject)


def _make_writer(name: str, subject: str) -> Finding | Writer:
    try:
        return Writer(f'RQ_QUEUES["{name}"]', get_queue(name))
    except Exception as error:  # noqa: BLE001  # of classes and connections that the settings name
        words = f'RQ_QUEUES["{name}"] makes no queue: {type(error).__name__}: {error}'
        return Finding(subject, CRITICAL, words, "Correct the entry, until django_rq.get_queue() works.")
