"""What is held open while a job is called, such as a session for its models."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator
    from contextlib import AbstractContextManager

T = TypeVar("T")


class Scope:
    """The time of one call: its models are loaded, it runs, and what was opened for it is closed.

    Attributes:
        task: The import path of what is called, where it is known.
    """

    def __init__(self, stack: ExitStack, task: str | None = None) -> None:
        self.task = task
        self._stack = stack
        self._opened: dict[Hashable, Any] = {}

    def shared(self, key: Hashable, opens: Callable[[], AbstractContextManager[T]]) -> T:
        """Return what is open under a key, opened at the first time and closed after the call.

        Args:
            key: What it goes by among all that is open for the call.
            opens: Returns a context manager, whose value is shared.
        """
        if key not in self._opened:
            self._opened[key] = self._stack.enter_context(opens())
        return self._opened[key]  # type: ignore[no-any-return]

    def get(self, key: Hashable) -> Any:
        """Return what is open under a key, or None."""
        return self._opened.get(key)


@contextmanager
def scope(task: str | None = None) -> Iterator[Scope]:
    """Be the scope of a call; one inside another, as of a job that runs a synchronous one, is its own."""
    with ExitStack() as stack:
        opened = Scope(stack, task)
        token = _current.set(opened)
        try:
            yield opened
        finally:
            _current.reset(token)


def current() -> Scope | None:
    """Return the scope of the call that is running, or None outside of a job."""
    return _current.get()


_current: ContextVar[Scope | None] = ContextVar("scope", default=None)
