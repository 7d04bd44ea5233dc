"""SQLAlchemy's mapped instances: to refs without a query, and back with one."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING, Any

import library
import pytest
from library import Author, Delivery, Email, Hero, Issue, Key, Newsletter, Person, Plain, Reader, Shelf, Statements
from sqlalchemy import Engine, create_engine, event, insert, inspect, select, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    aliased,
    defer,
    joinedload,
    load_only,
    mapped_column,
    selectinload,
    sessionmaker,
)
from sqlmodel import Session as SQLModelSession
from sqlmodel import SQLModel

from slimjobs import (
    ConfigurationError,
    RecordNotFoundError,
    RecordUnavailableError,
    Ref,
    UnsavedModelError,
    UnsupportedTypeError,
    registry,
    scopes,
)
from slimjobs.codec import Encoder
from slimjobs.fetches import Fetches
from slimjobs.hydration import hydrate
from slimjobs.orm import drivers
from slimjobs.orm.sqlalchemy import configure, sessions
from slimjobs.policies import Policy
from slimjobs.registry import dehydrate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PREFIX = "library."


@pytest.fixture(autouse=True)
def engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Engine, Engine]]:
    monkeypatch.setattr(sessions, "_sources", {})
    bound = library.bind(str(tmp_path))
    library.create(*bound)
    library.fill()
    configure(library.Session)
    yield bound
    for engine in bound:
        engine.dispose()


def load(*refs: Ref, **options: Any) -> list[Any]:
    """Load refs as a job does, within a scope that ends here."""
    with scopes.scope():
        return list(hydrate(list(refs), **options).values[0])


@pytest.mark.parametrize(
    ("instance", "pk"),
    [
        (Email(id=7, subject=""), 7),
        (Newsletter(id=7, title=""), 7),
        (Delivery(email_id=7, address="ann"), (7, "ann")),
        (Person(id=7, name=""), 7),
        (Author(id=7, name=""), 7),
        (Reader(id=7, name=""), 7),
        (Key(id=uuid.UUID(int=7)), uuid.UUID(int=7)),
        (Issue(id=7, title=""), 7),
        (Shelf(7, ""), 7),
        (Hero(id=7, name=""), 7),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_kind_of_mapped_class_travels(instance: Any, pk: Any) -> None:
    cls = type(instance)
    with library.Session() as session:
        session.add(session.merge(instance))
        session.commit()
        ref = dehydrate(session.get(cls, pk))

    assert ref == Ref(f"{PREFIX}{cls.__name__}", pk)
    (loaded,) = load(ref)
    assert type(loaded) is cls
    assert inspect(loaded).identity == (pk if isinstance(pk, tuple) else (pk,))
    assert dehydrate(loaded) == ref


def test_no_query_to_dehydrate_whatever_state_an_instance_is_in(engines: tuple[Engine, Engine]) -> None:
    session = library.Session()
    persistent, expired, detached = session.scalars(select(Email).order_by(Email.id)).all()
    session.expire(expired)
    session.expunge(detached)
    with Statements(*engines) as seen:
        refs = [dehydrate(each) for each in (persistent, expired, detached)]
        session.commit()
        refs.append(dehydrate(persistent))
        session.close()
        refs.append(dehydrate(expired))

    assert refs == [Ref("library.Email", pk) for pk in (1, 2, 3, 1, 2)]
    assert seen == []


def test_what_has_no_row_is_refused() -> None:
    with library.Session() as session:
        with pytest.raises(UnsavedModelError, match=r"Email has no row yet\.\nSave it before"):
            dehydrate(Email(id=9, subject=""))
        pending = Email(id=9, subject="")
        session.add(pending)
        with pytest.raises(UnsavedModelError, match=r"session\.flush\(\)"):
            dehydrate(pending)
        session.flush()
        assert dehydrate(pending) == Ref("library.Email", 9)
        session.rollback()
        with pytest.raises(UnsavedModelError):
            dehydrate(pending)


def test_what_is_deleted_is_refused() -> None:
    with library.Session() as session:
        email = session.get_one(Email, 1)
        session.delete(email)
        for settle in (session.get_transaction, session.flush, session.commit):
            settle()
            with pytest.raises(UnsavedModelError, match="Email is deleted"):
                dehydrate(email)


def test_a_deletion_that_is_rolled_back_is_none() -> None:
    with library.Session() as session:
        email = session.get_one(Email, 1)
        session.delete(email)
        session.flush()
        session.rollback()
        assert dehydrate(email) == Ref("library.Email", 1)


def test_a_subclass_that_is_not_mapped_is_none() -> None:
    class Mixin:
        pass

    assert registry.find(Mixin()) is None
    assert registry.find(Email) is None
    assert dehydrate(library.Base) is None
    locator = registry.find(Plain(id=1, subject=""))
    assert locator is not None
    assert locator.name == "library.Plain"


def test_a_class_inside_a_function_is_known_in_its_process(engines: tuple[Engine, Engine]) -> None:
    class Local(DeclarativeBase):
        pass

    class Note(Local):
        __tablename__ = "note"
        id: Mapped[int] = mapped_column(primary_key=True)

    Local.metadata.create_all(engines[0])
    maker = sessionmaker(engines[0])
    configure(maker)
    with maker.begin() as session:
        session.add(note := Note(id=4))
        session.flush()
        ref = dehydrate(note)
    assert isinstance(ref, Ref)
    assert type(load(ref)[0]) is Note


def test_a_class_is_found_by_its_import_path_in_a_process_that_has_seen_no_instance(tmp_path: Path) -> None:
    script = (
        "import slimjobs, sys\n"
        "assert 'sqlalchemy' not in sys.modules\n"
        "import library\n"
        "library.bind()\n"
        "from slimjobs.orm.sqlalchemy import configure\n"
        "configure(library.Session)\n"
        "print(slimjobs.Ref('library.Email', 2).load().subject)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(library.__file__).rpartition("/")[0], "LIBRARY_DIRECTORY": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "subject 2\n"


@pytest.mark.parametrize("count", [1, 100, pytest.param(10_000, marks=pytest.mark.slow)])
def test_one_query_for_a_class_and_database_however_many_refs(count: int, engines: tuple[Engine, Engine]) -> None:
    library.create(*(_emptied(engine) for engine in engines))
    library.fill(count)
    numbers = range(count, 0, -1)
    refs = [Ref(f"library.{name}", pk) for pk in numbers for name in ("Email", "Newsletter", "Issue")]
    with Statements(*engines) as seen, scopes.scope():
        (models,) = hydrate([*refs, *refs]).values
        assert len(seen) == 3

    assert [dehydrate(model) for model in models] == [*refs, *refs]
    assert [id(model) for model in models[: len(refs)]] == [id(model) for model in models[len(refs) :]]


def _emptied(engine: Engine) -> Engine:
    with engine.begin() as connection:
        for table in inspect(connection).get_table_names():
            connection.execute(text(f"DROP TABLE {table}"))
    return engine


@pytest.mark.slow
def test_ten_thousand_composite_keys_in_one_query(engines: tuple[Engine, Engine]) -> None:
    library.create(*(_emptied(engine) for engine in engines))
    library.fill(10_000)
    refs = [Ref("library.Delivery", (number, f"{number}@example.org")) for number in range(1, 10_001)]
    with Statements(*engines) as seen:
        assert len(load(*refs)) == 10_000
    assert len(seen) == 1


@pytest.mark.skipif(sys.version_info < (3, 11), reason="sqlite3 cannot set its limits")
@pytest.mark.parametrize(("name", "queries"), [("Email", 2), ("Delivery", 3)])
def test_keys_are_split_to_what_the_database_takes(name: str, queries: int, engines: tuple[Engine, Engine]) -> None:
    library.create(*(_emptied(engine) for engine in engines))
    library.fill(1500)

    @event.listens_for(engines[0], "connect")
    def limit(connection: Any, _: Any) -> None:
        connection.setlimit(9, 1400)  # SQLITE_LIMIT_VARIABLE_NUMBER

    engines[0].dispose()
    refs = [Ref("library.Email", pk) for pk in range(1, 1501)]
    if name == "Delivery":
        refs = [Ref("library.Delivery", (pk, f"{pk}@example.org")) for pk in range(1, 1501)]
    with Statements(*engines) as seen:
        assert len(load(*refs)) == 1500
    assert len(seen) == queries


def test_what_drivers_take() -> None:
    assert drivers.most_parameters("psycopg", "postgresql") == 65535
    assert drivers.most_parameters("asyncpg", "postgresql") == 32767
    assert drivers.most_parameters("oracledb", "oracle") == 999
    assert drivers.most_sqlite_parameters(object()) in (999, 32766)


def test_the_same_row_is_one_object_by_any_way_to_it() -> None:
    with scopes.scope():
        (email, newsletter) = hydrate(Ref("library.Email", 1), Ref("library.Newsletter", 2)).values
        assert email.newsletter is newsletter
        assert Ref("library.Email", 1).load() is email
        assert Ref("library.Email", "1").load() is email


def test_keys_as_text_are_what_they_stand_for() -> None:
    with library.Session.begin() as session:
        session.add(Key(id=uuid.UUID(int=5)))
    email, key, delivery = load(
        Ref("library.Email", "2"),
        Ref("library.Key", str(uuid.UUID(int=5))),
        Ref("library.Delivery", ("3", "3@example.org")),
    )
    assert (email.id, key.id, delivery.email_id) == (2, uuid.UUID(int=5), 3)


@pytest.mark.parametrize(
    "ref",
    [
        Ref("library.Email", 99),
        Ref("library.Email", "no number"),
        Ref("library.Key", "no uuid"),
        Ref("library.Delivery", 1),
        Ref("library.Delivery", (1, "2@example.org")),
        Ref("library.Author", 99),
    ],
    ids=repr,
)
def test_a_row_that_is_not_there(ref: Ref) -> None:
    with pytest.raises(RecordNotFoundError) as caught:
        load(Ref("library.Email", 1), ref)
    assert caught.value.refs == (ref,)


def test_a_row_is_there_whatever_the_database_makes_of_its_key(engines: tuple[Engine, Engine]) -> None:
    with library.Session.begin() as session:
        session.add_all(accounts := [library.Account(address=address) for address in ("Ann@Example.org", "bob")])
        session.flush()
        refs: list[Any] = [dehydrate(account) for account in accounts]
    ann, bob = refs
    assert ann.pk == "Ann@Example.org"
    stored, gone = Ref(ann.name, "ann@example.org"), Ref(ann.name, "zoe")
    for wanted, missing in (([ann], ()), ([ann, bob], ()), ([stored, ann, bob, gone], (gone,)), ([gone], (gone,))):
        with scopes.scope():
            hydrated = hydrate(wanted, policy=Policy(on_missing="none"))
            loaded = dict(zip(wanted, hydrated.values[0], strict=True))
        assert hydrated.missing == missing
        assert loaded.get(ann, loaded.get(stored)) is loaded.get(stored, loaded.get(ann))
        addresses = {each.address for each in loaded.values() if each is not None}
        assert addresses == {ref.pk.lower() for ref in wanted if ref not in missing}
    with Statements(*engines) as seen:
        load(stored, bob)
    assert len(seen) == 1


def test_outside_of_a_job_a_ref_loads_a_detached_instance(engines: tuple[Engine, Engine]) -> None:
    email = Ref("library.Email", 1).load()
    assert inspect(email).detached
    with Statements(*engines) as seen:
        assert (email.id, email.subject, email.html) == (1, "subject 1", "x" * 100)
        assert dehydrate(email) == Ref("library.Email", 1)
    assert seen == []
    with pytest.raises(RecordNotFoundError):
        Ref("library.Email", 99).load()
    assert engines[0].pool.checkedout() == 0  # type: ignore[attr-defined]


def fetching(fetch: Any, function: Any = library.titles) -> Fetches:
    return Fetches({"email": fetch}, function)


@pytest.mark.parametrize(
    "fetch",
    [
        library.WITH_NEWSLETTER,
        library.WITHOUT_HTML,
        tuple(library.WITHOUT_HTML),
        selectinload(Email.newsletter).selectinload(Newsletter.emails),
        joinedload(Email.newsletter).joinedload(Newsletter.emails),
    ],
    ids=["select", "list", "tuple", "selectinload", "joinedload"],
)
def test_a_task_says_what_else_it_reads(fetch: Any, engines: tuple[Engine, Engine]) -> None:
    is_list = isinstance(fetch, (list, tuple))
    with scopes.scope():
        _, (email,), _ = hydrate(None, [Ref("library.Email", 1)], {}, fetches=fetching(fetch)).values
        assert inspect(email).unloaded.isdisjoint({"newsletter"})
        assert ("html" in inspect(email).unloaded) is is_list
        with Statements(*engines) as seen:
            assert email.newsletter.title == "newsletter 2"
            if not is_list:
                assert library.titles(email) == ["subject 1"]
        assert seen == []


def test_a_function_fetches_in_the_jobs_session() -> None:
    from slimjobs.orm.sqlalchemy import current_session

    asked: list[Any] = []

    def fetch(pks: list[int]) -> Any:
        asked.append(pks)
        return [*current_session().scalars(select(Email).where(Email.id.in_(pks))), None]

    with scopes.scope():
        arguments = ([Ref("library.Email", 3), Ref("library.Email", "1"), Ref("library.Newsletter", 1)],)
        _, ((*emails, newsletter),), _ = hydrate(
            None, arguments, {}, fetches=Fetches({Email: fetch}, library.subject)
        ).values
        assert [email.id for email in emails] == [3, 1]
        assert asked == [[3, 1]]
        assert inspect(emails[0]).session is inspect(newsletter).session


def test_a_select_may_narrow_what_counts_as_there() -> None:
    fetches = fetching(select(Email).where(Email.subject != "subject 1"))
    with pytest.raises(RecordNotFoundError), scopes.scope():
        hydrate(None, (Ref("library.Email", 1),), {}, fetches=fetches)


@pytest.mark.parametrize(
    "fetch",
    [
        select(Newsletter),
        select(Email.id),
        select(Email, Newsletter),
        select(aliased(Email)),
        select(Email).limit(1),
        select(Email).offset(1),
        select(Email).group_by(Email.subject),
        selectinload(Newsletter.emails),
        [selectinload(Newsletter.emails)],
        [],
        [defer(Email.html), "html"],
        "html",
        Email,
        load_only(Newsletter.title),
    ],
)
def test_what_cannot_fetch_a_class_is_refused(fetch: Any) -> None:
    with (
        pytest.raises(ConfigurationError, match=r"load: what is given for 'email' .* cannot fetch Email"),
        scopes.scope(),
    ):
        hydrate(None, (Ref("library.Email", 1),), {}, fetches=fetching(fetch))


def test_options_of_a_parent_class_fetch_its_child() -> None:
    locator = registry.find(Author(id=1, name=""))
    assert locator is not None
    assert locator.accepts(defer(Person.name))
    assert not locator.accepts(defer(Reader.name))


@pytest.mark.parametrize("make", [lambda session: select(Email), lambda session: session.query(Email)])
def test_statements_are_refused_with_a_hint(make: Any) -> None:
    with library.Session() as session, pytest.raises(UnsupportedTypeError, match=r"session\.scalars"):
        dehydrate(make(session))


def test_results_are_refused_and_their_models_travel() -> None:
    with library.Session() as session:
        for result in (session.execute(select(Email)), session.scalars(select(Email))):
            with pytest.raises(UnsupportedTypeError, match="Result of SQLAlchemy cannot travel"):
                dehydrate(result)
        assert len(session.scalars(select(Email)).all()) == 3


def test_a_database_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    configure(sessionmaker(create_engine(f"sqlite:///{tmp_path}/no/such/directory/x.sqlite")))
    for attempt in (lambda: load(Ref("library.Email", 1)), Ref("library.Email", 1).load):
        with pytest.raises(RecordUnavailableError, match="rows of Email could not be asked for") as caught:
            attempt()
        assert caught.value.refs == (Ref("library.Email", 1),)


def test_a_locked_database_is_unavailable(tmp_path: Path) -> None:
    blocker = sqlite3.connect(tmp_path / "main.sqlite", isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    engine = create_engine(f"sqlite:///{tmp_path}/main.sqlite", connect_args={"timeout": 0})
    configure(sessionmaker(engine))
    with pytest.raises(RecordUnavailableError):
        load(Ref("library.Email", 1))
    blocker.execute("ROLLBACK")
    assert load(Ref("library.Email", 1))[0].id == 1
    blocker.close()
    engine.dispose()


def test_a_pool_that_is_exhausted_is_unavailable(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/main.sqlite", pool_size=1, max_overflow=0, pool_timeout=0)
    configure(sessionmaker(engine))
    with engine.connect(), pytest.raises(RecordUnavailableError):
        load(Ref("library.Email", 1))
    assert load(Ref("library.Email", 1))[0].id == 1
    engine.dispose()


@pytest.mark.parametrize("spoil", ["DROP TABLE email", "ALTER TABLE email DROP COLUMN subject"])
def test_a_table_or_column_that_is_missing_is_a_defect(spoil: str, engines: tuple[Engine, Engine]) -> None:
    with engines[0].begin() as connection:
        connection.execute(text(spoil))
    with pytest.raises(Exception, match="no such") as caught:
        load(Ref("library.Email", 1))
    assert not isinstance(caught.value, RecordUnavailableError)


@pytest.mark.parametrize(
    ("message", "is_defect"),
    [("no such table: email", True), ("near: syntax error", True), ("database is locked", False)],
)
def test_what_python_310_says_of_sqlites_errors(message: str, is_defect: bool) -> None:
    error = sqlite3.OperationalError(message)  # made here: it has no code, as all have none in Python 3.10
    assert drivers.is_out_of_reach(error) is not is_defect
    assert not drivers.is_out_of_reach(sqlite3.InterfaceError(message))
    assert not drivers.is_out_of_reach(None)


def test_wait_for_row_sees_what_is_committed_meanwhile_in_a_snapshot(
    engines: tuple[Engine, Engine], tmp_path: Path
) -> None:
    # SQLite keeps a snapshot from the first SELECT after BEGIN, with a write-ahead log.
    with engines[0].connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")
    engine = create_engine(f"sqlite:///{tmp_path}/main.sqlite")

    @event.listens_for(engine, "connect")
    def no_implicit_begin(connection: sqlite3.Connection, _: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN")

    attempts = 0

    @event.listens_for(engine, "after_cursor_execute")
    def commit_elsewhere(_: Any, __: Any, statement: str, *___: Any) -> None:
        nonlocal attempts
        if statement.startswith("SELECT"):
            attempts += 1
            if attempts == 1:
                with engines[0].begin() as connection:
                    connection.execute(insert(Email).values(id=77, subject="late", html=""))

    configure(sessionmaker(engine))
    with scopes.scope():
        email, late = hydrate(Ref("library.Email", 1), Ref("library.Email", 77), policy=Policy(wait_for_row=5)).values
        assert late.subject == "late"
        assert attempts == 2
        assert not inspect(email).expired_attributes
        assert inspect(email).session.expire_on_commit
    engine.dispose()


def test_without_renewal_a_snapshot_stays(engines: tuple[Engine, Engine]) -> None:
    # What the test above relies on: the job's session is one transaction.
    with scopes.scope():
        hydrate(Ref("library.Email", 1))
        assert sessions.current_session().in_transaction()
        sessions.renew(None)
        assert not sessions.current_session().in_transaction()
    sessions.renew(None)


def test_instances_of_an_async_session_travel(tmp_path: Path) -> None:
    async def read() -> Any:
        engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/main.sqlite")
        async with AsyncSession(engine) as session:
            email = await session.get_one(Email, 2)
            session.expire(email)
            ref = dehydrate(email)
        await engine.dispose()
        return ref

    assert asyncio.run(read()) == Ref("library.Email", 2)


def test_sqlmodel_with_its_own_session(engines: tuple[Engine, Engine]) -> None:
    configure(sessionmaker(engines[0], class_=SQLModelSession))
    with SQLModelSession(engines[0]) as session:
        with pytest.raises(UnsavedModelError):
            dehydrate(Hero(name="unsaved"))
        session.add(hero := Hero(name="Deadpond"))
        session.commit()
        ref = dehydrate(hero)
    assert isinstance(ref, Ref)
    with scopes.scope():
        (hero,) = hydrate(ref).values
        assert hero.name == "Deadpond"
        assert type(inspect(hero).session).__mro__[1] is SQLModelSession


def test_an_ordinary_class_of_pydantic_is_no_model() -> None:
    class Form(SQLModel):
        name: str

    assert dehydrate(Form(name="x")) is None


def test_mapped_instances_are_refs_in_payloads() -> None:
    with library.Session() as session:
        email = session.get_one(Email, 1)
        data = Encoder(dehydrate).encode([email, {"owner": email}])
    assert data is not None
    assert len(data) < 60
