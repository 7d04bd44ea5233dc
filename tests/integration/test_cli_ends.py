"""How commands end where an output, or Redis, is not there or refuses: in a line, and with status 2."""

from __future__ import annotations

import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import backlog_samples
import pytest

from slimjobs.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

    import rq

NAME_IT = "Name it with --redis-url or REDIS_URL.\n"


@pytest.fixture(autouse=True)
def no_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def in_shell(words: str) -> subprocess.CompletedProcess[str]:
    command = f"{shlex.quote(sys.executable)} -m slimjobs.cli {words}"
    return subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", ["audit", "health"])
def test_a_closed_output_changes_nothing(command: str, queue: rq.Queue) -> None:
    queue.enqueue(backlog_samples.give_text, 1)
    expected = in_shell(command)
    closed = in_shell(f"{command} >&-")
    assert (closed.stdout, closed.stderr, closed.returncode) == ("", expected.stderr, expected.returncode)
    assert in_shell(f"{command} >&- 2>&-").returncode == expected.returncode


@pytest.mark.skipif(sys.platform != "linux", reason="Linux has a device that is a full disk")
@pytest.mark.parametrize("command", ["audit", "health"])
def test_an_output_on_a_full_disk_is_told_of(command: str, queue: rq.Queue) -> None:
    queue.enqueue(backlog_samples.give_text, 1)
    full = in_shell(f"{command} >/dev/full")
    assert full.stderr.splitlines()[-1] == "slimjobs: the output cannot be written (No space left on device)"
    assert "Traceback" not in full.stderr
    assert full.returncode == 2


@pytest.mark.usefixtures("queue")  # or this process would stand back for good
@pytest.mark.parametrize("command", ["audit", "stats", "top --count 1", "quarantine --queue mail", "scheduler mail"])
def test_a_redis_that_is_not_there_is_told_with_where_to_name_it(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command.split(), "--redis-url", "redis://localhost:1"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("slimjobs: Error ")
    assert told.endswith(f". {NAME_IT}")


def test_a_password_that_is_wrong_is_told_with_where_to_name_it(
    redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["stats", "--redis-url", redis_url.replace("//", "//nobody:secret@")]) == 2
    assert capsys.readouterr().err.endswith(f". {NAME_IT}")
