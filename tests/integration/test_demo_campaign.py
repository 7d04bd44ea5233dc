"""A campaign under conditions that the command does not offer: a low memory cap, and processes that fail."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from slimjobs.cli.lines import Nobody
from slimjobs.demo import campaign, children
from slimjobs.demo.campaign import CampaignReport, run_campaign
from slimjobs.demo.errors import DemoError
from slimjobs.demo.redis_server import find_redis_server
from slimjobs.demo.stage import Stage, clear_redis, set_stage

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_redis_server() is None, reason="there is no redis-server on this machine"),
]

MIB = 2**20


@pytest.fixture
def small_stage() -> Iterator[Stage]:
    with set_stage(None, jobs=2, body_bytes=1000) as stage:
        yield stage


def test_under_the_same_cap_stock_rq_dies_and_slimjobs_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "SCHEDULER_CAP_BYTES", 64 * MIB)
    monkeypatch.setattr(campaign, "SCHEDULER_STARTS", 2)
    reports: list[CampaignReport] = []
    with set_stage(None, jobs=16, body_bytes=4 * MIB) as stage:
        for side in ("stock", "slim"):
            reports.append(run_campaign(side, stage, Nobody()))
            clear_redis(stage.redis_url)
    stock, slim = reports
    assert slim.scheduler.survived
    assert slim.delivery.perfect
    if not stock.scheduler.capped:
        pytest.skip("this system caps no memory")
    assert not stock.scheduler.survived
    assert stock.scheduler.starts == 2
    assert "MemoryError" in stock.scheduler.last_words
    assert stock.delivery.missed == 320, "the fifth that the scheduler never moved"
    assert stock.delivery.doubled == 0
    assert stock.delivery.corrupted == 0


def test_a_campaign_that_is_stuck_ends_and_says_so(monkeypatch: pytest.MonkeyPatch, small_stage: Stage) -> None:
    monkeypatch.setattr(campaign, "WORKERS", 0)
    monkeypatch.setattr(Stage, "patience_seconds", 0.3)
    with pytest.raises(DemoError, match="nothing has moved for 0 s"):
        run_campaign("slim", small_stage, Nobody())


def test_a_worker_that_ends_is_noticed_with_its_last_words(monkeypatch: pytest.MonkeyPatch, small_stage: Stage) -> None:
    real_command = children._service_command

    def service_command(role: str) -> list[str]:
        return [sys.executable, "-c", "raise SystemExit('out of luck')"] if role == "worker" else real_command(role)

    monkeypatch.setattr(children, "_service_command", service_command)
    with pytest.raises(DemoError, match=r"worker-\d ended with status 1(.|\n)*out of luck"):
        run_campaign("slim", small_stage, Nobody())
