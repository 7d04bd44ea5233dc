"""What waits for the commit of a database's open transaction, by Peewee's `after_commit`."""

# pyright: reportAttributeAccessIssue=false
# Typeshed's stubs are of one version of Peewee, and know little of what is read here.

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from slimjobs.logs import logger
from slimjobs.orm import drivers

if TYPE_CHECKING:
    from collections.abc import Callable

    from peewee import Database


class Work:
    """One transaction of a database, in one thread; a `Transaction` for `registry`."""

    def __init__(self, database: Database, root: object) -> None:
        self._database = database
        self._root = root

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Work) and self._root is other._root

    def __hash__(self) -> int:
        return id(self._root)

    def is_open(self) -> bool:
        """Return whether the transaction is still going on, in this thread."""
        return _root(self._database) is self._root

    def on_commit(self, callback: Callable[[], None]) -> None:
        """Call this after the outermost transaction has committed; a savepoint that is rolled back drops it."""
        listener = _listeners[self._database]
        waiting = _Waiting(callback, listener)
        listener.waiting().append(waiting)
        self._database.after_commit(waiting)


def open_transaction(database: Database) -> Work | None:
    """Return a database's open transaction, or None where there is none that tells of its commit."""
    # Peewee before 4 tells of none, and a block of manual_commit() neither: it has no commit() of its own.
    if not hasattr(database, "after_commit") or not hasattr(database.top_transaction(), "commit"):
        return None
    if database not in _listeners:
        _listeners[database] = _Savepoints(database)
    return Work(database, _root(database))


class _Waiting:
    """A callback, unless it is dropped before it is called, or what was to commit had failed."""

    def __init__(self, callback: Callable[[], None], listener: _Savepoints) -> None:
        self._callback: Callable[[], None] | None = callback
        self._listener = listener

    def drop(self) -> None:
        self._callback = None

    def __call__(self) -> None:
        callback, self._callback = self._callback, None
        if callback is None:
            return
        if self._listener.has_failed():
            logger.warning(drivers.FAILED)
        else:
            callback()


class _Savepoints:
    """Drops what was given inside of a savepoint that is rolled back, or a failed transaction: Peewee would call it.

    Peewee tells of savepoints in no other way than by their statements.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._local = threading.local()
        if hasattr(database, "query_hooks"):
            database.query_hooks.append(self._hear)

    def waiting(self) -> list[_Waiting]:
        """Return what waits in this thread's transaction."""
        local = self._local
        root = _root(self._database)
        if getattr(local, "root", None) is not root:
            local.root, local.waiting, local.begins, local.has_failed = root, [], {}, False
        return local.waiting  # type: ignore[no-any-return]

    def has_failed(self) -> bool:
        """Return whether this thread's transaction, or the one that has just ended, was one that could not commit."""
        return getattr(self._local, "has_failed", False)

    def _hear(self, event: Any) -> None:
        sql = event.sql
        if event.exception is not None and self._database.in_transaction():
            self.waiting()
            self._local.has_failed = drivers.has_failed(self._database.connection())
        if event.exception is not None or not sql.startswith(("SAVEPOINT ", "ROLLBACK TO ")):
            return
        waiting = self.waiting()
        name = sql.rstrip(";").rpartition(" ")[2]
        if sql.startswith("SAVEPOINT "):
            self._local.begins[name] = len(waiting)
        else:
            self._local.has_failed = False
            # One that is not known was begun before anything was given.
            begin = self._local.begins.get(name, 0)
            for each in waiting[begin:]:
                each.drop()
            del waiting[begin:]


def _root(database: Database) -> object | None:
    transactions = database._state.transactions  # top_transaction() may be an inner one
    return transactions[0] if transactions else None


_listeners: WeakKeyDictionary[Database, _Savepoints] = WeakKeyDictionary()
