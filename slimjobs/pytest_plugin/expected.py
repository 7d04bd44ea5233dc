"""Which refusals a test has expected: with `pytest.raises`, or unittest's `assertRaises`."""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import pytest

from slimjobs.errors import SlimjobsError

if TYPE_CHECKING:
    from collections.abc import Callable


class ExpectedErrors:
    """Remembers the errors of slimjobs that were expected, as long as they are, and keeps none alive."""

    def __init__(self) -> None:
        self._known: WeakSet[BaseException] = WeakSet()
        self._wrapped: list[tuple[Any, str, Any]] = []

    def start(self) -> None:
        """Begin to remember, unless it has begun."""
        if self._wrapped:
            return

        def fill(original: Callable[..., None], info: Any, exc_info: Any) -> None:
            self.add(exc_info[1])
            original(info, exc_info)

        def leave(original: Callable[..., bool], context: Any, kind: Any, error: Any, traceback: Any) -> bool:
            is_expected = original(context, kind, error, traceback)
            if is_expected:
                self.add(error)
            return is_expected

        def make(original: Callable[..., Any], cls: type, error: BaseException, *more: Any, **options: Any) -> Any:
            self.add(error)
            return original(cls, error, *more, **options)

        self._wrap(pytest.ExceptionInfo, "fill_unfilled", fill)
        # What `pytest.raises(error, function)` makes of an exception before pytest 8.
        self._wrap(pytest.ExceptionInfo, "from_exception", make)
        # Django's and unittest's assertRaises share it.
        unittest = sys.modules.get("unittest.case")
        self._wrap(getattr(unittest, "_AssertRaisesContext", None), "__exit__", leave)

    def stop(self) -> None:
        """End it."""
        while self._wrapped:
            owner, name, original = self._wrapped.pop()
            setattr(owner, name, original)

    def knows(self, error: BaseException | None) -> bool:
        """Return whether an error of slimjobs was expected, or an exception that it led to."""
        return error in self._known

    def add(self, error: BaseException | None) -> None:
        """Remember an exception, those that it came from, and those of a group, as far as they are slimjobs'."""
        pending, seen = [error], set()
        for each in pending:  # which grows meanwhile
            if each is None or id(each) in seen:
                continue
            seen.add(id(each))
            if isinstance(each, SlimjobsError):
                self._known.add(each)
            pending += [each.__cause__, each.__context__]
            group = getattr(each, "exceptions", ())  # Python 3.10 has no class for it
            if isinstance(group, tuple):
                pending += [inner for inner in group if isinstance(inner, BaseException)]

    def _wrap(self, owner: Any, name: str, around: Callable[..., Any]) -> None:
        original = vars(owner).get(name) if owner is not None else None
        if original is None:  # elsewhere in another version: refusals that a test expects need allow=True then
            return
        function = original.__func__ if isinstance(original, classmethod) else original

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return around(function, *args, **kwargs)

        self._wrapped.append((owner, name, original))
        setattr(owner, name, classmethod(wrapper) if isinstance(original, classmethod) else wrapper)
