"""What a run has enqueued: the table at its end, the JSON report and the baseline."""

from __future__ import annotations

import json
from importlib import import_module
from typing import TYPE_CHECKING, Any

from slimjobs.recording.tallies import merge, tally
from slimjobs.recording.verdicts import judge
from slimjobs.sizes import format_size

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pytest

    from slimjobs.pytest_plugin.options import RunOptions
    from slimjobs.recording.jobs import RecordedJob
    from slimjobs.recording.tallies import Tally
    from slimjobs.recording.verdicts import Rules

_MOST_WARNINGS = 10
OUTSIDE = "outside tests"


class Summary:
    """What all tests of a run have enqueued, by task.

    Args:
        options: What was said for the run.

    Attributes:
        outside: What was enqueued outside tests, by task.
    """

    def __init__(self, options: RunOptions) -> None:
        self._options = options
        self._of_tests: dict[str, Tally] = {}
        self.outside: dict[str, Tally] = {}
        self._notes: list[str] = []

    def add_report(self, test: str, tallies: Mapping[str, Tally]) -> None:
        """Add what a test has enqueued."""
        merge(self._of_tests, tallies, test)

    def add_outside(self, job: RecordedJob, rules: Rules) -> None:
        """Add a job that no test has enqueued, by the rules that hold outside tests."""
        findings = [] if self._options.is_updating or job.refusal is not None else judge([job], rules)
        merge(self.outside, tally([job], findings, rules), OUTSIDE)

    def add_process(self, outside: Mapping[str, Tally]) -> None:
        """Add what another process has enqueued outside tests; most of it all processes have, which counts once."""
        for task, found in outside.items():
            if found["jobs"] > self.outside.get(task, {"jobs": -1})["jobs"]:
                self.outside[task] = dict(found)

    def write_files(self, *, has_ended: bool, is_whole: bool) -> bool:
        """Write the JSON report and the baseline, where they were asked for, and return whether they are written.

        Args:
            has_ended: Whether the run came to its end.
            is_whole: Whether all tests have run and passed.
        """
        options, done = self._options, True
        if options.report is not None:
            done = self._try_to_write(options.report.name, self._write_report)
        if options.is_updating and options.baseline_path is not None:
            name = options.baseline_path.name
            if has_ended:
                done &= self._try_to_write(name, lambda: self._write_baseline(is_whole))
            else:
                self._notes.append(f"{name} is as it was: the run did not come to its end.")
        return done

    def write_to(self, terminal: pytest.TerminalReporter) -> None:
        """Show the largest payloads, and what is to be warned about."""
        lines = [*self._table(), *self._warnings()]
        lines += self._notes
        if lines:
            terminal.section("slimjobs: payloads of RQ jobs")
            for line in lines:
                terminal.line(line)

    def _try_to_write(self, name: str, write: Callable[[], None]) -> bool:
        try:
            write()
        except (OSError, ValueError) as error:  # ValueError: a test's id that is no text
            self._notes.append(f"error: {name} is not written ({type(error).__name__}: {error})")
            return False
        return True

    def _write_report(self) -> None:
        report = self._options.report
        assert report is not None
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(json.dumps(self._as_json(), indent=2, ensure_ascii=False) + "\n", "utf-8")

    def _write_baseline(self, is_whole: bool) -> None:
        path = self._options.baseline_path
        assert path is not None
        seen = {task: found["listed_bytes"] for task, found in self._tallies.items()}
        baselines = import_module("slimjobs.recording.baselines")
        now, before = baselines.update_baseline(path, self._options.baseline, seen, may_lower=is_whole)
        self._notes.append(f"{path.name} lists {now} tasks now, and {before} before.")
        if before and not is_whole:
            self._notes.append("None of them is tightened or dropped: all tests have to run for that, and to pass.")

    @property
    def _tallies(self) -> dict[str, Tally]:
        """What was enqueued in tests and outside of them."""
        total: dict[str, Tally] = {}
        for task in {**self._of_tests, **self.outside}:
            for tallies in (self._of_tests, self.outside):
                if task in tallies:
                    merge(total, {task: tallies[task]}, tallies[task]["test"])
        return total

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
        lines = [line for found in self._of_tests.values() for line in dict.fromkeys(found["warnings"])]
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
        for task, found in self.outside.items():
            if found["failures"] or found["warnings"]:
                size = format_size(found["largest_bytes"])
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
