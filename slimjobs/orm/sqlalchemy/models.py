"""Mapped classes: instances to refs, and refs to instances with one SELECT for a class and database."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import Select, inspect, select, tuple_
from sqlalchemy.engine import Result, ScalarResult
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Load, Mapper, Query
from sqlalchemy.orm.attributes import instance_state
from sqlalchemy.orm.interfaces import ORMOption
from sqlalchemy.sql.expression import SelectBase

from slimjobs.errors import ConfigurationError, UnsavedModelError, UnsupportedTypeError
from slimjobs.locators import Adapter, Locator
from slimjobs.orm import drivers
from slimjobs.orm.matching import matched
from slimjobs.orm.sqlalchemy import sessions
from slimjobs.orm.sqlalchemy.transactions import changing_transaction

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sqlalchemy.orm import Session

    from slimjobs.locators import Transaction
    from slimjobs.refs import Ref, Rows

# Parameters that a task's own Select may have besides the keys.
_SPARE_PARAMETERS = 200


class MappedClasses(Adapter):
    """Knows the classes that SQLAlchemy has mapped."""

    def locator_for(self, cls: type) -> Locator | None:
        """Return the locator of a mapped class; a subclass that is not mapped itself is none."""
        mapper: Any = inspect(cls, raiseerr=False)
        return MappedClass(mapper) if isinstance(mapper, Mapper) else None

    def rows_of(self, value: Any) -> Rows | None:
        """Refuse a statement, which has no session to run in, and a result, which is read once."""
        if isinstance(value, (SelectBase, Query, Result, ScalarResult)):
            raise UnsupportedTypeError(
                f"a {type(value).__name__} of SQLAlchemy cannot travel",
                hint="Pass its models: session.scalars(select(...)).all().",
            )
        return None


class MappedClass(Locator):
    """How the rows of one mapped class are found."""

    def __init__(self, mapper: Mapper[Any]) -> None:
        cls = mapper.class_
        super().__init__(cls, f"{cls.__module__}.{cls.__qualname__}")
        self._mapper = mapper
        columns = mapper.primary_key
        self._attributes = [mapper.get_property_by_column(column).class_attribute for column in columns]
        self._types = [_text_stands_for(column) for column in columns]

    def read_pk(self, instance: Any) -> Any:
        """Return the identity of an instance, without a query: it is known to those that are expired, too."""
        state = inspect(instance)
        if state.identity is None:
            hint = "Call session.flush(), or commit, before it is enqueued." if state.pending else ""
            raise UnsavedModelError(f"{self.cls.__qualname__} has no row yet", hint=hint)
        session = state.session
        if state.was_deleted or (session is not None and instance in session.deleted):
            raise UnsavedModelError(f"{self.cls.__qualname__} is deleted", hint="Enqueue it before it is deleted.")
        return state.identity if len(state.identity) > 1 else state.identity[0]

    def read_db(self, instance: Any) -> str | None:
        """Return the alias of what made the instance's session."""
        return sessions.alias_of(inspect(instance))

    def load_many(self, pks: Sequence[Any], db: str | None, fetch: Any = None) -> Mapping[Any, Any]:
        """Return the instances that exist, in the job's session; outside of a job they are detached."""
        identities = {pk: identity for pk in pks if (identity := self._identity(pk)) is not None}
        keys = list(dict.fromkeys(identities.values()))
        with sessions.lend(db) as session:
            is_fresh = not session.in_transaction()
            try:
                found = self._read(session, keys, fetch)
            except DBAPIError as error:
                # A pooled connection may be dead since the database was restarted. SQLAlchemy has emptied
                # the pool; and nobody has worked in a session that was in no transaction.
                if not (is_fresh and error.connection_invalidated):
                    raise
                session.rollback()
                found = self._read(session, keys, fetch)
        return {pk: found[identity] for pk, identity in identities.items() if identity in found}

    def accepts(self, fetch: Any) -> bool:
        """Return whether this is a select() of the class, options for it, or a function."""
        if isinstance(fetch, Select):
            selected = fetch.column_descriptions
            # With a limit, rows that exist would look missing.
            is_part = fetch._has_row_limiting_clause or fetch._group_by_clauses
            return not is_part and len(selected) == 1 and selected[0]["expr"] is self.cls
        if isinstance(fetch, (list, tuple)):
            return bool(fetch) and all(self._is_option(option) for option in fetch)
        return self._is_option(fetch) or (callable(fetch) and not isinstance(fetch, type))

    def renew(self, db: str | None) -> None:
        """End the transaction of the job's session."""
        sessions.renew(db)

    def is_unavailable(self, error: Exception) -> bool:
        """Return whether SQLAlchemy says that the database could not be reached."""
        if isinstance(error, DBAPIError) and error.connection_invalidated:
            return True
        if isinstance(error, (OperationalError, InterfaceError)):
            return drivers.is_out_of_reach(error.orig)
        return isinstance(error, PoolTimeoutError) or super().is_unavailable(error)

    def transaction(self, ref: Ref, instance: Any | None) -> Transaction | None:
        """Return the instance's transaction where it was inserted or changed in it."""
        return None if instance is None else changing_transaction(inspect(instance), instance)

    def _is_option(self, option: Any) -> bool:
        if not isinstance(option, ORMOption):
            return False
        begins_at = option.path[0] if isinstance(option, Load) and len(option.path) else None
        return self._mapper.isa(begins_at) if isinstance(begins_at, Mapper) else True

    def _identity(self, pk: Any) -> tuple[Any, ...] | None:
        """Return what SQLAlchemy calls the identity, or None where no row can have this pk."""
        values = pk if len(self._types) > 1 else (pk,)
        if type(values) is not tuple or len(values) != len(self._types):
            return None
        if str not in map(type, values):
            return values
        try:
            return tuple(
                kind(value) if kind is not None and type(value) is str else value
                for kind, value in zip(self._types, values, strict=True)
            )
        except ValueError:
            return None

    def _read(self, session: Session, keys: list[tuple[Any, ...]], fetch: Any) -> dict[Any, Any]:
        def ask(some: list[tuple[Any, ...]]) -> dict[Any, Any]:
            found: dict[Any, Any] = {}
            for row in self._rows(session, some, fetch):
                if row is not None:
                    found[instance_state(row).identity] = row  # inspect() does the same with a look-up
            return found

        # A function may give more than it is asked for.
        return ask(keys) if callable(fetch) else matched(keys, ask)

    def _rows(self, session: Session, keys: list[tuple[Any, ...]], fetch: Any) -> Iterator[Any]:
        if callable(fetch):
            rows: Any = fetch([key[0] for key in keys] if len(self._types) == 1 else keys)
            yield from map(partial(self._checked, session), rows.values() if hasattr(rows, "keys") else rows)
            return
        statement = fetch if isinstance(fetch, Select) else select(self.cls)
        if fetch is not None and fetch is not statement:
            options: Any = [fetch] if isinstance(fetch, ORMOption) else fetch
            statement = statement.options(*options)
        for chunk in drivers.chunks(keys, self._most_keys(session, len(keys))):
            # A collection that is loaded with a JOIN repeats its owner.
            yield from session.scalars(statement.where(self._is_one_of(chunk))).unique()

    def _checked(self, session: Session, row: Any) -> Any:
        """Return what a function has given, unless it is of another database than the ref, with the same key."""
        if row is not None:
            alias, wanted = sessions.alias_of(instance_state(row)), sessions.alias_of_session(session)
            if alias != wanted:
                raise ConfigurationError(
                    f"load: a function gave a row of {self.cls.__qualname__} from the sessionmaker "
                    f"{_shown(alias)}, and the ref is of the one {_shown(wanted)}",
                    hint="Give a select() or options, which are asked on the ref's database, or let the function take "
                    "its rows from current_session(alias).",
                )
        return row

    def _is_one_of(self, keys: Iterable[tuple[Any, ...]]) -> Any:
        if len(self._attributes) > 1:
            return tuple_(*self._attributes).in_(list(keys))
        return self._attributes[0].in_([key[0] for key in keys])

    def _most_keys(self, session: Session, count: int) -> int:
        width = len(self._types)
        most = drivers.FEW_PARAMETERS
        if count * width > most - _SPARE_PARAMETERS:
            dialect = session.get_bind(self._mapper).dialect
            if dialect.name == "sqlite":
                connection = session.connection(bind_arguments={"mapper": self._mapper}).connection
                most = drivers.most_sqlite_parameters(connection.dbapi_connection)
            else:
                most = drivers.most_parameters(dialect.driver, dialect.name)
                if width > 1:
                    most = min(most, drivers.MOST_ROW_VALUES * width + _SPARE_PARAMETERS)
        return (most - _SPARE_PARAMETERS) // width


def _shown(alias: str | None) -> str:
    return "without an alias" if alias is None else f"with db={alias!r}"


def _text_stands_for(column: Any) -> type | None:
    """Return the type that a key in a ref made by hand may be the text of: `Ref("app.Email", "5")`."""
    try:
        kind = column.type.python_type
    except NotImplementedError:
        return None
    return kind if kind in (int, UUID) else None
