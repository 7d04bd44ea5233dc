"""What database drivers say, whatever the ORM: how many parameters they take, which errors mean out of reach."""

from __future__ import annotations

import re
import sqlite3
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

T = TypeVar("T")

# What all databases take: Oracle has 1000 for a list, SQLite had 999 in all until 3.32.
FEW_PARAMETERS = 999
# A statement of PostgreSQL's protocol counts its parameters in 16 bits, which some drivers take as signed.
_MOST_PARAMETERS = {"postgresql": 32767, "psycopg": 65535, "mysql": 65535, "mariadb": 65535}
# Python's SQLITE_LIMIT_VARIABLE_NUMBER, which Python 3.10 does not have.
_SQLITE_LIMIT_VARIABLE_NUMBER = 9
_SQLITE_ERROR = 1
_SQLITE_DEFECT = re.compile(r"no such |has no column|syntax error|too many |ambiguous |unrecognized ")
_MYSQL_UNKNOWN_COLUMN = 1054
# PostgreSQL's class of "program limit exceeded", such as a statement that is too complex.
_TOO_MUCH = "54"
# libpq's PQTRANS_INERROR, which psycopg and psycopg2 pass on.
_TRANSACTION_HAS_FAILED = 3
# A list of 10,000 pairs exceeds the depth of PostgreSQL's stack.
MOST_ROW_VALUES = 1000

# What is logged where `has_failed`.
FAILED = "a job is not enqueued: a statement of its transaction had failed, and the database rolled back at the commit"


def most_parameters(*names: str) -> int:
    """Return how many parameters a statement may have, by the first name of a driver or database that is known."""
    return next((_MOST_PARAMETERS[name] for name in names if name in _MOST_PARAMETERS), FEW_PARAMETERS)


def most_sqlite_parameters(connection: Any) -> int:
    """Return how many parameters a statement of this connection of sqlite3 may have."""
    if hasattr(connection, "getlimit"):
        return int(connection.getlimit(_SQLITE_LIMIT_VARIABLE_NUMBER))
    return 32766 if sqlite3.sqlite_version_info >= (3, 32) else FEW_PARAMETERS


def chunks(items: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    """Yield the items, so many at once."""
    most = max(1, most)
    for start in range(0, len(items), most):
        yield items[start : start + most]


def is_out_of_reach(error: BaseException | None) -> bool:
    """Return whether a driver's OperationalError or InterfaceError means that the database could not be asked.

    A table or column that is not there is the application's defect: retrying would not cure it.
    """
    if error is None:
        return False
    if isinstance(error, sqlite3.Error):
        if not isinstance(error, sqlite3.OperationalError):
            return False  # an InterfaceError of Python 3.10's sqlite3 is a value that it cannot bind
        code = getattr(error, "sqlite_errorcode", None)  # from Python 3.11
        return not _SQLITE_DEFECT.search(str(error)) if code is None else (code & 0xFF) != _SQLITE_ERROR
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None) or ""
    return error.args[:1] != (_MYSQL_UNKNOWN_COLUMN,) and not str(state).startswith(_TOO_MUCH)


def has_failed(connection: Any) -> bool:
    """Return whether a driver knows that a statement has failed in its transaction, so that COMMIT rolls back.

    PostgreSQL says nothing of it then.
    """
    info = getattr(connection, "info", None)
    return bool(getattr(info, "transaction_status", None) == _TRANSACTION_HAS_FAILED)


def is_dead(connection: Any) -> bool:
    """Return whether a driver has noticed that its connection is gone."""
    # psycopg and psycopg2 say closed, PyMySQL says open; sqlite3, which has no server, neither.
    return bool(getattr(connection, "closed", False)) or not getattr(connection, "open", True)
