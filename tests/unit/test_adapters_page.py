"""The adapter that the page shows, run against the small ORM that it speaks of."""

from __future__ import annotations

import re
import sqlite3
import sys
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from slimjobs import RecordNotFoundError, RecordUnavailableError, Ref, UnsavedModelError, registry, scopes
from slimjobs.fetches import Fetches
from slimjobs.hydration import hydrate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PAGE = Path(__file__).parents[2] / "docs" / "adapters.md"


class Record:
    """All of tinyorm."""

    table: ClassVar[str]
    path: ClassVar[str]
    statements: ClassVar[list[str]] = []

    def __init__(self, id: int | None = None, title: str = "") -> None:
        self.id = id
        self.title = title
        self.is_deleted = False

    @classmethod
    def where(cls, condition: str, parameters: Sequence[Any]) -> list[Any]:
        connection = sqlite3.connect(cls.path)
        try:
            statement = f"SELECT id, title FROM {cls.table} WHERE {condition}"
            cls.statements.append(statement)
            return [cls(*row) for row in connection.execute(statement, parameters)]
        finally:
            connection.close()


class Book(Record):
    table = "book"


@pytest.fixture(autouse=True)
def _adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tinyorm: Any = ModuleType("tinyorm")
    tinyorm.Record = Record
    tinyorm.Book = Book
    for cls in (Record, Book):
        monkeypatch.setattr(cls, "__module__", "tinyorm")
    monkeypatch.setitem(sys.modules, "tinyorm", tinyorm)
    monkeypatch.setattr(registry, "_adapters", [*registry._adapters])
    monkeypatch.setattr(Record, "path", str(tmp_path / "books.sqlite"), raising=False)
    Record.statements.clear()
    connection = sqlite3.connect(Record.path)
    connection.execute("CREATE TABLE book (id INTEGER PRIMARY KEY, title TEXT)")
    connection.executemany("INSERT INTO book VALUES (?, ?)", [(1, "one"), (2, "two"), (3, "three")])
    connection.commit()
    connection.close()
    exec(compile(blocks()[0], "adapters.md", "exec"), {"__name__": "tinyorm_adapter"})


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_it_is_as_short_as_the_page_says() -> None:
    code = [line for line in blocks()[0].splitlines() if line.strip()]
    assert len(code) <= 45


def test_its_instances_travel_and_load_in_one_query() -> None:
    refs = [registry.dehydrate(Book(pk)) for pk in (3, 1, 3)]
    assert refs == [Ref("tinyorm.Book", pk) for pk in (3, 1, 3)]
    (books,) = hydrate(refs).values
    assert [book.title for book in books] == ["three", "one", "three"]
    assert books[0] is books[2]
    assert len(Record.statements) == 1


def test_what_has_no_row_is_refused() -> None:
    deleted = Book(1)
    deleted.is_deleted = True
    for book, message in ((Book(), "no primary key yet"), (deleted, "is deleted")):
        with pytest.raises(UnsavedModelError, match=message):
            registry.dehydrate(book)
    assert registry.dehydrate(Record(1)) is None


def test_a_task_fetches_with_a_function() -> None:
    def task(book: Book) -> None: ...

    fetches = Fetches({"book": lambda pks: [Book(pk, "fetched") for pk in pks]}, task)
    _, (book,), _ = hydrate(None, (Ref("tinyorm.Book", 1),), {}, fetches=fetches).values
    assert book.title == "fetched"


def test_gone_and_unreachable_and_broken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(RecordNotFoundError):
        hydrate(Ref("tinyorm.Book", 99))
    monkeypatch.setattr(Book, "table", "no_such_table")
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        hydrate(Ref("tinyorm.Book", 1))
    monkeypatch.setattr(Record, "path", str(tmp_path / "no" / "such" / "directory"))
    with pytest.raises(RecordUnavailableError):
        hydrate(Ref("tinyorm.Book", 1))


def test_what_it_opens_is_closed_after_the_call() -> None:
    events: list[str] = []

    @contextmanager
    def open_session() -> Iterator[str]:
        events.append("opened")
        yield "session"
        events.append("closed")

    tinyorm: Any = sys.modules["tinyorm"]
    tinyorm.open_session = open_session
    names: dict[str, Any] = {"tinyorm": tinyorm}
    with scopes.scope():
        for _ in range(2):
            exec(blocks()[1], names)
        assert names["session"] == "session"
        assert events == ["opened"]
    assert events == ["opened", "closed"]
