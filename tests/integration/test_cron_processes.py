"""`slimjobs cron` as a process, with a real Redis and a real worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import queue_samples
from mirakuru import TCPExecutor
from port_for import get_port
from queue_samples import DEADLINE_SECONDS, SUPPORT_FOLDER, Letter, count, run_worker
from redis import Redis
from rq.cron import get_cron_job_ids
from rq.cron_scheduler_registry import get_keys

from slimjobs import Job, Queue, Worker
from slimjobs.demo.redis_server import find_redis_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

CONFIG = """
from rq import cron
from queue_samples import Letter, read
import sample_app

cron.register(read, "letters", args=(Letter(1, "as it was"),), interval=1)
cron.register(sample_app.record, "letters", kwargs={"description": "mine"}, cron="0 0 1 1 *", name="new year")
"""


class CronProcess:
    """A process of `slimjobs cron`, and what it says."""

    def __init__(self, folder: Path, redis_url: str, *arguments: str) -> None:
        path = os.pathsep.join([str(SUPPORT_FOLDER), *filter(None, [os.environ.get("PYTHONPATH")])])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "slimjobs.cli", "cron", *arguments, "--redis-url", redis_url],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path, queue_samples.URL_VARIABLE: redis_url},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.said = ""

    def wait_for(self, text: str) -> None:
        """Read what it says until a line with this text."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line
            if text in line:
                return
        raise AssertionError(f"it ended and had not said {text!r}:\n{self.said}")

    def end(self) -> int:
        """Read the rest, and return the exit status."""
        output, _ = self.process.communicate(timeout=DEADLINE_SECONDS)
        self.said += output
        return self.process.returncode


@contextmanager
def cron_process(folder: Path, redis_url: str, *arguments: str) -> Iterator[CronProcess]:
    started = CronProcess(folder, redis_url, *arguments)
    try:
        yield started
    finally:
        started.process.kill()
        started.process.wait()
        if started.process.stdout is not None:
            started.process.stdout.close()


@pytest.fixture(autouse=True)
def rows(redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(queue_samples.URL_VARIABLE, redis_url)
    Letter(1, "dear").save()


@pytest.mark.parametrize("named", ["cron_config.py", "cron_config", "whole path"])
def test_its_jobs_run_until_sigterm_ends_it(redis: Redis, redis_url: str, tmp_path: Path, named: str) -> None:
    config = tmp_path / "cron_config.py"
    config.write_text(CONFIG)
    with cron_process(tmp_path, redis_url, str(config) if named == "whole path" else named) as cron:
        for _ in range(2):
            cron.wait_for("Enqueued job queue_samples.read to queue letters")
        assert len(get_keys(redis)) == 1
        cron.process.send_signal(signal.SIGTERM)
        assert cron.end() == 0, cron.said

    assert "Traceback" not in cron.said
    assert get_keys(redis) == []
    run_worker(Worker, "letters", redis)
    job_ids = get_cron_job_ids("queue_samples.read", redis)
    assert len(job_ids) >= 2
    results: Any = [Job.fetch(job_id, redis).return_value() for job_id in job_ids]
    assert results == ["dear"] * len(job_ids)
    assert count(redis, "queue_samples.read", "letters").jobs == len(job_ids)


def test_bad_jobs_keep_it_from_starting(redis: Redis, redis_url: str, tmp_path: Path) -> None:
    (tmp_path / "bad_config.py").write_text(
        CONFIG
        + 'cron.register(read, "letters", args=(Letter(None, "secret"),), interval=1)\n'
        + 'cron.register(read, "letters", kwargs={"letter": {"text": "secret" * 20_000}}, interval=1)\n'
    )
    with cron_process(tmp_path, redis_url, "bad_config.py", "-l", "warning") as cron:
        assert cron.end() == 2

    head, *lines = cron.said.rstrip().split("\n")
    assert head == "slimjobs: bad_config.py: 2 of 4 cron jobs are refused"
    assert len(lines) == 2
    assert lines[0].startswith("queue_samples.read: args[0]: ")
    assert lines[1].startswith("queue_samples.read: payload is ")
    assert "secret" not in cron.said
    assert Queue("letters", connection=redis).count == 0


@pytest.mark.parametrize(
    ("source", "told"),
    [(None, "No module named"), ("this is no Python", "invalid syntax"), ("1 / 0", "division by zero")],
)
def test_a_configuration_that_cannot_be_imported_is_told_in_a_line(
    redis_url: str, tmp_path: Path, source: str | None, told: str
) -> None:
    if source is not None:
        (tmp_path / "broken_config.py").write_text(source)
    with cron_process(tmp_path, redis_url, "broken_config.py", "--logging-level", "ERROR") as cron:
        assert cron.end() == 2

    assert told in cron.said
    assert "broken_config" in cron.said
    assert "Traceback" not in cron.said
    assert cron.said.count("\n") == 1


def test_it_survives_a_restart_of_redis(tmp_path: Path) -> None:
    (tmp_path / "cron_config.py").write_text(CONFIG)
    port = get_port(None)
    assert port is not None
    command = [find_redis_server() or "redis-server", "--port", str(port), "--save", ""]

    def server() -> TCPExecutor:
        return TCPExecutor(command, host="127.0.0.1", port=port, timeout=DEADLINE_SECONDS, cwd=tmp_path)

    url = f"redis://127.0.0.1:{port}/0"
    with server(), cron_process(tmp_path, url, "cron_config.py") as cron:
        cron.wait_for("Enqueued job")
        with server_gone(url):
            cron.wait_for("Redis does not answer (ConnectionError), waiting")
        with server():
            cron.wait_for("Redis answers again")
            cron.wait_for("Enqueued job")
            with Redis.from_url(url) as redis:
                assert len(get_keys(redis)) == 1
                assert Queue("letters", connection=redis).count
            cron.process.send_signal(signal.SIGTERM)
            assert cron.end() == 0, cron.said
    assert "Traceback" not in cron.said


@contextmanager
def server_gone(url: str) -> Iterator[None]:
    with Redis.from_url(url) as redis:
        redis.shutdown(nosave=True)
    yield


def test_sigterm_ends_it_while_redis_is_away(tmp_path: Path) -> None:
    (tmp_path / "cron_config.py").write_text(CONFIG)
    port = get_port(None)
    assert port is not None
    command = [find_redis_server() or "redis-server", "--port", str(port), "--save", ""]
    url = f"redis://127.0.0.1:{port}/0"
    with (
        TCPExecutor(command, host="127.0.0.1", port=port, timeout=DEADLINE_SECONDS, cwd=tmp_path),
        cron_process(tmp_path, url, "cron_config.py") as cron,
    ):
        cron.wait_for("Enqueued job")
        with server_gone(url):
            cron.wait_for("Redis does not answer")
            cron.process.send_signal(signal.SIGTERM)
            assert cron.end() == 0, cron.said
    assert "its death is not registered (ConnectionError)" in cron.said
    assert "Traceback" not in cron.said
