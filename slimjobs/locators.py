"""The shape of what ORMs bring: a `Locator` knows one class, an `Adapter` all classes of an ORM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from slimjobs.errors import UnsavedModelError, UnsupportedTypeError
from slimjobs.refs import Ref

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from slimjobs.refs import Rows


class Transaction(Protocol):
    """A database transaction that a job may have to wait for; equal, and of one hash, where it is the same.

    It is made at the enqueue call, and may be asked later, when it is over.
    """

    def is_open(self) -> bool:
        """Return whether there is an open transaction that the row may be part of."""
        ...  # pyright takes a docstring alone for a body that returns None

    def on_commit(self, callback: Callable[[], None]) -> None:
        """Call this once the transaction has committed, and never if it is rolled back.

        An ORM that knows savepoints drops the callback with the one it was given in. It may call it
        more than once.
        """


class Locator:
    """How one class finds its rows. ORMs bring subclasses.

    Args:
        cls: The class; exactly this one, no subclass of it.
        name: What stands for it in refs.
    """

    def __init__(self, cls: type, name: str) -> None:
        self.cls = cls
        self.name = name

    def read_pk(self, instance: Any) -> Any:
        """Return an instance's primary key, or None where it has none yet.

        Raises:
            UnsavedModelError: There is no row to load it from; or return None.
        """
        raise NotImplementedError

    def read_db(self, instance: Any) -> str | None:
        """Return the alias of the database that an instance came from, or None where there is only one."""
        return None

    def database(self, db: str | None) -> str | None:
        """Return the alias that is asked for refs with this one, so that None and the default's are the same."""
        return db

    def load_many(self, pks: Sequence[Any], db: str | None, fetch: Any = None) -> Mapping[Any, Any]:
        """Return the instances that exist, by pk.

        Args:
            pks: Distinct primary keys.
            db: The alias of the database, or None.
            fetch: What the task said of how to fetch them (`load=`), if `accepts` it, else None.

        Raises:
            Exception: Whatever the database raises; `is_unavailable` tells what that means.
        """
        raise NotImplementedError

    def accepts(self, fetch: Any) -> bool:
        """Return whether `load_many` knows this way to fetch."""
        return False

    def renew(self, db: str | None) -> None:
        """Let the next `load_many` see what others have committed since: rows were missing, and are asked for again."""

    def is_unavailable(self, error: Exception) -> bool:
        """Return whether an exception of `load_many` means that the database could not be reached."""
        return isinstance(error, (ConnectionError, TimeoutError))

    def transaction(self, ref: Ref, instance: Any | None) -> Transaction | None:
        """Return the transaction that a row may be part of, or None where rows are not in transactions.

        Args:
            ref: The ref.
            instance: The instance, or None where somebody passed a ref.
        """
        return None

    def ref(self, instance: Any) -> Ref:
        """Return the ref of an instance.

        Raises:
            UnsavedModelError: It has no row.
            UnsupportedTypeError: Its primary key cannot be one.
        """
        pk = self.read_pk(instance)
        if pk is None:
            raise UnsavedModelError(f"{self.cls.__qualname__} has no primary key yet")
        try:
            hash(pk)
        except TypeError:
            problem = f"a {type(pk).__name__} cannot be a primary key of {self.cls.__qualname__}"
            raise UnsupportedTypeError(problem) from None
        return Ref(self.name, pk, self.read_db(instance))


class Adapter:
    """What an ORM knows of its classes; `registry.add_adapter` adds one."""

    def locator_for(self, cls: type) -> Locator | None:
        """Return the locator of a class, or None if it is not of this ORM."""
        raise NotImplementedError

    def locator_named(self, name: str) -> Locator | None:
        """Return the locator of a name that is not where the class can be imported from, or None."""
        return None

    def rows_of(self, value: Any) -> Rows | None:
        """Return the rows of a query, or None if the value is no query of this ORM.

        Raises:
            UnsupportedTypeError: It is a query, but its rows are no instances.
        """
        return None
