"""How commands behave beside others: workers go first, and a terminal has bars."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import slimjobs

ROOT = str(Path(slimjobs.__file__).parents[1])
WORK = """
import sys
sys.path.insert(0, {root!r})
from slimjobs.cli.watching import watch
with watch("quarantine").scene("jobs", 3) as scene:
    scene.update(2)
    scene.end("all of them")
"""


def run(code: str, output: int) -> None:
    """Run code in a process of its own, which writes to a file descriptor."""
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    subprocess.run([sys.executable, "-c", code.format(root=ROOT)], stdout=output, env=environment, check=True)


def test_a_command_that_stands_back_is_the_last_that_gets_the_machine() -> None:
    code = (
        "import sys; sys.path.insert(0, {root!r}); from slimjobs.cli.manners import stand_back; stand_back(); import os"
    )
    asked = code + "; print(os.nice(0), getattr(os, 'sched_getscheduler', lambda _: 3)(0))"
    done = subprocess.run([sys.executable, "-c", asked.format(root=ROOT)], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["19", "3"]  # 3 is SCHED_BATCH


def test_a_long_read_takes_what_nobody_else_wants_and_a_short_one_is_served_like_any_process() -> None:
    code = """
import sys; sys.path.insert(0, {root!r})
import os
from types import SimpleNamespace
from slimjobs.cli import manners
now = [0.0]
manners.time = SimpleNamespace(monotonic=lambda: now[0])
def work():
    for now[0] in [0.5, 0.9, 1.1]:
        yield
policy = getattr(os, 'sched_getscheduler', lambda _: 5 if now[0] > 1 else 0)
print(*[policy(0) for _ in manners.standing_aside(work())], os.nice(0))
"""
    done = subprocess.run([sys.executable, "-c", code.format(root=ROOT)], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["0", "0", "5", "19"]  # 0 is SCHED_OTHER, and 5 SCHED_IDLE


def test_a_terminal_has_a_bar_and_then_the_outcome() -> None:
    terminal, end = pty.openpty()
    try:
        run(WORK, end)
    finally:
        os.close(end)
    shown = os.read(terminal, 100_000).decode()
    os.close(terminal)

    assert "quarantine: jobs" in shown
    assert "2/3" in shown
    assert "  quarantine: jobs: all of them\r\n" in shown


def test_elsewhere_lines_are_written() -> None:
    source, end = os.pipe()
    run(WORK, end)
    os.close(end)
    with os.fdopen(source) as written:
        shown = written.read()

    assert "2/3" not in shown
    assert "all of them" in shown
