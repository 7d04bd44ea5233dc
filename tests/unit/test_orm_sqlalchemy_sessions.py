"""The session of a job's models: which one, for how long, and who commits."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import pickle
import sqlite3
import threading
from typing import TYPE_CHECKING, Any

import library
import pytest
from library import Email, Issue, Statements
from sqlalchemy import Engine, create_engine, event, func, insert, select, text
from sqlalchemy.ext.asyncio import async_scoped_session, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, make_transient, object_session, scoped_session, sessionmaker
from sqlalchemy.pool import StaticPool

from slimjobs import ConfigurationError, Ref, scopes
from slimjobs.fetches import Fetches
from slimjobs.hydration import hydrate
from slimjobs.orm.sqlalchemy import configure, current_session, sessions
from slimjobs.registry import dehydrate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


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


def call(task: Callable[..., Any], *args: Any) -> Any:
    """Call a task with its models, as a job does."""
    with scopes.scope(f"{task.__module__}.{task.__name__}"):
        return task(*hydrate(*args).values)


def subject_of(pk: int) -> str | None:
    with library.Session() as session:
        return session.scalar(select(Email.subject).where(Email.id == pk))


EMAIL = Ref("library.Email", 1)


def test_one_session_for_all_models_of_a_call_closed_after_it(engines: tuple[Engine, Engine]) -> None:
    with scopes.scope():
        email, issue, again = hydrate(EMAIL, Ref("library.Issue", 1), EMAIL).values
        session = object_session(email)
        assert session is not None
        assert session is object_session(issue) is current_session()
        assert again is email
        assert email.newsletter.title == "newsletter 2"
        assert session.in_transaction()
        assert engines[0].pool.checkedout() == 1  # type: ignore[attr-defined]
    assert not session.in_transaction()
    assert object_session(email) is None
    assert [engine.pool.checkedout() for engine in engines] == [0, 0]  # type: ignore[attr-defined]
    assert email.subject == "subject 1"


def test_each_call_has_its_own_also_one_inside_another() -> None:
    with scopes.scope():
        (outer,) = hydrate(EMAIL).values
        with scopes.scope():
            (inner,) = hydrate(EMAIL).values
            assert object_session(inner) is current_session()
            assert object_session(inner) is not object_session(outer)
        assert object_session(inner) is None
        assert object_session(outer) is current_session()


def test_the_task_commits() -> None:
    call(library.rename, EMAIL, "renamed")
    assert subject_of(1) == "renamed"


def test_what_the_task_does_not_commit_is_rolled_back_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    call(library.forget_to_commit, EMAIL)
    assert subject_of(1) == "subject 1"
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("slimjobs", logging.WARNING)
    assert record.getMessage().startswith("library.forget_to_commit: the session of its models held changes")
    assert "never seen" not in record.getMessage()


def change(email: Email) -> None:
    email.subject = "changed"


def change_and_flush(email: Email) -> None:
    email.subject = "changed"
    current_session().flush()


def add(_: Email) -> None:
    current_session().add(Email(id=50, subject=""))


def add_and_flush_and_drop(_: Email) -> None:
    current_session().add(Email(id=50, subject=""))
    current_session().flush()
    gc.collect()


def delete(email: Email) -> None:
    current_session().delete(email)


def delete_and_flush(email: Email) -> None:
    current_session().delete(email)
    current_session().flush()


def insert_by_core(_: Email) -> None:
    current_session().execute(insert(Email).values(id=50, subject=""))


def update_by_text(_: Email) -> None:
    current_session().execute(text("UPDATE email SET subject = 'x'"))


def read(email: Email) -> None:
    assert email.newsletter is not None
    current_session().scalars(select(Email)).all()
    current_session().execute(text("SELECT 'delete'"))


def set_to_the_same(email: Email) -> None:
    email.subject = str(email.subject)


def close_without_a_commit(email: Email) -> None:
    change_and_flush(email)
    current_session().close()


def roll_back(email: Email) -> None:
    change_and_flush(email)
    current_session().rollback()


def commit_and_read(email: Email) -> None:
    change_and_flush(email)
    current_session().commit()
    current_session().refresh(email)


@pytest.mark.parametrize(
    "task",
    [
        change,
        change_and_flush,
        add,
        add_and_flush_and_drop,
        delete,
        delete_and_flush,
        insert_by_core,
        update_by_text,
    ],
)
def test_what_is_warned_about(task: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    call(task, EMAIL)
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [f"{__name__}.{task.__name__}"]
    with library.Session() as session:
        assert session.scalar(select(func.count()).select_from(Email)) == 3
        assert session.get_one(Email, 1).subject == "subject 1"


@pytest.mark.parametrize("task", [read, set_to_the_same, close_without_a_commit, roll_back, commit_and_read])
def test_what_is_not(task: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    call(task, EMAIL)
    assert caplog.records == []


def test_a_task_that_fails_is_not_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    def fail(email: Email) -> None:
        change_and_flush(email)
        raise RuntimeError("the task failed")

    with pytest.raises(RuntimeError, match="the task failed"):
        call(fail, EMAIL)
    assert caplog.records == []
    assert subject_of(1) == "subject 1"


def test_a_session_that_cannot_be_closed_does_not_fail_the_job(caplog: pytest.LogCaptureFixture) -> None:
    class Stubborn(Session):
        def close(self) -> None:
            super().close()
            raise sqlite3.OperationalError("secret")

    configure(sessionmaker(library.Session.kw["bind"], class_=Stubborn))
    assert call(library.subject, EMAIL) == "subject 1"
    (record,) = caplog.records
    assert record.getMessage() == "library.subject: the session of its models could not be closed (OperationalError)"
    assert Ref("library.Email", 1).load().subject == "subject 1"


def test_outside_of_a_job_there_is_no_current_session() -> None:
    with pytest.raises(ConfigurationError, match="no current session outside of a job"):
        current_session()


def test_a_job_without_models_can_open_it_too() -> None:
    with scopes.scope():
        assert current_session() is current_session()
        assert current_session().get_one(Email, 1).subject == "subject 1"


def test_without_configure_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "_sources", {})
    hint = r"Call configure\(sessionmaker\) of slimjobs\.orm\.sqlalchemy"
    for attempt in (EMAIL.load, lambda: call(library.subject, EMAIL)):
        with pytest.raises(ConfigurationError, match=hint):
            attempt()
    with pytest.raises(ConfigurationError, match=hint), scopes.scope():
        current_session()
    with pytest.raises(ConfigurationError, match=r"configure\(sessionmaker, db='archive'\)"):
        Ref("library.Issue", 1, "archive").load()


def test_enqueuing_needs_no_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "_sources", {})
    with library.Session() as session:
        assert dehydrate(session.get_one(Email, 1)) == EMAIL


@pytest.mark.parametrize(
    ("maker", "message"),
    [
        (async_sessionmaker(), "takes no async sessionmaker"),
        (async_scoped_session(async_sessionmaker(), lambda: 1), "takes no async sessionmaker"),
        (create_engine("sqlite://"), "takes a sessionmaker, not Engine"),
        (None, "takes a sessionmaker, not NoneType"),
    ],
)
def test_what_makes_no_sessions_is_refused(maker: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        configure(maker)


def test_a_function_may_make_the_sessions(engines: tuple[Engine, Engine]) -> None:
    configure(lambda: Session(engines[0]))
    assert call(library.subject, EMAIL) == "subject 1"
    with pytest.raises(ConfigurationError, match="takes a sessionmaker, to know"):
        configure(lambda: Session(engines[0]), db="archive")
    configure(lambda: None)  # type: ignore[arg-type, return-value]
    with pytest.raises(ConfigurationError, match="makes a NoneType, not a Session"):
        EMAIL.load()


def test_an_alias_says_which_sessionmaker_loads(engines: tuple[Engine, Engine]) -> None:
    # The same class in two databases.
    Email.__table__.create(engines[1])  # type: ignore[attr-defined]
    with library.ArchiveSession.begin() as session:
        session.add(Email(id=1, subject="archived"))
    configure(library.ArchiveSession, db="archive")

    with library.ArchiveSession() as archive, library.Session() as session:
        archived, current = archive.get_one(Email, 1), session.get_one(Email, 1)
        refs = [dehydrate(archived), dehydrate(current)]
    assert refs == [Ref("library.Email", 1, "archive"), EMAIL]
    assert [dehydrate(archived), dehydrate(current)] == refs  # detached now
    with scopes.scope():
        first, second = hydrate(*refs).values
        assert (first.subject, second.subject) == ("archived", "subject 1")
        assert current_session("archive") is object_session(first)
        assert current_session() is object_session(second)
    assert [dehydrate(first), dehydrate(second)] == refs
    assert dehydrate(refs[0].load()) == refs[0]  # type: ignore[union-attr]


def test_a_detached_instance_that_joins_another_session_is_that_ones(engines: tuple[Engine, Engine]) -> None:
    configure(library.ArchiveSession, db="archive")
    with library.ArchiveSession() as archive:
        issue = archive.get_one(Issue, 1)
    assert dehydrate(issue) == Ref("library.Issue", 1, "archive")
    with library.Session() as session:
        session.add(issue)
        assert dehydrate(issue) == Ref("library.Issue", 1)
    assert dehydrate(issue) == Ref("library.Issue", 1)
    with library.ArchiveSession() as archive:
        archive.add(issue)
    assert dehydrate(issue) == Ref("library.Issue", 1, "archive")


def test_an_instance_that_was_moved_to_another_database_is_that_ones() -> None:
    configure(library.ArchiveSession, db="archive")
    with library.ArchiveSession() as archive:
        issue = archive.get_one(Issue, 1)
    make_transient(issue)
    issue.id = 7
    with library.Session() as session:
        Issue.metadata.create_all(session.connection())
        session.add(issue)
        session.commit()
    assert dehydrate(issue) == Ref("library.Issue", 7)


@pytest.mark.parametrize("is_pickled", [False, True])
def test_an_instance_outlives_a_session_that_is_dropped(is_pickled: bool) -> None:
    configure(library.ArchiveSession, db="archive")
    session = library.ArchiveSession()
    session.add(made := Issue(title="new"))
    session.commit()
    issues = [session.get_one(Issue, 1), made]
    if is_pickled:
        issues = pickle.loads(pickle.dumps(issues))
    expected = [Ref("library.Issue", 1, "archive"), Ref("library.Issue", made.id, "archive")]
    del made, session
    gc.collect()
    assert [object_session(issue) for issue in issues] == [None, None]
    assert [dehydrate(issue) for issue in issues] == expected


def test_a_function_that_fetches_from_another_database_is_refused(engines: tuple[Engine, Engine]) -> None:
    Email.__table__.create(engines[1])  # type: ignore[attr-defined]
    with library.ArchiveSession.begin() as session:
        session.add(Email(id=1, subject="archived"))
    configure(library.ArchiveSession, db="archive")

    def fetched(ref: Ref, alias: str | None) -> Any:
        def fetch(pks: list[int]) -> Any:
            return current_session(alias).scalars(select(Email).where(Email.id.in_(pks)))

        with scopes.scope():
            fetches = Fetches({Email: fetch}, library.subject)
            _, (email,), _ = hydrate(None, (ref,), {}, fetches=fetches, task="library.subject").values
            return email.subject

    archived = Ref("library.Email", 1, "archive")
    assert fetched(EMAIL, None) == "subject 1"
    assert fetched(archived, "archive") == "archived"
    with pytest.raises(
        ConfigurationError,
        match=r"^library.subject: load: a function gave a row of Email from the sessionmaker without an alias, "
        r"and the ref is of the one with db='archive'.\nGive a select\(\)",
    ):
        fetched(archived, None)
    with pytest.raises(ConfigurationError, match="with db='archive', and the ref is of the one without an alias"):
        fetched(EMAIL, "archive")


def test_a_sessionmaker_of_a_class_of_its_own(engines: tuple[Engine, Engine]) -> None:
    class Custom(Session):
        pass

    configure(scoped_session(sessionmaker(engines[1], class_=Custom)), db="archive")
    with sessionmaker(engines[1], class_=Custom)() as stranger, sessions._sources["archive"].make() as own:
        assert dehydrate(stranger.get_one(Issue, 1)) == Ref("library.Issue", 1)
        assert dehydrate(own.get_one(Issue, 1)) == Ref("library.Issue", 1, "archive")


def test_a_scoped_session_is_the_jobs_and_the_tasks_alike(engines: tuple[Engine, Engine]) -> None:
    scoped = scoped_session(library.Session)
    configure(scoped)

    def task(email: Email) -> None:
        assert object_session(email) is scoped()
        email.subject = "renamed"
        scoped.commit()

    call(task, EMAIL)
    assert subject_of(1) == "renamed"
    assert not scoped.registry.has()


def test_a_scoped_session_that_the_caller_uses_is_left_alone() -> None:
    scoped = scoped_session(library.Session)
    configure(scoped)
    mine = scoped.get_one(Email, 1)
    mine.subject = "not flushed"
    call(lambda email: current_session().rollback(), EMAIL)
    assert mine in scoped
    assert mine.subject == "not flushed"
    EMAIL.load()
    assert mine in scoped
    scoped.remove()


def test_threads_have_their_own() -> None:
    found: list[Any] = []
    barrier = threading.Barrier(4)

    def run() -> None:
        with scopes.scope():
            (email,) = hydrate(EMAIL).values
            barrier.wait()
            found.append((current_session(), email, object_session(email)))
            barrier.wait()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(session) for session, _, _ in found}) == 4
    assert all(session is not None for session, _, _ in found)


def test_a_fork_does_not_use_its_parents_connections(engines: tuple[Engine, Engine]) -> None:
    call(library.subject, EMAIL)
    assert engines[0].pool.checkedin() == 1  # type: ignore[attr-defined]
    connected: list[int] = []

    @event.listens_for(engines[0], "connect")
    def count(*_: Any) -> None:
        connected.append(os.getpid())

    call(library.subject, EMAIL)
    assert connected == []
    child = os.fork()
    if child == 0:
        try:
            is_right = call(library.subject, EMAIL) == "subject 1" and connected == [os.getpid()]
            os._exit(0 if is_right else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    call(library.subject, EMAIL)
    assert connected == []


@pytest.mark.parametrize("scope", [None, lambda: "the same for all"])
def test_a_fork_does_not_use_its_parents_scoped_session(scope: Any) -> None:
    configure(scoped := scoped_session(library.Session, scope))
    parents = scoped.connection().connection.dbapi_connection
    child = os.fork()
    if child == 0:
        try:
            own: list[Any] = []
            call(lambda email: own.extend([object_session(email), current_session(), scoped()]), EMAIL)
            is_right = own[0] is own[1] is own[2]
            is_right = is_right and scoped.connection().connection.dbapi_connection is not parents
            os._exit(0 if is_right else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert scoped.connection().connection.dbapi_connection is parents
    scoped.remove()


def test_a_fork_keeps_a_database_in_memory() -> None:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    library.Base.metadata.create_all(engine)
    maker = sessionmaker(engine)
    configure(maker)
    with maker.begin() as session:
        session.add(Email(id=1, subject="in memory"))
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if call(library.subject, EMAIL) == "in memory" else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    engine.dispose()


def test_an_async_sessionmaker_may_make_sessions_of_an_alias(tmp_path: Path) -> None:
    configure(library.ArchiveSession, db="archive")

    async def read() -> Any:
        engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/archive.sqlite")
        async with async_sessionmaker(engine, sync_session_class=library.ArchiveSession.class_)() as session:
            ref = dehydrate(await session.get_one(Issue, 1))
        await engine.dispose()
        return ref

    assert asyncio.run(read()) == Ref("library.Issue", 1, "archive")


def test_an_async_engine_behind_a_sessionmaker_is_not_mistaken() -> None:
    engine = create_async_engine("sqlite+aiosqlite://")
    with pytest.raises(ConfigurationError, match="async"):
        configure(async_sessionmaker(engine))  # type: ignore[arg-type]


def test_the_session_is_opened_at_the_first_load_only(engines: tuple[Engine, Engine]) -> None:
    with Statements(*engines) as seen, scopes.scope() as scope:
        hydrate("no models", [1, 2])
        assert scope.get(sessions._scope_key(None)) is None
    assert seen == []
