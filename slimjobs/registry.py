"""The allow-list of classes: instance to ref, and who loads it again.

`registration` adds single classes, `orm` brings the adapters of the ORMs that are there.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from slimjobs.codec import travels_by_value
from slimjobs.errors import ConfigurationError
from slimjobs.homes import import_home
from slimjobs.refs import Ref

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from slimjobs.locators import Adapter, Locator, Transaction
    from slimjobs.refs import Rows


def add_locator(locator: Locator, aliases: Iterable[str] = ()) -> None:
    """Let the instances of a class become refs.

    Raises:
        ConfigurationError: The class or one of the names is taken.
    """
    cls = locator.cls
    if cls in _by_class:
        raise ConfigurationError(f"{cls.__qualname__} is registered already, as {_by_class[cls].name!r}")
    if travels_by_value(cls):
        raise ConfigurationError(f"{cls.__qualname__} travels by value; it cannot be registered as a model")
    names = (locator.name, *aliases)
    for taken in names:
        if taken in _by_name:
            raise ConfigurationError(f"the name {taken!r} is taken by {_by_name[taken].cls.__qualname__}")
    _by_class[cls] = locator
    for each in names:
        _by_name[each] = locator


def add_adapter(adapter: Adapter) -> None:
    """Let the instances of an ORM's classes become refs, without a registration of each.

    Args:
        adapter: What knows the ORM's classes; it is asked after those that were added before, and after `register()`.
    """
    _adapters.append(adapter)


def find(value: Any) -> Locator | None:
    """Return the locator of a value's class, or None if it is no model."""
    # A lazy object such as Django's request.user is not of its model's type, but says it is.
    return _by_class.get(type(value)) or _by_class.get(value.__class__) or _adopt(value.__class__)


def of_class(cls: type) -> Locator | None:
    """Return the locator of a class, or None if its instances are no models."""
    return _by_class.get(cls) or _adopt(cls)


def named(name: str) -> Locator | None:
    """Return the locator of a name, importing the module that the name begins with if need be."""
    if name not in _names:
        import_home(name, _names)
        if name not in _names:
            _discover(True)
            if name not in _names:
                return None
    return _by_name.get(name) or _adopted_by_name.get(name)


def dehydrate(value: Any) -> Ref | Rows | None:
    """Return the ref of a model, the rows of a query, or None for anything else.

    Raises:
        UnsavedModelError: A model has no row.
        UnsupportedTypeError: A query whose rows are no models, or a primary key that cannot be one.
    """
    locator = find(value)
    if locator is not None:
        return locator.ref(value)
    return rows_of(value)


def rows_of(value: Any) -> Rows | None:
    """Return the rows of a query, or None for anything else; raises as `dehydrate`."""
    for adapter in _adapters:
        rows = adapter.rows_of(value)
        if rows is not None:
            return rows
    return None


def name_of(value: Any) -> str | None:
    """Return the name that the class of an instance goes by in refs, or None."""
    locator = find(value)
    return None if locator is None else locator.name


def is_registered(value: Any) -> bool:
    """Return whether a value is a model, or a ref."""
    return type(value) is Ref or find(value) is not None


def transactions_of(models: Iterable[Any]) -> tuple[Transaction, ...]:
    """Return the transactions that these models or refs may be part of."""
    found: dict[Transaction, None] = {}
    for model in models:
        is_ref = type(model) is Ref
        locator = _loaded(model.name) if is_ref else find(model)
        if locator is not None:
            transaction = locator.transaction(model if is_ref else locator.ref(model), None if is_ref else model)
            if transaction is not None:
                found[transaction] = None
    return tuple(found)


def class_named(name: str) -> type | None:
    """Return the class of a name, or None where it is not loaded here."""
    locator = _loaded(name)
    return None if locator is None else locator.cls


def _loaded(name: str) -> Locator | None:
    """Return the locator of a name, or None where its class is not loaded here: then no row of it was touched."""
    locator = _by_name.get(name) or _adopted_by_name.get(name)
    if locator is None:
        _discover(False)
        locator = _adopted_by_name.get(name) if name in _names else None
    return locator


def install_discovery(discover: Callable[[bool], None]) -> None:
    """Let `orm` add the adapters of ORMs that are loaded, or of all that the process is set up for (True)."""
    global _discover  # noqa: PLW0603  # there is one
    _discover = discover


def _adopt(cls: type) -> Locator | None:
    """Return the locator that an ORM has for a class, and remember it."""
    locator = _adopted_by_class.get(cls)
    if locator is None and not travels_by_value(cls):
        _discover(False)
        for adapter in _adapters:
            locator = adapter.locator_for(cls)
            if locator is not None:
                taken = _by_name.get(locator.name)
                if taken is not None:
                    raise ConfigurationError(f"the name {locator.name!r} is taken by {taken.cls.__qualname__}")
                _adopted_by_class[cls] = _adopted_by_name[locator.name] = locator
                break
    return locator


class _Names:
    """The names that are known now; a mapped class also goes by where it can be imported from."""

    def __contains__(self, name: object) -> bool:
        if name in _by_name or name in _adopted_by_name:
            return True
        text = str(name)
        for adapter in _adapters:
            locator = adapter.locator_named(text)
            if locator is not None:
                _adopted_by_name[text] = locator
                return True
        cls = _loaded_class(text)
        return cls is not None and _adopt(cls) is not None and name in _adopted_by_name


def _loaded_class(name: str) -> type | None:
    """Return the class at an import path, looked up without running any code of the modules on the way."""
    module, _, rest = name.rpartition(".")
    while module:
        found: Any = sys.modules.get(module)
        for part in rest.split("."):
            # Plain dictionaries: a lazy module would import at a getattr().
            if isinstance(found, ModuleType):
                found = object.__getattribute__(found, "__dict__").get(part)
            else:
                found = type.__getattribute__(found, "__dict__").get(part) if isinstance(found, type) else None
        if isinstance(found, type):
            return found
        module, _, last = module.rpartition(".")
        rest = f"{last}.{rest}"
    return None


def _no_discovery(_: bool) -> None:
    """Add nothing: `orm` is not there."""


_by_class: dict[type, Locator] = {}
_by_name: dict[str, Locator] = {}
_adopted_by_class: dict[type, Locator] = {}
_adopted_by_name: dict[str, Locator] = {}
_adapters: list[Adapter] = []
_names = _Names()
_discover: Callable[[bool], None] = _no_discovery
