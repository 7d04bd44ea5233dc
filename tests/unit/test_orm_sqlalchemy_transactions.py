"""What a job waits for: the commit of the transaction that has changed a row, and no other."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import TYPE_CHECKING, Any

import library
import pytest
from library import Delivery, Email, Issue, Newsletter
from sqlalchemy import Engine, delete, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from slimjobs import Ref
from slimjobs.orm.sqlalchemy import transactions
from slimjobs.registry import transactions_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from slimjobs.locators import Transaction


@pytest.fixture(autouse=True)
def engines(tmp_path: Path) -> Iterator[tuple[Engine, Engine]]:
    bound = library.bind(str(tmp_path))
    library.create(*bound)
    library.fill()
    yield bound
    for engine in bound:
        engine.dispose()


@pytest.fixture
def session() -> Iterator[Session]:
    with library.Session() as opened:
        yield opened


@pytest.fixture
def email(session: Session) -> Email:
    return session.get_one(Email, 1)


def waits_for(*models: Any) -> Transaction:
    (transaction,) = transactions_of(models)
    return transaction


def change(email: Email) -> None:
    email.subject = "changed"


def test_a_session_that_only_reads_holds_nothing_back(session: Session, email: Email) -> None:
    session.scalars(select(Newsletter)).all()
    session.execute(text("SELECT 'insert'"))
    session.refresh(email)
    session.flush()
    with session.begin_nested():
        assert transactions_of([email]) == ()
    assert session.in_transaction()
    email.subject = str(email.subject)
    assert transactions_of([email]) == ()


def change_it(session: Session, email: Email) -> None:
    change(email)


def change_and_flush_it(session: Session, email: Email) -> None:
    change(email)
    session.flush()


def change_flush_and_expire_it(session: Session, email: Email) -> None:
    change_and_flush_it(session, email)
    session.expire_all()


def change_it_in_a_savepoint(session: Session, email: Email) -> None:
    with session.begin_nested():
        change(email)


def change_it_inside_open_savepoints(session: Session, email: Email) -> None:
    session.begin_nested()
    change_and_flush_it(session, email)
    session.begin_nested()


def update_it_by_core(session: Session, email: Email) -> None:
    session.execute(update(Email).values(subject="changed"))


def update_it_by_table(session: Session, email: Email) -> None:
    session.execute(update(Email.__table__).values(subject="changed"))  # type: ignore[arg-type]


def insert_by_core(session: Session, email: Email) -> None:
    session.execute(insert(Email), [{"id": 50, "subject": ""}, {"id": 51, "subject": ""}])


def insert_and_return(session: Session, email: Email) -> None:
    session.scalars(insert(Email).returning(Email), [{"id": 50, "subject": ""}]).all()


def delete_others_by_core(session: Session, email: Email) -> None:
    session.execute(delete(Email).where(Email.id > 1))


def write_by_text(session: Session, email: Email) -> None:
    session.execute(text("  Update email SET subject = 'x'"))


def update_by_query(session: Session, email: Email) -> None:
    session.query(Email).update({"subject": "x"})


@pytest.mark.parametrize(
    "act",
    [
        change_it,
        change_and_flush_it,
        change_flush_and_expire_it,
        change_it_in_a_savepoint,
        change_it_inside_open_savepoints,
        update_it_by_core,
        update_it_by_table,
        insert_by_core,
        insert_and_return,
        delete_others_by_core,
        write_by_text,
        update_by_query,
    ],
)
def test_a_changed_row_waits(act: Callable[[Session, Email], None], session: Session, email: Email) -> None:
    act(session, email)
    transaction = waits_for(email)
    called: list[int] = []
    transaction.on_commit(lambda: called.append(1))
    assert transaction.is_open()
    while session.get_nested_transaction():
        session.get_nested_transaction().commit()  # type: ignore[union-attr]
    assert called == []
    session.commit()
    assert called == [1]
    assert not transaction.is_open()
    assert transactions_of([email]) == ()


def test_an_inserted_row_waits(session: Session) -> None:
    session.add(email := Email(subject=""))
    session.flush()
    assert waits_for(email).is_open()


def test_a_row_waits_also_where_its_instance_was_dropped_and_is_loaded_again(session: Session) -> None:
    session.add(Delivery(email_id=7, address="ann"))
    session.flush()
    change(session.get_one(Email, 1))
    session.flush()
    with session.begin_nested():
        change(session.get_one(Email, 2))
    with session.begin_nested() as savepoint:
        change(session.get_one(Email, 3))
        session.flush()
        gc.collect()
        waits_for(session.get_one(Email, 3))
        savepoint.rollback()
    gc.collect()
    assert len(session.identity_map) == 0
    for cls, pk in ((Delivery, (7, "ann")), (Email, 1), (Email, 2)):
        waits_for(session.get_one(cls, pk))
    assert transactions_of([session.get_one(Email, 3)]) == ()
    session.commit()
    assert transactions_of([session.get_one(Email, 1)]) == ()


def test_rows_that_are_not_changed_do_not_wait_for_those_that_are(session: Session, email: Email) -> None:
    other = session.get_one(Email, 2)
    change(email)
    session.flush()
    assert transactions_of([other]) == ()
    assert transactions_of([other, email]) == transactions_of([email])


def test_refs_and_detached_instances_wait_for_nothing(session: Session, email: Email) -> None:
    change(email)
    session.flush()
    session.expunge(email)
    assert transactions_of([email, Ref("library.Email", 1), 5]) == ()


def test_one_transaction_is_one(session: Session, email: Email) -> None:
    newsletter = session.get_one(Newsletter, 1)
    newsletter.title = "changed"
    change(email)
    first = waits_for(email, newsletter, email)
    with session.begin_nested():
        assert waits_for(email) == first
        assert hash(waits_for(email)) == hash(first)
    session.commit()
    change(email)
    assert waits_for(email) != first


def test_sessions_are_waited_for_each(email: Email, session: Session) -> None:
    change(email)
    called: list[str] = []
    with library.ArchiveSession() as archive:
        issue = archive.get_one(Issue, 1)
        issue.title = "changed"
        both = transactions_of([email, issue])
        assert len(both) == 2
        for transaction, name in zip(both, ("main", "archive"), strict=True):
            transaction.on_commit(lambda name=name: called.append(name))  # type: ignore[misc]
        archive.commit()
        assert called == ["archive"]
        assert [transaction.is_open() for transaction in both] == [True, False]
        session.commit()
    assert called == ["archive", "main"]


def test_callbacks_are_called_in_order_and_when_the_row_can_be_seen(session: Session, email: Email) -> None:
    change(email)
    seen: list[Any] = []

    def look(name: str) -> Callable[[], None]:
        def look_now() -> None:
            with library.Session() as other:
                seen.append((name, other.get_one(Email, 1).subject, session.in_transaction()))

        return look_now

    transaction = waits_for(email)
    transaction.on_commit(look("first"))
    waits_for(email).on_commit(look("second"))
    session.commit()
    assert seen == [("first", "changed", False), ("second", "changed", False)]


def roll_back(session: Session) -> None:
    session.rollback()


def close(session: Session) -> None:
    session.close()


def invalidate(session: Session) -> None:
    session.invalidate()


def fail_to_flush(session: Session) -> None:
    session.add(Email(id=2, subject="taken"))
    with pytest.raises(Exception, match="UNIQUE"):
        session.commit()
    session.rollback()


@pytest.mark.parametrize("end", [roll_back, close, invalidate, fail_to_flush])
def test_a_rollback_drops_what_waits(end: Callable[[Session], None], session: Session, email: Email) -> None:
    change(email)
    session.flush()
    called: list[int] = []
    transaction = waits_for(email)
    transaction.on_commit(lambda: called.append(1))
    end(session)
    assert not transaction.is_open()
    transaction.on_commit(lambda: called.append(2))
    session.get_one(Email, 2).subject = "changed"
    session.commit()
    assert called == []


def test_a_transaction_that_has_failed_and_is_not_rolled_back_yet(session: Session, email: Email) -> None:
    change(email)
    called: list[int] = []
    transaction = waits_for(email)
    transaction.on_commit(lambda: called.append(1))
    session.add(Delivery(email_id=1, address="1@example.org"))
    with pytest.raises(Exception, match="UNIQUE"):
        session.flush()
    session.rollback()
    assert not transaction.is_open()
    session.commit()
    assert called == []


def test_given_after_the_commit_it_is_called_at_once(session: Session, email: Email) -> None:
    change(email)
    transaction = waits_for(email)
    session.commit()
    called: list[int] = []
    transaction.on_commit(lambda: called.append(1))
    assert called == [1]


def test_savepoints_keep_or_drop_what_was_given_in_them(session: Session, email: Email) -> None:
    called: list[str] = []
    change(email)

    def give(name: str) -> None:
        waits_for(email).on_commit(lambda: called.append(name))

    give("outer")
    with session.begin_nested():
        give("released")
        with session.begin_nested():
            give("released twice")
    savepoint = session.begin_nested()
    give("rolled back")
    with session.begin_nested():
        give("released inside of what is rolled back")
    savepoint.rollback()
    savepoint = session.begin_nested()
    session.begin_nested()
    give("inside of two that are rolled back")
    savepoint.rollback()
    give("last")
    assert called == []
    session.commit()
    assert called == ["outer", "released", "released twice", "last"]


def test_what_only_a_savepoint_had_changed_is_no_change_after_its_rollback(session: Session, email: Email) -> None:
    with session.begin_nested() as savepoint:
        change(email)
        session.flush()
        assert transactions_of([email])
        savepoint.rollback()
    assert transactions_of([email]) == ()


@pytest.mark.parametrize("is_committed", [True, False])
def test_begin_blocks(is_committed: bool) -> None:
    called: list[int] = []

    def work() -> None:
        with library.Session.begin() as session:
            change(email := session.get_one(Email, 1))
            waits_for(email).on_commit(lambda: called.append(1))
            if not is_committed:
                raise RuntimeError("the request failed")
            assert called == []

    if is_committed:
        work()
    else:
        with pytest.raises(RuntimeError, match="the request failed"):
            work()
    assert called == ([1] if is_committed else [])


def test_begin_without_autobegin(engines: tuple[Engine, Engine]) -> None:
    called: list[int] = []
    with Session(engines[0], autobegin=False) as session:
        with session.begin():
            change(email := session.get_one(Email, 1))
            waits_for(email).on_commit(lambda: called.append(1))
        assert called == [1]
        assert transactions_of([email]) == ()


def test_scoped_sessions_and_classes_of_their_own(engines: tuple[Engine, Engine]) -> None:
    class Custom(Session):
        pass

    scoped = scoped_session(sessionmaker(engines[0], class_=Custom))
    change(email := scoped.get_one(Email, 1))
    called: list[int] = []
    waits_for(email).on_commit(lambda: called.append(1))
    scoped.commit()
    assert called == [1]
    scoped.remove()


def test_inside_of_an_outer_transaction_a_session_commits_for_itself(engines: tuple[Engine, Engine]) -> None:
    # As test suites do, that roll everything back after a test.
    called: list[int] = []
    with engines[0].connect() as connection:
        outer = connection.begin()
        with Session(connection, join_transaction_mode="create_savepoint") as session:
            change(email := session.get_one(Email, 1))
            waits_for(email).on_commit(lambda: called.append(1))
            session.commit()
        assert called == [1]
        outer.rollback()


def test_an_async_session_waits_alike(tmp_path: Path) -> None:
    called: list[str] = []

    async def work() -> None:
        engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/main.sqlite")
        async with AsyncSession(engine) as session:
            email = await session.get_one(Email, 1)
            assert transactions_of([email]) == ()
            for name, end in (("committed", session.commit), ("rolled back", session.rollback)):
                email.subject = name
                waits_for(email).on_commit(lambda name=name: called.append(name))  # type: ignore[misc]
                await end()
                await session.refresh(email)
        await engine.dispose()

    asyncio.run(work())
    assert called == ["committed"]


def test_one_that_raises_keeps_none_from_being_called(session: Session, email: Email) -> None:
    called: list[int] = []

    def fail() -> None:
        raise ConnectionError("no Redis")

    change(email)
    for callback in (lambda: called.append(1), fail, lambda: called.append(2)):
        waits_for(email).on_commit(callback)
    with pytest.raises(ConnectionError, match="no Redis"):
        session.commit()
    assert called == [1, 2]
    # It has committed, and the session can go on.
    assert not session.in_transaction()
    assert session.get_one(Email, 1).subject == "changed"
    change(email)
    session.commit()
    assert called == [1, 2]


def test_one_that_raises_at_the_end_of_a_block() -> None:
    def fail() -> None:
        raise ConnectionError("no Redis")

    def work() -> None:
        with library.Session.begin() as session:
            change(email := session.get_one(Email, 1))
            waits_for(email).on_commit(fail)

    with pytest.raises(ConnectionError):
        work()
    with library.Session() as other:
        assert other.get_one(Email, 1).subject == "changed"


def test_a_callback_may_use_the_session_again(session: Session, email: Email) -> None:
    subjects: list[str] = []
    change(email)
    waits_for(email).on_commit(lambda: subjects.append(email.subject))
    session.commit()
    assert subjects == ["changed"]


def test_nothing_stays_behind(session: Session, email: Email) -> None:
    change(email)
    called: list[int] = []
    waits_for(email).on_commit(lambda: called.append(1))
    session.flush()
    session.commit()
    assert session.info == {}
    session.execute(update(Email).values(subject="x"))
    session.rollback()
    assert session.info == {}


def test_a_session_that_is_dropped_takes_all_with_it() -> None:
    called: list[int] = []
    session = library.Session()
    change(email := session.get_one(Email, 1))
    waits_for(email).on_commit(lambda: called.append(1))
    gone = weakref.ref(session)
    del session, email
    gc.collect()
    assert gone() is None
    assert called == []


def test_uncommitted_changes_are_told_apart(session: Session, email: Email) -> None:
    assert not transactions.has_uncommitted(session)
    change(email)
    assert transactions.has_uncommitted(session)
    session.flush()
    assert transactions.has_uncommitted(session)
    session.commit()
    assert not transactions.has_uncommitted(session)
