"""`slimjobs demo`: its arguments, its words and its exit status."""

from __future__ import annotations

import json
import os
import signal
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from slimjobs.cli import demo
from slimjobs.cli.main import main
from slimjobs.demo.campaign import CampaignReport, SchedulerReport
from slimjobs.demo.delivery import Delivery
from slimjobs.demo.errors import DemoError
from slimjobs.demo.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slimjobs.demo.campaign import Audience, Side

MIB = 2**20
PERFECT = Delivery(30_000, missed=0, doubled=0, corrupted=0, strangers=0)
SURVIVED = SchedulerReport(starts=1, survived=True, peak_bytes=36 * MIB, capped=True)
DIED = SchedulerReport(starts=4, survived=False, peak_bytes=517 * MIB, capped=True, last_words="MemoryError")


def make_report(side: Side, scheduler: SchedulerReport, delivery: Delivery, failed_jobs: int = 0) -> CampaignReport:
    return CampaignReport(
        side=side,
        enqueue_seconds=1.5,
        total_seconds=20.0,
        payload_bytes=3000,
        stored_bytes=400,
        redis_bytes=MIB,
        scheduler=scheduler,
        failed_jobs=failed_jobs,
        delivery=delivery,
        logs="--- worker-1\nValueError: no such row",
    )


STOCK = make_report("stock", DIED, replace(PERFECT, missed=6000))
SLIM = make_report("slim", SURVIVED, PERFECT)


class Play:
    """Stands for the campaigns: returns the given reports, and keeps the stage that was set."""

    def __init__(self) -> None:
        self.reports: dict[Side, CampaignReport] = {"stock": STOCK, "slim": SLIM}
        self.stage: Stage | None = None
        self.redis_url: str | None = None
        self.error: BaseException | None = None

    @contextmanager
    def set_stage(self, redis_url: str | None, *, jobs: int, body_bytes: int) -> Iterator[Stage]:
        self.redis_url = redis_url
        self.stage = Stage(folder=None, redis_url="", jobs=jobs, body_bytes=body_bytes)  # type: ignore[arg-type]
        yield self.stage

    def run_campaign(self, side: Side, stage: Stage, audience: Audience) -> CampaignReport:
        if self.error:
            raise self.error
        return self.reports[side]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Play:
    play = Play()
    monkeypatch.setattr(demo, "set_stage", play.set_stage)
    monkeypatch.setattr(demo, "run_campaign", play.run_campaign)
    monkeypatch.setattr(demo, "clear_redis", lambda redis_url: None)
    return play


@pytest.mark.parametrize(
    ("arguments", "jobs", "body_bytes"),
    [
        ([], 300, demo.DEFAULT_BODY_BYTES),
        (["--full"], 300, 5_000_000),
        (["--jobs", "20", "--body-bytes", "5 MB"], 20, 5_000_000),
        (["--body-bytes", "1 MiB"], 300, MIB),
    ],
)
def test_the_sizes_that_are_played(play: Play, arguments: list[str], jobs: int, body_bytes: int) -> None:
    assert main(["demo", *arguments]) == 0
    assert play.stage is not None
    assert (play.stage.jobs, play.stage.body_bytes, play.stage.recipients) == (jobs, body_bytes, jobs * 100)
    assert play.redis_url is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--jobs", "0"], "not a number of jobs"),
        (["--jobs", "many"], "not a number of jobs"),
        (["--body-bytes", "big"], "not a size"),
        (["--body-bytes", "0"], "at least 1 byte"),
        (["--full", "--jobs", "3"], "--full is a size of its own"),
    ],
)
def test_wrong_arguments_are_explained(
    play: Play, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["demo", *arguments])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
    assert play.stage is None


def test_help_teaches_by_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["demo", "--help"])
    shown = capsys.readouterr().out
    assert caught.value.code == 0
    for text in ("examples:", "slimjobs demo --full", "--redis-url redis://", "exit status:", "--json"):
        assert text in shown


def test_no_command_shows_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "demo" in capsys.readouterr().out


def test_the_report_ends_in_two_lines_in_plain_words(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo"]) == 0
    stock, slim = capsys.readouterr().out.splitlines()[-2:]
    assert stock == (
        "Stock RQ put a copy of the 1.5 MiB email into every job: its scheduler ran out of 512 MiB of memory and "
        "died, 4 times out of 4, and 6,000 of 30,000 readers never got their email."
    )
    assert slim == (
        "slimjobs put the email's ID there instead: its scheduler took 36.0 MiB, and all 30,000 readers got the "
        "right email, exactly once."
    )


def test_the_report_stands_side_by_side(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    main(["demo"])
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("emails sent")]
    assert [" ".join(row.split()) for row in rows] == ["emails sent 24,000 of 30,000 30,000 of 30,000"]


def test_a_stock_side_that_survives_is_told_so(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    play.reports["stock"] = make_report("stock", SURVIVED, PERFECT)
    assert main(["demo"]) == 0
    assert "at this size it survived" in capsys.readouterr().out


def test_a_system_without_memory_caps_is_told_so(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    uncapped = replace(SURVIVED, capped=False, peak_bytes=900 * MIB)
    play.reports["stock"] = make_report("stock", uncapped, PERFECT)
    assert main(["demo"]) == 0
    shown = capsys.readouterr().out
    assert "This system cannot cap it; at 512 MiB it would have died." in shown
    assert "survived, uncapped" in shown


@pytest.mark.parametrize(
    "slim",
    [
        make_report("slim", SURVIVED, replace(PERFECT, missed=1)),
        make_report("slim", SURVIVED, replace(PERFECT, doubled=1)),
        make_report("slim", SURVIVED, replace(PERFECT, corrupted=1)),
        make_report("slim", SURVIVED, replace(PERFECT, strangers=1)),
        make_report("slim", DIED, PERFECT),
        make_report("slim", SURVIVED, PERFECT, failed_jobs=1),
    ],
    ids=["missed", "doubled", "corrupted", "stranger", "scheduler died", "job failed"],
)
def test_a_flaw_of_the_slim_side_is_exit_status_1_with_its_logs(
    play: Play, capsys: pytest.CaptureFixture[str], slim: CampaignReport
) -> None:
    play.reports["slim"] = slim
    assert main(["demo"]) == 1
    shown = capsys.readouterr().out
    assert "ValueError: no such row" in shown
    assert "slimjobs FAILED" in shown.splitlines()[-1]
    assert main(["demo", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["slim"]["logs"] == slim.logs


def test_json_is_all_there_is_on_stdout(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["stock"]["scheduler"]["survived"] is False
    assert report["stock"]["delivery"]["reached"] == 24_000
    assert report["slim"]["delivery"]["perfect"] is True
    assert "logs" not in {*report["stock"], *report["slim"]}
    assert (report["recipients"], report["body_bytes"]) == (30_000, demo.DEFAULT_BODY_BYTES)


def test_a_demo_that_cannot_run_says_why(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    play.error = DemoError("there is no redis-server on this machine", hint="Install one.")
    assert main(["demo"]) == 2
    assert "there is no redis-server on this machine.\nInstall one." in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_in_order(
    play: Play, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]

    def interrupt(*_arguments: object) -> CampaignReport:
        os.kill(os.getpid(), number)
        raise AssertionError("the signal came to nothing")

    monkeypatch.setattr(demo, "run_campaign", interrupt)
    assert main(["demo"]) == 128 + number
    assert "interrupted" in capsys.readouterr().err
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
