"""An application with SQLAlchemy: models in two SQLite files, sessionmakers, and tasks; importing it touches neither.

The files are in the directory that LIBRARY_DIRECTORY names, so that workers in other processes find them.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Engine, ForeignKey, Integer, String, Table, TypeDecorator, create_engine, event, select
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    defer,
    mapped_column,
    registry,
    relationship,
    selectinload,
    sessionmaker,
)
from sqlmodel import Field, SQLModel

CALLS: list[tuple[Any, ...]] = []


class Base(DeclarativeBase):
    pass


class ArchiveBase(DeclarativeBase):
    pass


class Newsletter(Base):
    __tablename__ = "newsletter"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    emails: Mapped[list[Email]] = relationship(back_populates="newsletter", order_by="Email.id")


class Email(Base):
    __tablename__ = "email"
    id: Mapped[int] = mapped_column(primary_key=True)
    subject: Mapped[str]
    html: Mapped[str] = mapped_column(default="")
    newsletter_id: Mapped[int | None] = mapped_column(ForeignKey("newsletter.id"))
    newsletter: Mapped[Newsletter | None] = relationship(back_populates="emails")


class Delivery(Base):
    """Two columns for a key."""

    __tablename__ = "delivery"
    email_id: Mapped[int] = mapped_column(primary_key=True)
    address: Mapped[str] = mapped_column(primary_key=True)
    status: Mapped[str] = mapped_column(default="queued")


class Person(Base):
    __tablename__ = "person"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    name: Mapped[str]
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "person"}  # noqa: RUF012  # as SQLAlchemy reads it


class Author(Person):
    """A table of its own, joined with its parent's."""

    __tablename__ = "author"
    id: Mapped[int] = mapped_column(ForeignKey("person.id"), primary_key=True)
    biography: Mapped[str] = mapped_column(default="")
    __mapper_args__ = {"polymorphic_identity": "author"}  # noqa: RUF012  # as SQLAlchemy reads it


class Reader(Person):
    """In its parent's table."""

    __mapper_args__ = {"polymorphic_identity": "reader"}  # noqa: RUF012  # as SQLAlchemy reads it


class Key(Base):
    """A key that is made by the application."""

    __tablename__ = "key"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    note: Mapped[str] = mapped_column(default="", deferred=True)


class Lowered(TypeDecorator[str]):
    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: object) -> str | None:
        return None if value is None else value.lower()


class Account(Base):
    """A key that is another in the database."""

    __tablename__ = "account"
    address: Mapped[str] = mapped_column(Lowered, primary_key=True)


class Issue(ArchiveBase):
    """In the other database."""

    __tablename__ = "issue"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]


class Shelf:
    """Mapped imperatively."""

    def __init__(self, id: int, label: str) -> None:
        self.id = id
        self.label = label


registry(metadata=Base.metadata).map_imperatively(
    Shelf, Table("shelf", Base.metadata, Column("id", Integer, primary_key=True), Column("label", String))
)


class Hero(SQLModel, table=True):
    """Of SQLModel."""

    id: int | None = Field(default=None, primary_key=True)
    name: str


class Plain(Email):
    """A subclass, and so a class of its own: SQLAlchemy maps it to its parent's table."""


# One sessionmaker for both databases, by class, and one for the second alone; `bind` gives them their engines.
Session = sessionmaker()
ArchiveSession = sessionmaker()


def bind(directory: str | None = None) -> tuple[Engine, Engine]:
    """Give the sessionmakers engines for the two files, and return those."""
    where = Path(directory or os.environ["LIBRARY_DIRECTORY"])
    main, archive = (create_engine(f"sqlite:///{where / name}.sqlite") for name in ("main", "archive"))
    Session.configure(bind=main, binds={ArchiveBase: archive})
    ArchiveSession.configure(bind=archive)
    return main, archive


def create(main: Engine, archive: Engine) -> None:
    """Create the tables, empty."""
    for metadata, engine in ((Base.metadata, main), (SQLModel.metadata, main), (ArchiveBase.metadata, archive)):
        metadata.create_all(engine, checkfirst=False)


def fill(count: int = 3) -> None:
    """Save so many rows of each class, numbered from 1."""
    numbers = range(1, count + 1)
    with Session.begin() as session:
        session.add_all(Newsletter(id=number, title=f"newsletter {number}") for number in numbers)
        session.flush()
        session.add_all(
            Email(id=number, subject=f"subject {number}", html="x" * 100, newsletter_id=1 + number % count)
            for number in numbers
        )
        session.add_all(Issue(id=number, title=f"issue {number}") for number in numbers)
        session.add_all(Delivery(email_id=number, address=f"{number}@example.org") for number in numbers)


class Statements:
    """The statements that engines execute, while it is entered."""

    def __init__(self, *engines: Engine) -> None:
        self.seen: list[str] = []
        self._engines = engines

    def _note(self, *args: Any) -> None:
        self.seen.append(args[2])

    def __enter__(self) -> list[str]:
        for engine in self._engines:
            event.listen(engine, "before_cursor_execute", self._note)
        return self.seen

    def __exit__(self, *_: object) -> None:
        for engine in self._engines:
            event.remove(engine, "before_cursor_execute", self._note)


# Tasks.


def subject(email: Email) -> str:
    return email.subject


def rename(email: Email, subject: str) -> None:
    """Change a row and commit it, in the session that it came in."""
    from slimjobs.orm.sqlalchemy import current_session

    email.subject = subject
    current_session().commit()


def forget_to_commit(email: Email) -> None:
    email.subject = "never seen"


def titles(email: Email) -> list[str]:
    return [] if email.newsletter is None else [each.subject for each in email.newsletter.emails]


WITH_NEWSLETTER = select(Email).options(selectinload(Email.newsletter).selectinload(Newsletter.emails))
WITHOUT_HTML = [selectinload(Email.newsletter), defer(Email.html)]
