"""`slimjobs top` in a pipe and on a terminal: what waits and what comes in, look after look."""

from __future__ import annotations

import fcntl
import json
import os
import select
import struct
import subprocess
import sys
import termios
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import backlog_samples
import pytest
import rq
from rq.scheduler import RQScheduler

import slimjobs
from slimjobs.backlog.live import Live
from slimjobs.cli.main import main
from slimjobs.demo.redis_server import run_redis_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

DEADLINE_SECONDS = 180


@pytest.fixture
def queue(redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> slimjobs.Queue:
    monkeypatch.setenv("REDIS_URL", redis_url)
    return slimjobs.Queue("mail", connection=redis)


def test_a_look_counts_what_is_there(redis: Redis, queue: slimjobs.Queue) -> None:
    first = queue.enqueue(backlog_samples.give_text, 1)
    queue.enqueue(backlog_samples.give_text, 2, depends_on=first)
    for delay in (timedelta(0), timedelta(hours=1)):
        queue.enqueue_in(delay, backlog_samples.give_text, "x" * 1000)
    failing = slimjobs.Queue("failing", connection=redis)
    failing.enqueue(backlog_samples.fail)
    slimjobs.SimpleWorker([failing], connection=redis).work(burst=True, logging_level="CRITICAL")
    rq.SimpleWorker([queue], connection=redis).register_birth()  # type: ignore[no-untyped-call]
    RQScheduler([queue], connection=redis).acquire_locks()  # type: ignore[no-untyped-call]
    look = Live(redis).look()
    rows = {row.queue: row for row in look.queues}
    mail = rows["mail"]
    assert (mail.queued, mail.scheduled, mail.due, mail.deferred, mail.started) == (1, 2, 1, 1, 0)
    assert (mail.workers, mail.has_scheduler, mail.growth_per_minute) == (1, True, None)
    assert mail.waiting_bytes > 200
    assert (rows["failing"].failed, rows["failing"].workers, rows["failing"].has_scheduler) == (1, 0, False)
    assert [row.queue for row in look.queues] == ["mail", "failing"]
    assert [row.queue for row in Live(redis, ["failing"]).look().queues] == ["failing"]


def test_the_next_look_tells_what_came(redis: Redis, queue: slimjobs.Queue) -> None:
    queue.enqueue(backlog_samples.give_text, 1)
    live = Live(redis)
    before = live.look()
    for number in range(10):
        queue.enqueue(backlog_samples.give_text, number)
    queue.enqueue(backlog_samples.fail)
    after = live.look()
    minutes = (after.at - before.at) / 60
    assert after.queues[0].growth_per_minute == pytest.approx(11 / minutes)
    task = next(row for row in after.tasks if row.summary["task"] == "backlog_samples.give_text")
    assert task.jobs_per_minute == pytest.approx(10 / minutes)
    assert task.bytes_per_minute is not None
    assert task.bytes_per_minute > 100 / minutes
    assert {row.summary["task"] for row in after.tasks} == {"backlog_samples.give_text", "backlog_samples.fail"}


def test_in_a_pipe_it_prints_look_after_look(queue: slimjobs.Queue, capsys: pytest.CaptureFixture[str]) -> None:
    queue.enqueue_in(timedelta(hours=1), backlog_samples.give_text, 1)
    assert main(["top", "--count", "2", "--interval", "0.01"]) == 0
    output = capsys.readouterr().out
    assert output.count("1 jobs wait") == 2
    lines = [line.split() for line in output.splitlines() if line.startswith("  mail")]
    assert lines[0][0] == "mail"
    assert lines[0][5:] == ["-", "none", "NONE", "0", "1", "0", "0"]
    assert lines[1][1] == "backlog_samples.give_text"
    assert main(["top", "--count", "2", "--interval", "0.01", "--json"]) == 0
    looks = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [look["queues"][0]["scheduled"] for look in looks] == [1, 1]
    assert looks[1]["tasks"][0]["jobs_per_minute"] == 0


def test_it_goes_on_while_redis_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    with run_redis_server() as url:
        process = subprocess.Popen(
            [sys.executable, "-m", "slimjobs.cli", "top", "--json", "--interval", "0.2", "--redis-url", url],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["problem"] == ""
    # The server is gone.
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not json.loads(process.stdout.readline())["problem"]:
        assert time.monotonic() < deadline
    assert process.poll() is None
    process.send_signal(2)
    process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 0
    assert main(["top", "--redis-url", url]) == 2


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Return both ends of a terminal of 100 columns and 20 lines."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 100, 0, 0))
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


def test_on_a_terminal_it_stays_in_its_place_until_q(redis: Redis, redis_url: str, terminal: tuple[int, int]) -> None:
    for number in range(30):
        slimjobs.Queue(f"queue{number}", connection=redis).enqueue(backlog_samples.give_text, number)
    ours, theirs = terminal
    before: Any = termios.tcgetattr(theirs)
    process = subprocess.Popen(
        [sys.executable, "-m", "slimjobs.cli", "top", "--interval", "60", "--redis-url", redis_url],
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.PIPE,
        env={**os.environ, "TERM": "xterm"},
    )
    shown = read_until(ours, "Enqueued by slimjobs (")
    assert "\x1b[?1049h" in shown  # the terminal's other screen
    assert "30 jobs wait" in shown
    assert "of 30)" in shown
    os.write(ours, b" ")  # any key is another look
    assert "30 jobs wait" in read_until(ours, "Enqueued by slimjobs (")
    os.write(ours, b"q")
    read_until(ours, "\x1b[?1049l")
    _, errors = process.communicate(timeout=DEADLINE_SECONDS)
    assert (process.returncode, errors) == (0, b"")
    assert termios.tcgetattr(theirs) == before


def read_until(end: int, text: str) -> str:
    shown, deadline = "", time.monotonic() + DEADLINE_SECONDS
    while text not in shown:
        assert time.monotonic() < deadline, shown
        if select.select([end], [], [], 1)[0]:
            shown += os.read(end, 65536).decode(errors="replace")
    return shown
