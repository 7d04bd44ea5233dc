"""Instance to ref, refs to instances; the allow-list of classes."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

from slimjobs.codec import travels_by_value
from slimjobs.errors import (
    ConfigurationError,
    RecordNotFoundError,
    RecordUnavailableError,
    UnsavedModelError,
    UnsupportedTypeError,
)
from slimjobs.homes import import_home
from slimjobs.refs import Ref

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

T = TypeVar("T")


@dataclass(frozen=True)
class Locator:
    """How one class finds its rows.

    Attributes:
        cls: The class.
        name: What stands for it in refs.
        read_pk: Returns an instance's primary key, or None where it has none yet.
        load_many: Returns the instances that exist for distinct pks, by pk.
    """

    cls: type
    name: str
    read_pk: Callable[[Any], Any]
    load_many: Callable[[Sequence[Any]], Mapping[Any, Any]]


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
    name = name or f"{cls.__module__}.{cls.__qualname__}"
    read_pk = _checked_reader(cls, id) if isinstance(id, str) else id
    if load is not None:
        locator = Locator(cls, name, read_pk, _by_one(load))
    else:
        assert load_many is not None
        locator = Locator(cls, name, read_pk, _by_many(load_many, read_pk))
    if isinstance(aliases, str):
        raise ConfigurationError(f"{cls.__qualname__}: aliases= takes a list of names, not one text")
    if cls in _by_class:
        raise ConfigurationError(f"{cls.__qualname__} is registered already, as {_by_class[cls].name!r}")
    if travels_by_value(cls):
        raise ConfigurationError(f"{cls.__qualname__} travels by value; it cannot be registered as a model")
    names = (name, *aliases)
    for taken in names:
        if taken in _by_name:
            raise ConfigurationError(f"the name {taken!r} is taken by {_by_name[taken].cls.__qualname__}")
    _by_class[cls] = locator
    for each in names:
        _by_name[each] = locator
    return cls


def dehydrate(value: Any) -> Ref | None:
    """Return the ref of an instance of a registered class, or None for anything else.

    Raises:
        UnsavedModelError: The instance has no primary key.
    """
    locator = _find(value)
    if locator is None:
        return None
    pk = locator.read_pk(value)
    if pk is None:
        raise UnsavedModelError(f"{locator.cls.__qualname__} has no primary key yet")
    try:
        hash(pk)
    except TypeError:
        problem = f"a {type(pk).__name__} cannot be a primary key of {locator.cls.__qualname__}"
        raise UnsupportedTypeError(problem) from None
    return Ref(locator.name, pk)


def name_of(value: Any) -> str | None:
    """Return the name that the class of an instance is registered under, or None."""
    locator = _find(value)
    return None if locator is None else locator.name


def is_registered(value: Any) -> bool:
    """Return whether a value is an instance of a registered class, or a ref."""
    return type(value) is Ref or _find(value) is not None


def load_refs(refs: Iterable[Ref]) -> dict[Ref, Any]:
    """Return the instances that exist, by ref; one call of a class's loader for all its refs.

    Raises:
        ConfigurationError: No class is registered under the name of a ref.
        RecordUnavailableError: A loader could not reach its database.
    """
    groups: dict[str, tuple[Locator, list[Ref]]] = {}
    wanted = list(dict.fromkeys(refs))
    for ref in wanted:
        import_home(ref.name, _by_name)
        locator = _by_name.get(ref.name)
        if locator is None:
            raise ConfigurationError(
                f"no class is registered under the name {ref.name!r} in this process",
                hint="Import the module that calls slimjobs.register() from the task's module.",
                refs=[each for each in wanted if each.name == ref.name],
            )
        groups.setdefault(locator.name, (locator, []))[1].append(ref)
    found: dict[Ref, Any] = {}
    for locator, group in groups.values():
        try:
            rows = locator.load_many(list(dict.fromkeys(ref.pk for ref in group)))
        except (ConnectionError, TimeoutError) as error:
            problem = f"the rows of {locator.cls.__qualname__} could not be asked for ({type(error).__name__})"
            raise RecordUnavailableError(problem, refs=group) from error
        for ref in group:
            row = rows.get(ref.pk)
            if row is not None:
                found[ref] = row
    return found


def load_one(ref: Ref) -> Any:
    """Return the instance of one ref.

    Raises:
        RecordNotFoundError: The row is gone.
        RecordUnavailableError: Its loader could not reach the database.
        ConfigurationError: No class is registered under its name.
    """
    found = load_refs([ref])
    if ref not in found:
        raise RecordNotFoundError(refs=[ref])
    return found[ref]


def _find(value: Any) -> Locator | None:
    # A lazy object such as Django's request.user is not of its model's type, but says it is.
    return _by_class.get(type(value)) or _by_class.get(value.__class__)


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


def _by_one(load: Callable[[Any], Any]) -> Callable[[Sequence[Any]], Mapping[Any, Any]]:
    return lambda pks: {pk: load(pk) for pk in pks}


def _by_many(
    load_many: Callable[[list[Any]], Any], read_pk: Callable[[Any], Any]
) -> Callable[[Sequence[Any]], Mapping[Any, Any]]:
    def load(pks: Sequence[Any]) -> Mapping[Any, Any]:
        rows = load_many(list(pks))
        if hasattr(rows, "keys"):
            return rows  # type: ignore[no-any-return]
        return {read_pk(row): row for row in rows if row is not None}

    return load


_by_class: dict[type, Locator] = {}
_by_name: dict[str, Locator] = {}
