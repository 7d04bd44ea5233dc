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

    def __init__(self, stack: ExitStack, task: str | None = None, opened: dict[Hashable, Any] | None = None) -> None:
        self.task = task
        self._stack = stack
        self._opened = {} if opened is None else opened

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
    def entered(self) -> Iterator[Scope]:
        """Be the scope of what runs inside, and close what was opened at the end."""
        with self._stack:
            token = _current.set(self)
            try:
                yield self
            finally:
                _current.reset(token)

    def kept(self) -> Scope:
        """Return this scope, to be entered again: what is open stays open when this one is left."""
        return Scope(self._stack.pop_all(), self.task, self._opened)


def scope(task: str | None = None) -> AbstractContextManager[Scope]:
    """Be the scope of a call; one inside another, as of a job that runs a synchronous one, is its own."""
    return Scope(ExitStack(), task).entered()


def current() -> Scope | None:
    """Return the scope of the call that is running, or None outside of a job."""
    return _current.get()


_current: ContextVar[Scope | None] = ContextVar("scope", default=None)
