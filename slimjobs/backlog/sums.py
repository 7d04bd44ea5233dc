"""Adds up sizes in little memory: how many, their sum, the largest, and quantiles within 1 percent."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# Sizes are kept with this many significant bits, rounded up: 1/128 too large at most.
_BITS = 8


def round_up(size_bytes: int) -> int:
    """Return a size with as many significant bits as are kept."""
    shift = size_bytes.bit_length() - _BITS
    return size_bytes if shift <= 0 else -(-size_bytes >> shift) << shift


class Sizes:
    """Sizes that were added up.

    Attributes:
        count: How many.
        total_bytes: Their sum.
        largest_bytes: The largest.
    """

    __slots__ = ("_counts", "count", "largest_bytes", "total_bytes")

    def __init__(self) -> None:
        self.count = 0
        self.total_bytes = 0
        self.largest_bytes = 0
        self._counts: dict[int, int] = {}

    def add(self, count: int, total_bytes: int, largest_bytes: int, rounded: Iterable[int]) -> None:
        """Add sizes.

        Args:
            count: How many.
            total_bytes: Their sum.
            largest_bytes: The largest.
            rounded: What `round_up` returns of each.
        """
        self.count += count
        self.total_bytes += total_bytes
        self.largest_bytes = max(self.largest_bytes, largest_bytes)
        counts = self._counts
        for size_bytes in rounded:  # few at a time, where Counter.update() takes twice as long
            counts[size_bytes] = counts.get(size_bytes, 0) + 1

    def merge(self, other: Sizes) -> None:
        """Add what another has added up."""
        self.count += other.count
        self.total_bytes += other.total_bytes
        self.largest_bytes = max(self.largest_bytes, other.largest_bytes)
        for size_bytes, count in other._counts.items():
            self._counts[size_bytes] = self._counts.get(size_bytes, 0) + count

    def quantile(self, share: float) -> int:
        """Return the size that this share of all are not over, in bytes: 0.5 is the median."""
        wanted, seen = share * self.count, 0
        for size_bytes, count in sorted(self._counts.items()):
            seen += count
            if seen >= wanted:
                return min(size_bytes, self.largest_bytes)
        return self.largest_bytes

    def by_power(self) -> dict[int, int]:
        """Return how many there are by size: the power of two that they are not over, in bytes, to number."""
        powers: dict[int, int] = {}
        for size_bytes, count in sorted(self._counts.items()):
            power = 1 << max(size_bytes - 1, 0).bit_length()
            powers[power] = powers.get(power, 0) + count
        return powers
