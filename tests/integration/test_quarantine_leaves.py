"""Jobs stay where they are that would run too early, twice or never if they were set aside; the reason is told."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from backlog_samples import note_run, work
from rq.job import Job, JobStatus
from rq.scheduler import RQScheduler

import slimjobs
from slimjobs.backlog.records import RecordWriter
from slimjobs.cli.main import main
from slimjobs.schedule import Schedule

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import rq
    from redis import Redis

    Aside = Callable[..., str]

MINUTE = timedelta(minutes=1)


@pytest.fixture
def aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Aside:
    """Set jobs of given states aside, and return what was printed."""

    def aside(*states: str, status: int = 1, **options: str) -> str:
        words = [word for state in states for word in ("--state", state)]
        words += [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
        assert main(["quarantine", *words, "--to", str(tmp_path / "jobs"), "--apply"]) == status
        captured = capsys.readouterr()
        return captured.out + captured.err

    return aside


@pytest.mark.parametrize("command", ["unlink", "lrem", "zrem", "srem", "sadd"])
def test_what_redis_forbids_leaves_all_jobs_whole(
    command: str, redis: Redis, redis_url: str, queue: rq.Queue, aside: Aside
) -> None:
    for number in range(3):
        queue.enqueue(note_run, number)
    queue.enqueue_at(datetime.now(timezone.utc) + 9 * MINUTE, note_run, 3)
    before = {key: redis.dump(key) for key in redis.scan_iter("*")}
    redis.acl_setuser(
        "few", enabled=True, passwords=["+pw"], keys=["*"], categories=["+@all"], commands=[f"-{command}"]
    )
    try:
        url = urlsplit(redis_url)._replace(netloc=f"few:pw@{urlsplit(redis_url).netloc}").geturl()
        output = aside("queued", "scheduled", redis_url=url, status=2)
    finally:
        redis.acl_deluser("few")
    assert f"Redis refuses {command.upper()}" in output
    assert {key: redis.dump(key) for key in redis.scan_iter("*")} == before


def test_a_job_is_left_that_another_waits_for_together_with_others(
    redis: Redis, queue: rq.Queue, aside: Aside, tmp_path: Path
) -> None:
    first = queue.enqueue(note_run, "first", job_id="first", meta={"note": "x" * 5_000})
    second = queue.enqueue(note_run, "second", job_id="second")
    queue.enqueue(note_run, "last", job_id="last", depends_on=[first, second])
    output = aside(larger_than="4KiB")
    assert "first: left where it is, last waits for it and for others, and would run without it" in output
    assert work(queue) == [b"first", b"second", b"last"]


def test_jobs_that_wait_for_one_another_go_and_come_in_turn(
    redis: Redis, queue: rq.Queue, aside: Aside, tmp_path: Path
) -> None:
    for number in range(9):
        before = f"job-{number - 1}" if number else None
        queue.enqueue(note_run, str(number), job_id=f"job-{number}", depends_on=before)
    aside("queued", "deferred", status=0)
    assert not work(queue)
    assert main(["restore", str(tmp_path / "jobs"), "--apply"]) == 0
    assert work(queue) == [str(number).encode() for number in range(9)]


def test_a_job_that_no_registry_of_its_queue_lists_is_left(queue: rq.Queue, redis: Redis, aside: Aside) -> None:
    for name, origin in (("nowhere", ""), ("elsewhere", "other")):
        job = Job.create(note_run, [name], connection=redis, id=name, origin=origin, status=JobStatus.SCHEDULED)
        queue.schedule_job(job, datetime.now(timezone.utc))
    output = aside("scheduled")
    for name in ("nowhere", "elsewhere"):
        assert f"{name}: left where it is, no registry of the queue that it names lists it as scheduled" in output
    Schedule("mail", redis).move_due()
    assert sorted(work(queue)) == [b"elsewhere", b"nowhere"]


def test_due_jobs_are_left_to_a_scheduler_that_may_have_read_them(
    redis: Redis, queue: rq.Queue, aside: Aside, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(timezone.utc)
    for name, due_at in (("due", now), ("soon", now + MINUTE), ("late", now + 9 * MINUTE)):
        queue.enqueue_at(due_at, note_run, name, job_id=name)
    fetch_many, output = Job.fetch_many, ""

    def fetch_and_set_aside(*arguments: Any, **options: Any) -> Any:
        nonlocal output
        jobs = fetch_many(*arguments, **options)
        output = aside("scheduled")
        return jobs

    monkeypatch.setattr(Job, "fetch_many", fetch_and_set_aside)
    scheduler = RQScheduler([queue], connection=redis)
    scheduler.acquire_locks()  # type: ignore[no-untyped-call]
    scheduler.enqueue_scheduled_jobs()  # type: ignore[no-untyped-call]
    assert "1 jobs set aside" in output
    for name in ("due", "soon"):
        assert f"{name}: left where it is, it is due, and a scheduler that may be RQ's own has" in output
    assert work(queue) == [b"due"]


@pytest.mark.skipif(not hasattr(RQScheduler, "register_birth"), reason="schedulers tell of themselves since RQ 2.11")
def test_due_jobs_are_set_aside_beside_our_scheduler(redis: Redis, queue: rq.Queue, aside: Aside) -> None:
    queue.enqueue_at(datetime.now(timezone.utc), note_run, "due")
    scheduler = slimjobs.Scheduler([queue], connection=redis)
    scheduler.register_birth()
    scheduler.acquire_locks()  # type: ignore[no-untyped-call]
    assert "1 jobs set aside" in aside("scheduled", status=0)


def test_a_due_job_is_left_to_a_scheduler_that_begins_while_it_is_written(
    redis: Redis, queue: rq.Queue, aside: Aside, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.enqueue_at(datetime.now(timezone.utc), note_run, "due", job_id="due")
    scheduler = RQScheduler([queue], connection=redis)
    write = RecordWriter.append

    def write_and_begin(*arguments: Any) -> None:
        write(*arguments)
        if len(arguments) > 2:  # it is no header
            scheduler.acquire_locks()  # type: ignore[no-untyped-call]

    monkeypatch.setattr(RecordWriter, "append", write_and_begin)
    assert "due: left where it is, its scheduler has changed" in aside("scheduled")
    assert redis.exists("rq:job:due")


def test_a_deferred_job_is_no_more_let_run_once_it_is_set_aside(
    redis: Redis, queue: rq.Queue, aside: Aside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = queue.enqueue(note_run, "first", ttl=1000)
    queue.enqueue(note_run, "last", job_id="last", depends_on=first)
    redis.expire(first.dependents_key, 1000)
    are_met = Job.dependencies_are_met
    outputs: list[str] = []

    def look_and_set_aside(*arguments: Any, **options: Any) -> Any:
        answer = are_met(*arguments, **options)
        if not outputs:  # the worker has read it, and has not let it run yet
            outputs.append(aside("deferred", status=0))
            assert redis.ttl(first.dependents_key) > 0
        return answer

    monkeypatch.setattr(Job, "dependencies_are_met", look_and_set_aside)
    assert work(queue) == [b"first"]
    assert "1 jobs set aside" in outputs[0]
    assert not list(redis.scan_iter("rq:job:last*")) + list(redis.scan_iter("rq:ready:*"))
    assert queue.job_ids == []
    assert main(["restore", str(tmp_path / "jobs"), "--apply"]) == 0
    queue.deferred_job_registry.requeue("last")
    assert work(queue) == [b"first", b"last"]
