"""`slimjobs demo`: its arguments and what it prints."""

from __future__ import annotations

import argparse
import json
import signal
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NoReturn

import slimjobs
from slimjobs.cli import parsers
from slimjobs.cli.lines import Nobody
from slimjobs.cli.watching import watch
from slimjobs.demo.campaign import SCHEDULER_CAP_BYTES, SCHEDULER_STARTS, CampaignReport, SchedulerReport, run_campaign
from slimjobs.demo.stage import Stage, clear_redis, set_stage
from slimjobs.sizes import format_size, parse_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slimjobs.demo.campaign import Side

OUTAGE_JOBS = 300
OUTAGE_BODY_BYTES = 5_000_000
# With 300 jobs the smallest round size at which stock RQ's scheduler dies in the middle of reading them, not at the
# edge of its cap; and the whole demo still ends within a minute on two cores.
DEFAULT_BODY_BYTES = 1_600_000
NAMES: dict[Side, str] = {"stock": "stock RQ", "slim": "slimjobs"}
LABEL_WIDTH = 27
COLUMN_WIDTH = 20

DESCRIPTION = """\
Run the outage that slimjobs prevents, and watch it not happen.

A newsletter is sent to 30,000 readers in jobs of 100, twice: with stock RQ, which
pickles the email into every job, and with slimjobs, which puts its ID there. A fifth
of the readers are at a mail provider that is over its rate limit, so that each job
enqueues the rest of its batch again for later. Then the scheduler, with 512 MiB of
memory, has to move these jobs. Redis, workers, schedulers and the database are real,
and every reader's mail is checked.
"""
EPILOG = """\
examples:
  slimjobs demo                          300 jobs with an email of 1.6 MB; under a minute
  slimjobs demo --full                   the outage itself: 300 jobs of 5 MB; a few minutes
  slimjobs demo --jobs 20 --body-bytes "5 MB"
                                         a small campaign that stock RQ survives: compare its memory
  slimjobs demo --json > report.json     the numbers, for machines
  slimjobs demo --redis-url redis://localhost:6379/9
                                         on a Redis of yours, in a database that is empty

exit status:
  0 when slimjobs sent every reader the right email exactly once, whatever stock RQ did; 1 when not; 2 when the
  arguments are wrong, or after an error.
"""


def add_parser(commands: parsers.Commands[argparse.ArgumentParser]) -> None:
    """Add the command and its arguments."""
    parser = parsers.add_command(
        commands, "demo", "run the outage that slimjobs prevents, and watch it not happen", DESCRIPTION, EPILOG
    )
    parser.add_argument("--jobs", type=_count, metavar="N", help="jobs of 100 readers each (default: 300)")
    parser.add_argument(
        "--body-bytes",
        type=_size,
        metavar="SIZE",
        help='the email\'s size, such as 20000, "5 MB" or "1 MiB" (default: 1.6 MB)',
    )
    parser.add_argument("--full", action="store_true", help="the outage's size: 300 jobs of 5 MB; a few minutes")
    parsers.add_json(parser, "print one JSON object and nothing else")
    parser.add_argument(
        "--redis-url",
        metavar="URL",
        help="use a database of this Redis, which must be empty, instead of starting a private Redis; "
        "nothing is flushed, and what the demo wrote is deleted in the end",
    )
    parser.set_defaults(run=run, fail=parser.error)


def run(arguments: argparse.Namespace) -> int:
    """Run the demo and print its report.

    Returns:
        0 if slimjobs sent everybody the right email exactly once, else 1.
    """
    if arguments.full and (arguments.jobs or arguments.body_bytes):
        arguments.fail("--full is a size of its own; leave --jobs and --body-bytes out")
    jobs = arguments.jobs or OUTAGE_JOBS
    body_bytes = arguments.body_bytes or (OUTAGE_BODY_BYTES if arguments.full else DEFAULT_BODY_BYTES)
    with _ended_by_signals(), set_stage(arguments.redis_url, jobs=jobs, body_bytes=body_bytes) as stage:
        if not arguments.json:
            print(
                f"One newsletter of {format_size(body_bytes)} for {stage.recipients:,} readers, in {jobs} jobs, sent "
                f"twice:\nfirst with stock RQ {version('rq')} and pickle, then with slimjobs.\n",
                flush=True,
            )
        stock = _run_side("stock", stage, quiet=arguments.json)
        slim = _run_side("slim", stage, quiet=arguments.json)
    if arguments.json:
        print(json.dumps(_as_json(stage, stock, slim), indent=2))
    else:
        _print_report(stage, stock, slim)
    return 0 if is_faultless(slim) else 1


def _run_side(side: Side, stage: Stage, *, quiet: bool) -> CampaignReport:
    report = run_campaign(side, stage, Nobody() if quiet else watch(NAMES[side]))
    clear_redis(stage.redis_url)
    return report


def _print_report(stage: Stage, stock: CampaignReport, slim: CampaignReport) -> None:
    print()
    for label, *cells in (("", *NAMES.values()), *_rows(stock, slim)):
        print(label.ljust(LABEL_WIDTH) + "".join(cell.rjust(COLUMN_WIDTH) for cell in cells))
    print()
    if not is_faultless(slim):
        print(f"{slim.logs}\n")
    print(tell_stock(stage, stock))
    print(tell_slim(slim))


def _rows(*reports: CampaignReport) -> Iterator[tuple[str, ...]]:
    yield "time to enqueue", *(f"{report.enqueue_seconds:.1f} s" for report in reports)
    yield "payload of a job", *(format_size(report.payload_bytes) for report in reports)
    yield "  as stored, compressed", *(format_size(report.stored_bytes) for report in reports)
    yield "Redis memory, at most", *(format_size(report.redis_bytes) for report in reports)
    yield "scheduler memory, at most", *(format_size(report.scheduler.peak_bytes) for report in reports)
    yield "scheduler", *(_fate(report.scheduler) for report in reports)
    yield "emails sent", *(f"{report.delivery.reached:,} of {report.delivery.recipients:,}" for report in reports)
    yield (
        "  twice, wrong, astray",
        *(f"{report.delivery.doubled}, {report.delivery.corrupted}, {report.delivery.strangers}" for report in reports),
    )
    yield "failed jobs", *(str(report.failed_jobs) for report in reports)


def _fate(scheduler: SchedulerReport) -> str:
    fate = "survived" if scheduler.survived else f"died {scheduler.starts} times"
    return fate if scheduler.capped else f"{fate}, uncapped"


def is_faultless(report: CampaignReport) -> bool:
    """Return whether everybody was sent the right email exactly once, and no process or job failed on the way."""
    return report.delivery.perfect and report.scheduler.survived and not report.failed_jobs


def tell_stock(stage: Stage, report: CampaignReport) -> str:
    """Return in a sentence what became of the campaign with stock RQ."""
    scheduler, delivery = report.scheduler, report.delivery
    email, peak, cap = format_size(stage.body_bytes), format_size(scheduler.peak_bytes), "512 MiB"
    cause = f"Stock RQ put a copy of the {email} email into every job"
    if not scheduler.survived:
        return (
            f"{cause}: its scheduler ran out of {cap} of memory and died, {scheduler.starts} times out of "
            f"{scheduler.starts}, and {delivery.missed:,} of {delivery.recipients:,} readers never got their email."
        )
    if not scheduler.capped:
        verdict = "would have" if scheduler.peak_bytes > SCHEDULER_CAP_BYTES else "would not have"
        return f"{cause}: its scheduler took {peak} of memory. This system cannot cap it; at {cap} it {verdict} died."
    return f"{cause}: its scheduler took {peak} of memory, which at this size it survived ({cap} was the limit)."


def tell_slim(report: CampaignReport) -> str:
    """Return in a sentence what became of the campaign with slimjobs."""
    scheduler, delivery = report.scheduler, report.delivery
    if is_faultless(report):
        return (
            f"slimjobs put the email's ID there instead: its scheduler took {format_size(scheduler.peak_bytes)}, and "
            f"all {delivery.recipients:,} readers got the right email, exactly once."
        )
    return (
        f"slimjobs FAILED: of {delivery.recipients:,} readers {delivery.missed:,} got no email, {delivery.doubled:,} "
        f"got it twice and {delivery.corrupted:,} got a wrong one; {delivery.strangers:,} emails went to strangers, "
        f"{report.failed_jobs:,} jobs failed. Please report this with the lines above."
    )


def _as_json(stage: Stage, *reports: CampaignReport) -> dict[str, Any]:
    result: dict[str, Any] = {
        "versions": {"slimjobs": slimjobs.__version__, "rq": version("rq"), "redis-py": version("redis")},
        "jobs": stage.jobs,
        "recipients": stage.recipients,
        "body_bytes": stage.body_bytes,
        "scheduler_cap_bytes": SCHEDULER_CAP_BYTES,
        "scheduler_starts_allowed": SCHEDULER_STARTS,
    }
    for report in reports:
        entry = asdict(report)
        delivery = report.delivery
        entry["delivery"] |= {"reached": delivery.reached, "perfect": delivery.perfect}
        if report.side == "stock" or is_faultless(report):
            del entry["logs"]  # Only a fault of slimjobs is worth them.
        result[report.side] = entry
    return result


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let Ctrl-C, a closed terminal and `kill` end the block in order, and not be repeated while it ends."""
    # What is ignored stays ignored, such as SIGHUP under nohup.
    signals = [
        number
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN
    ]

    def end(signum: int, _frame: object) -> NoReturn:
        for number in signals:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt(signum)

    before = {number: signal.signal(number, end) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _count(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of jobs; write 1 or more")
    return number


def _size(text: str) -> int:
    try:
        size_bytes = parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if size_bytes < 1:
        raise argparse.ArgumentTypeError("an email has at least 1 byte")
    return size_bytes
