"""What a job can be told besides RQ's options, and how it travels: in the job's meta.

Every class of job carries meta, RQ's own too, and a retry and a requeue keep it.
"""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from slimjobs.errors import ConfigurationError
from slimjobs.policies import policy_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from slimjobs.policies import Policy

Commit = Literal["auto", "now"]

NAMES = frozenset({"on_missing", "wait_for_row", "commit"})
META_KEY = "slimjobs"

_COMMIT = ("auto", "now")


def checked_commit(commit: Commit) -> Commit:
    """Return when jobs are enqueued: "auto", after the transactions of their rows, or "now".

    Raises:
        ConfigurationError: It is neither.
    """
    if commit not in _COMMIT:
        raise ConfigurationError(f"commit: {commit!r} is not one of {', '.join(_COMMIT)}")
    return commit


def fold(options: Mapping[str, Any], meta: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return a job's meta with options in it.

    Args:
        options: By name; what is None is left out.
        meta: The meta so far.

    Raises:
        ConfigurationError: An option cannot be read.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if "commit" in given:
        checked_commit(given["commit"])
    told = {**(meta or {}).get(META_KEY, {}), **given}
    _policy(told, policy_for(None))
    return {**(meta or {}), META_KEY: told} if told else dict(meta or {})


def fold_call(func: Callable[..., Any] | str, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments of RQ's `enqueue`, those that are options of ours in their `meta`.

    A name that the function takes itself is the function's, as is every one of a function that is given
    as text: it may not be importable here.
    """
    if NAMES.isdisjoint(kwargs):
        return kwargs
    is_explicit = "args" in kwargs or "kwargs" in kwargs
    functions = {} if is_explicit else {name: kwargs[name] for name in _names_of(func) & kwargs.keys()}
    return {**fold_options({name: value for name, value in kwargs.items() if name not in functions}), **functions}


def fold_options(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the options of RQ's `enqueue_call`, those that are ours in their `meta`."""
    if not ("commit" in kwargs or "on_missing" in kwargs or "wait_for_row" in kwargs):  # faster than a set
        return kwargs
    rest = {name: value for name, value in kwargs.items() if name not in NAMES}
    rest["meta"] = fold({name: value for name, value in kwargs.items() if name in NAMES}, rest.get("meta"))
    return rest


def split(meta: dict[str, Any] | None) -> tuple[dict[str, Any] | None, Commit | None]:
    """Return a job's meta as it is stored, and when the job was told to be enqueued, which nobody asks later."""
    told = None if not meta else meta.get(META_KEY)
    if type(told) is not dict or "commit" not in told:
        return meta, None
    assert meta is not None
    stored = {name: value for name, value in meta.items() if name != META_KEY}
    kept = {name: value for name, value in told.items() if name != "commit"}
    return ({**stored, META_KEY: kept} if kept else stored), told["commit"]


def policy_of(meta: Mapping[str, Any] | None, task: str) -> Policy:
    """Return the policy of a job: its own over its task's.

    Raises:
        ConfigurationError: The job was told something that cannot be read.
    """
    policy = policy_for(task)
    told = meta.get(META_KEY) if meta else None
    return _policy(told, policy) if isinstance(told, dict) else policy


def _policy(told: Mapping[str, Any], policy: Policy) -> Policy:
    return replace(policy, **{name: told[name] for name in ("on_missing", "wait_for_row") if name in told})


def _names_of(func: Callable[..., Any] | str) -> frozenset[str]:
    """Return which of our names a function takes itself."""
    if isinstance(func, str):
        return NAMES
    try:
        parameters = inspect.signature(func).parameters
    except (TypeError, ValueError):  # a builtin without a signature
        return frozenset()
    if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return NAMES
    return NAMES & parameters.keys()
