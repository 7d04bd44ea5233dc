"""`register()`: plain classes, whose instances the application loads itself."""

from __future__ import annotations

from inspect import signature
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

from slimjobs.errors import ConfigurationError
from slimjobs.locators import Locator
from slimjobs.registry import add_locator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    _LoadMany = Callable[[Sequence[Any]], Mapping[Any, Any]]

T = TypeVar("T")


class _Registered(Locator):
    """The locator of a class that was registered by hand."""

    def __init__(self, cls: type, name: str, read_pk: Callable[[Any], Any], load_many: _LoadMany) -> None:
        super().__init__(cls, name)
        self._read_pk = read_pk
        self._load_many = load_many

    def read_pk(self, instance: Any) -> Any:
        return self._read_pk(instance)

    def load_many(self, pks: Sequence[Any], db: str | None, fetch: Any = None) -> Mapping[Any, Any]:
        return (self._load_many if fetch is None else _by_many(fetch, self._read_pk))(pks)

    def accepts(self, fetch: Any) -> bool:
        return callable(fetch)


def register(
    cls: type[T],
    *,
    load: Callable[[Any], T | None] | None = None,
    load_many: Callable[[list[Any]], Mapping[Any, T] | Iterable[T | None]] | None = None,
    name: str | None = None,
    id: str | Callable[[T], Any] = "id",  # noqa: A002  # what it is called in a call
    aliases: Iterable[str] = (),
) -> type[T]:
    """Let the instances of a class travel as refs, to be loaded again in the worker.

    Exactly this class is meant: a subclass may live elsewhere, and is registered by itself.

    Args:
        cls: The class.
        load: Returns the instance for one pk, or None if there is no such row. Any exception it
            raises fails the job as it is; ConnectionError and TimeoutError become
            RecordUnavailableError.
        load_many: Instead of `load`: returns all instances for a list of distinct pks at once, as a
            mapping by pk or as instances in any order; those that do not exist are left out.
        name: What stands for the class in payloads, and must not change while jobs are queued.
            Default: its module and qualified name.
        id: The attribute that holds the primary key, or a function that returns it.
        aliases: Former names, which queued jobs may still hold.

    Raises:
        ConfigurationError: The class or one of the names is registered already, or there is not
            exactly one of `load` and `load_many`.

    Returns:
        The class.
    """
    if not isinstance(cls, type):
        raise ConfigurationError(f"register() takes a class, not {type(cls).__name__}")
    if (load is None) == (load_many is None):
        raise ConfigurationError(f"{cls.__qualname__}: register() needs either load= or load_many=")
    for option, given in (("load", load), ("load_many", load_many)):
        if given is not None and not callable(given):
            raise ConfigurationError(f"{cls.__qualname__}: {option}= takes a function, not {type(given).__name__}")
        if given is not None and not _takes_one(given):
            what = "one primary key" if option == "load" else "a list of primary keys"
            raise ConfigurationError(f"{cls.__qualname__}: {option}= takes a function of one argument, {what}")
    name = name or f"{cls.__module__}.{cls.__qualname__}"
    read_pk = _checked_reader(cls, id) if isinstance(id, str) else id
    if load is not None:
        read_rows = _by_one(load)
    else:
        assert load_many is not None
        read_rows = _by_many(load_many, read_pk)
    if isinstance(aliases, str):
        raise ConfigurationError(f"{cls.__qualname__}: aliases= takes a list of names, not one text")
    add_locator(_Registered(cls, name, read_pk, read_rows), aliases)
    return cls


def _takes_one(function: Callable[..., Any]) -> bool:
    try:
        signature(function).bind(None)
    except TypeError:
        return False
    except ValueError:  # a function of C may not tell what it takes
        return True
    return True


def _checked_reader(cls: type, attribute: str) -> Callable[[Any], Any]:
    read = attrgetter(attribute)

    def read_pk(value: Any) -> Any:
        try:
            return read(value)
        except AttributeError as error:
            raise ConfigurationError(
                f"{cls.__qualname__} has no attribute {attribute!r} to read its primary key from",
                hint="Name the right one with slimjobs.register(..., id=).",
            ) from error

    return read_pk


def _by_one(load: Callable[[Any], Any]) -> _LoadMany:
    return lambda pks: {pk: load(pk) for pk in pks}


def _by_many(load_many: Callable[[list[Any]], Any], read_pk: Callable[[Any], Any]) -> _LoadMany:
    def load(pks: Sequence[Any]) -> Mapping[Any, Any]:
        rows = load_many(list(pks))
        if hasattr(rows, "keys"):
            return rows  # type: ignore[no-any-return]
        return {read_pk(row): row for row in rows if row is not None}

    return load
