"""Metrics for Prometheus, from the ledger and the backlog."""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.request
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import backlog_samples
import pytest
from prometheus_client import CollectorRegistry
from rq.scheduler import RQScheduler

from slimjobs import PayloadTooLargeError, Queue
from slimjobs.cli.main import main
from slimjobs.contrib.prometheus import BacklogCollector

if TYPE_CHECKING:
    from redis import Redis

TASK = {"queue": "mail", "task": "backlog_samples.give_text"}


@pytest.fixture
def queue(redis: Redis) -> Queue:
    queue = Queue("mail", connection=redis)
    queue.enqueue(backlog_samples.give_text, "x" * 20_000)
    queue.enqueue_at(datetime.now(timezone.utc) - timedelta(minutes=10), backlog_samples.give_text, 1)
    with pytest.raises(PayloadTooLargeError):
        queue.enqueue(backlog_samples.give_text, "x" * 100_000)
    return queue


def test_what_was_enqueued_and_what_waits(redis: Redis, queue: Queue) -> None:
    registry = CollectorRegistry()
    registry.register(BacklogCollector(redis))
    value = registry.get_sample_value
    assert value("slimjobs_enqueued_jobs_total", TASK) == 2
    assert 20_000 < (value("slimjobs_enqueued_payload_bytes_total", TASK) or 0) < 21_000
    assert value("slimjobs_refused_calls_total", TASK) == 1
    assert value("slimjobs_warned_jobs_total", TASK) == 1
    assert value("slimjobs_missing_rows_total", TASK) == 0
    assert value("slimjobs_payload_bytes_count", {"queue": "mail"}) == 2
    assert value("slimjobs_payload_bytes_bucket", {"queue": "mail", "le": "64.0"}) == 1
    assert value("slimjobs_payload_bytes_bucket", {"queue": "mail", "le": "32768.0"}) == 2
    assert value("slimjobs_waiting_jobs", {"queue": "mail", "state": "scheduled"}) == 1
    assert (value("slimjobs_waiting_bytes", {"queue": "mail", "state": "queued"}) or 0) > 50
    assert 599 < (value("slimjobs_oldest_due_seconds", {"queue": "mail"}) or 0) < 660
    assert value("slimjobs_scheduler_up", {"queue": "mail"}) == 0
    RQScheduler([queue], connection=redis).acquire_locks()  # type: ignore[no-untyped-call]
    assert value("slimjobs_scheduler_up", {"queue": "mail"}) == 1


def test_one_queue_of_several(redis: Redis, queue: Queue) -> None:
    Queue("other", connection=redis).enqueue(backlog_samples.give_text, 1)
    registry = CollectorRegistry()
    registry.register(BacklogCollector(redis, ["other"]))
    assert registry.get_sample_value("slimjobs_waiting_jobs", {"queue": "other", "state": "queued"}) == 1
    assert registry.get_sample_value("slimjobs_waiting_jobs", {"queue": "mail", "state": "queued"}) is None
    assert registry.get_sample_value("slimjobs_enqueued_jobs_total", TASK) is None


def test_the_command_serves_until_it_is_told_to_stop(
    redis_url: str, queue: Queue, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, "-m", "slimjobs.cli", "exporter", "--port", "0", "--redis-url", redis_url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        try:
            with urllib.request.urlopen(url) as answer:
                metrics = answer.read().decode()
            status = main(["exporter", "--port", url.rpartition(":")[2].partition("/")[0]])
        finally:
            process.send_signal(signal.SIGTERM)
    assert 'slimjobs_enqueued_jobs_total{queue="mail",task="backlog_samples.give_text"} 2.0' in metrics
    assert status == 2
    assert "cannot be listened at" in capsys.readouterr().err
    assert process.returncode == 0


@pytest.mark.parametrize("arguments", [["--port", "99999"], ["--host", "a..b"]])
def test_an_address_that_is_none_is_told_of(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["exporter", *arguments]) == 2
    assert "cannot be listened at (" in capsys.readouterr().err
