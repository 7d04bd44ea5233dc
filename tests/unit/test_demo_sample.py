"""The newsletter's database, as the demo fills it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from hashlib import blake2b
from typing import TYPE_CHECKING

import pytest

from slimjobs.demo.sample import COLUMNS, LIMITED_DOMAIN, compose_body, create_database

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("body_bytes", [1, 100, 20_001, 700_000])
def test_a_body_has_exactly_the_size_asked_for(body_bytes: int) -> None:
    assert len(compose_body(body_bytes).encode()) == body_bytes


def test_a_body_is_made_of_documentation() -> None:
    body = compose_body(200_000)
    assert "Command-line parsing library" in body
    assert body.count("<tr>") > 100
    assert "&lt;" in body, "documentation is escaped"


def test_a_body_is_the_same_every_time() -> None:
    assert compose_body(50_000) == compose_body(50_000)


def test_the_database_holds_one_wide_email_and_its_subscribers(tmp_path: Path) -> None:
    path = tmp_path / "newsletter.sqlite3"
    digest = create_database(path, recipients=1000, body_bytes=5000)
    with closing(sqlite3.connect(path)) as database:
        emails = database.execute("SELECT * FROM email")
        assert [column for column, *_ in emails.description] == list(COLUMNS)
        (email,) = emails
        (limited,) = database.execute(
            "SELECT count(*) FROM subscriber JOIN domain ON address LIKE '%@' || name WHERE over_limit"
        ).fetchone()
        (distinct,) = database.execute("SELECT count(DISTINCT address) FROM subscriber").fetchone()
        domains = dict(database.execute("SELECT name, over_limit FROM domain"))
    assert len(COLUMNS) == 60
    assert blake2b(email[COLUMNS.index("body_html")].encode()).hexdigest() == digest
    assert (distinct, limited) == (1000, 200)
    assert [name for name, over_limit in domains.items() if over_limit] == [LIMITED_DOMAIN]


def test_every_batch_has_limited_recipients(tmp_path: Path) -> None:
    path = tmp_path / "newsletter.sqlite3"
    create_database(path, recipients=300, body_bytes=10)
    with closing(sqlite3.connect(path)) as database:
        addresses = [address for (address,) in database.execute("SELECT address FROM subscriber ORDER BY id")]
    for start in (0, 100, 200):
        assert sum(address.endswith(f"@{LIMITED_DOMAIN}") for address in addresses[start : start + 100]) == 20
