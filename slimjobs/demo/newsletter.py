"""Send a newsletter in batches: the demo's application, as a user of slimjobs would write it.

Two lines make it use slimjobs: `slimjobs.register` and `slimjobs.Queue`. All the rest is the same with stock RQ.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, contextmanager
from datetime import timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING

import rq
from redis import Redis

import slimjobs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

QUEUE_CLASSES: dict[str, type[rq.Queue]] = {"stock": rq.Queue, "slim": slimjobs.Queue}
RATE_LIMIT_WAIT = timedelta(seconds=1)  # A real one is an hour; the demo has a minute for everything.


class Email:
    """A row of the email table, with all of its sixty columns."""

    id: int
    subject: str
    body_html: str

    def __init__(self, **columns: object) -> None:
        vars(self).update(columns)


def fetch_email(email_id: int) -> Email | None:
    """Fetch an email by its ID; None when there is no such row."""
    with open_database() as database:
        row = database.execute("SELECT * FROM email WHERE id = ?", (email_id,)).fetchone()
    return Email(**row) if row else None


slimjobs.register(Email, load=fetch_email)


def send_batch(email: Email, recipients: list[str]) -> None:
    """Send an email to a batch of addresses; those over a rate limit get it in a later job."""
    with open_database() as database:
        limited = {domain for (domain,) in database.execute("SELECT name FROM domain WHERE over_limit")}
        held_back = [address for address in recipients if address.partition("@")[2] in limited]
        send(database, email, set(recipients) - set(held_back))
    if held_back:
        # The line of the outage: the job passes the email on that it was given, and stock RQ pickles it again.
        get_queue().enqueue_in(RATE_LIMIT_WAIT, send_batch, email, held_back)


def send(database: sqlite3.Connection, email: Email, recipients: Iterable[str]) -> None:
    """Put an email into the outbox, which stands for the mail server: who was sent which body."""
    digest = blake2b(email.body_html.encode()).hexdigest()
    database.executemany("INSERT INTO outbox VALUES (?, ?)", [(address, digest) for address in recipients])


def get_queue() -> rq.Queue:
    """Return the newsletter's queue, stock or slim."""
    queue_class = QUEUE_CLASSES[os.environ["NEWSLETTER_QUEUE"]]
    return queue_class("newsletter", connection=Redis.from_url(os.environ["NEWSLETTER_REDIS_URL"]))


@contextmanager
def open_database() -> Iterator[sqlite3.Connection]:
    """Open the database for one transaction; wait up to 30 seconds for other workers'."""
    database = sqlite3.connect(os.environ["NEWSLETTER_DATABASE"], timeout=30)
    database.row_factory = sqlite3.Row
    with closing(database), database:
        yield database
