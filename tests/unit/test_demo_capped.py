"""Commands under a memory cap."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from slimjobs.demo import capped

MIB = 2**20


def run_capped(code: str, *, limit_bytes: int = 256 * MIB) -> tuple[dict[str, Any], str]:
    command = [sys.executable, "-I", "-S", capped.__file__, str(limit_bytes), sys.executable, "-I", "-S", "-c", code]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    report: dict[str, Any] = json.loads(ended.stdout)
    return report, ended.stderr


def test_the_peak_is_that_of_the_command() -> None:
    report, _ = run_capped(f"b'x' * {100 * MIB}")
    assert report["exit_code"] == 0
    assert 100 * MIB < report["peak_bytes"] < 140 * MIB


def test_the_peak_does_not_inherit_that_of_the_caller() -> None:
    ballast = bytearray(b"x") * (64 * MIB)
    report, _ = run_capped("pass")
    assert report["peak_bytes"] < 32 * MIB < len(ballast)


def test_a_command_over_its_cap_dies() -> None:
    report, stderr = run_capped(f"b'x' * {300 * MIB}")
    if not report["capped"]:
        pytest.skip("this system caps no memory")
    assert report["exit_code"] == 1
    assert "MemoryError" in stderr


def test_what_a_command_prints_does_not_mix_with_the_report() -> None:
    report, stderr = run_capped("print('hello'); raise SystemExit(7)")
    assert report["exit_code"] == 7
    assert stderr == "hello\n"


def test_sigterm_is_passed_on() -> None:
    code = (
        "import signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))\n"
        "print('ready', file=sys.stderr, flush=True)\n"
        "while True: signal.pause()\n"
    )
    command = [sys.executable, "-I", "-S", capped.__file__, str(256 * MIB), sys.executable, "-I", "-S", "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "ready\n"
        process.terminate()
        stdout, _ = process.communicate(timeout=30)
    assert json.loads(stdout)["exit_code"] == 5
    assert process.returncode == 0


def test_a_command_killed_by_a_signal_is_reported() -> None:
    report, _ = run_capped("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert report["exit_code"] == -9
