"""Run one campaign, on stock RQ or on slimjobs, and measure it."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol

from slimjobs.demo.children import Child, Children
from slimjobs.demo.delivery import Delivery, check_delivery
from slimjobs.demo.errors import DemoError
from slimjobs.demo.gauges import Gauges
from slimjobs.demo.sample import create_database
from slimjobs.sizes import format_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from slimjobs.demo.stage import Stage

Side = Literal["stock", "slim"]

WORKERS = 2
SCHEDULER_CAP_BYTES = 512 * 2**20
SCHEDULER_STARTS = 4  # Once, and then up to three times by whatever watches over it.
POLL_SECONDS = 0.05


class Scene(Protocol):
    """A part of the campaign that somebody may be watching."""

    def update(self, done: int, /) -> None:
        """Show that so much of the total is done."""

    def end(self, outcome: str, /) -> None:
        """Show what came of it."""


class Audience(Protocol):
    """Whoever is told how the campaign is going."""

    def scene(self, title: str, total: int, /) -> AbstractContextManager[Scene]:
        """Show that a part begins, which is done at `total`."""
        ...  # pyright takes a docstring alone for a body that returns None


@dataclass(frozen=True)
class SchedulerReport:
    """How the scheduler did.

    Attributes:
        starts: How often it was started.
        survived: Whether it moved all that was due and ended when asked to.
        peak_bytes: The most memory that one of its processes was resident in, in bytes.
        capped: Whether the system could hold it to its memory cap.
        last_words: The last line of the log of a scheduler that died, or the signal that killed it.
    """

    starts: int
    survived: bool
    peak_bytes: int
    capped: bool
    last_words: str = ""


@dataclass(frozen=True)
class CampaignReport:
    """What one side took, and what came of it. All sizes in bytes, times in seconds."""

    side: Side
    enqueue_seconds: float
    total_seconds: float
    payload_bytes: int
    stored_bytes: int
    redis_bytes: int
    scheduler: SchedulerReport
    failed_jobs: int
    delivery: Delivery
    logs: str


def run_campaign(side: Side, stage: Stage, audience: Audience) -> CampaignReport:
    """Run one side from the first job to the last email.

    Args:
        side: "stock" or "slim".
        stage: Where it plays; nothing of the other side may be left in its Redis.
        audience: Is told how it goes.

    Raises:
        DemoError: It got stuck, or one of its processes ended that should not have.
    """
    started = time.monotonic()
    folder = stage.folder / side
    folder.mkdir()
    database_path = folder / "newsletter.sqlite3"
    digest = create_database(database_path, recipients=stage.recipients, body_bytes=stage.body_bytes)
    environment = {
        "NEWSLETTER_QUEUE": side,
        "NEWSLETTER_REDIS_URL": stage.redis_url,
        "NEWSLETTER_DATABASE": str(database_path),
    }
    with Gauges(stage.redis_url, database_path) as gauges, Children(folder, environment) as children:
        campaign = _Campaign(stage, audience, gauges, children)
        enqueue_seconds = campaign.enqueue()
        size = gauges.job_size()
        with campaign.working():
            campaign.send("sending the first pass")
            gauges.lift_rate_limit()
            scheduler = campaign.schedule()
            if scheduler.survived:
                campaign.send("sending the rest")
        return CampaignReport(
            side=side,
            enqueue_seconds=enqueue_seconds,
            total_seconds=time.monotonic() - started,
            payload_bytes=size.payload_bytes,
            stored_bytes=size.stored_bytes,
            redis_bytes=gauges.peak_redis_bytes,
            scheduler=scheduler,
            failed_jobs=gauges.failed_jobs(),
            delivery=check_delivery(database_path, digest),
            logs=children.last_words(),
        )


class _Campaign:
    def __init__(self, stage: Stage, audience: Audience, gauges: Gauges, children: Children) -> None:
        self._stage = stage
        self._audience = audience
        self._gauges = gauges
        self._children = children
        self._workers: list[Child] = []

    def enqueue(self) -> float:
        """Enqueue the campaign and return the seconds that the application took for it."""
        application = self._children.start("enqueue", reports=True)
        with self._audience.scene("enqueueing the jobs", self._stage.jobs) as scene:
            self._wait(scene, progress=self._gauges.open_jobs, until=lambda: not application.running)
            application.require_success()
            seconds = float(application.report()["seconds"])
            scene.end(f"{self._stage.jobs} jobs in {seconds:.1f} s")
        return seconds

    @contextmanager
    def working(self) -> Iterator[None]:
        """Run the workers while the block runs; if it fails, they end with all other children."""
        self._workers = [self._children.start("worker") for _ in range(WORKERS)]
        yield
        for worker in self._workers:
            self._children.stop(worker)

    def send(self, title: str) -> None:
        """Wait until the workers have done all that is queued."""
        with self._audience.scene(title, self._stage.recipients) as scene:
            self._wait(scene, progress=self._gauges.emails_sent, until=lambda: self._gauges.open_jobs() == 0)
            scene.end(f"{self._gauges.emails_sent():,} of {self._stage.recipients:,} emails sent")

    def schedule(self) -> SchedulerReport:
        """Run the scheduler on jobs that are all due, again where it dies, until they are moved or it is given up."""
        delayed = self._gauges.delayed_jobs()
        if not delayed:
            failed = self._gauges.failed_jobs()
            raise DemoError(
                f"no job was delayed, and {failed} have failed; the last words of the processes:\n"
                f"{self._children.last_words()}"
            )
        reports: list[SchedulerReport] = []
        while len(reports) < SCHEDULER_STARTS and not (reports and reports[-1].survived):
            again = f", start {len(reports) + 1} of {SCHEDULER_STARTS}" if reports else ""
            with self._audience.scene(f"scheduler with {delayed} due jobs{again}", delayed) as scene:
                report = self._run_scheduler(scene, delayed)
                peak = format_size(report.peak_bytes)
                scene.end(
                    f"moved {delayed} jobs, peak memory {peak}"
                    if report.survived
                    else f"died at {peak}: {report.last_words}"
                )
                reports.append(report)
        return replace(reports[-1], starts=len(reports), peak_bytes=max(report.peak_bytes for report in reports))

    def _run_scheduler(self, scene: Scene, delayed: int) -> SchedulerReport:
        # Its first tick finds all of them due, as after an hour of rate limit.
        self._wait(scene, progress=lambda: 0, until=lambda: self._gauges.delayed_jobs_not_due() == 0)
        scheduler = self._children.start_capped("scheduler", limit_bytes=SCHEDULER_CAP_BYTES)
        self._wait(
            scene,
            progress=lambda: delayed - self._gauges.delayed_jobs(),
            until=lambda: self._gauges.delayed_jobs() == 0 or not scheduler.running,
        )
        self._children.stop(scheduler)
        scheduler.require_success()
        report = scheduler.report()
        exit_code = report["exit_code"]
        survived = exit_code == 0 and self._gauges.delayed_jobs() == 0
        cause = f"killed by signal {-exit_code}" if exit_code < 0 else scheduler.last_words(lines=1)
        self._gauges.release_scheduler_lock()
        return SchedulerReport(
            starts=1,
            survived=survived,
            peak_bytes=report["peak_bytes"],
            capped=report["capped"],
            last_words="" if survived else cause or f"exit status {exit_code}",
        )

    def _wait(self, scene: Scene, *, progress: Callable[[], int], until: Callable[[], bool]) -> None:
        """Wait until `until()`, as long as something moves and the workers run."""
        patience_seconds = self._stage.patience_seconds
        state, moved_at = (-1, -1), time.monotonic()
        while not until():
            now = (progress(), self._gauges.open_jobs())
            scene.update(now[0])
            self._gauges.sample_memory()
            if now != state:
                state, moved_at = now, time.monotonic()
            elif time.monotonic() - moved_at > patience_seconds:
                raise DemoError(
                    f"nothing has moved for {patience_seconds:.0f} s; the last words of the processes:\n"
                    f"{self._children.last_words()}"
                )
            for worker in self._workers:
                worker.require_running()
            time.sleep(POLL_SECONDS)
        scene.update(progress())
