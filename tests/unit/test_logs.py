"""The `slimjobs` logger: one line per task and minute, with the number held back."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import sample_app
from codec_samples import NOWHERE, TASK, create

import slimjobs
from slimjobs import Job, parts
from slimjobs.logs import Throttle

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let time pass."""
    now = 1000.0

    def advance(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(time, "monotonic", lambda: now)
    return advance


def test_one_line_a_minute_says_how_many_were_held_back(wait: Callable[[float], None]) -> None:
    throttle = Throttle()
    assert throttle.admit("a") == 0
    wait(59.9)
    assert [throttle.admit("a") for _ in range(3)] == [None] * 3
    assert throttle.admit("b") == 0
    wait(0.2)
    assert throttle.admit("a") == 3
    assert throttle.admit("a") is None
    wait(60)
    assert throttle.admit("a") == 1
    wait(600)
    assert throttle.admit("a") == 0


def test_a_first_line_comes_however_young_the_machine_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)
    assert Throttle().admit("a") == 0


class Yielding(dict[object, Any]):
    """A dict that lets other threads go first between a look and what is done about it."""

    def get(self, key: object, default: Any = None) -> Any:
        found = super().get(key, default)
        time.sleep(0)
        return found


def test_of_many_threads_one_speaks_and_all_are_counted() -> None:
    throttle = Throttle(period_seconds=3600)
    throttle._spoken = Yielding()
    answers: list[int | None] = []

    def speak() -> None:
        answers.extend(throttle.admit("a") for _ in range(200))

    threads = [threading.Thread(target=speak) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer for answer in answers if answer is not None] == [0]
    throttle.period_seconds = 0
    assert throttle.admit("a") == 8 * 200 - 1


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "slimjobs"]


def test_a_large_payload_is_warned_about_with_both_numbers_and_its_largest_part(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, "slimjobs"):
        job = Job.create(
            TASK,
            args=(1, {"rows": ["x" * 20_000]}),
            kwargs={"email": sample_app.Email(1)},
            connection=NOWHERE,
            origin="letters",
        )
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        "app.jobs.work: payload is 19.6 KiB, warning from is 16.0 KiB; largest is args[1]['rows'][0] (19.5 KiB)"
    )
    facts: dict[str, Any] = vars(record)
    assert facts["task"] == TASK
    assert facts["queue"] == "letters"
    assert facts["payload_bytes"] == len(job.data)
    assert facts["limit_bytes"] == 16_384
    assert facts["largest_path"] == "args[1]['rows'][0]"
    assert 20_000 <= facts["largest_bytes"] <= 20_010
    assert facts["held_back"] == 0


def test_at_the_warning_limit_there_is_no_line(caplog: pytest.LogCaptureFixture) -> None:
    size_bytes = len(create("x" * 3000).data)
    slimjobs.configure(warn_bytes=size_bytes)
    with caplog.at_level(logging.INFO, "slimjobs"):
        create("x" * 3000)
        assert messages(caplog) == []
        create("x" * 3001)
    assert len(messages(caplog)) == 1
    assert f"{size_bytes + 1} bytes" in messages(caplog)[0]
    assert f"{size_bytes} bytes" in messages(caplog)[0]


def test_each_task_has_its_line_a_minute(caplog: pytest.LogCaptureFixture, wait: Callable[[float], None]) -> None:
    def enqueue(task: str) -> None:
        Job.create(task, args=("x" * 20_000,), connection=NOWHERE)

    with caplog.at_level(logging.INFO, "slimjobs"):
        for _ in range(5):
            enqueue("app.a")
            enqueue("app.b")
        assert [message.split(":")[0] for message in messages(caplog)] == ["app.a", "app.b"]
        wait(61)
        enqueue("app.a")
        enqueue("app.a")
    assert len(messages(caplog)) == 3
    assert messages(caplog)[2].endswith("(4 more held back)")
    assert vars(caplog.records[-1])["held_back"] == 4


def test_in_mode_warn_the_limit_is_named(caplog: pytest.LogCaptureFixture) -> None:
    slimjobs.configure(mode="warn")
    with caplog.at_level(logging.INFO, "slimjobs"):
        create("x" * 100_000)
    assert "payload is 97.7 KiB, limit is 64.0 KiB; largest is args[0]" in messages(caplog)[0]


def test_in_mode_track_nothing_is_said(caplog: pytest.LogCaptureFixture) -> None:
    slimjobs.configure(mode="track")
    with caplog.at_level(logging.DEBUG, "slimjobs"):
        create("x" * 100_000)
    assert messages(caplog) == []


def test_no_line_means_no_search_for_the_largest_part(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    searches: list[object] = []
    original = parts.measure

    def search(*args: Any, **kwargs: Any) -> Any:
        searches.append(args)
        return original(*args, **kwargs)

    monkeypatch.setattr(parts, "measure", search)
    create("x" * 1000)
    assert not searches
    with caplog.at_level(logging.INFO, "slimjobs"):
        for _ in range(5):
            create("x" * 20_000)
    assert len(searches) == 1
