"""The sessions that models live in: what was configured, and the one that is open for a job's call."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from sqlalchemy import Engine, event
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.pool import SingletonThreadPool, StaticPool

from slimjobs import scopes
from slimjobs.errors import ConfigurationError
from slimjobs.logs import logger
from slimjobs.orm.sqlalchemy.transactions import has_uncommitted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.orm import InstanceState

    Maker: TypeAlias = sessionmaker[Any] | scoped_session[Any] | Callable[[], Session]

_HINT = (
    "Call configure(sessionmaker) of slimjobs.orm.sqlalchemy where the worker starts, for example in the tasks' module."
)
# Where an instance that has lost its session says which one it came from, in InstanceState.info.
_KEY = "slimjobs.db"


class _Source:
    """Where sessions of one alias come from."""

    def __init__(self, maker: Maker, db: str | None) -> None:
        self._registry = maker if isinstance(maker, scoped_session) else None
        self._factory: Any = maker.session_factory if isinstance(maker, scoped_session) else maker
        module = (self._factory if isinstance(self._factory, type) else type(self._factory)).__module__
        if module.startswith("sqlalchemy.ext.asyncio"):
            raise ConfigurationError(
                "configure() takes no async sessionmaker: models are loaded before a task is called, without a loop",
                hint="Pass a sessionmaker of a synchronous engine of the same database.",
            )
        if not callable(self._factory):
            raise ConfigurationError(
                f"configure() takes a sessionmaker, not {type(maker).__name__}", hint="Pass sessionmaker(engine)."
            )
        made = self._factory.class_ if isinstance(self._factory, sessionmaker) else self._factory
        self.session_class: type[Session] | None = made if isinstance(made, type) else None
        if db is not None:
            if self.session_class is None:
                raise ConfigurationError(
                    f"configure(db={db!r}) takes a sessionmaker, to know the sessions that it has made",
                    hint="Pass sessionmaker(engine).",
                )
            # Rows of the default one come without a label, and cost nothing. Whatever joins a session is its own.
            event.listen(self.session_class, "loaded_as_persistent", _label, raw=True)
            event.listen(Session, "after_attach", _label, raw=True)

    def make(self) -> Session:
        """Return a new session."""
        session = self._factory()
        if not isinstance(session, Session):
            raise ConfigurationError(f"what was given to configure() makes a {type(session).__name__}, not a Session")
        return session

    def open(self) -> tuple[Session, Callable[[], None]]:
        """Return a session for a job, and how to close it.

        A scoped_session's is the one that the task gets from it too, unless it is in use by the
        caller of a synchronous job.
        """
        if self._registry is None or self._registry.registry.has():
            session = self.make()
            return session, session.close
        return self._registry(), self._registry.remove

    def forget_session(self) -> None:
        """Let a scoped_session make a new session, in a process that was forked."""
        if self._registry is not None:
            held = self._registry.registry
            # Kept, since a session that is collected ends its transaction. Not by clear(), which asks for the scope.
            _inherited.append(held.registry)
            held.registry = type(held.registry)()

    def engines(self) -> Iterator[Engine]:
        """Yield the engines that a sessionmaker names."""
        if isinstance(self._factory, sessionmaker):
            for bind in (self._factory.kw.get("bind"), *(self._factory.kw.get("binds") or {}).values()):
                if isinstance(bind, Engine):
                    yield bind


def configure(maker: Maker, *, db: str | None = None) -> None:
    """Say where the sessions for jobs come from; at the start of workers, and of what enqueues.

    Args:
        maker: A sessionmaker, a scoped_session, or what else makes a Session when it is called.
        db: An alias, to add a further sessionmaker for the models of other databases. Refs carry
            it: choose one, and keep it while jobs are queued. Default: the sessionmaker for all others.

    Raises:
        ConfigurationError: It makes no sessions, or async ones.
    """
    _sources[db] = _Source(maker, db)


def current_session(db: str | None = None) -> Session:
    """Return the session that the models of the running job live in; the task commits it.

    Args:
        db: The alias that was given to `configure`, or None for the default one.

    Raises:
        ConfigurationError: No job is running, or there is no such sessionmaker.
    """
    scope = scopes.current()
    if scope is None:
        raise ConfigurationError(
            "there is no current session outside of a job", hint="Open a session of your own, with sessionmaker()."
        )
    return _shared(scope, db)


@contextmanager
def lend(db: str | None) -> Iterator[Session]:
    """Lend the running job's session, or outside of a job one that is closed at the end.

    Raises:
        ConfigurationError: There is no such sessionmaker.
    """
    scope = scopes.current()
    if scope is not None:
        yield _shared(scope, db)
        return
    session = _source(db).make()
    try:
        yield session
    finally:
        _close(session.close, None)


def renew(db: str | None) -> None:
    """End the transaction of the job's session, which may not see what was committed after it had begun.

    No task has run in it: there is nothing to commit. It is no rollback, which would expire what is loaded.
    """
    scope = scopes.current()
    session = None if scope is None else scope.get(_scope_key(db))
    if session is not None:
        expires, session.expire_on_commit = session.expire_on_commit, False
        try:
            session.commit()
        finally:
            session.expire_on_commit = expires


def alias_of(state: InstanceState[Any]) -> str | None:
    """Return the alias of what made an instance's session, or None for the default and for any other."""
    session = state.session
    return state.info.get(_KEY) if session is None else alias_of_session(session)


def alias_of_session(session: Session) -> str | None:
    """Return the alias of what made a session, or None for the default and for any other."""
    # The latest first: one may be a subclass of another's.
    for db, source in reversed(_sources.items()):
        if db is not None and source.session_class is not None and isinstance(session, source.session_class):
            return db
    return None


def _label(session: Session, state: InstanceState[Any]) -> None:
    """Note an instance's alias while its session is there: one that is dropped tells nobody."""
    state.info[_KEY] = alias_of_session(session)


def _source(db: str | None) -> _Source:
    source = _sources.get(db)
    if source is None:
        alias = "" if db is None else f", db={db!r}"
        raise ConfigurationError(
            f"SQLAlchemy models cannot be loaded: there is no sessionmaker{'' if db is None else f' for {db!r}'}",
            hint=f"Call configure(sessionmaker{alias}) of slimjobs.orm.sqlalchemy in a module that the worker imports.",
        )
    return source


def _scope_key(db: str | None) -> tuple[str, str | None]:
    return ("sqlalchemy", db)


def _shared(scope: scopes.Scope, db: str | None) -> Session:
    source = _source(db)
    return scope.shared(_scope_key(db), lambda: _job_session(source, scope.task))


@contextmanager
def _job_session(source: _Source, task: str | None) -> Iterator[Session]:
    session, close = source.open()
    try:
        yield session
        if has_uncommitted(session):
            logger.warning(
                "%s: the session of its models held changes that were not committed, and are rolled back; "
                "commit them in the task, with slimjobs.orm.sqlalchemy.current_session().commit()",
                task or "a job",
            )
    finally:
        _close(close, task)


def _close(close: Callable[[], None], task: str | None) -> None:
    """Close a session; the call is over, and has not failed because a connection has."""
    try:
        close()
    except Exception as error:  # noqa: BLE001  # whatever a driver raises
        logger.warning("%s: the session of its models could not be closed (%s)", task or "a job", type(error).__name__)


def _forget_connections() -> None:
    """Leave sessions and the connections of pools to the process that this one was forked from."""
    for source in _sources.values():
        source.forget_session()
        for engine in source.engines():
            # A database in memory is all in its connection, and has no socket to share.
            if not isinstance(engine.pool, (SingletonThreadPool, StaticPool)):
                engine.dispose(close=False)


_sources: dict[str | None, _Source] = {}
_inherited: list[Any] = []
os.register_at_fork(after_in_child=_forget_connections)
