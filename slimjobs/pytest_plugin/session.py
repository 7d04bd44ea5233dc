"""A run of pytest: records what each test enqueues, and lets it fail for what is wrong.

All that takes part once a job was enqueued is imported then: most runs of pytest enqueue none.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

from slimjobs.pytest_plugin.expected import ExpectedErrors
from slimjobs.pytest_plugin.options import names_part_of_tests, options_of
from slimjobs.recording.watching import Watcher, forget_waiting_jobs

if TYPE_CHECKING:
    from collections.abc import Generator

    from slimjobs.limits import Limits
    from slimjobs.pytest_plugin.options import OptionsOfTest, RunOptions
    from slimjobs.pytest_plugin.summary import Summary
    from slimjobs.recording.jobs import RecordedJob
    from slimjobs.recording.verdicts import Finding, Rules

# What the fixtures of wider scopes have enqueued, which a second run of the test does not do again.
_OF_WIDER_SCOPES = pytest.StashKey[list["RecordedJob"]]()
# What a report carries from one process to another, and what a process hands over at its end.
_TALLIES = "slimjobs_tallies"
_HANDED_OVER = "slimjobs"


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
        self._of_run = options_of(None, options)
        self._is_main = not hasattr(config, "workerinput")  # which a worker of pytest-xdist has
        self._is_whole = not (self._is_main and names_part_of_tests(config))
        self._runs_tests = False
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
        self._overrule(self._of_run.limits)

    def stop(self) -> None:
        """Leave everything as it was."""
        self._watcher.stop()
        self._expected.stop()
        self._overrule(None)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Refuse markers that cannot be read before any test runs."""
        self._expected.start()  # unittest is imported by now where tests are its own
        for item in items if self._is_main else ():  # pytest-xdist takes it for its own error: there the tests fail
            if item.get_closest_marker("slimjobs") is not None:
                options_of(item, self._options)

    def pytest_deselected(self) -> None:
        """Know that some tests do not run."""
        self._is_whole = False

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Know that a module is skipped."""
        self._is_whole &= not report.skipped

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Know that tests run, and are not only shown."""
        shows = any(session.config.getoption(name, False) for name in ("collectonly", "setuponly"))
        self._runs_tests = not shows

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Begin a test, or begin it again."""
        self._item = item
        self._pending, self.jobs, self.refused = [], [], []
        forget_waiting_jobs()
        for job in item.stash.get(_OF_WIDER_SCOPES, ()):
            self._keep(job)
        self._overrule(self._options_of(item).limits)
        result = yield
        if item.get_closest_marker("slimjobs") is not None:  # which a fixture may have added
            try:
                options_of(item, self._options)
            except pytest.UsageError as error:
                raise pytest.fail.Exception(str(error), pytrace=False) from None
        return result

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
            rules = self._options_of(item).rules
            findings = self._findings(rules)
            tallies = import_module("slimjobs.recording.tallies").tally(self._pending, findings, rules)
            setattr(report, _TALLIES, tallies)
            text = _explain_failing(findings)
            if text and report.failed and text not in str(report.longrepr):
                report.sections.append(("slimjobs", text))
            self._pending = []
        if call.when == "teardown":
            self._item = None
            self._overrule(self._of_run.limits)
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add to the summary what a test has enqueued, in whatever process; a test that runs again counts once."""
        self._is_whole &= not report.skipped or hasattr(report, "wasxfail")
        tallies = getattr(report, _TALLIES, None)
        if tallies and report.outcome != "rerun":  # type: ignore[comparison-overlap]  # pytest-rerunfailures says so
            self._summary.add_report(report.nodeid, tallies)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take from a worker of pytest-xdist what it hands over; one that died has nothing."""
        handed_over = getattr(node, "workeroutput", {}).get(_HANDED_OVER, {})
        self._is_whole = self._is_whole and handed_over.get("is_whole", False)
        if handed_over.get("outside"):
            self._summary.add_process(handed_over["outside"])

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Write the files that were asked for, or hand over what only this process knows."""
        if not self._is_main:
            outside = {} if self._found is None else self._found.outside
            config: Any = session.config
            config.workeroutput[_HANDED_OVER] = {"outside": outside, "is_whole": self._is_whole}
        elif self._runs_tests and (self._options.report is not None or self._options.is_updating):
            has_ended = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
            is_whole = self._is_whole and exitstatus == pytest.ExitCode.OK
            if not self._summary.write_files(has_ended=has_ended, is_whole=is_whole) and has_ended:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

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
            self._summary.add_outside(job, self._of_run.rules)
            return
        job = job._replace(place=import_module("slimjobs.pytest_plugin.items").place_in(self._item, job.place))
        self._keep(job)
        if self._wider_fixtures:
            self._item.stash.setdefault(_OF_WIDER_SCOPES, []).append(job)

    def _keep(self, job: RecordedJob) -> None:
        self._pending.append(job)
        (self.jobs if job.refusal is None else self.refused).append(job)

    def _options_of(self, item: pytest.Item) -> OptionsOfTest:
        """Return what holds for a test; where its marker cannot be read, for which it fails, that is as for the run."""
        if item.get_closest_marker("slimjobs") is None:
            return self._of_run
        try:
            return options_of(item, self._options)
        except pytest.UsageError:
            return self._of_run

    def _findings(self, rules: Rules) -> list[Finding]:
        """Return what is wrong with what no report has told of yet, save for refusals that the test has expected."""
        if self._options.is_updating:
            return []
        jobs = [job for job in self._pending if job.refusal is None or not self._expected.knows(job.refusal)]
        findings: list[Finding] = import_module("slimjobs.recording.verdicts").judge(jobs, rules)
        return findings

    def _fail(self, item: pytest.Item) -> None:
        if self._pending:
            text = _explain_failing(self._findings(self._options_of(item).rules))
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
