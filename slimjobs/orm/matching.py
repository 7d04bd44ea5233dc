"""Rows to the keys that they were asked for by, also where the database or a field changes keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def matched(keys: list[Any], ask: Callable[[list[Any]], dict[Any, Any]]) -> dict[Any, Any]:
    """Return the rows that exist, by the keys as they were given.

    A type that lower-cases, a collation without case or a CHAR(n) gives a row back under another key than
    the one that finds it, and only the database can tell which. It is asked again where rows came that no
    key claims, or where one row may stand for two texts.

    Args:
        keys: Distinct keys.
        ask: Returns the rows that a query finds for some keys, by the keys that they have.
    """
    rows = ask(keys)
    missing = [key for key in keys if key not in rows]
    if not missing or not rows:
        return rows
    are_claimed = len(rows) == len(keys) - len(missing)
    if are_claimed and not (any(map(_has_text, missing)) and ask(missing)):
        return rows
    found = dict(rows)
    for key in missing:
        alone = ask([key])
        if len(alone) == 1:
            [(own_key, row)] = alone.items()
            found[key] = rows.get(own_key, row)  # the same row is one object
    return found


def _has_text(key: Any) -> bool:
    return type(key) is str or (type(key) is tuple and str in map(type, key))
