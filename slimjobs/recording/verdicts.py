"""What is wrong with a recorded job, by the rules that hold for a test."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from slimjobs.recording.jobs import RecordedJob

Action = Literal["fail", "warn", "off"]
Kind = Literal["size", "growth", "models", "unreadable", "unimportable", "large"]

ACTIONS: tuple[Action, ...] = ("fail", "warn", "off")


class Rules(NamedTuple):
    """What becomes of a test that enqueues a job with something wrong.

    Attributes:
        mode: Where the payload is over its limit; "off" turns the others off too.
        growth: Where it is larger than the baseline has it.
        models: Where a model travels as a whole.
        unreadable: Where a worker could not read it back.
        baseline: The payload bytes that are known, by task.
        tells_large: Whether to tell of payloads from `warn_bytes` on that are within their limit.
    """

    mode: Action = "fail"
    growth: Action = "fail"
    models: Action = "fail"
    unreadable: Action = "fail"
    baseline: Mapping[str, int] = MappingProxyType({})
    tells_large: bool = False


class Finding(NamedTuple):
    """Something that is wrong with a job.

    Attributes:
        kind: What it is.
        job: The job.
        action: What becomes of the test: "fail" or "warn".
        known_bytes: What the baseline has for its task, where it has grown over that, else None.
    """

    kind: Kind
    job: RecordedJob
    action: Action
    known_bytes: int | None = None


def judge(jobs: Iterable[RecordedJob], rules: Rules) -> list[Finding]:
    """Return what is wrong with jobs, in their order; what the baseline knows of is not."""
    if rules.mode == "off":
        return []
    found = [finding for job in jobs for finding in _judge(job, rules)]
    return [finding for finding in found if finding.action != "off"]


def offends(job: RecordedJob, rules: Rules) -> bool:
    """Return whether a job is one to be listed in a baseline: something is wrong with it that is not off."""
    if rules.mode == "off":
        return False
    has_models = job.models and rules.models != "off"
    is_unreadable = job.problem and rules.unreadable != "off"
    return bool(job.is_too_large or has_models or is_unreadable)


def _judge(job: RecordedJob, rules: Rules) -> list[Finding]:
    known_bytes = rules.baseline.get(job.task)
    if known_bytes is not None and offends(job, rules):
        if job.size_bytes <= known_bytes:
            return []
        return [Finding("growth", job, rules.growth, known_bytes)]
    found = []
    if job.is_too_large:
        found.append(Finding("size", job, rules.mode))
    elif rules.tells_large and job.size_bytes > job.warn_bytes:
        found.append(Finding("large", job, "warn"))
    if job.models:
        found.append(Finding("models", job, rules.models))
    if job.problem:
        found.append(Finding("unreadable", job, rules.unreadable))
    if not job.is_importable and rules.unreadable != "off":
        found.append(Finding("unimportable", job, "warn"))  # tests of a queue enqueue what is at hand
    return found
