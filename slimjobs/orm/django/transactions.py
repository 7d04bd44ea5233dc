"""Django's transactions: whether one is open, and what is called once it has committed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import connections, transaction

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class AliasTransaction:
    """The atomic block that is open on a database, in the thread that asks.

    The blocks that Django's TestCase opens around a test never commit, and count as none.
    """

    alias: str

    def is_open(self) -> bool:
        """Return whether an atomic block of the application is open."""
        if self.alias not in connections:  # a ref that somebody made
            return False
        connection = connections[self.alias]
        if not connection.in_atomic_block:
            return False
        return not _is_in_test_case(connection) or _savepoint(connection) is not None

    def on_commit(self, callback: Callable[[], None]) -> None:
        """Call this at the commit; in a TestCase, also where the application's outermost block ends."""
        connection = connections[self.alias]
        savepoint = _savepoint(connection) if _is_in_test_case(connection) else None
        transaction.on_commit(callback, using=self.alias)
        if savepoint is not None:
            _End.of(connection, savepoint).callbacks.append(callback)


class _End:
    """Calls callbacks once a savepoint is released; an execute wrapper, which sees the statement pass."""

    def __init__(self, connection: Any, savepoint: str) -> None:
        self._savepoint = savepoint
        self._release = connection.ops.savepoint_commit_sql(savepoint)
        self.callbacks: list[Callable[[], None]] = []

    @classmethod
    def of(cls, connection: Any, savepoint: str) -> _End:
        """Return the one that waits for the end of a savepoint."""
        waiting = [wrapper for wrapper in connection.execute_wrappers if isinstance(wrapper, cls)]
        for end in waiting:
            if end._savepoint == savepoint:
                return end
            connection.execute_wrappers.remove(end)  # its connection was closed before its end
        end = cls(connection, savepoint)
        # In front: `connection.execute_wrapper()` takes the last one away when it is left.
        connection.execute_wrappers.insert(0, end)
        return end

    def __call__(self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
        result = execute(sql, params, many, context)
        if sql == self._release:
            connection = context["connection"]
            connection.execute_wrappers.remove(self)
            # Django has dropped those of savepoints that were rolled back. A savepoint is released after
            # its rollback too.
            kept = [callback for _, callback, _ in connection.run_on_commit if callback in self.callbacks]
            for callback in kept:
                callback()
        return result


def _is_in_test_case(connection: Any) -> bool:
    blocks = connection.atomic_blocks
    return bool(blocks) and blocks[0]._from_testcase


def _savepoint(connection: Any) -> str | None:
    """Return the savepoint of the outermost block inside of TestCase's, or None where it has none."""
    # The outermost of all is the transaction and has no savepoint, unless autocommit was off before it.
    above = len(connection.atomic_blocks) - len(connection.savepoint_ids)
    for index, block in enumerate(connection.atomic_blocks):
        if not block._from_testcase:
            return connection.savepoint_ids[index - above]  # type: ignore[no-any-return]
    return None
