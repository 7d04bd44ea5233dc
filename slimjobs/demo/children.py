"""Start and end the processes of one side, with their words kept in log files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slimjobs.demo import capped
from slimjobs.demo.errors import DemoError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self

WARM_STOP_SECONDS = 10.0
COLD_STOP_SECONDS = 5.0
TAIL_LINES = 12


@dataclass(frozen=True)
class Child:
    """A running process with its files."""

    name: str
    process: subprocess.Popen[bytes]
    log_path: Path
    report_path: Path

    @property
    def running(self) -> bool:
        """Whether the process has not ended yet."""
        return self.process.poll() is None

    def wait(self, seconds: float) -> bool:
        """Wait for the end, at most so many seconds, and return whether it came."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        return not self.running

    def require_running(self) -> None:
        """Raise DemoError with the last words of a process that has ended."""
        if not self.running:
            raise DemoError(
                f"the process {self.name} ended with status {self.process.returncode}; its last words:\n"
                f"{self.last_words()}"
            )

    def require_success(self) -> None:
        """Raise DemoError with the last words of a process that has not ended with status 0."""
        if self.process.returncode != 0:
            self.require_running()

    def report(self) -> Any:
        """Return what a reporting process printed, read as JSON."""
        return json.loads(self.report_path.read_text())

    def last_words(self, lines: int = TAIL_LINES) -> str:
        """Return the last lines of the log."""
        return "\n".join(self.log_path.read_text(errors="replace").strip().splitlines()[-lines:])


class Children:
    """The processes of one side; all have ended when the block has.

    Args:
        folder: Where their log files go.
        environment: Variables that they get beside those of this process.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = {**os.environ, **environment}
        self._children: list[Child] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for child in self._children:
            if child.running:
                child.process.terminate()
        for child in self._children:
            self.stop(child)

    def start(self, role: str, *, reports: bool = False) -> Child:
        """Start a process of `slimjobs.demo.service` in that role, which may report on its standard output."""
        return self._start(role, _service_command(role), reports=reports)

    def start_capped(self, role: str, *, limit_bytes: int) -> Child:
        """Start a process under a memory cap; the report is that of `slimjobs.demo.capped`."""
        launcher = [sys.executable, "-I", "-S", str(Path(capped.__file__)), str(limit_bytes)]
        return self._start(role, [*launcher, *_service_command(role)], reports=True)

    def stop(self, child: Child) -> None:
        """End a process: ask twice, as RQ's workers then end their work horses, before it is killed."""
        for seconds in (WARM_STOP_SECONDS, COLD_STOP_SECONDS):
            if child.running:
                child.process.terminate()
                child.wait(seconds)
        if child.running:
            with suppress(ProcessLookupError):
                os.killpg(child.process.pid, signal.SIGKILL)
            child.process.wait()

    def last_words(self) -> str:
        """Return the last lines of every log, each under its name."""
        return "\n".join(f"--- {child.name}\n{words}" for child in self._children if (words := child.last_words()))

    def _start(self, role: str, command: list[str], *, reports: bool) -> Child:
        name = f"{role}-{len(self._children) + 1}"
        log_path, report_path = self._folder / f"{name}.log", self._folder / f"{name}.json"
        with log_path.open("wb") as log, report_path.open("wb") as report:
            # A session of its own: Ctrl-C at the terminal is for the demo, which ends its children in order.
            process = subprocess.Popen(  # noqa: S603  # a command of our own
                command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=report if reports else log,
                stderr=log,
                start_new_session=True,
            )
        child = Child(name, process, log_path, report_path)
        self._children.append(child)
        return child


def _service_command(role: str) -> list[str]:
    # This process's own path, as RQ's SpawnWorker does it: `-m` would put the current directory before all others.
    code = (
        f"import sys; sys.path[:] = {sys.path!r}; from slimjobs.demo.service import main; sys.exit(main(sys.argv[1:]))"
    )
    return [sys.executable, "-c", code, role]
