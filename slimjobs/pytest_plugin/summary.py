"""What a run has enqueued: the table at its end, the JSON report and the baseline."""

from __future__ import annotations

import json
from importlib import import_module
from typing import TYPE_CHECKING, Any

from slimjobs.recording.tallies import merge, tally
from slimjobs.sizes import format_size

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pytest

    from slimjobs.pytest_plugin.options import RunOptions
    from slimjobs.recording.jobs import RecordedJob
    from slimjobs.recording.tallies import Tally

_MOST_WARNINGS = 10
OUTSIDE = "outside tests"


class Summary:
    """What all tests of a run have enqueued, by task.

    Args:
        options: What was said for the run.
    """

    def __init__(self, options: RunOptions) -> None:
        self._options = options
        self._tallies: dict[str, Tally] = {}
        self._written = ""

    def add_report(self, test: str, tallies: Mapping[str, Tally]) -> None:
        """Add what a test has enqueued."""
        merge(self._tallies, tallies, test)

    def add_outside(self, job: RecordedJob) -> None:
        """Add a job that no test has enqueued."""
        merge(self._tallies, tally([job], []), OUTSIDE)

    def write_files(self) -> None:
        """Write the JSON report and the baseline, where they were asked for."""
        options = self._options
        if options.report is not None:
            options.report.parent.mkdir(parents=True, exist_ok=True)
            options.report.write_text(json.dumps(self._as_json(), indent=2, ensure_ascii=False) + "\n", "utf-8")
        if options.is_updating and options.baseline_path is not None:
            seen = {task: found["listed_bytes"] for task, found in self._tallies.items()}
            baselines = import_module("slimjobs.recording.baselines")
            now, before = baselines.update_baseline(options.baseline_path, options.baseline, seen)
            self._written = f"{options.baseline_path.name} lists {now} tasks now, and {before} before."

    def write_to(self, terminal: pytest.TerminalReporter) -> None:
        """Show the largest payloads, and what is to be warned about."""
        lines = [*self._table(), *self._warnings()]
        if self._written:
            lines.append(self._written)
        if lines:
            terminal.section("slimjobs: payloads of RQ jobs")
            for line in lines:
                terminal.line(line)

    def _table(self) -> list[str]:
        top = self._options.top
        if top is None:
            return []
        largest = self._largest_first()
        if not largest:
            return ["no RQ job was enqueued"]
        shown = largest[:top] if top else largest
        rows = [(format_size(found["largest_bytes"]), found["jobs"], task, found["test"]) for task, found in shown]
        wide, many = max(len(row[0]) for row in rows), max(len(str(row[1])) for row in rows)
        lines = [f"{'largest':>{max(wide, 7)}}  {'jobs':>{max(many, 4)}}  task, and the test of the largest"]
        lines += [f"{row[0]:>{max(wide, 7)}}  {row[1]:>{max(many, 4)}}  {row[2]}  {row[3]}" for row in rows]
        total = f"{format_size(self._sum('payload_bytes'))} in all; jobs: {self._sum('jobs')}, tasks: {len(largest)}"
        return [*lines, f"{total}, {len(shown)} of them shown" if len(shown) < len(largest) else total]

    def _warnings(self) -> list[str]:
        lines = [line for found in self._tallies.values() for line in dict.fromkeys(found["warnings"])]
        lines += [
            f"{task}: {found['large']} payloads over what is warned from, the largest "
            f"{format_size(found['largest_bytes'])} at {found['place']}"
            for task, found in self._largest_first()
            if found["large"]
        ]
        unimportable = [task for task, found in self._tallies.items() if found["unimportable"]]
        if unimportable:
            more = f" and {len(unimportable) - 1} more" if len(unimportable) > 1 else ""
            lines.append(f"{unimportable[0]}{more}: no worker could import a lambda, or a function inside a function")
        for task, found in self._tallies.items():
            if found["test"] == OUTSIDE and found["listed_bytes"]:
                size = format_size(found["listed_bytes"])
                lines.append(f"{task}: a job of {size} was enqueued outside tests, at {found['place']}")
        shown = [f"warning: {line}" for line in lines[:_MOST_WARNINGS]]
        return [*shown, f"and {len(lines) - _MOST_WARNINGS} more"] if len(lines) > _MOST_WARNINGS else shown

    def _largest_first(self) -> list[tuple[str, Tally]]:
        enqueued = [(task, found) for task, found in self._tallies.items() if found["jobs"]]
        return sorted(enqueued, key=lambda pair: (-pair[1]["largest_bytes"], pair[0]))

    def _sum(self, name: str) -> int:
        return sum(found[name] for found in self._tallies.values())

    def _as_json(self) -> dict[str, Any]:
        return {
            "jobs": self._sum("jobs"),
            "payload_bytes": self._sum("payload_bytes"),
            "refused": self._sum("refused"),
            "tasks": {
                task: {name: value for name, value in self._tallies[task].items() if name != "listed_bytes"}
                for task in sorted(self._tallies)
            },
        }
