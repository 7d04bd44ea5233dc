"""What a check has found, and what to do about it."""

from __future__ import annotations

from typing import NamedTuple

from slimjobs.backlog.health import CRITICAL, OK, WARNING

__all__ = ["CRITICAL", "OK", "WARNING", "Finding"]


class Finding(NamedTuple):
    """What one check has found.

    Attributes:
        subject: What it is about: "queue mail", "cron", "task app.jobs.send_email", ...
        level: `OK`; `WARNING`; or `CRITICAL`, where jobs fail or will.
        text: The finding, in a line.
        fix: What to do about it; "" where all is well.
    """

    subject: str
    level: int
    text: str
    fix: str = ""
