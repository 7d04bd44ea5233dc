"""What a job does about rows that are missing, as its task or the job itself says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from slimjobs.errors import ConfigurationError

OnMissing = Literal["fail", "discard", "none"]

_ON_MISSING = ("fail", "discard", "none")


@dataclass(frozen=True)
class Policy:
    """What a job does about rows that are not there.

    Attributes:
        on_missing: "fail" raises RecordNotFoundError, "discard" leaves the function uncalled and the
            job finished, "none" passes None, and fails where None cannot stand for the row.
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


_policies: dict[str, Policy] = {}
