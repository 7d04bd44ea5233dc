"""Peewee's models and queries: to refs, back in one query, and after their commit."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING, Any, cast

import kiosk
import peewee
import pytest
from kiosk import Account, Copy, Cover, Log, Magazine, Sale, Special, Ticket, Voucher
from peewee import SqliteDatabase

from slimjobs import (
    ConfigurationError,
    PayloadTooLargeError,
    RecordNotFoundError,
    RecordUnavailableError,
    Ref,
    UnsavedModelError,
    UnsupportedTypeError,
    scopes,
)
from slimjobs.codec.encoder import read_rows
from slimjobs.fetches import Fetches
from slimjobs.hydration import hydrate
from slimjobs.orm.peewee import connections
from slimjobs.orm.peewee import models as peewee_models
from slimjobs.policies import Policy
from slimjobs.refs import Rows
from slimjobs.registry import dehydrate, transactions_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from slimjobs.locators import Transaction

DAY = "day 1"


@pytest.fixture(autouse=True)
def database(tmp_path: Path) -> Iterator[SqliteDatabase]:
    bound = kiosk.bind(str(tmp_path))
    kiosk.fill()
    yield bound
    while bound.in_transaction():
        bound.session_rollback()
    bound.close()


@pytest.fixture
def statements() -> Iterator[list[str]]:
    # Peewee's log, since its query_hooks are of version 4.
    seen: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(cast("Any", record.msg)[0])

    log = logging.getLogger("peewee")
    handler = Collector()
    log.addHandler(handler)
    level = log.level
    log.setLevel(logging.DEBUG)
    yield seen
    log.setLevel(level)
    log.removeHandler(handler)


def load(*refs: Ref, **options: Any) -> list[Any]:
    """Load refs as a job does, within a scope that ends here."""
    with scopes.scope():
        return list(hydrate(list(refs), **options).values[0])


@pytest.mark.parametrize(
    ("fetch", "pk"),
    [
        (lambda: Magazine.get(id=2), 2),
        (lambda: Copy.get(id=2), 2),
        (lambda: Sale.get(day=DAY), (1, DAY)),
        (lambda: Cover.get(magazine=3), 3),
        (lambda: Voucher.create(id=uuid.UUID(int=7)), uuid.UUID(int=7)),
        (lambda: Magazine.create(title="new"), 4),
        (lambda: Sale.create(copy_sold=1, day="new"), (1, "new")),
        (lambda: Ticket.create(voucher=uuid.UUID(int=7), seat=3), (uuid.UUID(int=7), 3)),
        (lambda: Cover.create(magazine=Magazine.create(title="new")), 4),
        (lambda: Special.create(title="one"), 1),
    ],
)
def test_saved_instances_travel(
    fetch: Callable[[], Any], pk: Any, database: SqliteDatabase, statements: list[str]
) -> None:
    instance = fetch()
    database.close()
    statements.clear()
    ref = dehydrate(instance)
    assert ref == Ref(f"kiosk.{type(instance).__name__}", pk)
    assert statements == []
    (loaded,) = load(ref)
    assert type(loaded) is type(instance)
    assert loaded == instance
    assert dehydrate(loaded) == ref


@pytest.mark.parametrize(
    "make",
    [
        lambda: Magazine(title=""),
        lambda: Magazine(id=1, title=""),
        Voucher,
        lambda: Voucher(id=uuid.UUID(int=7)),
        lambda: Sale(copy_sold=1, day=DAY),
        lambda: Sale(day=DAY),
        lambda: Cover(magazine=1),
        lambda: Cover(magazine=Magazine(title="")),
        lambda: Copy.select(Copy.number).get(),
    ],
)
def test_what_was_not_saved_is_refused(make: Callable[[], Any]) -> None:
    with pytest.raises(UnsavedModelError):
        dehydrate(make())


def test_saved_by_force_is_saved() -> None:
    voucher = Voucher()
    with pytest.raises(UnsavedModelError, match=r"save\(force_insert=True\)"):
        dehydrate(voucher)
    voucher.save(force_insert=True)
    assert dehydrate(voucher) == Ref("kiosk.Voucher", voucher.id)


def test_a_model_without_a_key_is_refused() -> None:
    with pytest.raises(UnsupportedTypeError, match="Log has no primary key to load it by"):
        dehydrate(Log.create(text="x"))


def test_the_model_class_itself_is_no_instance() -> None:
    assert dehydrate(Magazine) is None
    assert peewee_models.Models().locator_for(peewee.Model) is None
    assert peewee_models.Models().locator_for(int) is None


@pytest.mark.parametrize("count", [1, 100, pytest.param(10_000, marks=pytest.mark.slow)])
def test_one_query_for_a_class_however_many_refs(count: int, statements: list[str]) -> None:
    kiosk.fill(count)
    statements.clear()
    refs = [
        ref
        for pk in range(count, 0, -1)
        for ref in (Ref("kiosk.Magazine", pk), Ref("kiosk.Copy", pk), Ref("kiosk.Sale", (pk, f"day {pk}")))
    ]
    models = load(*refs, *refs)
    assert len(statements) == 3
    assert [dehydrate(model) for model in models] == [*refs, *refs]
    assert [id(model) for model in models[: len(refs)]] == [id(model) for model in models[len(refs) :]]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="sqlite3 cannot set its limits")
@pytest.mark.parametrize(("name", "queries"), [("Magazine", 2), ("Sale", 3)])
def test_keys_are_split_to_what_the_database_takes(
    name: str, queries: int, database: SqliteDatabase, statements: list[str]
) -> None:
    kiosk.fill(1500)
    with database.connection_context():
        connection: Any = database.connection()
        connection.setlimit(9, 1400)  # SQLITE_LIMIT_VARIABLE_NUMBER
        statements.clear()
        pks = range(1, 1501)
        assert len(load(*(Ref(f"kiosk.{name}", pk if name == "Magazine" else (pk, f"day {pk}")) for pk in pks))) == 1500
    assert len(statements) == queries


def test_keys_as_text_are_what_they_stand_for() -> None:
    voucher = Voucher.create()
    refs = (Ref("kiosk.Magazine", "2"), Ref("kiosk.Voucher", str(voucher.id)), Ref("kiosk.Sale", ("1", DAY)))
    magazine, found, sale = load(*refs, Ref("kiosk.Cover", "1"))[:3]
    assert (magazine.id, found, sale.copy_sold_id) == (2, voucher, 1)


@pytest.mark.parametrize(
    "ref",
    [
        Ref("kiosk.Magazine", 99),
        Ref("kiosk.Magazine", "no number"),
        Ref("kiosk.Voucher", "no uuid"),
        Ref("kiosk.Sale", 1),
        Ref("kiosk.Sale", (1, "day 2")),
    ],
    ids=repr,
)
def test_a_row_that_is_not_there(ref: Ref) -> None:
    with pytest.raises(RecordNotFoundError) as caught:
        load(Ref("kiosk.Magazine", 1), ref)
    assert caught.value.refs == (ref,)


def test_a_row_is_there_whatever_the_database_makes_of_its_key(statements: list[str]) -> None:
    ann, bob = (Ref("kiosk.Account", Account.create(address=address).address) for address in ("Ann@Example.org", "bob"))
    stored, gone = Ref("kiosk.Account", "ann@example.org"), Ref("kiosk.Account", "zoe")
    hydrated = hydrate([ann, bob, gone, stored], policy=Policy(on_missing="none"))
    assert hydrated.missing == (gone,)
    first, second, third, fourth = hydrated.values[0]
    assert (first.address, second.address, third) == ("ann@example.org", "bob", None)
    assert fourth is first
    assert load(ann)[0] == first
    statements.clear()
    load(stored, bob)
    assert len(statements) == 1


def test_a_deleted_row_is_missing() -> None:
    magazine = Magazine.get(id=1)
    magazine.delete_instance()
    with pytest.raises(RecordNotFoundError):
        load(dehydrate(magazine))  # type: ignore[arg-type]


def test_a_task_says_what_else_it_reads(statements: list[str]) -> None:
    query = Copy.select(Copy, Magazine).join(Magazine)
    with scopes.scope():
        fetches = Fetches({"magazine": query}, kiosk.title)
        _, ((copy, again),), _ = hydrate(
            None, ([Ref("kiosk.Copy", 2), Ref("kiosk.Copy", 2)],), {}, fetches=fetches
        ).values
        statements.clear()
        assert copy.magazine.title == "magazine 2"
        assert copy is again
        assert statements == []


def test_a_function_fetches() -> None:
    asked: list[Any] = []

    def fetch(pks: list[Any]) -> Any:
        asked.append(pks)
        return [*Magazine.select().where(Magazine.id << pks), None]

    with scopes.scope():
        arguments = ([Ref("kiosk.Magazine", 3), Ref("kiosk.Magazine", "1")],)
        _, (magazines,), _ = hydrate(None, arguments, {}, fetches=Fetches({Magazine: fetch}, kiosk.title)).values
    assert [magazine.id for magazine in magazines] == [3, 1]
    assert asked == [[3, 1]]


@pytest.mark.parametrize("fetch", [Copy.select(), Magazine.select().dicts(), Magazine, "title", Magazine.title])
def test_what_cannot_fetch_a_class_is_refused(fetch: Any) -> None:
    with pytest.raises(ConfigurationError, match="cannot fetch Magazine"), scopes.scope():
        hydrate(None, (Ref("kiosk.Magazine", 1),), {}, fetches=Fetches({"magazine": fetch}, kiosk.title))


def rows(query: Any) -> Rows:
    found = dehydrate(query)
    assert isinstance(found, Rows)
    return found


@pytest.mark.parametrize(
    ("query", "pks"),
    [
        (Magazine.select(), [1, 2, 3]),
        (Magazine.select().order_by(Magazine.id.desc()), [3, 2, 1]),
        (Magazine.select().where(Magazine.id > 1).limit(1), [2]),
        (Magazine.select().order_by(Magazine.id).limit(9).offset(1), [2, 3]),
        (Magazine.select(Magazine, Copy).join(Copy).order_by(Copy.number.desc()), [3, 2, 1]),
        (Magazine.select().where(Magazine.id > 9), []),
        (
            Magazine.select(Magazine, peewee.fn.LENGTH(Magazine.title).alias("size")).order_by(peewee.SQL("size")),
            [1, 2, 3],
        ),
        # As many columns as the model has, and others.
        (
            Magazine.select(Magazine.id, (Magazine.id * -1).alias("last")).order_by(peewee.SQL("last")),
            [3, 2, 1],
        ),
        (
            Magazine.select(peewee.fn.MAX(Magazine.id).alias("id"), (Magazine.id > 1).alias("late"))
            .group_by(peewee.SQL("late"))
            .order_by(peewee.SQL("late")),
            [1, 3],
        ),
    ],
)
def test_a_query_travels_as_the_refs_of_its_rows(query: Any, pks: list[int], statements: list[str]) -> None:
    found = rows(query)
    assert (found.label, found.name) == ("ModelSelect[Magazine]", "kiosk.Magazine")
    assert statements == []
    assert found.read(10) == [Ref("kiosk.Magazine", pk) for pk in pks]
    assert found.read(2) == [Ref("kiosk.Magazine", pk) for pk in pks[:2]]


def test_a_query_without_the_key_says_so() -> None:
    with pytest.raises(UnsupportedTypeError, match="does not select its primary key"):
        rows(Magazine.select(Magazine.title)).read(9)


def test_a_query_reads_keys_alone_and_no_more_than_there_is_room_for(statements: list[str]) -> None:
    assert rows(Sale.select()).read(2) == [Ref("kiosk.Sale", (1, DAY)), Ref("kiosk.Sale", (2, "day 2"))]
    assert "price" not in statements[-1]
    with pytest.raises(PayloadTooLargeError):
        read_rows(rows(Magazine.select()), 42)
    assert statements[-1].endswith("LIMIT ?")


@pytest.mark.parametrize(
    ("query", "hint"),
    [
        (Magazine.select().dicts(), r"Leave \.dicts\(\)"),
        (Magazine.select().tuples(), r"Leave \.dicts\(\)"),
        (Magazine.select().namedtuples(), r"Leave \.dicts\(\)"),
        (Magazine.select().objects(dict), r"Leave \.dicts\(\)"),
        (Magazine.select() | Magazine.select(), r"list\(query\)"),
        (Magazine.raw("SELECT * FROM magazine"), r"list\(query\)"),
        (Magazine.alias().select(), r"list\(query\)"),
        (Magazine.update(title=""), r"list\(query\)"),
    ],
)
def test_other_queries_are_refused_with_a_hint(query: Any, hint: str) -> None:
    with pytest.raises(UnsupportedTypeError, match=hint):
        dehydrate(query)


def test_a_database_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    kiosk.bind(str(tmp_path / "no" / "such" / "directory"))
    for attempt in (lambda: load(Ref("kiosk.Magazine", 1)), Ref("kiosk.Magazine", 1).load):
        with pytest.raises(RecordUnavailableError):
            attempt()


def test_a_locked_database_is_unavailable(tmp_path: Path) -> None:
    blocker = sqlite3.connect(tmp_path / "kiosk.sqlite", isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    kiosk.database.initialize(SqliteDatabase(str(tmp_path / "kiosk.sqlite"), timeout=0))
    with pytest.raises(RecordUnavailableError):
        load(Ref("kiosk.Magazine", 1))
    blocker.close()
    assert load(Ref("kiosk.Magazine", 1))[0].id == 1


@pytest.mark.parametrize("spoil", ["DROP TABLE magazine", "ALTER TABLE magazine DROP COLUMN title"])
def test_a_table_or_column_that_is_missing_is_a_defect(spoil: str, database: SqliteDatabase) -> None:
    database.execute_sql(spoil)
    with pytest.raises(peewee.OperationalError, match="no such"):
        load(Ref("kiosk.Magazine", 1))


def test_a_database_without_a_name_is_a_defect() -> None:
    kiosk.database.initialize(SqliteDatabase(None))
    with pytest.raises(peewee.InterfaceError, match="must be initialized"):
        load(Ref("kiosk.Magazine", 1))


def test_a_connection_that_was_closed_is_open_for_the_call_and_closed_after_it(database: SqliteDatabase) -> None:
    assert database.is_closed()
    with scopes.scope():
        hydrate(Ref("kiosk.Magazine", 1), Ref("kiosk.Copy", 1))
        assert not database.is_closed()
        database.close()
        assert Ref("kiosk.Magazine", 2).load().id == 2
        database.session_start()
        Magazine.update(title="not committed").execute()
    assert database.is_closed()
    assert Ref("kiosk.Magazine", 1).load().title == "magazine 1"
    assert database.is_closed()


def test_a_connection_that_was_open_stays_open(database: SqliteDatabase) -> None:
    database.connect()
    connection = database.connection()
    load(Ref("kiosk.Magazine", 1))
    Ref("kiosk.Magazine", 1).load()
    rows(Magazine.select()).read(1)
    assert database.connection() is connection


def test_a_connection_is_opened_where_peewee_is_told_not_to(tmp_path: Path) -> None:
    kiosk.database.initialize(SqliteDatabase(str(tmp_path / "kiosk.sqlite"), autoconnect=False))
    with scopes.scope():
        assert hydrate(Ref("kiosk.Magazine", 1)).values[0].title == "magazine 1"
        kiosk.database.close()
        assert Ref("kiosk.Magazine", 2).load().title == "magazine 2"


def test_what_peewee_itself_complains_of_is_a_defect(tmp_path: Path) -> None:
    class Other(peewee.Model):
        class Meta:
            database = SqliteDatabase(str(tmp_path / "other.sqlite"), autoconnect=False)

    fetches = Fetches({"magazine": lambda pks: list(Other.select())}, kiosk.title)
    with pytest.raises(peewee.InterfaceError, match="not opened"), scopes.scope():
        hydrate(None, (Ref("kiosk.Magazine", 1),), {}, fetches=fetches)


def test_one_that_cannot_be_closed_does_not_fail_the_job(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Stubborn(SqliteDatabase):
        def _close(self, conn: Any) -> None:
            super()._close(conn)
            raise sqlite3.OperationalError("secret")

    kiosk.database.initialize(Stubborn(str(tmp_path / "kiosk.sqlite")))
    with scopes.scope("kiosk.title"):
        assert hydrate(Ref("kiosk.Magazine", 1)).values[0].title == "magazine 1"
    assert [record.getMessage() for record in caplog.records] == [
        "kiosk.title: the connection of its models could not be closed (OperationalError)"
    ]


def test_a_fork_does_not_use_its_parents_connection(database: SqliteDatabase) -> None:
    database.connect()
    inherited = database.connection()
    child = os.fork()
    if child == 0:
        try:
            is_right = database.is_closed() and connections._inherited == [inherited]
            is_right = is_right and load(Ref("kiosk.Magazine", 1))[0].title == "magazine 1"
            os._exit(0 if is_right else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert database.connection() is inherited
    assert connections._inherited == []


def test_a_fork_before_the_first_model_was_seen_does_not_either(tmp_path: Path) -> None:
    script = (
        "import os, sys, slimjobs\n"
        "slimjobs.Worker\n"
        "assert 'peewee' not in sys.modules\n"
        "import kiosk\n"
        "database = kiosk.bind()\n"
        "database.connect()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    print(database.is_closed(), slimjobs.Ref('kiosk.Magazine', 2).load().title, flush=True)\n"
        "    os._exit(0)\n"
        "os.waitpid(child, 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": os.path.dirname(kiosk.__file__), "LIBRARY_DIRECTORY": str(tmp_path)},  # noqa: PTH120  # the text of it
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "True magazine 2\n"
    assert done.stderr == ""


# After the commit.


tells_of_commits = pytest.mark.skipif(
    not hasattr(SqliteDatabase, "after_commit"), reason="Peewee before 4 tells of no commit"
)


def waits_for(*models: Any) -> Transaction:
    (transaction,) = transactions_of(models)
    return transaction


def test_without_a_transaction_nothing_waits(database: SqliteDatabase) -> None:
    magazine = Magazine.create(title="")
    assert transactions_of([magazine, Ref("kiosk.Magazine", 1)]) == ()
    with database.manual_commit():
        assert transactions_of([magazine]) == ()


@tells_of_commits
def test_a_job_waits_for_the_outermost_commit(database: SqliteDatabase) -> None:
    called: list[Any] = []
    with database.atomic():
        magazine = Magazine.create(title="new")
        transaction = waits_for(magazine, Ref("kiosk.Magazine", 1), Copy.get())
        transaction.on_commit(lambda: called.append(("outer", database.in_transaction())))
        with database.atomic():
            assert waits_for(magazine) == transaction
            assert hash(waits_for(magazine)) == hash(transaction)
            waits_for(magazine).on_commit(lambda: called.append(("inner", database.in_transaction())))
        with database.transaction():
            assert waits_for(magazine) == transaction
        assert called == []
        assert transaction.is_open()
    assert called == [("outer", False), ("inner", False)]
    assert not transaction.is_open()
    with database.atomic():
        assert waits_for(magazine) != transaction
        assert not transaction.is_open()


@tells_of_commits
def test_a_rollback_drops_what_waits(database: SqliteDatabase) -> None:
    called: list[str] = []

    def work() -> None:
        with database.atomic():
            waits_for(Magazine.create(title="new")).on_commit(lambda: called.append("raised"))
            raise RuntimeError("the request failed")

    with pytest.raises(RuntimeError, match="the request failed"):
        work()
    with database.atomic() as transaction:
        waits_for(Magazine.create(title="new")).on_commit(lambda: called.append("rolled back"))
        transaction.rollback()
        waits_for(Magazine.create(title="new")).on_commit(lambda: called.append("committed"))
    assert called == ["committed"]


@tells_of_commits
def test_savepoints_keep_or_drop_what_was_given_in_them(database: SqliteDatabase) -> None:
    called: list[str] = []

    def give(name: str) -> None:
        waits_for(Ref("kiosk.Magazine", 1)).on_commit(lambda: called.append(name))

    dehydrate(Magazine.get(id=1))
    with database.atomic():
        with database.atomic() as unheard:
            # The first of this database: the savepoint was there before anybody listened.
            give("in one that was there before")
            unheard.rollback()
        give("outer")
        with database.atomic():
            give("released")
        with database.atomic() as savepoint:
            give("rolled back")
            with database.atomic():
                give("released inside of what is rolled back")
            savepoint.rollback()
            give("after a rollback")
        give("last")
    assert called == ["outer", "released", "after a rollback", "last"]
    with database.atomic():
        give("in the next one")
    assert called[4:] == ["in the next one"]


@tells_of_commits
def test_a_callback_that_raises_is_heard_and_the_row_is_there(database: SqliteDatabase) -> None:
    def fail() -> None:
        raise ConnectionError("no Redis")

    def work() -> None:
        with database.atomic():
            waits_for(Magazine.create(title="new")).on_commit(fail)

    # Peewee tries to roll back what has committed, which SQLite refuses: the first error is its context.
    with pytest.raises(peewee.OperationalError) as caught:
        work()
    errors: list[BaseException] = [caught.value]
    while errors[-1].__context__ is not None:
        errors.append(errors[-1].__context__)
    assert any(type(error) is ConnectionError for error in errors)
    assert Magazine.select().count() == 4


def test_peewee_before_4_tells_of_no_commit(database: SqliteDatabase) -> None:
    with database.atomic():
        is_told = bool(transactions_of([Magazine.create(title="new")]))
    assert is_told is hasattr(database, "after_commit")
