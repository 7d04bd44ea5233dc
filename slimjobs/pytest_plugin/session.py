"""A run of pytest: records what each test enqueues, and lets it fail for what is wrong.

All that takes part once a job was enqueued is imported then: most runs of pytest enqueue none.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

from slimjobs.pytest_plugin.expected import ExpectedErrors
from slimjobs.pytest_plugin.options import options_of
from slimjobs.recording.watching import Watcher, forget_waiting_jobs

if TYPE_CHECKING:
    from collections.abc import Generator

    from slimjobs.limits import Limits
    from slimjobs.pytest_plugin.options import RunOptions
    from slimjobs.pytest_plugin.summary import Summary
    from slimjobs.recording.jobs import RecordedJob
    from slimjobs.recording.verdicts import Finding

# What the fixtures of wider scopes have enqueued, which a second run of the test does not do again.
_OF_WIDER_SCOPES = pytest.StashKey[list["RecordedJob"]]()
# What a report carries from one process to another.
_TALLIES = "slimjobs_tallies"


class Session:
    """The plugin of one run.

    Args:
        config: The run's configuration.
        options: What was said for the run.

    Attributes:
        jobs: What the current test has enqueued.
        refused: What slimjobs has refused it.
    """

    def __init__(self, config: pytest.Config, options: RunOptions) -> None:
        self._options = options
        self._is_main = not hasattr(config, "workerinput")  # which a worker of pytest-xdist has
        self._found: Summary | None = None
        self._watcher = Watcher(self._add)
        self._expected = ExpectedErrors()
        self._item: pytest.Item | None = None
        self._limits: Limits | None = None
        self._wider_fixtures = 0
        self._is_running = False
        # What no report has told of yet.
        self._pending: list[RecordedJob] = []
        self.jobs: list[RecordedJob] = []
        self.refused: list[RecordedJob] = []

    def start(self) -> None:
        """Begin to watch."""
        self._watcher.start()

    def stop(self) -> None:
        """Leave everything as it was."""
        self._watcher.stop()
        self._expected.stop()
        self._overrule(None)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Refuse markers that cannot be read before any test runs."""
        self._expected.start()  # unittest is imported by now where tests are its own
        for item in items:
            if item.get_closest_marker("slimjobs") is not None:
                options_of(item, self._options)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Begin a test, or begin it again."""
        self._item = item
        self._pending, self.jobs, self.refused = [], [], []
        forget_waiting_jobs()
        for job in item.stash.get(_OF_WIDER_SCOPES, ()):
            self._keep(job)
        if self._options.given or item.get_closest_marker("slimjobs") is not None:
            self._overrule(options_of(item, self._options).limits)
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
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Let the test fail for what it and its fixtures have enqueued."""
        self._is_running = True
        try:
            result = yield
        finally:
            self._is_running = False
        self._fail(item)
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Let the test's end fail for what was enqueued meanwhile."""
        result = yield
        self._fail(item)
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Give the report of a test what the summary needs, and of one that failed anyway what is wrong besides."""
        report = yield
        # The report of the call tells of what was enqueued before it too, and in subtests, which have their own.
        if self._pending and not self._is_running and (call.when != "setup" or not report.passed):
            if call.excinfo is not None:  # it is shown already
                self._expected.add(call.excinfo.value)
            findings = self._findings(item)
            setattr(report, _TALLIES, import_module("slimjobs.recording.tallies").tally(self._pending, findings))
            text = _explain_failing(findings)
            if text and report.failed and text not in str(report.longrepr):
                report.sections.append(("slimjobs", text))
            self._pending = []
        if call.when == "teardown":
            self._item = None
            self._overrule(None)
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add to the summary what a test has enqueued, in whatever process; a test that runs again counts once."""
        tallies = getattr(report, _TALLIES, None)
        if tallies and report.outcome != "rerun":  # type: ignore[comparison-overlap]  # pytest-rerunfailures says so
            self._summary.add_report(report.nodeid, tallies)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """Write the files that were asked for."""
        if self._is_main and (self._options.report is not None or self._options.is_updating):
            self._summary.write_files()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show the largest payloads."""
        if self._is_main and (self._found is not None or self._options.top is not None):
            self._summary.write_to(terminalreporter)

    @property
    def _summary(self) -> Summary:
        if self._found is None:
            made: Summary = import_module("slimjobs.pytest_plugin.summary").Summary(self._options)
            self._found = made
        return self._found

    def _add(self, job: RecordedJob) -> None:
        if self._item is None:
            self._summary.add_outside(job)
            return
        self._keep(job)
        if self._wider_fixtures:
            self._item.stash.setdefault(_OF_WIDER_SCOPES, []).append(job)

    def _keep(self, job: RecordedJob) -> None:
        self._pending.append(job)
        (self.jobs if job.refusal is None else self.refused).append(job)

    def _findings(self, item: pytest.Item) -> list[Finding]:
        """Return what is wrong with what no report has told of yet, save for refusals that the test has expected."""
        jobs = [job for job in self._pending if job.refusal is None or not self._expected.knows(job.refusal)]
        findings: list[Finding] = import_module("slimjobs.recording.verdicts").judge(
            jobs, options_of(item, self._options).rules
        )
        return findings

    def _fail(self, item: pytest.Item) -> None:
        if self._pending:
            text = _explain_failing(self._findings(item))
            if text:
                pytest.fail(text, pytrace=False)

    def _overrule(self, limits: Limits | None) -> None:
        """Let limits hold above the process's own, or no more."""
        if limits is not self._limits:
            import_module("slimjobs.limits").overrule(limits)
            self._limits = limits


def _explain_failing(findings: list[Finding]) -> str:
    """Return why a test fails, or "" where it does not."""
    failing = [finding for finding in findings if finding.action == "fail"]
    return import_module("slimjobs.recording.explaining").explain(failing) if failing else ""
