"""`slimjobs demo` as it is: the real command with a real Redis, real workers and real schedulers, scaled down."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis

from slimjobs.demo.redis_server import find_redis_server, run_redis_server

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(find_redis_server() is None, reason="there is no redis-server on this machine")

COMMAND = [sys.executable, "-m", "slimjobs.cli", "demo", "--jobs", "8", "--body-bytes", "20000"]
DEADLINE_SECONDS = 90


def run_demo(
    *arguments: str, folder: Path, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TMPDIR": str(folder), **(environment or {})},
        timeout=DEADLINE_SECONDS,
    )


@contextmanager
def running_demo(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run the demo with its output in pipes; `folder` is its temporary directory."""
    with subprocess.Popen(
        COMMAND,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(folder)},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_line(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout is not None
    assert any(text in line for line in process.stdout)


def descendants(pid: int) -> set[int]:
    """Return the processes that the process has started, and those that they have."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # proc(5): the parent comes second after the name, which may hold anything but ends in the last ")".
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    found, new = set[int](), {pid}
    while new:
        new = {child for parent in new for child in children.get(parent, ())}
        found |= new
    return found


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
def test_both_sides_send_a_small_campaign(tmp_path: Path) -> None:
    ended = run_demo(folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    lines = ended.stdout.splitlines()
    rows = {line[:27].strip(): line[27:].split("   ") for line in lines}
    assert [cell.strip() for cell in rows["emails sent"] if cell] == ["800 of 800", "800 of 800"]
    assert "at this size it survived" in lines[-2]
    assert "all 800 readers got the right email, exactly once" in lines[-1]
    assert "\x1b" not in ended.stdout, "a pipe gets plain text"
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_json_on_a_redis_of_ones_own(tmp_path: Path) -> None:
    with run_redis_server() as url, Redis.from_url(url) as connection:
        ended = run_demo("--json", "--redis-url", url, folder=tmp_path)
        assert ended.returncode == 0, ended.stderr
        assert connection.dbsize() == 0, "what the demo wrote is deleted"
    report: dict[str, Any] = json.loads(ended.stdout)
    stock, slim = report["stock"], report["slim"]
    assert slim["delivery"] == {
        "recipients": 800,
        "missed": 0,
        "doubled": 0,
        "corrupted": 0,
        "strangers": 0,
        "reached": 800,
        "perfect": True,
    }
    assert slim["scheduler"]["survived"]
    assert slim["failed_jobs"] == stock["failed_jobs"] == 0
    assert stock["payload_bytes"] > 20_000
    assert slim["payload_bytes"] < 5_000
    assert 10 * 2**20 < slim["scheduler"]["peak_bytes"] < report["scheduler_cap_bytes"]


def test_a_database_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    with run_redis_server() as url, Redis.from_url(url) as connection:
        connection.set("rq:queue:somebody", "else's")
        ended = run_demo("--redis-url", url, folder=tmp_path)
        assert ended.returncode == 2
        assert "not empty (1 keys)" in ended.stderr
        assert connection.keys() == [b"rq:queue:somebody"]


def test_a_redis_that_is_not_there_is_explained(tmp_path: Path) -> None:
    ended = run_demo("--redis-url", f"unix://{tmp_path}/none.sock", folder=tmp_path)
    assert ended.returncode == 2
    assert "--redis-url" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.slow
def test_a_slim_side_that_cannot_enqueue_is_told_of(tmp_path: Path) -> None:
    ended = run_demo(folder=tmp_path, environment={"SLIMJOBS_MAX_BYTES": "100"})
    assert ended.returncode == 2
    assert "PayloadTooLargeError" in ended.stderr, "the last words of the process that failed are shown"
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_every_process(tmp_path: Path, number: signal.Signals) -> None:
    with running_demo(tmp_path) as process:
        wait_for_line(process, "sending the first pass")
        started = descendants(process.pid)
        assert len(started) >= 3, "a redis-server and two workers"
        process.send_signal(number)
        _, stderr = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 128 + number
    assert stderr == "slimjobs: interrupted\n"
    assert not [pid for pid in started if is_running(pid)]
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_reader_that_goes_away_ends_it_quietly(tmp_path: Path) -> None:
    with running_demo(tmp_path) as process:
        wait_for_line(process, "One newsletter")
        started = descendants(process.pid)
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        stderr = process.stderr.read()
        process.wait(timeout=DEADLINE_SECONDS)
    assert process.returncode == 128 + signal.SIGPIPE
    assert stderr == ""
    assert not [pid for pid in started if is_running(pid)]
    assert not list(tmp_path.iterdir())
