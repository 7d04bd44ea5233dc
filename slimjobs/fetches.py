"""How a task wants its models fetched: what `load=` of `@job` says of parameters and classes."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from slimjobs.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from slimjobs.locators import Locator
    from slimjobs.refs import Ref


class Fetches:
    """The ways to fetch that one task has declared.

    Args:
        load: By name of a parameter, or by class: what the class's locator accepts, such as a Django
            QuerySet, options of SQLAlchemy, or a function from a list of pks to instances.
        function: The task's function.

    Raises:
        ConfigurationError: The function has no such parameter.
    """

    def __init__(self, load: Mapping[Any, Any], function: Callable[..., Any]) -> None:
        self._signature = inspect.signature(function)
        self._by_parameter = {name: fetch for name, fetch in load.items() if isinstance(name, str)}
        self._by_class = {cls: fetch for cls, fetch in load.items() if isinstance(cls, type)}
        for name in load:
            if not isinstance(name, (str, type)) or (isinstance(name, str) and name not in self._signature.parameters):
                shown = repr(name) if isinstance(name, str) else f"a {type(name).__name__}"
                raise ConfigurationError(
                    f"load: {shown} is neither a parameter of {function.__qualname__}() nor a class",
                    hint="Write load={'email': Email.objects.select_related('newsletter')}, or load={Email: ...}.",
                )

    def arguments(self, args: Any, kwargs: Any) -> list[tuple[str, Any, Any]]:
        """Return (parameter, what was passed for it, how to fetch what is in there), in the signature's order."""
        if not self._by_parameter:
            return []
        try:
            passed = self._signature.bind_partial(*args, **kwargs).arguments
        except TypeError:
            return []  # the call itself will say so
        return [(name, value, self._by_parameter[name]) for name, value in passed.items() if name in self._by_parameter]

    def of_class(self, locator: Locator) -> Any:
        """Return how a class's rows are fetched, or None.

        Raises:
            ConfigurationError: It is no way to fetch this class.
        """
        fetch = self._by_class.get(locator.cls)
        if fetch is not None and not locator.accepts(fetch):
            raise unusable(locator.cls.__qualname__, fetch, [locator.cls])
        return fetch


class Plan:
    """Which ref of a call is fetched in which way.

    A ref in several parameters is fetched as the first of them says that says something.
    """

    def __init__(self, fetches: Fetches) -> None:
        self._fetches = fetches
        self._by_ref: dict[Ref, tuple[str, Any]] = {}
        self._refused: dict[str, tuple[Any, list[type]]] = {}
        self._used: set[str] = set()

    def assign(self, parameter: str, fetch: Any, refs: Mapping[Ref, Ref]) -> None:
        """Fetch the refs that one parameter holds in this way."""
        for ref in refs.values():
            self._by_ref.setdefault(ref, (parameter, fetch))

    def fetch_of(self, ref: Ref, locator: Locator) -> Any:
        """Return how a ref's row is fetched, or None as its class does by itself."""
        parameter, fetch = self._by_ref.get(ref, ("", None))
        if fetch is not None:
            if locator.accepts(fetch):
                self._used.add(parameter)
                return fetch
            self._refused.setdefault(parameter, (fetch, []))[1].append(locator.cls)
        return self._fetches.of_class(locator)

    def check(self) -> None:
        """Raise ConfigurationError for what fits none of the models that its parameter holds."""
        for parameter, (fetch, classes) in self._refused.items():
            if parameter not in self._used:
                raise unusable(repr(parameter), fetch, classes)


def unusable(key: str, fetch: Any, classes: list[type]) -> ConfigurationError:
    """Return the error for a way to fetch that none of these classes knows."""
    names = ", ".join(dict.fromkeys(cls.__qualname__ for cls in classes))
    return ConfigurationError(
        f"load: what is given for {key} (a {type(fetch).__name__}) cannot fetch {names}",
        hint="Give a query of that class, options of its ORM, or a function from a list of primary keys to instances.",
    )


def set_fetches(task: str, fetches: Fetches) -> None:
    """Set how the task with this import path wants its models fetched; the decorator does."""
    _fetches[task] = fetches


def fetches_for(task: str) -> Fetches | None:
    """Return how a task wants its models fetched; what the decorator set is known once its module is imported."""
    return _fetches.get(task)


_fetches: dict[str, Fetches] = {}
