"""Check the outbox: every recipient once, with the right body."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

QUERY = """
    SELECT
        count(*),
        total(copies = 0),
        total(copies > 1),
        total(wrong > 0),
        (SELECT count(*) FROM outbox WHERE recipient NOT IN (SELECT address FROM subscriber))
    FROM (
        SELECT count(recipient) AS copies, total(body_digest <> :digest) AS wrong
        FROM subscriber LEFT JOIN outbox ON recipient = address
        GROUP BY address
    )
"""


@dataclass(frozen=True)
class Delivery:
    """What became of a campaign, in numbers of recipients.

    Attributes:
        recipients: All subscribers.
        missed: Those who were sent nothing.
        doubled: Those who were sent more than one email.
        corrupted: Those who were sent a wrong body.
        strangers: Emails to addresses that never subscribed.
    """

    recipients: int
    missed: int
    doubled: int
    corrupted: int
    strangers: int

    @property
    def reached(self) -> int:
        """How many subscribers were sent anything."""
        return self.recipients - self.missed

    @property
    def perfect(self) -> bool:
        """Whether every subscriber was sent the right body, exactly once, and nobody else anything."""
        return not (self.missed or self.doubled or self.corrupted or self.strangers)


def check_delivery(database_path: Path, body_digest: str) -> Delivery:
    """Compare the outbox with the subscribers, one by one.

    Args:
        database_path: The newsletter's SQLite file.
        body_digest: The digest of the body that everybody must have been sent.
    """
    with closing(sqlite3.connect(database_path)) as database:
        database.execute("CREATE INDEX IF NOT EXISTS outbox_recipient ON outbox (recipient)")
        counts = database.execute(QUERY, {"digest": body_digest}).fetchone()
    return Delivery(*map(int, counts))
