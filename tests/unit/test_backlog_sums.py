"""Quantiles of sizes that were added up are exact to 1 percent, as the help of `slimjobs audit` says."""

from __future__ import annotations

import random

import pytest

from slimjobs.backlog.sums import Sizes, round_up


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("most_bytes", [100, 70_000, 9_000_000])
def test_quantiles_are_exact_to_one_percent(most_bytes: int, share: float) -> None:
    chosen = random.Random(most_bytes)
    sizes = sorted(chosen.randrange(1, most_bytes) for _ in range(2_000))
    summed = Sizes()
    for start in range(0, len(sizes), 7):
        some = sizes[start : start + 7]
        summed.add(len(some), sum(some), max(some), map(round_up, some))

    exact = sizes[round(share * len(sizes)) - 1]
    assert exact <= summed.quantile(share) <= exact * 1.01
    assert (summed.count, summed.total_bytes, summed.largest_bytes) == (2_000, sum(sizes), sizes[-1])
