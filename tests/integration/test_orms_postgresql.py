"""SQLAlchemy's and Peewee's models on PostgreSQL: what SQLite cannot show, such as a connection that dies idle."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import peewee
import psycopg
import pytest
from playhouse.pool import PooledPostgresqlDatabase
from sqlalchemy import CHAR, Engine, ForeignKey, create_engine, event, insert, make_url, text
from sqlalchemy.exc import DataError, IntegrityError, OperationalError, ProgrammingError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

from slimjobs import Job, Queue, RecordUnavailableError, Ref, scopes
from slimjobs.hydration import hydrate
from slimjobs.orm.sqlalchemy import configure, current_session, sessions
from slimjobs.policies import Policy
from slimjobs.registry import dehydrate, transactions_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from postgres_server import PostgresServer
    from redis import Redis

pytestmark = pytest.mark.slow

NONE = Policy("none")


class Base(DeclarativeBase):
    pass


class ArchiveBase(DeclarativeBase):
    pass


class Letter(Base):
    __tablename__ = "letter"
    id: Mapped[int] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(default="")


class Stamp(Base):
    """Two columns for a key."""

    __tablename__ = "stamp"
    country: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)


class Country(Base):
    """A key that comes back with spaces."""

    __tablename__ = "country"
    code: Mapped[str] = mapped_column(CHAR(8), primary_key=True)


class Reply(Base):
    """Its foreign key is looked at when the transaction commits."""

    __tablename__ = "reply"
    id: Mapped[int] = mapped_column(primary_key=True)
    letter_id: Mapped[int] = mapped_column(ForeignKey("letter.id", deferrable=True, initially="DEFERRED"))


class Volume(ArchiveBase):
    """In the other database."""

    __tablename__ = "volume"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]


def name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def letter(pk: Any) -> Ref:
    return Ref(name(Letter), pk)


def load(*refs: Ref, policy: Policy | None = None) -> list[Any]:
    """Load refs as a job does, within a scope that ends here."""
    with scopes.scope():
        return list(hydrate(list(refs), policy=policy or Policy()).values[0])


def kill_all(server: PostgresServer, database: str) -> int:
    """End the processes of all connections to a database, as a restart does, and return how many there were."""
    with psycopg.connect(server.url, autocommit=True) as other:
        ended = other.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", [database]
        )
        return sum(is_ended for (is_ended,) in ended)


def await_connections(server: PostgresServer, database: str, count: int) -> None:
    """Wait until a database has so many connections: the process of one that was closed ends a moment later."""
    with psycopg.connect(server.url, autocommit=True) as other:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
        while other.execute(query, [database]).fetchone() != (count,):
            pass


class Databases:
    """The two databases, and the engines that a test makes for them.

    Attributes:
        server: Where they are.
        main: An engine for the first one.
        archive: An engine for the second one.
        Session: The sessionmaker of the first one, which is configured.
    """

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self.url = make_url(server.url).set(drivername="postgresql+psycopg", database="letters")
        self._engines: list[Engine] = []
        self.main = self.engine()
        self.archive = self.engine(database="volumes")
        self.Session = sessionmaker(self.main)

    def engine(self, *, database: str = "letters", **options: Any) -> Engine:
        """Return an engine, which is disposed of after the test."""
        self._engines.append(create_engine(self.url.set(database=database), **options))
        return self._engines[-1]

    def connect(self) -> psycopg.Connection[Any]:
        """Return a connection of somebody else, who commits at once."""
        url = self.url.set(drivername="postgresql").render_as_string(hide_password=False)
        return psycopg.connect(url, autocommit=True)

    def dispose(self) -> None:
        """Close all connections."""
        for engine in self._engines:
            engine.dispose()


@pytest.fixture
def databases(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Databases]:
    monkeypatch.setattr(sessions, "_sources", {})
    postgres.make("letters", "volumes")
    made = Databases(postgres)
    Base.metadata.create_all(made.main)
    ArchiveBase.metadata.create_all(made.archive)
    with made.Session.begin() as session:
        session.add(Letter(id=1, subject="one"))
    configure(made.Session)
    yield made
    made.dispose()


@pytest.fixture
def statements(databases: Databases) -> list[str]:
    """The statements of the first database's engine, from now on."""
    return heard(databases.main)


def heard(engine: Engine) -> list[str]:
    seen: list[str] = []

    @event.listens_for(engine, "before_cursor_execute")
    def hear(*args: Any) -> None:
        seen.append(args[2])

    return seen


@pytest.mark.parametrize(("count", "queries"), [(65_335, 1), (65_336, 2), (70_000, 2)])
def test_keys_are_split_to_what_the_protocol_takes(
    count: int, queries: int, databases: Databases, statements: list[str]
) -> None:
    with scopes.scope():
        hydrated = hydrate([letter(number) for number in range(count)], policy=NONE)
    assert len(statements) == queries
    assert len(hydrated.missing) == count - 1
    assert [row.subject for row in hydrated.values[0] if row is not None] == ["one"]


def test_ten_thousand_composite_keys_are_ten_queries(databases: Databases) -> None:
    keys = [(country, number) for country in ("it's", 'A "b"') for number in range(5000)]
    with databases.Session.begin() as session:
        session.execute(insert(Stamp), [{"country": country, "number": number} for country, number in keys])
    statements = heard(databases.main)
    stamps = load(*(Ref(name(Stamp), key) for key in keys))
    assert [(stamp.country, stamp.number) for stamp in stamps] == keys
    assert len(statements) == 10


def test_connections_that_died_idle_in_the_pool_are_replaced(databases: Databases) -> None:
    with databases.Session() as one, databases.Session() as two:
        one.get(Letter, 1)
        two.get(Letter, 1)
    assert kill_all(databases.server, "letters") == 2
    happened: list[str] = []
    event.listen(databases.main, "connect", lambda *_: happened.append("connected"))
    event.listen(databases.main, "handle_error", lambda _: happened.append("failed"))
    with scopes.scope():
        (row,) = hydrate(letter(1)).values
        assert row.subject == "one"
        assert current_session().in_transaction()
        # Another session gets the other one of the pool.
        with databases.Session() as session:
            assert session.get_one(Letter, 1).subject == "one"
    assert happened == ["failed", "connected", "connected"]


def test_a_connection_that_dies_in_the_jobs_transaction_is_not_replaced_in_silence(databases: Databases) -> None:
    with scopes.scope():
        (row,) = hydrate(letter(1)).values
        row.subject = "changed"
        current_session().flush()
        kill_all(databases.server, "letters")
        with pytest.raises(RecordUnavailableError) as caught:
            hydrate(letter(2))
    assert caught.value.refs == (letter(2),)
    assert load(letter(1))[0].subject == "one"


@pytest.mark.parametrize(
    "spoiled",
    [
        {"host": "127.0.0.1", "port": 1, "query": {}},
        {"host": None, "port": None, "query": {"host": "/nowhere"}},
        {"username": "nobody"},
        {"database": "nothing"},
    ],
)
def test_who_cannot_connect_is_told_so(spoiled: dict[str, Any], databases: Databases) -> None:
    engine = create_engine(databases.url.set(**spoiled))
    configure(sessionmaker(engine))
    with pytest.raises(RecordUnavailableError) as caught:
        load(letter(1), Ref(name(Stamp), ("it", 1)), letter(2))
    assert isinstance(caught.value.__cause__, OperationalError)
    assert caught.value.refs == (letter(1), letter(2))
    with pytest.raises(RecordUnavailableError):
        letter(1).load()


@pytest.mark.parametrize("limit", ["lock_timeout", "statement_timeout"])
def test_a_locked_table_is_unavailable(limit: str, databases: Databases) -> None:
    configure(sessionmaker(databases.engine(connect_args={"options": f"-c {limit}=50"})))
    with databases.connect() as other, other.transaction():
        other.execute("LOCK TABLE letter")
        with pytest.raises(RecordUnavailableError):
            load(letter(1))
    assert load(letter(1))[0].subject == "one"


@pytest.mark.parametrize(
    "spoil",
    ["DROP TABLE letter CASCADE", "ALTER TABLE letter DROP COLUMN subject", "ALTER TABLE letter RENAME id TO x"],
)
def test_a_table_or_column_that_is_missing_is_a_defect(spoil: str, databases: Databases) -> None:
    with databases.connect() as other:
        other.execute(spoil.encode())
    with pytest.raises(ProgrammingError):
        load(letter(1))


def test_wait_for_row_sees_what_others_commit_under_repeatable_read(databases: Databases) -> None:
    engine = databases.engine(isolation_level="REPEATABLE READ")
    configure(sessionmaker(engine))
    asked: list[Any] = []

    @event.listens_for(engine, "after_cursor_execute")
    def commit_meanwhile(*args: Any) -> None:
        asked.append(args[3])
        if len(asked) == 2:  # the first for row 2, which so is not there
            with databases.connect() as other:
                other.execute("INSERT INTO letter VALUES (2, 'meanwhile')")
                other.execute("UPDATE letter SET subject = 'changed' WHERE id = 1")

    with scopes.scope():
        (first,) = hydrate(letter(1)).values
        assert hydrate(letter(2), policy=NONE).missing == (letter(2),)
        # It is there now, and the snapshot does not show it.
        assert hydrate(letter(2), policy=NONE).missing == (letter(2),)
        assert len(asked) == 3
        (second,) = hydrate(letter(2), policy=Policy(wait_for_row=60)).values
        assert second.subject == "meanwhile"
        assert len(asked) == 5
        assert first.subject == "one"  # what was loaded before is neither expired nor loaded again
        assert current_session().identity_map.values() == [first, second]
    assert len(asked) == 5


def test_a_commit_that_the_database_refuses_drops_the_job(databases: Databases, redis: Redis) -> None:
    queue = Queue("letters", connection=redis)
    with databases.Session() as session:
        session.add(reply := Reply(id=1, letter_id=99))
        session.flush()
        job = queue.enqueue(subject_of, reply)
        with pytest.raises(IntegrityError):
            session.commit()
        session.rollback()
        session.add(Letter(id=2))
        session.commit()
    assert not Job.exists(job.id, redis)
    assert queue.count == 0


def subject_of(row: Any) -> Any:
    """A task, which sees what is committed."""
    return getattr(row, "subject", None)


def test_a_job_is_enqueued_at_the_commit_and_not_before(databases: Databases, redis: Redis) -> None:
    queue = Queue("letters", connection=redis)
    seen: list[tuple[str, int]] = []
    event.listen(databases.main, "commit", lambda _: seen.append(("about to commit", queue.count)))
    with databases.Session.begin() as session:
        session.add(row := Letter(id=2, subject="two"))
        session.flush()
        job = queue.enqueue(subject_of, row)
        held = Queue("held", connection=redis, is_async=False).enqueue(subject_of, row)
        assert not Job.exists(job.id, redis)
    assert seen[0] == ("about to commit", 0)
    assert queue.job_ids == [job.id]
    # That of the synchronous queue has run in the commit, and has found its row in a session of its own.
    assert held.return_value() == "two"

    with databases.Session() as session:
        session.add(row := Letter(id=3))
        session.flush()
        queue.enqueue(subject_of, row)
    assert queue.job_ids == [job.id]


@pytest.mark.parametrize("is_committed", [True, False])
def test_two_phases(is_committed: bool, databases: Databases) -> None:
    databases.dispose()
    databases.server.prepare_transactions()
    called: list[str] = []
    maker = sessionmaker(databases.main, binds={ArchiveBase: databases.archive}, twophase=True)
    with maker() as session:
        session.add_all(rows := [Letter(id=2, subject="two"), Volume(id=2, title="second")])
        session.flush()
        (transaction,) = transactions_of(rows)
        transaction.on_commit(lambda: called.extend([load(letter(2))[0].subject, "called"]))
        session.prepare()
        with databases.connect() as other:
            prepared = other.execute("SELECT database FROM pg_prepared_xacts ORDER BY database").fetchall()
        assert prepared == [("letters",), ("volumes",)]
        assert called == []
        (session.commit if is_committed else session.rollback)()
        assert called == (["two", "called"] if is_committed else [])
        session.add(Letter(id=3))
        session.commit()
    assert called == (["two", "called"] if is_committed else [])


def test_one_sessionmaker_for_two_databases(databases: Databases) -> None:
    configure(sessionmaker(databases.main, binds={ArchiveBase: databases.archive}))
    with databases.archive.begin() as connection:
        connection.execute(insert(Volume), [{"id": number, "title": f"{number}"} for number in (1, 2)])
    refs = [letter(1), Ref(name(Volume), 2), Ref(name(Volume), 1)]
    seen = [heard(engine) for engine in (databases.main, databases.archive)]
    row, *volumes = load(*refs)
    assert [row.subject, *(volume.title for volume in volumes)] == ["one", "2", "1"]
    assert [len(each) for each in seen] == [1, 1]
    assert [dehydrate(each) for each in (row, *volumes)] == refs


def test_the_same_class_in_two_databases(databases: Databases) -> None:
    Base.metadata.create_all(databases.archive)
    Archive = sessionmaker(databases.archive)  # noqa: N806  # a session class, as SQLAlchemy names it
    configure(Archive, db="archive")
    with Archive.begin() as archive, databases.Session() as session:
        archive.add(archived := Letter(id=1, subject="archived"))
        archive.flush()
        models = [archived, session.get_one(Letter, 1)]
        assert len(transactions_of(models)) == 1
    refs: list[Any] = [dehydrate(each) for each in models]
    assert refs == [Ref(name(Letter), 1, "archive"), letter(1)]
    assert [each.subject for each in load(*refs)] == ["archived", "one"]
    kill_all(databases.server, "volumes")
    databases.server.make("volumes")
    with pytest.raises(ProgrammingError):
        load(*refs)
    assert load(letter(1))[0].subject == "one"


def test_a_key_of_a_fixed_length(databases: Databases) -> None:
    with databases.Session.begin() as session:
        session.add(country := Country(code="at"))
        session.flush()
        saved: Any = dehydrate(country)
    (loaded,) = load(saved)
    assert loaded.code == "at      "
    assert [row.code for row in load(saved, Ref(name(Country), loaded.code))] == [loaded.code] * 2
    assert load(Ref(name(Country), "gone"), saved, policy=NONE)[0] is None


class Card(peewee.Model):
    title = peewee.CharField()

    class Meta:
        database = peewee.DatabaseProxy()


class Loan(peewee.Model):
    """Two fields for a key, of which one is no type of the driver's."""

    reader = peewee.UUIDField()
    number = peewee.IntegerField()

    class Meta:
        database = Card._meta.database
        primary_key = peewee.CompositeKey("reader", "number")


@pytest.fixture
def cards(postgres: PostgresServer) -> Iterator[peewee.PostgresqlDatabase]:
    if int(peewee.__version__.partition(".")[0]) < 4:
        pytest.skip("Peewee before 4 knows psycopg2 alone")
    postgres.make("cards")
    database = peewee.PostgresqlDatabase(postgres.url.replace("/postgres?", "/cards?"), prefer_psycopg3=True)
    Card._meta.database.initialize(database)
    with database.connection_context():
        database.create_tables([Card, Loan])
        Card.create(title="one")
    yield database
    database.close()


def asked(database: peewee.PostgresqlDatabase) -> list[str]:
    seen: list[str] = []
    database.query_hooks.append(lambda event: seen.append(event.sql))
    return seen


def test_peewee_splits_keys(cards: peewee.PostgresqlDatabase) -> None:
    seen = asked(cards)
    found = hydrate([Ref(name(Card), number) for number in range(70_000)], policy=NONE)
    assert (len(seen), len(found.missing)) == (3, 69_999)


def test_peewee_loads_composite_keys(cards: peewee.PostgresqlDatabase) -> None:
    keys = [(uuid.UUID(int=number // 2), number) for number in range(10_000)]
    with cards.connection_context():
        for start in range(0, len(keys), 1000):
            Loan.insert_many(keys[start : start + 1000], fields=[Loan.reader, Loan.number]).execute()
    seen = asked(cards)
    loans = load(*(Ref(name(Loan), key) for key in keys))
    assert [(loan.reader, loan.number) for loan in loans] == keys
    assert len(seen) == 10
    assert cards.is_closed()


def test_peewee_calls_after_the_commit_what_no_savepoint_has_dropped(
    cards: peewee.PostgresqlDatabase, redis: Redis
) -> None:
    queue = Queue("cards", connection=redis)

    def fail_in_a_savepoint() -> None:
        with cards.atomic():
            queue.enqueue(title_of, Card.create(title="failed"))
            Card.insert(id=1, title="there already").execute()

    with cards.atomic():
        kept = [queue.enqueue(title_of, Card.create(title="kept")).id]
        with cards.atomic() as savepoint:
            queue.enqueue(title_of, Card.create(title="dropped"))
            savepoint.rollback()
        with cards.atomic():
            kept.append(queue.enqueue(title_of, Card.create(title="released")).id)
        with pytest.raises(peewee.IntegrityError):
            fail_in_a_savepoint()
        assert queue.count == 0
        sync = Queue("held", connection=redis, is_async=False).enqueue(title_of, Card.get(title="kept"))
    assert queue.job_ids == kept
    assert sync.return_value() == "kept"


def title_of(card: Card) -> Any:
    return card.title


@pytest.mark.parametrize(
    "spoiled", [{"host": "127.0.0.1", "port": 1}, {"host": "/nowhere"}, {"user": "nobody"}, {"dbname": "nothing"}]
)
def test_peewee_that_cannot_connect_is_unavailable(spoiled: dict[str, Any], cards: peewee.PostgresqlDatabase) -> None:
    proxy = Card._meta.database
    proxy.initialize(peewee.PostgresqlDatabase(cards.database, prefer_psycopg3=True, **spoiled))
    with pytest.raises(RecordUnavailableError) as caught:
        load(Ref(name(Card), 1), Ref(name(Loan), (uuid.UUID(int=1), 1)))
    assert isinstance(caught.value.__cause__, peewee.OperationalError)
    assert caught.value.refs == (Ref(name(Card), 1),)
    proxy.initialize(cards)
    assert load(Ref(name(Card), 1))[0].title == "one"


def test_peewee_without_the_table_is_a_defect(cards: peewee.PostgresqlDatabase) -> None:
    cards.drop_tables([Card])
    with pytest.raises(peewee.ProgrammingError):
        load(Ref(name(Card), 1))
    cards.close()


def test_a_commit_of_a_failed_transaction_drops_the_job(
    databases: Databases, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    queue = Queue("letters", connection=redis)
    with databases.Session() as session:
        session.add(row := Letter(id=2))
        session.flush()
        queue.enqueue(subject_of, row)
        with pytest.raises(DataError):
            session.execute(text("SELECT 1 / 0"))
        session.commit()  # PostgreSQL rolls back, and says nothing
    (record,) = caplog.records
    assert "had failed, and the database rolled back" in record.getMessage()
    with databases.Session() as session:
        assert session.get(Letter, 2) is None
    assert queue.count == 0

    with databases.Session.begin() as session:
        session.add(row := Letter(id=2))
        session.flush()
        job = queue.enqueue(subject_of, row)
        savepoint = session.begin_nested()
        with pytest.raises(DataError):
            session.execute(text("SELECT 1 / 0"))
        savepoint.rollback()
    assert queue.job_ids == [job.id]


def test_peewee_drops_the_jobs_of_a_failed_transaction(cards: peewee.PostgresqlDatabase, redis: Redis) -> None:
    queue = Queue("cards", connection=redis)
    with cards.atomic():
        queue.enqueue(title_of, Card.create(title="lost"))
        with pytest.raises(peewee.DataError):
            cards.execute_sql("SELECT 1 / 0")
    assert Card.get_or_none(title="lost") is None
    assert queue.count == 0
    with cards.atomic():
        job = queue.enqueue(title_of, Card.create(title="kept"))
        with cards.atomic() as savepoint:
            with pytest.raises(peewee.DataError):
                cards.execute_sql("SELECT 1 / 0")
            savepoint.rollback()
    assert Card.get_or_none(title="kept") is not None
    assert queue.job_ids == [job.id]


@pytest.mark.parametrize("kind", [peewee.PostgresqlDatabase, PooledPostgresqlDatabase])
def test_peewee_makes_a_connection_that_died_while_it_was_idle_again(
    kind: Any, cards: peewee.PostgresqlDatabase, postgres: PostgresServer
) -> None:
    database = kind(cards.database, prefer_psycopg3=True)
    Card._meta.database.initialize(database)
    with database.connection_context(), ThreadPoolExecutor(1) as other:
        other.submit(database.connect).result()
        other.submit(database.close).result()
        await_connections(postgres, "cards", 2 if kind is PooledPostgresqlDatabase else 1)
        kill_all(postgres, "cards")
        assert load(Ref(name(Card), 1))[0].title == "one"
        assert not database.is_closed()
        with pytest.raises(peewee.OperationalError, match="the connection is closed"):
            work_and_lose_it(database, postgres)
        assert load(Ref(name(Card), 1))[0].title == "one"
    if kind is PooledPostgresqlDatabase:
        database.close_all()


def work_and_lose_it(database: peewee.PostgresqlDatabase, postgres: PostgresServer) -> None:
    with database.atomic():
        Card.create(title="lost")
        kill_all(postgres, "cards")
        with pytest.raises(RecordUnavailableError):
            load(Ref(name(Card), 1))
