"""Loads a call's refs in batches, and settles what happens where rows are missing."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from operator import is_
from typing import TYPE_CHECKING, Any
from uuid import UUID

from slimjobs.codec.values import Inert, resolve
from slimjobs.errors import PayloadDecodeError, RecordNotFoundError, SlimjobsError
from slimjobs.fetches import Fetches, Plan
from slimjobs.loading import load_refs
from slimjobs.parts import call_parts, find_path
from slimjobs.policies import DEFAULT_POLICY, Policy
from slimjobs.refs import Ref

if TYPE_CHECKING:
    from collections.abc import Iterator

_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0
_CONTAINERS = frozenset({list, tuple, set, frozenset, dict})
_PLAIN_KEYS = frozenset({int, str, UUID})
_NOT_NONE = (
    "None cannot stand for it here: two would be one in a set or as a dict's keys, and a value type may need its row. "
    'Set on_missing="discard" or "fail".'
)


@dataclass(frozen=True)
class Hydrated:
    """A call's values with the models in place of refs, and the refs that had no row.

    A call that is to be discarded for them keeps its values as they were.
    """

    values: tuple[Any, ...]
    missing: tuple[Ref, ...]


def hydrate(
    *values: Any, policy: Policy = DEFAULT_POLICY, task: str | None = None, fetches: Fetches | None = None
) -> Hydrated:
    """Return values with their refs loaded, at any depth: one query a class and database, the same row one object.

    Args:
        values: What a call carries: an instance, args, kwargs.
        policy: What happens where rows are missing.
        task: The task's import path, for errors.
        fetches: How the task wants its models fetched, where it says so; the values are a call's then.

    Raises:
        RecordNotFoundError: Rows are missing, and the policy is "fail", or None does not fit in their place.
        RecordUnavailableError: A database could not be reached.
        PayloadDecodeError: A value type or enum is not known in this process.
        ConfigurationError: A class is not registered in this process.
    """
    try:
        return _hydrate(values, policy, fetches)
    except SlimjobsError as error:
        error.task = error.task or task
        raise


def _hydrate(values: tuple[Any, ...], policy: Policy, fetches: Fetches | None) -> Hydrated:
    wanted: dict[Ref, Ref] = {}
    plan = None
    with _bounded_depth():
        if not _collect(values, wanted, set()):
            return Hydrated(values, ())
        if fetches is not None and wanted:
            plan = Plan(fetches)
            instance, args, kwargs = values
            bound = args if instance is None else (instance, *args)  # of a method, "self" is a parameter too
            for parameter, value, fetch in fetches.arguments(bound, kwargs):
                inside: dict[Ref, Ref] = {}
                _collect(value, inside, set())
                plan.assign(parameter, fetch, inside)
    found, absent = _load(list(wanted.values()), plan, policy.wait_for_row)
    missing = tuple(dict.fromkeys(absent))
    if missing and policy.on_missing == "fail":
        raise RecordNotFoundError(path=_path_of(missing[0], wanted, values), refs=missing)
    if missing and policy.on_missing == "discard":
        return Hydrated(values, missing)
    models = found
    # Hashing refs is much of what loading costs: it is left out in the usual case.
    if len(found) < len(wanted) or not all(map(is_, wanted, wanted.values())):
        models = {ref: found.get(resolved) for ref, resolved in wanted.items()}
    with _bounded_depth():
        done: dict[int, Any] = {}
        return Hydrated(tuple(_replace(value, models, done) for value in values), missing)


def _path_of(missing: Ref, wanted: dict[Ref, Ref], values: tuple[Any, ...]) -> str | None:
    """Return where in a call the ref stands that was asked for as this one; None where the values are no call's."""
    stored = next(ref for ref, asked_for in wanted.items() if asked_for == missing)
    return find_path(call_parts(*values), stored) if len(values) == len(("instance", "args", "kwargs")) else None


def _load(wanted: list[Ref], plan: Plan | None, wait_seconds: float) -> tuple[dict[Ref, Any], list[Ref]]:
    """Return the models by ref, and the refs without a row after so many seconds."""
    fetch_of = None if plan is None else plan.fetch_of
    found = load_refs(wanted, fetch_of)
    if plan is not None:
        plan.check()
    deadline = time.monotonic() + wait_seconds
    pause = _FIRST_PAUSE_SECONDS
    while (absent := _absent(wanted, found)) and time.monotonic() < deadline:
        time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        found.update(load_refs(absent, fetch_of, again=True))
    return found, absent


def _absent(wanted: list[Ref], found: dict[Ref, Any]) -> list[Ref]:
    return [ref for ref in wanted if ref not in found] if len(found) < len(wanted) else []


@contextmanager
def _bounded_depth() -> Iterator[None]:
    try:
        yield
    except RecursionError as error:
        raise PayloadDecodeError("the payload is nested too deeply to be loaded") from error


def _collect(value: Any, wanted: dict[Ref, Ref], seen: set[int]) -> bool:
    """Gather the refs in a value, and return whether anything in it has to be replaced.

    Each ref is gathered with the one to ask for: its pk may be an enum whose module was not loaded
    when it was decoded. What was a pickle may hold a container many times: it is looked into once.
    """
    cls = type(value)
    if cls is Ref:
        if type(value.pk) in _PLAIN_KEYS:
            wanted.setdefault(value, value)
        elif value not in wanted:
            wanted[value] = _resolved(value)
        return True
    if cls is Inert:
        _collect(value.content, wanted, seen)
        return True
    is_found = False
    # Loops and no comprehensions, here and below: these are one frame a level, of the few that a
    # deeply nested value leaves.
    if cls not in _CONTAINERS or id(value) in seen:
        return False
    seen.add(id(value))
    if cls is dict:
        for pair in value.items():
            for item in pair:
                is_found |= _collect(item, wanted, seen)
    else:
        for item in value:
            is_found |= _collect(item, wanted, seen)
    return is_found


def _resolved(ref: Ref) -> Ref:
    inside: dict[Ref, Ref] = {}
    is_pending = _collect(ref.pk, inside, set())
    if inside:
        raise PayloadDecodeError("a ref has a ref for its primary key")
    return Ref(ref.name, _replace(ref.pk, {}, {}), ref.db) if is_pending else ref


def _replace(value: Any, models: dict[Ref, Any], done: dict[int, Any]) -> Any:
    cls = type(value)
    if cls is Ref:
        return models[value]
    if cls is Inert:
        return _remade(value, models, done)
    if cls not in _CONTAINERS:
        return value
    if id(value) in done:
        return done[id(value)]
    after: Any
    if cls is dict:
        after = {}
        for key, item in value.items():
            after[_replace(key, models, done)] = _replace(item, models, done)
    else:
        after = []
        for item in value:
            after.append(_replace(item, models, done))
    if cls is not list:
        after = _unmerged(value, after if cls is dict else cls(after), models)
    done[id(value)] = after
    return after


def _remade(value: Inert, models: dict[Ref, Any], done: dict[int, Any]) -> Any:
    content = _replace(value.content, models, done)
    try:
        return resolve(value, content)
    except PayloadDecodeError as error:
        if missing := _missing_in(value.content, models):
            raise RecordNotFoundError(refs=missing, hint=_NOT_NONE) from error
        raise


def _unmerged(before: Any, after: Any, models: dict[Ref, Any]) -> Any:
    """Return a dict, set or tuple, unless missing rows that became None have fallen together in it."""
    if len(after) != len(before) and (missing := _missing_in(list(before), models)):
        raise RecordNotFoundError(refs=missing, hint=_NOT_NONE)
    return after


def _missing_in(value: Any, models: dict[Ref, Any]) -> list[Ref]:
    inside: dict[Ref, Ref] = {}
    _collect(value, inside, set())
    return [ref for ref in inside if models.get(ref) is None]
