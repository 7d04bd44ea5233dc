"""Lets Hypothesis draw large examples: it prefers small ones, in which nothing has grown yet."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hypothesis.internal.conjecture.providers import (
    AVAILABLE_PROVIDERS,
    COLLECTION_DEFAULT_MAX_SIZE,
    HypothesisProvider,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAME = "slimjobs-large-examples"
# Hypothesis draws at most 8 KiB for an example (BUFFER_SIZE in its engine), and a character may take four bytes.
_MOST_ITEMS_LOG2 = 11


class LargeExamples(HypothesisProvider):
    """A backend of Hypothesis that draws from the same values, with as many characters and items as there may be.

    A backend may ignore the probabilities that it is given, see `PrimitiveProvider.draw_boolean`.
    """

    def __init__(self, conjecturedata: Any, /) -> None:
        super().__init__(conjecturedata)
        self._left = 0
        self._has_many = False
        if self._random is not None:
            self._left = int(2 ** self._random.uniform(4, _MOST_ITEMS_LOG2))
            # Long texts and bytes, or many items: together they would leave each other no room.
            self._has_many = self._random.random() < 0.5

    def draw_boolean(self, p: float = 0.5) -> bool:
        """Draw whether a collection goes on, or something else."""
        if 0.5 < p < 1 and self._has_many and self._left > 0:
            self._left -= 1
            return True
        return super().draw_boolean(p)

    def draw_string(self, intervals: Any, *, min_size: int = 0, max_size: int = COLLECTION_DEFAULT_MAX_SIZE) -> str:
        """Draw a text, often as long as it may be."""
        if not self._has_many:
            min_size = max_size = self._size(min_size, max_size)
        return super().draw_string(intervals, min_size=min_size, max_size=max_size)

    def draw_bytes(self, min_size: int = 0, max_size: int = COLLECTION_DEFAULT_MAX_SIZE) -> bytes:
        """Draw bytes, often as many as there may be."""
        if not self._has_many:
            min_size = max_size = self._size(min_size, max_size)
        return super().draw_bytes(min_size, max_size)

    def _size(self, min_size: int, max_size: int) -> int:
        assert self._random is not None  # it draws for an example
        most = min(max_size, min_size + self._left)
        size = most if self._random.random() < 0.5 else self._random.randint(min_size, most)
        self._left -= size - min_size
        return size


@contextmanager
def large_examples() -> Iterator[str]:
    """Let Hypothesis know the backend in this block; its name is yielded."""
    AVAILABLE_PROVIDERS[_NAME] = LargeExamples
    try:
        yield _NAME
    finally:
        del AVAILABLE_PROVIDERS[_NAME]
