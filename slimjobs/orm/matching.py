"""Rows to the keys that they were asked for by, also where the database or a field changes keys."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import combinations
from math import comb
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


# So many keys are asked for one by one in no more queries.
_FEW = 6


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
    if are_claimed and not any(map(_has_text, missing)):
        return rows
    known = dict(rows)

    def ask_again(some: list[Any]) -> dict[Any, Any]:
        # The same row is one object.
        return {own_key: known.setdefault(own_key, row) for own_key, row in ask(some).items()}

    found = dict(rows)
    for batch in _apart(missing):
        found.update(_identified(batch, ask_again))
    return found


def _identified(keys: list[Any], ask: Callable[[list[Any]], dict[Any, Any]]) -> dict[Any, Any]:
    """Return the rows that exist by the keys that find them; the number of queries grows as the logarithm of theirs.

    Each key is part of half of the queries, and no two of the same half. So a row that comes in as many
    is found by the one key that was in these; one that comes in more, by several keys.
    """
    rows = ask(keys)
    if not rows:
        return {}
    if len(keys) == 1:
        return dict(zip(keys, rows.values(), strict=True)) if len(rows) == 1 else {}
    if len(keys) <= _FEW:
        return {key: row for key in keys for row in _identified([key], ask).values()}
    queries = 1
    while comb(queries, queries // 2) < len(keys):
        queries += 1
    half = (queries + 1) // 2
    codes = dict(zip(combinations(range(queries), half), keys, strict=False))
    came: dict[Any, tuple[int, ...]] = defaultdict(tuple)
    for query in range(queries):
        for own_key in ask([key for code, key in codes.items() if query in code]):
            came[own_key] += (query,)
    # A row that was deleted or written meanwhile came in too few.
    stayed = {own_key: came[own_key] for own_key in ask(keys) if own_key in rows}
    claims = Counter(stayed.values())
    found = {codes[code]: rows[own_key] for own_key, code in stayed.items() if code in codes and claims[code] == 1}
    several = [set(code) for code in stayed.values() if len(code) > half]
    left = [key for code, key in codes.items() if key not in found and any(map(set(code).issubset, several))]
    for part in (left[::2], left[1::2]):
        if part:
            found.update(_identified(part, ask))
    return found


def _apart(keys: Iterable[Any]) -> list[list[Any]]:
    """Return the keys so that those which look alike, and may find the same row, are not in one list."""
    batches: list[list[Any]] = []
    alike: Counter[Any] = Counter()
    for key in keys:
        folded = tuple(map(_folded, key)) if type(key) is tuple else _folded(key)
        if alike[folded] == len(batches):
            batches.append([])
        batches[alike[folded]].append(key)
        alike[folded] += 1
    return batches


def _folded(value: Any) -> Any:
    return value.casefold().strip() if type(value) is str else value


def _has_text(key: Any) -> bool:
    return type(key) is str or (type(key) is tuple and str in map(type, key))
