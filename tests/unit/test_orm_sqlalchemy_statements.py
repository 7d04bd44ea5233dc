"""Which statements of a session count as writing."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import library
import pytest
from library import Email
from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.exc import OperationalError

from slimjobs.orm.sqlalchemy.transactions import work_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy.orm import Session

# What SQLite cannot run is looked at before it fails.
WRITING = {
    "insert": insert(Email).values(id=9, subject="x"),
    "update": update(Email).values(subject="x"),
    "delete": delete(Email),
    "text": text("update email set subject = 'x'"),
    "text after a comment": text("-- note: select\nUPDATE email SET subject = 'x'"),
    "text after a comment of an application": text("/* app:web */ delete from email"),
    "text with a part that inserts": text("with a as (insert into email (id) values (1) returning id) select * from a"),
    "text with a part that updates": text('with a as (update "email" as e set subject = 1 returning *) select 1'),
    "text with a part that deletes": text("WITH a AS (DELETE FROM email RETURNING *) SELECT * FROM a"),
    "select from a text": select(Email).from_statement(text("insert into email values (9)")),
    "select from an insert": select(Email).from_statement(insert(Email).values(id=9, subject="x").returning(Email)),
}
READING = {
    "select": select(Email),
    "text": text("select 'update', \"subject\" from email"),
    "text with a part": text("with a as (select 'delete from x') select * from a"),
    "text that locks": text("with a as (select 1) select email.* from email, a for update of email"),
    "text that locks keys": text("with a as (select 1) select email.* from email for no key update skip locked"),
    "text with a name": text("with a as (select 1 as updates) select updates from a"),
    "text with a comment": text("select 1 -- then we update\n"),
    "select from a text": select(Email).from_statement(text("select * from email")),
}


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    engines = library.bind(str(tmp_path))
    library.create(*engines)
    with library.Session() as session:
        yield session
    for engine in engines:
        engine.dispose()


def has_written(session: Session, statement: Any) -> bool:
    with suppress(OperationalError, NotImplementedError):  # what SQLite does not know
        session.execute(statement)
    work = work_of(session)
    return work is not None and work.has_executed


@pytest.mark.parametrize("statement", WRITING.values(), ids=WRITING)
def test_what_writes(session: Session, statement: Any) -> None:
    assert has_written(session, statement)


@pytest.mark.parametrize("statement", READING.values(), ids=READING)
def test_what_reads(session: Session, statement: Any) -> None:
    assert not has_written(session, statement)
