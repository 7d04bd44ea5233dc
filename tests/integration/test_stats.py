"""`slimjobs stats` shows what the enqueue calls counted."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import backlog_samples
import pytest

from slimjobs import Ledger, PayloadTooLargeError, Queue
from slimjobs.backlog.report import summarize
from slimjobs.cli.main import main
from slimjobs.cli.stats import sparkline
from slimjobs.entries import TOTALS_KEY, hour_key

if TYPE_CHECKING:
    from redis import Redis


@pytest.fixture
def queue(redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Queue:
    monkeypatch.setenv("REDIS_URL", redis_url)
    return Queue("mail", connection=redis)


def stats(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main(["stats", *arguments]) == 0
    output = capsys.readouterr().out
    return json.loads(output) if "--json" in arguments else output


def test_jobs_and_bytes_by_queue_and_task(redis: Redis, queue: Queue, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(3):
        queue.enqueue(backlog_samples.give_text, "x" * 20_000)
    with pytest.raises(PayloadTooLargeError):
        queue.enqueue(backlog_samples.give_text, "x" * 100_000)
    Queue("other", connection=redis).enqueue(backlog_samples.fail)
    large, small = stats(capsys, "--json")
    assert (large["queue"], large["task"], large["jobs"]) == ("mail", "backlog_samples.give_text", 3)
    assert 60_000 < large["payload_bytes"] == large["last_hour_bytes"] == sum(large["hourly_bytes"])
    assert (large["warned"], large["refused"], large["missing"]) == (3, 1, 0)
    assert large["largest_bytes"] == large["payload_bytes"] // 3
    assert (small["queue"], small["jobs"]) == ("other", 1)
    assert [row["queue"] for row in stats(capsys, "--json", "--queue", "other")] == ["other"]
    text = stats(capsys, "--top", "1")
    assert "The last 24 hours (1 of 2)" in text
    assert "4 jobs, " in text


def test_the_last_hour_stands_against_the_day_before(redis: Redis, queue: Queue) -> None:
    queue.enqueue(backlog_samples.give_text, 1)
    this_hour = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0)
    field = "payload_bytes:backlog_samples.give_text:mail"
    for back, payload_bytes in ((3, 2400), (30, 4800)):
        redis.hset(hour_key(this_hour - timedelta(hours=back)), field, payload_bytes)
    (found,) = summarize(Ledger(redis), 24)
    assert found["hour_before_bytes"] == 100
    assert found["hourly_bytes"][-4] == 2400
    (found,) = summarize(Ledger(redis), 48)
    assert found["payload_bytes"] == found["hourly_bytes"][-1] + 7200
    redis.delete(TOTALS_KEY)
    assert summarize(Ledger(redis), 24) == []


def test_nothing_counted_is_said(queue: Queue, capsys: pytest.CaptureFixture[str]) -> None:
    assert "nothing was counted" in stats(capsys)


def test_bars() -> None:
    assert sparkline([0, 1, 4, 8]) == " ▁▄█"
    assert sparkline([]) == ""


@pytest.mark.parametrize("hours", ["0", "many", "337"])
def test_hours_that_are_none_are_told_of(hours: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["stats", "--hours", hours])
    assert "no number of hours from 1 to 336" in capsys.readouterr().err
