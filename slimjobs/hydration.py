"""Loads a call's refs in batches, and settles what happens where rows are missing."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Literal

from slimjobs import locators, refs
from slimjobs.codec.values import Inert, resolve
from slimjobs.errors import ConfigurationError, RecordNotFoundError
from slimjobs.refs import Ref

OnMissing = Literal["fail", "discard", "none"]

_ON_MISSING = ("fail", "discard", "none")
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0


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
    wanted: dict[Ref, None] = {}
    is_changed = _collect(values, wanted)
    if not is_changed:
        return Hydrated(values, ())
    found = locators.load_refs(wanted)
    deadline = time.monotonic() + policy.wait_for_row
    pause = _FIRST_PAUSE_SECONDS
    while len(found) < len(wanted) and (left := deadline - time.monotonic()) > 0:
        time.sleep(min(pause, left))
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        found.update(locators.load_refs(ref for ref in wanted if ref not in found))
    missing = tuple(ref for ref in wanted if ref not in found)
    if missing and policy.on_missing == "fail":
        raise RecordNotFoundError(task=task, refs=missing)
    return Hydrated(tuple(_replace(value, found) for value in values), missing)


def _collect(value: Any, wanted: dict[Ref, None]) -> bool:
    """Gather the refs in a value, and return whether anything in it has to be replaced."""
    cls = type(value)
    if cls is Ref:
        wanted[value] = None
        return True
    if cls is Inert:
        _collect(value.content, wanted)
        return True
    if cls is dict:
        inside = [_collect(item, wanted) for pair in value.items() for item in pair]
        return any(inside)
    if cls in (list, tuple, set, frozenset):
        inside = [_collect(item, wanted) for item in value]
        return any(inside)
    return False


def _replace(value: Any, found: dict[Ref, Any]) -> Any:
    cls = type(value)
    if cls is Ref:
        return found.get(value)
    if cls is Inert:
        return resolve(value, _replace(value.content, found))
    if cls is dict:
        return {_replace(key, found): _replace(item, found) for key, item in value.items()}
    if cls in (list, tuple, set, frozenset):
        return cls(_replace(item, found) for item in value)
    return value


_policies: dict[str, Policy] = {}
refs.install_loader(locators.load_one)
