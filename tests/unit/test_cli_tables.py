"""Tables in a pipe and on a terminal: names are never cut."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from slimjobs.cli import tables

COLUMNS = [*tables.texts("task"), *tables.numbers("jobs"), *tables.optional(tables.numbers("median", "largest"))]
ROWS = [["app.jobs.send_the_weekly_newsletter[0]", "1,000", "4.0 KiB", "4.8 MiB"], ["b", "2", "1 byte", "1 byte"]]


def test_plain_text_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    tables.show("By task", COLUMNS, ROWS)
    assert capsys.readouterr().out.splitlines() == [
        "",
        "By task",
        "  task                                     jobs   median  largest",
        "  app.jobs.send_the_weekly_newsletter[0]  1,000  4.0 KiB  4.8 MiB",
        "  b                                           2   1 byte   1 byte",
    ]


COMMANDS = ["clears\x1b[2J", "names\x1b]0;it\x07", "deletes\x7f", "begins\x9b31m", "breaks\nlines\ttoo"]
HARMLESS = [r"clears\x1b[2J", r"names\x1b]0;it\x07", r"deletes\x7f", r"begins\x9b31m", r"breaks\nlines\ttoo"]


def test_names_command_no_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    tables.show("By task", tables.texts("task"), [[name] for name in COMMANDS])
    assert capsys.readouterr().out.splitlines()[3:] == [f"  {name}" for name in HARMLESS]


def test_names_command_no_terminal() -> None:
    master, slave = pty.openpty()
    code = "import test_cli_tables as t; t.tables.show('By', t.tables.texts('task'), [[name] for name in t.COMMANDS])"
    environment = {**os.environ, "COLUMNS": "100", "TERM": "xterm", "PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=slave, env=environment) as process:
        process.wait()
    os.close(slave)
    output = os.read(master, 100_000).decode()
    os.close(master)
    assert [name for name in HARMLESS if name not in output] == []


@pytest.mark.parametrize(("width", "shown"), [(100, {"median", "largest"}), (60, {"median"}), (50, set())])
def test_a_narrow_terminal_gets_fewer_columns_and_whole_names(width: int, shown: set[str]) -> None:
    code = "import test_cli_tables as t; t.tables.show('By task', t.COLUMNS, t.ROWS)"
    master, slave = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(width), "TERM": "xterm", "PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=slave, env=environment) as process:
        process.wait()
    os.close(slave)
    output = os.read(master, 100_000).decode()
    os.close(master)
    assert "app.jobs.send_the_weekly_newsletter[0]" in output
    assert {name for name in ("median", "largest") if name in output} == shown
