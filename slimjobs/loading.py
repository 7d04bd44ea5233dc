"""Refs to instances: one call of a class's locator for all its refs in a database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slimjobs import orm as _orm  # noqa: F401  # models of ORMs are found
from slimjobs import registry
from slimjobs.errors import ConfigurationError, RecordNotFoundError, RecordUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from slimjobs.locators import Locator
    from slimjobs.refs import Ref


def load_refs(
    wanted: Collection[Ref], fetch_of: Callable[[Ref, Locator], Any] | None = None, *, again: bool = False
) -> dict[Ref, Any]:
    """Return the instances that exist, by ref; one call of a class's locator for a database and a way to fetch.

    Args:
        wanted: The refs; one that is there twice is loaded once.
        fetch_of: Returns how a ref's row is to be fetched, or None as the class does by itself.
        again: Whether they were asked for before, and were missing.

    Raises:
        ConfigurationError: No class is registered under the name of a ref.
        RecordUnavailableError: A database could not be reached.
    """
    found: dict[Ref, Any] = {}
    for locator, db, fetch, group in _grouped(wanted, fetch_of):
        try:
            if again:
                locator.renew(db)
            rows = locator.load_many(list(dict.fromkeys([ref.pk for ref in group])), db, fetch)
        except Exception as error:
            if not locator.is_unavailable(error):
                raise
            problem = f"the rows of {locator.cls.__qualname__} could not be asked for ({type(error).__name__})"
            raise RecordUnavailableError(problem, refs=list(dict.fromkeys(group))) from error
        for ref in group:
            row = rows.get(ref.pk)
            if row is not None:
                found[ref] = row
    return found


def _grouped(
    wanted: Collection[Ref], fetch_of: Callable[[Ref, Locator], Any] | None
) -> list[tuple[Locator, str | None, Any, list[Ref]]]:
    """Return what is asked for together: the locator, the alias, how it is fetched, and the refs."""
    # What is the same for all refs of a name and alias is asked for once.
    named: dict[tuple[str, str | None], list[Ref]] = {}
    for ref in wanted:
        named.setdefault((ref.name, ref.db), []).append(ref)
    # A way to fetch may be compared by a query of its own, as Django's QuerySets are: by identity.
    groups: dict[tuple[Locator, str | None, int], tuple[Any, list[Ref]]] = {}
    for (name, alias), refs_of_name in named.items():
        locator = registry.named(name)
        if locator is None:
            raise ConfigurationError(
                f"no class is registered under the name {name!r} in this process",
                hint="Import the module that calls slimjobs.register() from the task's module.",
                refs=[ref for ref in dict.fromkeys(wanted) if ref.name == name],
            )
        db = locator.database(alias)
        if fetch_of is None:
            groups.setdefault((locator, db, id(None)), (None, []))[1].extend(refs_of_name)
            continue
        for ref in refs_of_name:
            fetch = fetch_of(ref, locator)
            groups.setdefault((locator, db, id(fetch)), (fetch, []))[1].append(ref)
    return [(locator, db, fetch, group) for (locator, db, _), (fetch, group) in groups.items()]


def load_one(ref: Ref) -> Any:
    """Return the instance of one ref.

    Raises:
        RecordNotFoundError: The row is gone.
        RecordUnavailableError: Its database could not be reached.
        ConfigurationError: No class is registered under its name.
    """
    found = load_refs([ref])
    if ref not in found:
        raise RecordNotFoundError(refs=[ref])
    return found[ref]
