"""Models: instances and queries to refs, and refs to instances with one SELECT."""

# pyright: reportAttributeAccessIssue=false
# Typeshed's stubs are of one version of Peewee, and know little of what is read here.

from __future__ import annotations

from operator import is_
from typing import TYPE_CHECKING, Any

from peewee import (
    SQL,
    BaseQuery,
    CommaNodeList,
    CompositeKey,
    Database,
    EnclosedNodeList,
    Field,
    ForeignKeyField,
    IntegerField,
    InterfaceError,
    Model,
    ModelSelect,
    MySQLDatabase,
    NodeList,
    OperationalError,
    PeeweeException,
    PostgresqlDatabase,
    SqliteDatabase,
    Tuple,
    UUIDField,
    Value,
)

from slimjobs import registry
from slimjobs.errors import UnsavedModelError, UnsupportedTypeError
from slimjobs.locators import Adapter, Locator
from slimjobs.orm import drivers
from slimjobs.orm.matching import matched
from slimjobs.orm.peewee.connections import connected, database_of, reconnect
from slimjobs.orm.peewee.transactions import open_transaction
from slimjobs.refs import Ref, Rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from slimjobs.locators import Transaction

# Parameters that a task's own query may have besides the keys.
_SPARE_PARAMETERS = 200


class Models(Adapter):
    """Knows the subclasses of peewee.Model."""

    def locator_for(self, cls: type) -> Locator | None:
        """Return the locator of a model."""
        return ModelClass(cls) if issubclass(cls, Model) and cls is not Model else None

    def rows_of(self, value: Any) -> Rows | None:
        """Return the rows of a SELECT of one model."""
        if not isinstance(value, BaseQuery):
            return None
        name = type(value).__name__
        if not isinstance(value, ModelSelect) or not isinstance(value.model, type):
            raise UnsupportedTypeError(f"a {name} of Peewee cannot travel", hint="Pass its models: list(query).")
        if value._row_type is not None:
            hint = "Leave .dicts(), .tuples(), .namedtuples() or .objects() out to pass models, or pass list(query)."
            raise UnsupportedTypeError("the rows of a query of Peewee are no models", hint=hint)
        model = value.model
        return Rows(f"{name}[{model.__qualname__}]", _name(model), lambda most: _read_refs(value, most))


class ModelClass(Locator):
    """How the rows of one model are found."""

    def __init__(self, cls: type[Model]) -> None:
        super().__init__(cls, _name(cls))
        self._model: Any = cls
        key: Any = cls._meta.primary_key
        self._key = key
        self._fields: list[Field] = list(cls._meta.get_primary_keys()) if key is not False else []

    def read_pk(self, instance: Any) -> Any:
        """Return the key of an instance: of a foreign key the id, of several fields a tuple."""
        if not self._fields:
            raise UnsupportedTypeError(f"{self.cls.__qualname__} has no primary key to load it by")
        pk = instance.get_id()
        # What Model.__init__ was given, or made, stays dirty until it is inserted.
        if any(field.name in instance._dirty for field in self._fields):
            raise UnsavedModelError(
                f"{self.cls.__qualname__} has a primary key that was not saved",
                hint="Call create() or save(force_insert=True) before it is enqueued, or fetch it again.",
            )
        return None if pk is None or (type(pk) is tuple and None in pk) else pk

    def load_many(self, pks: Sequence[Any], db: str | None, fetch: Any = None) -> Mapping[Any, Any]:
        """Return the instances that exist."""
        keys = {pk: key for pk in pks if (key := self._typed(pk)) is not None}
        database = database_of(self.cls)
        with connected(database):
            wanted = list(dict.fromkeys(keys.values()))
            try:
                found = self._read(database, wanted, fetch)
            except (OperationalError, InterfaceError):
                if not reconnect(database):
                    raise
                found = self._read(database, wanted, fetch)
        return {pk: found[key] for pk, key in keys.items() if key in found}

    def accepts(self, fetch: Any) -> bool:
        """Return whether this is a SELECT of the model, or a function."""
        if isinstance(fetch, ModelSelect):
            return fetch.model is self.cls and fetch._row_type is None
        return callable(fetch) and not isinstance(fetch, type)

    def is_unavailable(self, error: Exception) -> bool:
        """Return whether a driver has said, through Peewee, that the database could not be reached."""
        if isinstance(error, (OperationalError, InterfaceError)):
            # Without a driver's error it is Peewee that complains: of a database without a name, say.
            cause = getattr(error, "orig", None)
            return not isinstance(cause, PeeweeException) and drivers.is_out_of_reach(cause)
        return super().is_unavailable(error)

    def transaction(self, ref: Ref, instance: Any | None) -> Transaction | None:
        """Return the transaction that is open in the model's database."""
        database = database_of(self.cls)
        return open_transaction(database) if isinstance(database, Database) and database.in_transaction() else None

    def _typed(self, pk: Any) -> Any:
        """Return a key as Peewee gives it, or None where no row can have it: a ref made by hand may hold text."""
        values = pk if len(self._fields) > 1 else (pk,)
        if type(values) is not tuple or len(values) != len(self._fields):
            return None
        try:
            typed = tuple(_from_text(field, value) for field, value in zip(self._fields, values, strict=True))
        except ValueError:
            return None
        return typed[0] if len(typed) == 1 else typed

    def _read(self, database: Database, keys: list[Any], fetch: Any) -> dict[Any, Any]:
        def ask(some: list[Any]) -> dict[Any, Any]:
            return {row.get_id(): row for row in self._rows(database, some, fetch)}

        # A function may give more than it is asked for.
        return matched(keys, ask) if fetch is None or isinstance(fetch, ModelSelect) else ask(keys)

    def _rows(self, database: Database, keys: list[Any], fetch: Any) -> Iterator[Any]:
        if fetch is not None and not isinstance(fetch, ModelSelect):
            rows = fetch(keys)
            yield from (row for row in (rows.values() if hasattr(rows, "keys") else rows) if row is not None)
            return
        query = self._model.select() if fetch is None else fetch
        for chunk in drivers.chunks(keys, self._most_keys(database, len(keys))):
            yield from query.where(self._is_one_of(database, chunk))

    def _is_one_of(self, database: Database, keys: Iterable[Any]) -> Any:
        if not isinstance(self._key, CompositeKey):
            return self._key.in_(list(keys))
        rows = CommaNodeList(
            [
                EnclosedNodeList(
                    [
                        Value(value, converter=field.db_value, unpack=False)
                        for field, value in zip(self._fields, key, strict=True)
                    ]
                )
                for key in keys
            ]
        )
        # SQLite's documentation has rows of values in a list only as VALUES.
        opening = "(VALUES" if isinstance(database, SqliteDatabase) else "("
        return Tuple(*self._fields).in_(NodeList((SQL(opening), rows, SQL(")"))))

    def _most_keys(self, database: Database, count: int) -> int:
        width = len(self._fields)
        most = drivers.FEW_PARAMETERS
        if count * width > most - _SPARE_PARAMETERS:
            if isinstance(database, SqliteDatabase):
                most = drivers.most_sqlite_parameters(database.connection())
            elif isinstance(database, (PostgresqlDatabase, MySQLDatabase)):
                most = drivers.most_parameters("postgresql")
                if width > 1:
                    most = min(most, drivers.MOST_ROW_VALUES * width + _SPARE_PARAMETERS)
        return (most - _SPARE_PARAMETERS) // width


def _name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _from_text(field: Field, value: Any) -> Any:
    while isinstance(field, ForeignKeyField):
        field = field.rel_field
    return field.python_value(value) if type(value) is str and isinstance(field, (IntegerField, UUIDField)) else value


def _read_refs(query: ModelSelect, most: int) -> list[Ref]:
    """Return the refs of a query's rows, no more than so many."""
    own = query._limit
    limited = query.limit(most if own is None else min(own, most))
    meta = query.model._meta
    # The keys alone, unless the query selects columns of its own, which it may order or group by.
    # By identity: to compare fields makes an expression of Peewee's, which is true.
    selected = query._returning
    if len(selected) == len(meta.sorted_fields) and all(map(is_, selected, meta.sorted_fields)):
        limited = limited.select(*meta.get_primary_keys())
    with connected(database_of(query.model)):
        rows = list(limited)
    if any(row.get_id() is None or (type(row.get_id()) is tuple and None in row.get_id()) for row in rows):
        raise UnsupportedTypeError(
            f"a query of {query.model.__qualname__} does not select its primary key", hint="Select it too."
        )
    refs = (registry.dehydrate(row) for row in rows)
    return [ref for ref in refs if isinstance(ref, Ref)]
