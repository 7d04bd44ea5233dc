"""Which line of a test has enqueued, where the stack alone does not tell: in a doctest, or in a thread of a library."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from slimjobs.recording.jobs import Place

if TYPE_CHECKING:
    import pytest


def place_in(item: pytest.Item, place: Place | None) -> Place:
    """Return the line of the application that has enqueued in a test.

    Args:
        item: The test.
        place: What `find_place` found.
    """
    if place is None:
        return Place(str(item.path), (item.location[1] or 0) + 1, f"a thread of {item.name}")
    doctest: Any = getattr(item, "dtest", None)
    found = re.fullmatch(r"<doctest (.+)\[(\d+)\]>", place.file)
    if found is None or doctest is None or found[1] != doctest.name:
        return place
    before = doctest.examples[int(found[2])].lineno + (doctest.lineno or 0)
    return Place(str(item.path), before + place.line, item.name)
