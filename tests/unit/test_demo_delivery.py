"""The check of the outbox: it must see every way in which a delivery can be wrong."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from slimjobs.demo.delivery import Delivery, check_delivery
from slimjobs.demo.sample import create_database

if TYPE_CHECKING:
    from pathlib import Path

RECIPIENTS = 10


class Outbox:
    """A newsletter's outbox in which every subscriber has been sent the right body."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._digest = create_database(path, recipients=RECIPIENTS, body_bytes=100)
        self.execute("INSERT INTO outbox SELECT address, ? FROM subscriber", self._digest)

    def execute(self, statement: str, *values: str) -> None:
        with closing(sqlite3.connect(self._path)) as database, database:
            database.execute(statement, values)

    def check(self) -> Delivery:
        return check_delivery(self._path, self._digest)


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path / "newsletter.sqlite3")


def test_a_perfect_delivery(outbox: Outbox) -> None:
    assert outbox.check() == Delivery(RECIPIENTS, missed=0, doubled=0, corrupted=0, strangers=0)
    assert outbox.check().perfect
    assert outbox.check().reached == RECIPIENTS


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("DELETE FROM outbox WHERE rowid <= 3", Delivery(RECIPIENTS, missed=3, doubled=0, corrupted=0, strangers=0)),
        (
            "INSERT INTO outbox SELECT * FROM outbox WHERE rowid <= 2",
            Delivery(RECIPIENTS, missed=0, doubled=2, corrupted=0, strangers=0),
        ),
        (
            "UPDATE outbox SET body_digest = 'of another body' WHERE rowid = 4",
            Delivery(RECIPIENTS, missed=0, doubled=0, corrupted=1, strangers=0),
        ),
        (
            "INSERT INTO outbox SELECT 'stranger@letters.example', body_digest FROM outbox LIMIT 1",
            Delivery(RECIPIENTS, missed=0, doubled=0, corrupted=0, strangers=1),
        ),
    ],
    ids=["missed", "doubled", "corrupted", "stranger"],
)
def test_a_flaw_is_counted_as_what_it_is(outbox: Outbox, statement: str, expected: Delivery) -> None:
    outbox.execute(statement)
    assert outbox.check() == expected
    assert not outbox.check().perfect


def test_one_flaw_does_not_hide_another(outbox: Outbox) -> None:
    """One subscriber missed and one sent to twice: as many emails as subscribers."""
    outbox.execute("UPDATE outbox SET recipient = (SELECT recipient FROM outbox WHERE rowid = 1) WHERE rowid = 2")
    assert outbox.check() == Delivery(RECIPIENTS, missed=1, doubled=1, corrupted=0, strangers=0)
