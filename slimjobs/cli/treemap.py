"""The squares of a treemap: rectangles whose areas are as given, side by side, and as square as can be."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class Rectangle(NamedTuple):
    """A rectangle, in whatever units its sides are.

    Attributes:
        left: From the left.
        top: From the top.
        width: Its width.
        height: Its height.
    """

    left: float
    top: float
    width: float
    height: float


def squarify(weights: Sequence[float], space: Rectangle) -> list[Rectangle]:
    """Divide a space into rectangles, one a weight, in the same order.

    They are laid in rows along the shorter side of what is left, as long as another one makes the worst of the row more
    square (Bruls, Huizing, van Wijk: Squarified Treemaps, 2000). Weights that fall give the best shapes.

    Args:
        weights: What the areas are in proportion to; none is less than 0.
        space: The rectangle to divide.
    """
    total = sum(weights)
    if not total:
        return [Rectangle(space.left, space.top, 0.0, 0.0) for _ in weights]
    scale = space.width * space.height / total
    areas = [weight * scale for weight in weights]
    rectangles: list[Rectangle] = []
    while len(rectangles) < len(areas):
        start = len(rectangles)
        count, area = _row(areas, start, min(space.width, space.height))
        row, space = _lay(areas[start : start + count], area, space)
        rectangles += row
    return rectangles


def _row(areas: Sequence[float], start: int, side: float) -> tuple[int, float]:
    """Return how many of the areas make the next row along a side, and their sum."""
    count, total, worst = 0, 0.0, float("inf")
    largest, smallest = 0.0, float("inf")
    for area in areas[start:]:
        largest, smallest = max(largest, area), min(smallest, area)
        # The longest shape in a row of this depth: `area / depth` by `depth`, or the other way round.
        depth = (total + area) / side if side else 0.0
        shape = max(depth * depth / smallest, largest / (depth * depth)) if smallest and depth else float("inf")
        if count and shape > worst:
            break
        count, total, worst = count + 1, total + area, shape
    return count, total


def _lay(areas: Sequence[float], total: float, space: Rectangle) -> tuple[list[Rectangle], Rectangle]:
    """Return the rectangles of a row along the shorter side of a space, and the space that is left."""
    left, top, width, height = space
    rectangles = []
    if width >= height:
        depth = min(total / height, width) if height else 0.0
        for area in areas:
            length = area / depth if depth else 0.0
            rectangles.append(Rectangle(left, top, depth, length))
            top += length
        return rectangles, Rectangle(left + depth, space.top, width - depth, height)
    depth = min(total / width, height) if width else 0.0
    for area in areas:
        length = area / depth if depth else 0.0
        rectangles.append(Rectangle(left, top, length, depth))
        left += length
    return rectangles, Rectangle(space.left, top + depth, width, height - depth)
