"""What a session's open transaction has changed, and what waits for its commit."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from sqlalchemy import event
from sqlalchemy.orm import Session

from slimjobs.logs import logger
from slimjobs.orm import drivers
from slimjobs.orm.sqlalchemy.statements import writes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sqlalchemy.orm import InstanceState, ORMExecuteState, SessionTransaction, UOWTransaction

# Where a session keeps it, in Session.info: it goes with the session, whoever drops that.
_KEY = "slimjobs.work"


class Work:
    """One transaction of a session, from its first change to its end; a `Transaction` for `registry`.

    Attributes:
        has_flushed: Whether instances were flushed in it.
        has_executed: Whether an INSERT, UPDATE or DELETE was executed in it, which tells of no instance.
    """

    def __init__(self, session: Session) -> None:
        self.has_flushed = False
        self.has_executed = False
        self._session = session
        # What stands for the rows that were flushed, whose instances nobody may hold any more.
        self._flushed: dict[SessionTransaction | None, set[int]] = {}
        self._is_failed = False
        self._waiting: list[tuple[SessionTransaction | None, Callable[[], None]]] = []
        self._committing: SessionTransaction | None = None
        self._is_committed: bool | None = None  # None: it is not over

    def is_open(self) -> bool:
        """Return whether the transaction is still going on."""
        return self._is_committed is None and self._session.get_transaction() is not None

    def on_commit(self, callback: Callable[[], None]) -> None:
        """Call this after the outermost transaction has committed; a savepoint that is rolled back drops it."""
        if self._is_committed is None:
            self._waiting.append((_innermost(self._session), callback))
        elif self._is_committed:
            callback()

    def note_flush(self, states: Iterable[InstanceState[Any]]) -> None:
        """Remember which rows were flushed, in which transaction or savepoint."""
        self.has_flushed = True
        # Hashes alone, since there may be very many: where two are the same, a job waits without need.
        self._flushed.setdefault(_innermost(self._session), set()).update(hash(state.key) for state in states)

    def was_flushed(self, state: InstanceState[Any]) -> bool:
        """Return whether the row of an instance was flushed, by way of this or another instance."""
        return any(hash(state.key) in keys for keys in self._flushed.values())

    def note_attempt(self) -> None:
        """Remember whether a commit will roll back, as PostgreSQL's does in silence where a statement has failed."""
        transaction = self._session.get_transaction()
        if transaction is not None:
            connections = {connection for connection, *_ in transaction._connections.values()}
            self._is_failed = any(
                drivers.has_failed(connection.connection.driver_connection)
                for connection in connections
                if not (connection.closed or connection.invalidated)
            )

    def note_commit(self) -> None:
        """Remember which transaction has just committed, or which savepoint was released."""
        # Session.commit() has ended all inner ones before it commits an outer one.
        self._committing = _innermost(self._session)

    def end(self, transaction: SessionTransaction) -> None:
        """Settle what waits for a transaction or savepoint that has ended.

        Raises:
            Exception: What a callback raised, once all were called.
        """
        is_committed = transaction is self._committing
        if transaction.nested:
            outer = transaction.parent
            while outer is not None and not outer.nested and outer.parent is not None:
                outer = outer.parent  # a flush's own
            self._waiting = [
                (outer if given is transaction else given, callback)
                for given, callback in self._waiting
                if is_committed or given is not transaction
            ]
            keys = self._flushed.pop(transaction, None)
            if keys and is_committed:
                self._flushed.setdefault(outer, set()).update(keys)
        elif transaction.parent is None:
            self._session.info.pop(_KEY, None)
            if is_committed and self._is_failed:
                is_committed = False
                if self._waiting:
                    logger.warning(drivers.FAILED)
            self._is_committed = is_committed
            waiting, self._waiting = self._waiting, []
            if is_committed:
                # One that raises keeps none of the others from being called.
                with ExitStack() as stack:
                    for _, callback in reversed(waiting):
                        stack.callback(callback)


def work_of(session: Session) -> Work | None:
    """Return the work of a session's transaction, or None where it has none that is known of."""
    return session.info.get(_KEY)


def changing_transaction(state: InstanceState[Any], instance: object) -> Work | None:
    """Return the open transaction that has changed an instance's row, or None: it only reads, or there is none."""
    session = state.session
    if session is None or session.get_transaction() is None:
        return None
    work = work_of(session)
    is_changed = (
        (work is not None and (work.has_executed or work.was_flushed(state)))
        or session.is_modified(instance)
        or _was_flushed(session, state)
    )
    return _begin(session) if is_changed else None


def has_uncommitted(session: Session) -> bool:
    """Return whether closing a session would lose changes."""
    work = work_of(session)
    return (
        (work is not None and (work.has_flushed or work.has_executed) and session.in_transaction())
        or bool(session.new)
        or bool(session.deleted)
        or any(session.is_modified(instance) for instance in session.dirty)
    )


def _was_flushed(session: Session, state: InstanceState[Any]) -> bool:
    """Return whether an instance was flushed, in this transaction or a savepoint of it that still counts."""
    # SQLAlchemy's own record, since it goes back to before this module was imported, and follows savepoints.
    transaction = _innermost(session)
    while transaction is not None:
        if state in transaction._new or state in transaction._dirty:
            return True
        transaction = transaction.parent
    return False


def _innermost(session: Session) -> SessionTransaction | None:
    return session.get_nested_transaction() or session.get_transaction()


def _begin(session: Session) -> Work:
    work = work_of(session)
    if work is None:
        work = session.info[_KEY] = Work(session)
    return work


# On the class, so that nothing has to be removed from sessions: all of them, of any subclass, from now on.
@event.listens_for(Session, "after_flush_postexec")
def _note_flush(session: Session, flush: UOWTransaction) -> None:
    _begin(session).note_flush(
        state for state, (is_deleted, is_only_listed) in flush.states.items() if not (is_deleted or is_only_listed)
    )


@event.listens_for(Session, "do_orm_execute")
def _note_statement(execution: ORMExecuteState) -> None:
    if writes(execution):
        _begin(execution.session).has_executed = True


@event.listens_for(Session, "before_commit")
def _note_attempt(session: Session) -> None:
    work = work_of(session)
    if work is not None:
        work.note_attempt()


@event.listens_for(Session, "after_commit")
def _note_commit(session: Session) -> None:
    work = work_of(session)
    if work is not None:
        work.note_commit()


@event.listens_for(Session, "after_transaction_end")
def _end(session: Session, transaction: SessionTransaction) -> None:
    work = work_of(session)
    if work is not None:
        work.end(transaction)
