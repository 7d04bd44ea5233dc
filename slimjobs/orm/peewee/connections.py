"""The connection that a job's models are loaded with: opened where none is open, and never a parent's."""

# pyright: reportAttributeAccessIssue=false
# Typeshed's stubs are of one version of Peewee, and know little of what is read here.

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from peewee import Database, Model, Proxy

from slimjobs import scopes
from slimjobs.logs import logger
from slimjobs.orm import drivers

if TYPE_CHECKING:
    from collections.abc import Iterator


def database_of(cls: type[Model]) -> Database:
    """Return the database of a model now: it may be bound to another one later."""
    database = cls._meta.database
    while isinstance(database, Proxy) and database.obj is not None:
        database = database.obj
    return database  # pyright: ignore[reportReturnType]  # or a Proxy that has none yet


@contextmanager
def connected(database: Database) -> Iterator[None]:
    """Be connected; what is opened for this is closed after the job's call, or here where none is running."""
    scope = scopes.current()
    if scope is None:
        with _opened(database, None):
            yield
    else:
        scope.shared(("peewee", id(database)), lambda: _opened(database, scope.task))
        database.connect(reuse_if_open=True)  # the task may have closed it
        yield


def reconnect(database: Database) -> bool:
    """Replace a connection that has died, and return whether; one in a transaction is not, whose work is lost."""
    if database.is_closed() or database.in_transaction() or not drivers.is_dead(database.connection()):
        return False
    around = database._state.ctx  # the blocks that it is open for, which closing forgets
    database.close()
    if hasattr(database, "close_idle"):
        database.close_idle()  # those of a pool have died with it
    database.connect()
    database._state.ctx = around
    return True


@contextmanager
def _opened(database: Database, task: str | None) -> Iterator[None]:
    if not database.connect(reuse_if_open=True):
        yield
        return
    try:
        yield
    finally:
        _close(database, task)


def _close(database: Database, task: str | None) -> None:
    """Close a connection; the call is over, and has not failed because a connection has."""
    try:
        while database.in_transaction():
            database.session_rollback()
        database.close()
    except Exception as error:  # noqa: BLE001  # whatever a driver raises
        logger.warning(
            "%s: the connection of its models could not be closed (%s)", task or "a job", type(error).__name__
        )


def _forget_connections() -> None:
    """Leave open connections to the process that this one was forked from."""
    pending = [*Model.__subclasses__()]
    while pending:
        model = pending.pop()
        pending.extend(model.__subclasses__())
        database = database_of(model)
        if isinstance(database, Database) and not database.is_closed():
            # Kept, since a driver may say goodbye to the server when its connection is collected.
            _inherited.append(database.connection())
            if hasattr(database, "dispose"):
                database.dispose()  # from Peewee 4; a pool's idle connections too
            else:
                database._state.reset()


_inherited: list[Any] = []
os.register_at_fork(after_in_child=_forget_connections)
