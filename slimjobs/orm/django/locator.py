"""Django's models: which row an instance stands for, and rows to instances."""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from django.core.exceptions import EmptyResultSet, ValidationError
from django.db import InterfaceError, OperationalError, connections, router
from django.db.models import Manager, Model, QuerySet
from django.db.models.query import ModelIterable

from slimjobs.errors import ConfigurationError, UnsavedModelError
from slimjobs.locators import Locator
from slimjobs.orm.django.transactions import AliasTransaction
from slimjobs.orm.matching import matched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from slimjobs.locators import Transaction
    from slimjobs.refs import Ref

# Where Django names no limit: PostgreSQL's protocol has 16 bits to count parameters.
_MOST_PARAMETERS = 2**16 - 1
# Keys of several columns: PostgreSQL's stack ends before 10,000 of them. A database that compares no
# tuples gets an OR for each, and SQLite takes expressions 1000 deep.
_MOST_TUPLES = 2000
_MOST_ALTERNATIVES = 500
# SQLite has one error for these and for what is wrong with a query.
_SQLITE_UNREACHABLE = ("unable to open database", "database is locked", "database table is locked", "disk I/O error")


class ModelLocator(Locator):
    """How one model's rows are found.

    They are looked for with the model's `_base_manager`, as Django's own foreign keys do: a default
    manager may leave rows out, and the row that was passed is meant.
    """

    def __init__(self, model: Any) -> None:
        super().__init__(model, model._meta.label)
        key = model._meta.pk
        fields = model._meta.pk_fields
        self._converters = [field.to_python for field in fields]
        self._is_composite = len(fields) > 1
        # The raw value: the attribute itself is a query where the key is a related object.
        self._read_raw: Callable[[Any], Any] = attrgetter(key.attname)

    def read_pk(self, instance: Any) -> Any:
        """Return the primary key as the database would give it back, without a query."""
        pk = self._read_raw(instance)
        # A key may be there before the row: a default, such as uuid4, or one that the application gave.
        if instance._state.adding or pk is None or (self._is_composite and None in pk):
            raise UnsavedModelError(f"this {self.cls.__qualname__} has no row")
        return self._convert((pk,))[0]

    def read_db(self, instance: Any) -> str | None:
        """Return the alias that the instance was loaded from or saved to."""
        return instance._state.db  # type: ignore[no-any-return]

    def database(self, db: str | None) -> str:
        """Return the alias; without one, what the routers say of reading the model."""
        alias: str = router.db_for_read(self.cls) if db is None else db
        if alias not in connections:
            raise ConfigurationError(
                f"there is no database {alias!r} in this process, which {self.name} is to be loaded from",
                hint="Add it to DATABASES, or let the worker use the settings that the job was enqueued with.",
            )
        return alias

    def load_many(self, pks: Sequence[Any], db: str | None, fetch: Any = None) -> Mapping[Any, Any]:
        """Return the instances that exist, by the keys as they were given; one query unless there are too many."""
        alias = self.database(db)
        keys = self._convert(pks)
        are_same = keys == list(pks)
        wanted = keys if are_same else [*dict.fromkeys(keys)]
        connection = connections[alias]
        was_connected = connection.connection is not None
        try:
            found = self._fetch(wanted, alias, fetch)
        except (OperationalError, InterfaceError):
            # Inside a transaction nothing can be repeated: what was done before is lost with it.
            if connection.in_atomic_block or not connection.autocommit or connection.is_usable():
                raise
            connection.close()
            if not was_connected:
                raise
            # It was idle, and the database has been restarted meanwhile, say.
            found = self._fetch(wanted, alias, fetch)
        return found if are_same else {pk: found[key] for pk, key in zip(pks, keys, strict=True) if key in found}

    def accepts(self, fetch: Any) -> bool:
        """Return whether it is a QuerySet or manager of exactly this model, or a function."""
        if isinstance(fetch, (QuerySet, Manager)):
            return fetch.model is self.cls
        return callable(fetch) and not isinstance(fetch, type)

    def is_unavailable(self, error: Exception) -> bool:
        """Return whether the database could not be reached; a table that is missing is a defect."""
        if not isinstance(error, (OperationalError, InterfaceError)):
            return super().is_unavailable(error)
        return type(error.__cause__).__module__ != "sqlite3" or str(error).startswith(_SQLITE_UNREACHABLE)

    def transaction(self, ref: Ref, instance: Any | None) -> Transaction:
        """Return the transaction of the ref's alias."""
        return AliasTransaction(router.db_for_write(self.cls) if ref.db is None else ref.db)

    def _convert(self, pks: Sequence[Any]) -> list[Any]:
        """Return primary keys as the database gives them back: 5 for "5"."""
        try:
            if self._is_composite:
                convert_each = self._converters
                return [tuple([to(part) for to, part in zip(convert_each, pk, strict=True)]) for pk in pks]
            convert = self._converters[0]
            return [convert(pk) for pk in pks]
        except (ValidationError, TypeError, ValueError):
            pass
        # Without the cause, which shows the value.
        raise ConfigurationError(
            f"what stands for the primary key of {self.name} cannot be one",
            hint="If the model's primary key has changed, the jobs from before have to be enqueued again.",
        )

    def _fetch(self, keys: list[Any], alias: str, fetch: Any) -> Mapping[Any, Any]:
        if fetch is not None and not isinstance(fetch, (QuerySet, Manager)):
            rows = fetch(keys)
            if isinstance(rows, QuerySet) and rows._db is None:
                rows = rows.using(alias)
            given = rows if isinstance(rows, Mapping) else {row.pk: row for row in rows if row is not None}
            self._check_databases(given.values(), alias)
            return given
        read = self._read_raw
        queryset = self.cls._base_manager.using(alias) if fetch is None else _checked(fetch, self.name).using(alias)  # type: ignore[attr-defined]

        def ask(some: list[Any]) -> dict[Any, Any]:
            parts = self._parts(some, alias, queryset, fetch)
            return {read(row): row for part in parts for row in queryset.filter(pk__in=part)}

        return matched(keys, ask)

    def _check_databases(self, rows: Iterable[Any], alias: str) -> None:
        """Raise ConfigurationError where a row is of another database than its ref, with the same key."""
        for db, row in {row._state.db: row for row in rows if isinstance(row, Model)}.items():
            # A replica holds the same rows; so much Django's routers are asked about related objects too.
            if db not in (None, alias) and not router.allow_relation(row, self.cls.from_db(alias, [], [])):  # type: ignore[attr-defined]
                raise ConfigurationError(
                    f"load: a function gave a row of {self.name} from the database {db!r}, and the ref is of {alias!r}",
                    hint="Give a QuerySet, or let the function return one that names no database: it is asked on the "
                    "ref's. Where both hold the same rows, let allow_relation() of a router say so.",
                )

    def _parts(self, keys: list[Any], alias: str, queryset: Any, fetch: Any) -> Iterator[list[Any]]:
        """Yield the keys in parts that one query can ask for."""
        features = connections[alias].features
        most = features.max_query_params or _MOST_PARAMETERS
        if fetch is not None and features.max_query_params:
            most -= _count_parameters(queryset, alias)
        most = max(1, most // len(self._converters))
        if self._is_composite:
            most = min(most, _MOST_TUPLES if features.supports_tuple_lookups else _MOST_ALTERNATIVES)
        for start in range(0, len(keys), most):
            yield keys[start : start + most]


def _checked(fetch: Any, name: str) -> Any:
    """Return the QuerySet of `load=`, or raise ConfigurationError if more cannot be asked of it."""
    queryset = fetch.all()
    if queryset.query.is_sliced or queryset.query.combinator or queryset._iterable_class is not ModelIterable:
        raise ConfigurationError(
            f"load: rows of {name} cannot be looked for in a QuerySet that is sliced, combined or of values",
            hint="Give a QuerySet of models, such as Email.objects.select_related('newsletter').",
        )
    return queryset


def _count_parameters(queryset: Any, alias: str) -> int:
    try:
        return len(queryset.all().query.get_compiler(alias).as_sql()[1])
    except EmptyResultSet:  # .none(): it will not be asked
        return 0
