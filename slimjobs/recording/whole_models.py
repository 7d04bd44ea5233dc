"""Finds models that travel as a whole, where an ID would do."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from slimjobs import registry
from slimjobs.errors import SlimjobsError
from slimjobs.parts import write_step
from slimjobs.weights import children

if TYPE_CHECKING:
    from collections.abc import Mapping

# As many as `parts` looks at: some 20 ms, however large the call is.
_MOST_NODES = 10_000
_MOST_MODELS = 3
_LEAVES = (str, bytes, bytearray, int, float, bool, type(None))


class Unread:
    """Stands for something that is not to be read from a database for a measurement.

    Args:
        label: What it is called where it is a query, else "".
    """

    def __init__(self, label: str) -> None:
        self.label = label


def find_models(among: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return the first models and queries in the parts of a call, as (path, class).

    Args:
        among: What `parts.call_parts` returned.
    """
    found: list[tuple[str, str]] = []
    seen: set[int] = set()
    pending = [(path, value) for path, value in among.items() if not isinstance(value, _LEAVES)][::-1]
    while pending and len(found) < _MOST_MODELS and len(seen) < _MOST_NODES:
        path, value = pending.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        name = _model_name(value)
        if name is not None:
            found.append((path, name))
        else:
            inside = [item for item in islice(children(value), _MOST_NODES) if not isinstance(item[1], _LEAVES)]
            pending.extend((path + write_step(step), child) for step, child in reversed(inside))
    return tuple(found)


def _model_name(value: Any) -> str | None:
    """Return the class of a model or of the rows of a query, or None for anything else."""
    if type(value) is Unread:
        return value.label or None
    try:
        if registry.find(value) is not None:
            return str(value.__class__.__qualname__)
        rows = registry.rows_of(value)
    except SlimjobsError:  # a query whose rows are no models
        return str(type(value).__qualname__)
    return None if rows is None else rows.label
