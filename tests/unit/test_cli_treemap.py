"""The treemap's rectangles: areas in proportion, side by side, nothing beyond the edge, and no slivers without need."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimjobs.cli.treemap import Rectangle, squarify

SPACE = Rectangle(10, 20, 12, 5)
WEIGHTS = st.lists(st.integers(0, 10**12), max_size=40)
SIDES = st.floats(0.5, 2000)


def overlap(first: Rectangle, second: Rectangle) -> float:
    width = min(first.left + first.width, second.left + second.width) - max(first.left, second.left)
    height = min(first.top + first.height, second.top + second.height) - max(first.top, second.top)
    return max(width, 0) * max(height, 0)


@given(WEIGHTS, SIDES, SIDES)
def test_areas_are_in_proportion_within_the_space_and_side_by_side(
    weights: list[int], width: float, height: float
) -> None:
    space = Rectangle(-3, 7, width, height)
    rectangles = squarify(weights, space)
    assert len(rectangles) == len(weights)
    whole = width * height
    for weight, rectangle in zip(weights, rectangles, strict=True):
        share = weight / sum(weights) if sum(weights) else 0
        assert rectangle.width * rectangle.height == pytest.approx(share * whole, abs=whole * 1e-9)
        assert rectangle.width >= 0
        assert rectangle.height >= 0
        assert space.left - 1e-6 <= rectangle.left <= rectangle.left + rectangle.width <= space.left + width + 1e-6
        assert space.top - 1e-6 <= rectangle.top <= rectangle.top + rectangle.height <= space.top + height + 1e-6
    for first, second in combinations(rectangles, 2):
        assert overlap(first, second) <= whole * 1e-9


def test_equal_weights_become_squares_where_they_can() -> None:
    rectangles = squarify([1] * 60, SPACE)
    assert all(rectangle.width / rectangle.height == pytest.approx(1, rel=0.4) for rectangle in rectangles)


def test_the_example_of_the_paper() -> None:
    rectangles = squarify([6, 6, 4, 3, 2, 2, 1], Rectangle(0, 0, 6, 4))
    assert [tuple(round(side, 2) for side in rectangle) for rectangle in rectangles] == [
        (0, 0, 3, 2),
        (0, 2, 3, 2),
        (3, 0, 1.71, 2.33),
        (4.71, 0, 1.29, 2.33),
        (3, 2.33, 1.2, 1.67),
        (4.2, 2.33, 1.2, 1.67),
        (5.4, 2.33, 0.6, 1.67),
    ]


def test_the_largest_is_at_the_top_left() -> None:
    assert squarify([900, 80, 20], SPACE)[0][:2] == (10, 20)


def test_a_single_weight_takes_all_and_none_takes_nothing() -> None:
    assert squarify([7], SPACE) == [SPACE]
    assert squarify([], SPACE) == []
    assert squarify([0, 0], SPACE) == [Rectangle(10, 20, 0, 0)] * 2
