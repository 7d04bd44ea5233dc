"""An application in one module, with SQLAlchemy and Peewee: models, sessions and tasks.

Its databases are those that READING_ROOM_URL and READING_ROOM_FILE name when it is imported.
"""

from __future__ import annotations

import os
from typing import Any

import peewee
from rq import get_current_job
from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

import slimjobs
from slimjobs.orm.sqlalchemy import configure, current_session


class Base(DeclarativeBase):
    pass


class Book(Base):
    __tablename__ = "book"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]

    def describe(self) -> list[Any]:
        return [type(self).__name__, self.id, self.title]


cards = peewee.SqliteDatabase(None)


class Card(peewee.Model):
    title = peewee.CharField()

    class Meta:
        database = cards

    def describe(self) -> list[Any]:
        return [type(self).__name__, self.get_id(), self.title]


Session = sessionmaker()


def bind() -> Engine:
    """Bind the models to the databases that the environment names."""
    engine = create_engine(os.environ["READING_ROOM_URL"], pool_size=60)
    Session.configure(bind=engine)
    configure(Session)
    cards.init(os.environ["READING_ROOM_FILE"], pragmas={"journal_mode": "wal"})
    return engine


bind()


def describe(item: Any) -> list[Any]:
    return item.describe()  # type: ignore[no-any-return]


async def describe_later(item: Any) -> list[Any]:
    return item.describe()  # type: ignore[no-any-return]


@slimjobs.job("room")
def describe_decorated(item: Any) -> list[Any]:
    return item.describe()  # type: ignore[no-any-return]


@slimjobs.job("room")
async def describe_decorated_later(item: Any) -> list[Any]:
    return item.describe()  # type: ignore[no-any-return]


def describe_once(item: Any) -> list[Any]:
    """Tell which row it was given, and count how often a job has run."""
    job = get_current_job()
    assert job is not None
    job.connection.hincrby("runs", job.id, 1)
    return item.describe()  # type: ignore[no-any-return]


def rename(book: Book, title: str) -> None:
    """Change a row, and commit it."""
    book.title = title
    current_session().commit()


def forget(book: Book) -> None:
    """Change a row, and commit nothing."""
    book.title = "never seen"


def give_back(value: Any) -> Any:
    return value
