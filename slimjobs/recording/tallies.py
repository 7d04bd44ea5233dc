"""What was enqueued, added up by task; plain values, which can be handed from process to process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slimjobs.recording.explaining import describe_place, summarize
from slimjobs.recording.verdicts import offends

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from slimjobs.recording.jobs import RecordedJob
    from slimjobs.recording.verdicts import Finding, Rules

Tally = dict[str, Any]


def tally(jobs: Iterable[RecordedJob], findings: Iterable[Finding], rules: Rules) -> dict[str, Tally]:
    """Return what was enqueued by task.

    Args:
        jobs: The jobs.
        findings: What is wrong with them.
        rules: What holds for their test, which says what belongs into a baseline.

    Returns:
        For each task `jobs` and `payload_bytes` of all its jobs, `largest_bytes` and `place` of the largest,
        `listed_bytes` of the largest that belongs into a baseline or 0, how many are `large` or `unimportable`,
        how many were `refused`, and what else is wrong in a line each: `failures` and `warnings`.
    """
    tallies: dict[str, Tally] = {}
    for job in jobs:
        found = tallies.setdefault(job.task, _empty())
        if job.refusal is not None:
            found["refused"] += 1
            continue
        found["jobs"] += 1
        found["payload_bytes"] += job.size_bytes
        if job.size_bytes > found["largest_bytes"] or not found["place"]:
            found["largest_bytes"], found["place"] = job.size_bytes, describe_place(job.place)
        if offends(job, rules):
            found["listed_bytes"] = max(found["listed_bytes"], job.size_bytes)
    for finding in findings:
        found = tallies.setdefault(finding.job.task, _empty())
        if finding.kind in ("large", "unimportable"):
            found[finding.kind] += 1
        else:
            found["failures" if finding.action == "fail" else "warnings"].append(summarize(finding))
    return tallies


def merge(total: dict[str, Tally], more: Mapping[str, Tally], test: str) -> None:
    """Add what a test has enqueued to what others have.

    Args:
        total: What is added to; each task also has the `test` of its largest job.
        more: What `tally` returned.
        test: The test's id.
    """
    for task, added in more.items():
        found = total.setdefault(task, {**_empty(), "test": ""})
        # Of several as large, the first by name: processes finish in any order.
        is_larger = (-added["largest_bytes"], test) < (-found["largest_bytes"], found["test"])
        if added["jobs"] and (is_larger or not found["test"]):
            found.update(largest_bytes=added["largest_bytes"], place=added["place"], test=test)
        found["listed_bytes"] = max(found["listed_bytes"], added["listed_bytes"])
        for name in ("jobs", "payload_bytes", "large", "unimportable", "refused", "failures", "warnings"):
            found[name] = found[name] + added[name]


def _empty() -> Tally:
    return {
        "jobs": 0,
        "payload_bytes": 0,
        "largest_bytes": 0,
        "place": "",
        "listed_bytes": 0,
        "large": 0,
        "unimportable": 0,
        "refused": 0,
        "failures": [],
        "warnings": [],
    }
