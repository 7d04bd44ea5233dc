"""An application with Peewee: models in a SQLite file, and tasks; importing it touches no file.

The file is in the directory that LIBRARY_DIRECTORY names, so that workers in other processes find it.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any

from peewee import (
    CharField,
    CompositeKey,
    DatabaseProxy,
    ForeignKeyField,
    IntegerField,
    Model,
    SqliteDatabase,
    UUIDField,
)

database = DatabaseProxy()


class BaseModel(Model):
    class Meta:
        database = database


class Magazine(BaseModel):
    title = CharField()


class Copy(BaseModel):
    magazine = ForeignKeyField(Magazine, backref="copies")
    number = IntegerField(default=0)


class Sale(BaseModel):
    """Two fields for a key, of which one is a foreign key."""

    copy_sold = ForeignKeyField(Copy)
    day = CharField()
    price = IntegerField(default=1)

    class Meta:
        primary_key = CompositeKey("copy_sold", "day")


class Cover(BaseModel):
    """A foreign key for a key."""

    magazine = ForeignKeyField(Magazine, primary_key=True)
    color = CharField(default="red")


class LoweredField(CharField):
    def db_value(self, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value


class Account(BaseModel):
    """A key that is another in the database."""

    address = LoweredField(primary_key=True)


class Voucher(BaseModel):
    """A key that is made by the application."""

    id = UUIDField(primary_key=True, default=uuid.uuid4)
    note = CharField(default="")


class Ticket(BaseModel):
    """Two fields for a key, of which one is no type of the driver's."""

    voucher = UUIDField()
    seat = IntegerField()

    class Meta:
        primary_key = CompositeKey("voucher", "seat")


class Log(BaseModel):
    text = CharField()

    class Meta:
        primary_key = False


class Special(Magazine):
    """A subclass, which is a class of its own, with a table of its own."""


MODELS = [Magazine, Copy, Sale, Cover, Account, Voucher, Ticket, Log, Special]


def bind(directory: str | None = None) -> SqliteDatabase:
    """Give the models their database, and return it."""
    found = SqliteDatabase(str(Path(directory or os.environ["LIBRARY_DIRECTORY"]) / "kiosk.sqlite"))
    database.initialize(found)
    return found


def fill(count: int = 3) -> None:
    """Create the tables, and save so many rows of most classes, numbered from 1."""
    numbers = range(1, count + 1)
    with database.connection_context(), database.atomic():
        database.drop_tables(MODELS)
        database.create_tables(MODELS)
        for model, rows in (
            (Magazine, [(number, f"magazine {number}") for number in numbers]),
            (Copy, [(number, number, number) for number in numbers]),
            (Sale, [(number, f"day {number}", 2) for number in numbers]),
            (Cover, [(number, "blue") for number in numbers]),
        ):
            for start in range(0, count, 100):
                model.insert_many(rows[start : start + 100], fields=model._meta.sorted_fields).execute()


# Tasks.


def title(magazine: Magazine) -> Any:
    return magazine.title


def retitle(magazine: Magazine, title: str) -> None:
    magazine.title = title
    magazine.save()
