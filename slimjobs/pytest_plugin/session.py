"""A run of pytest: records what each test enqueues, and lets it fail for what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from slimjobs import limits
from slimjobs.pytest_plugin.expected import ExpectedErrors
from slimjobs.pytest_plugin.options import options_of
from slimjobs.pytest_plugin.summary import Summary
from slimjobs.recording.explaining import explain
from slimjobs.recording.jobs import Recording
from slimjobs.recording.tallies import tally
from slimjobs.recording.verdicts import Rules, judge
from slimjobs.recording.watching import Watcher

if TYPE_CHECKING:
    from collections.abc import Generator

    from slimjobs.pytest_plugin.options import RunOptions
    from slimjobs.recording.jobs import RecordedJob
    from slimjobs.recording.verdicts import Finding

# What the fixtures of wider scopes have enqueued, which a second run of the test does not do again.
_OF_WIDER_SCOPES = pytest.StashKey[list["RecordedJob"]]()
# What a report carries from one process to another.
TALLIES = "slimjobs_tallies"


class Session:
    """The plugin of one run.

    Args:
        config: The run's configuration.
        options: What was said for the run.

    Attributes:
        recording: What the current test has enqueued.
    """

    def __init__(self, config: pytest.Config, options: RunOptions) -> None:
        self._options = options
        self._summary = Summary(options, is_main=not hasattr(config, "workerinput"))
        self._watcher = Watcher(self._add)
        self._expected = ExpectedErrors()
        self._item: pytest.Item | None = None
        self._rules = Rules()
        self._wider_fixtures = 0
        # What no report has told of yet.
        self._pending: list[RecordedJob] = []
        self.recording = Recording()

    def start(self) -> None:
        """Begin to watch."""
        self._watcher.start()
        self._expected.start()

    def stop(self) -> None:
        """Leave everything as it was."""
        self._watcher.stop()
        self._expected.stop()
        limits.overrule(None)

    def _add(self, job: RecordedJob) -> None:
        if self._item is None:
            self._summary.add_outside(job)
            return
        self.recording.add(job)
        self._pending.append(job)
        if self._wider_fixtures:
            self._item.stash[_OF_WIDER_SCOPES].append(job)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Refuse markers that cannot be read before any test runs."""
        for item in items:
            options_of(item, self._options)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Begin a test, or begin it again."""
        self._item = item
        self.recording = Recording()
        self._pending = [*item.stash.setdefault(_OF_WIDER_SCOPES, [])]
        for job in self._pending:
            self.recording.add(job)
        options = options_of(item, self._options)
        self._rules = options.rules
        limits.overrule(options.limits)
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Generator[None, Any, Any]:
        """Know what wider fixtures enqueue from what the test's own do."""
        is_wider = fixturedef.scope != "function"
        self._wider_fixtures += is_wider
        try:
            return (yield)
        finally:
            self._wider_fixtures -= is_wider

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self) -> Generator[None, Any, Any]:
        """Let the test fail for what it and its fixtures have enqueued."""
        result = yield
        self._fail()
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self) -> Generator[None, Any, Any]:
        """Let the test's end fail for what was enqueued meanwhile."""
        result = yield
        self._fail()
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Give the report of a test what the summary needs, and of one that failed anyway what is wrong besides."""
        report = yield
        if call.excinfo is not None:  # it is shown already
            self._expected.add(call.excinfo.value)
        if call.when != "setup" or not report.passed:  # else the report of the call tells of it
            findings = self._findings()
            setattr(report, TALLIES, tally(self._pending, findings))
            text = _explain_failing(findings)
            if text and report.failed and text not in str(report.longrepr):
                report.sections.append(("slimjobs", text))
            self._pending = []
        if call.when == "teardown":
            self._item = None
            self._expected.forget()
            limits.overrule(None)
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add to the summary what a test has enqueued, in whatever process; a test that runs again counts once."""
        if report.outcome != "rerun":  # type: ignore[comparison-overlap]  # pytest-rerunfailures says so
            self._summary.add_report(report.nodeid, getattr(report, TALLIES, {}))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show the largest payloads."""
        self._summary.write_to(terminalreporter)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """Write the files that were asked for."""
        self._summary.write_files()

    def _findings(self) -> list[Finding]:
        """Return what is wrong with what no report has told of yet, save for refusals that the test has expected."""
        jobs = [job for job in self._pending if job.refusal is None or not self._expected.knows(job.refusal)]
        return judge(jobs, self._rules)

    def _fail(self) -> None:
        text = _explain_failing(self._findings())
        if text:
            pytest.fail(text, pytrace=False)


def _explain_failing(findings: list[Finding]) -> str:
    """Return why a test fails, or "" where it does not."""
    failing = [finding for finding in findings if finding.action == "fail"]
    return explain(failing) if failing else ""
