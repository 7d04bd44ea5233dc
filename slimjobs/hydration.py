"""Loads a call's refs in batches, and settles what happens where rows are missing."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from slimjobs import locators, refs
from slimjobs.codec.values import Inert, resolve
from slimjobs.errors import ConfigurationError, PayloadDecodeError, RecordNotFoundError
from slimjobs.refs import Ref

if TYPE_CHECKING:
    from collections.abc import Iterator

OnMissing = Literal["fail", "discard", "none"]

_ON_MISSING = ("fail", "discard", "none")
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0
_CONTAINERS = (list, tuple, set, frozenset)


@dataclass(frozen=True)
class Policy:
    """What a task does about rows that are not there.

    Attributes:
        on_missing: "fail" raises RecordNotFoundError, "discard" leaves the function uncalled and the
            job finished, "none" passes None.
        wait_for_row: For how many seconds a row is asked for again before it counts as missing.
    """

    on_missing: OnMissing = "fail"
    wait_for_row: float = 0.0

    def __post_init__(self) -> None:
        if self.on_missing not in _ON_MISSING:
            raise ConfigurationError(f"on_missing: {self.on_missing!r} is not one of {', '.join(_ON_MISSING)}")
        if isinstance(self.wait_for_row, bool) or not isinstance(self.wait_for_row, (int, float)):
            raise ConfigurationError(f"wait_for_row: {self.wait_for_row!r} is not a number of seconds")
        if not 0 <= self.wait_for_row < float("inf"):
            raise ConfigurationError(f"wait_for_row: {self.wait_for_row!r} is not a number of seconds from 0 up")


DEFAULT_POLICY = Policy()


def set_policy(task: str, policy: Policy) -> None:
    """Set the policy of the task with this import path; the decorator does."""
    _policies[task] = policy


def policy_for(task: str | None) -> Policy:
    """Return the policy of a task; what the decorator set is known once its module is imported."""
    return _policies.get(task or "", DEFAULT_POLICY)


@dataclass(frozen=True)
class Hydrated:
    """A call's values with the models in place of refs, and the refs that had no row."""

    values: tuple[Any, ...]
    missing: tuple[Ref, ...]


def hydrate(*values: Any, policy: Policy = DEFAULT_POLICY, task: str | None = None) -> Hydrated:
    """Return values with their refs loaded, at any depth: one query a class, the same row one object.

    Args:
        values: What a call carries: args, kwargs, an instance.
        policy: What happens where rows are missing.
        task: The task's import path, for errors.

    Raises:
        RecordNotFoundError: Rows are missing, and the policy is "fail".
        RecordUnavailableError: A database could not be reached.
        PayloadDecodeError: A value type or enum is not known in this process.
        ConfigurationError: A class is not registered in this process.
    """
    wanted: dict[Ref, Ref] = {}
    with _bounded_depth(task):
        if not _collect(values, wanted):
            return Hydrated(values, ())
    found = locators.load_refs(wanted.values())
    deadline = time.monotonic() + policy.wait_for_row
    pause = _FIRST_PAUSE_SECONDS
    while (absent := [ref for ref in wanted.values() if ref not in found]) and time.monotonic() < deadline:
        time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        found.update(locators.load_refs(absent))
    missing = tuple(dict.fromkeys(absent))
    if missing and policy.on_missing == "fail":
        raise RecordNotFoundError(task=task, refs=missing)
    models = {ref: found.get(resolved) for ref, resolved in wanted.items()}
    with _bounded_depth(task):
        return Hydrated(tuple(_replace(value, models) for value in values), missing)


@contextmanager
def _bounded_depth(task: str | None) -> Iterator[None]:
    try:
        yield
    except RecursionError as error:
        raise PayloadDecodeError("the payload is nested too deeply to be loaded", task=task) from error


def _collect(value: Any, wanted: dict[Ref, Ref]) -> bool:
    """Gather the refs in a value, and return whether anything in it has to be replaced.

    Each ref is gathered with the one to ask for: its pk may be an enum whose module was not loaded
    when it was decoded.
    """
    cls = type(value)
    if cls is Ref:
        if value not in wanted:
            inside: dict[Ref, Ref] = {}
            is_pending = _collect(value.pk, inside)
            if inside:
                raise PayloadDecodeError("a ref has a ref for its primary key")
            wanted[value] = Ref(value.name, _replace(value.pk, {}), value.db) if is_pending else value
        return True
    if cls is Inert:
        _collect(value.content, wanted)
        return True
    is_found = False
    # Loops and no comprehensions, here and below: these are one frame a level, of the few that a
    # deeply nested value leaves.
    if cls is dict:
        for pair in value.items():
            for item in pair:
                is_found |= _collect(item, wanted)
    elif cls in _CONTAINERS:
        for item in value:
            is_found |= _collect(item, wanted)
    return is_found


def _replace(value: Any, models: dict[Ref, Any]) -> Any:
    cls = type(value)
    if cls is Ref:
        return models[value]
    if cls is Inert:
        return resolve(value, _replace(value.content, models))
    if cls is dict:
        replaced = {}
        for key, item in value.items():
            replaced[_replace(key, models)] = _replace(item, models)
        return _unmerged(value, replaced, models)
    if cls in _CONTAINERS:
        items = []
        for item in value:
            items.append(_replace(item, models))  # noqa: PERF401
        return items if cls is list else _unmerged(value, cls(items), models)
    return value


def _unmerged(before: Any, after: Any, models: dict[Ref, Any]) -> Any:
    """Return a dict, set or tuple, unless missing rows that became None have fallen together in it."""
    if len(after) != len(before):
        missing = [ref for ref in before if type(ref) is Ref and models[ref] is None]
        if missing:
            raise RecordNotFoundError(refs=missing)
    return after


_policies: dict[str, Policy] = {}
refs.install_loader(locators.load_one)
