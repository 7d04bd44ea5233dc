"""Jobs come back with all that belongs to them, wherever it is, and wait for no more and no less than they did."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import backlog_samples
import pytest
import rq
from backlog_samples import note_run, work
from rq.group import Group
from rq.job import Dependency
from rq.registry import clean_registries
from rq_versions import RateLimit, needs_rate_limits

from slimjobs.backlog import quarantine as quarantine_module
from slimjobs.backlog.quarantine import Quarantine
from slimjobs.backlog.restoring import restore
from slimjobs.backlog.selection import Selection
from slimjobs.backlog.snapshots import take
from slimjobs.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from redis import Redis

    Run = Callable[..., str]


def dump(redis: Redis) -> dict[str, Any]:
    """Return all that is in Redis, save for what expires of a restore."""
    keys = [key.decode() for key in redis.scan_iter("*") if b":restoring:" not in key]
    return {key: redis.dump(key) for key in keys}


@pytest.mark.parametrize("command", ["rename", "persist", "rpush", "linsert", "sadd", "srem", "zadd", "unlink"])
def test_what_redis_forbids_leaves_all_as_it_is(
    command: str, redis: Redis, redis_url: str, queue: rq.Queue, tmp_path: Path, run: Run
) -> None:
    for number in range(3):
        meta = {"note": "x" * 5_000 * (number == 1)}
        queue.enqueue(note_run, f"job-{number}", job_id=f"job-{number}", meta=meta)
    run("quarantine", "--larger-than", "4KiB", "--to", tmp_path / "jobs", "--apply")
    before = dump(redis)
    redis.acl_setuser(
        "few", enabled=True, passwords=["+pw"], keys=["*"], categories=["+@all"], commands=[f"-{command}"]
    )
    try:
        url = urlsplit(redis_url)._replace(netloc=f"few:pw@{urlsplit(redis_url).netloc}").geturl()
        for _ in range(2):
            output = run("restore", tmp_path / "jobs", "--apply", "--redis-url", url, status=1)
            assert f"job-1: left where it is, Redis refuses {command.upper()}" in output
            assert dump(redis) == before
    finally:
        redis.acl_deluser("few")
    run("restore", tmp_path / "jobs", "--apply")
    assert work(queue) == [b"job-0", b"job-1", b"job-2"]


def test_a_redis_without_memory_is_told_of_without_what_it_refused(
    redis: Redis, queue: rq.Queue, tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    queue.enqueue(note_run, "secret")
    run("quarantine", "--queue", "mail", "--to", tmp_path / "jobs", "--apply")
    with backlog_samples.no_room(redis):
        assert main(["restore", str(tmp_path / "jobs"), "--apply"]) == 2
    captured = capsys.readouterr()
    assert "0 jobs put back" in captured.out
    assert captured.err == (
        "slimjobs: Redis is at its maxmemory and refuses to write. Raise it for the time: CONFIG SET maxmemory.\n"
    )
    run("restore", tmp_path / "jobs", "--apply")
    assert work(queue) == [b"secret"]


def test_a_key_of_another_type_leaves_its_job_and_lets_the_others_back(
    redis: Redis, queue: rq.Queue, tmp_path: Path, run: Run
) -> None:
    for number in range(3):
        queue.enqueue(note_run, f"job-{number}", job_id=f"job-{number}")
    run("quarantine", "--queue", "mail", "--to", tmp_path / "jobs", "--apply")
    redis.set("rq:job:job-1:dependents", "x")
    assert "job-1: left where it is, Redis refuses SCARD: WRONGTYPE" in run(
        "restore", tmp_path / "jobs", "--apply", status=1
    )
    assert queue.job_ids == ["job-0", "job-2"]
    redis.delete("rq:job:job-1:dependents")
    run("restore", tmp_path / "jobs", "--apply")
    assert queue.count == 3


def test_queued_jobs_go_back_before_those_that_stood_behind_them_and_were_left(
    redis: Redis, queue: rq.Queue, tmp_path: Path, run: Run
) -> None:
    jobs = {name: queue.enqueue(note_run, name, job_id=name) for name in "abcdefg"}
    other = rq.Queue("other", connection=redis)
    other.enqueue(note_run, "last", depends_on=[jobs["c"], jobs["f"]])  # so both of them are left
    queue.enqueue(backlog_samples.fail, job_id="z")
    before = queue.job_ids
    run("quarantine", "--task", "*.note_run", "--state", "queued", "--to", tmp_path / "jobs", "--apply", status=1)
    assert queue.job_ids == ["c", "f", "z"]
    run("restore", tmp_path / "jobs", "--apply")
    assert queue.job_ids == before


def test_jobs_go_back_before_those_that_an_interrupted_quarantine_had_still_to_take(
    redis: Redis, queue: rq.Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", *"abcde", "z"):
        queue.enqueue(note_run, name, job_id=name)
    monkeypatch.setattr(quarantine_module, "_BATCH_JOBS", 2)
    rows = [row for step in Selection(queues=("mail",)).rows(redis) for row in step if row.id in "abcde"]
    quarantine = Quarantine(redis, tmp_path / "jobs")
    assert len(list(islice(quarantine.set_aside(rows), 3))) == 3
    quarantine.close()
    assert queue.job_ids == ["first", "e", "z"]
    rq.SimpleWorker([queue], connection=redis).work(max_jobs=1, logging_level="CRITICAL")
    for name in ("y", "x"):
        queue.enqueue(note_run, name, job_id=name, at_front=True)
    assert not [outcome for outcome in restore(redis, tmp_path / "jobs") if outcome.problem]
    assert queue.job_ids == ["x", "y", *"abcde", "z"]


def take_as_before(*arguments: Any) -> Any:
    """Return a record as slimjobs 0.1.0 wrote it."""
    record = take(*arguments)
    assert record
    return {name: value for name, value in record.items() if name not in ("dependents_ttl_ms", "dependencies_ttl_ms")}


@pytest.mark.parametrize("is_old_file", [False, True])
def test_who_waits_for_a_job_does_not_expire_with_it(
    is_old_file: bool, redis: Redis, queue: rq.Queue, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_old_file:
        monkeypatch.setattr(quarantine_module, "take", take_as_before)
    first = queue.enqueue(note_run, "first", ttl=1000)
    second = queue.enqueue(note_run, "second", depends_on=first)
    keys = [first.key, first.dependents_key, second.key, second.dependencies_key]
    redis.expire(keys[3], 2000)
    before = [redis.ttl(key) for key in keys]
    run("quarantine", "--larger-than", "1 byte", "--to", tmp_path / "jobs", "--apply")
    run("restore", tmp_path / "jobs", "--apply")
    if is_old_file:
        before[3] = -1
    assert [redis.ttl(key) for key in keys] == pytest.approx(before, abs=20)
    assert work(queue) == [b"first", b"second"]


@needs_rate_limits
def test_jobs_of_a_rate_limit_that_rq_has_forgotten_run_one_after_the_other(
    redis: Redis, queue: rq.Queue, tmp_path: Path, run: Run
) -> None:
    for name in ("first", "second", "third"):
        queue.enqueue(note_run, name, job_id=name, rate_limit=RateLimit("smtp", 1))
    run("quarantine", "--state", "rate_limited", "--to", tmp_path / "jobs", "--apply")
    assert work(queue) == [b"first"]
    clean_registries(queue)  # as a worker does every ten minutes
    assert not redis.exists("rq:rl-keys")
    run("restore", tmp_path / "jobs", "--apply")
    assert queue.count == 1
    assert work(queue) == [b"first", b"second", b"third"]


@needs_rate_limits
def test_a_rate_limit_that_was_changed_meanwhile_stays_so(
    redis: Redis, queue: rq.Queue, tmp_path: Path, run: Run
) -> None:
    for number in range(4):
        queue.enqueue(note_run, number, rate_limit=RateLimit("smtp", 1))
    run("quarantine", "--state", "rate_limited", "--to", tmp_path / "jobs", "--apply")
    redis.hset("rq:rl:smtp", "concurrency", 3)
    run("restore", tmp_path / "jobs", "--apply")
    assert redis.hget("rq:rl:smtp", "concurrency") == b"3"
    assert queue.count == 3


def test_a_group_that_rq_has_forgotten_is_there_again(redis: Redis, queue: rq.Queue, tmp_path: Path, run: Run) -> None:
    group = Group.create(redis, "campaign")
    jobs = group.enqueue_many(queue, [rq.Queue.prepare_data(note_run, (number,)) for number in range(3)])
    run("quarantine", "--queue", "mail", "--to", tmp_path / "jobs", "--apply")
    Group.clean_registries(redis)
    assert not Group.all(redis)
    run("restore", tmp_path / "jobs", "--apply")
    assert [each.name for each in Group.all(redis)] == ["campaign"]
    assert {job.id for job in group.get_jobs()} == {job.id for job in jobs}


def test_a_job_that_waits_for_others_still_is_not_told_of_and_runs_once(
    redis: Redis, queue: rq.Queue, tmp_path: Path, run: Run
) -> None:
    other = rq.Queue("other", connection=redis)
    first, second = queue.enqueue(note_run, "first"), other.enqueue(note_run, "second")
    queue.enqueue(note_run, "last", depends_on=[first, second])
    run("quarantine", "--state", "deferred", "--to", tmp_path / "jobs", "--apply")
    work(queue)
    assert "ended" not in run("restore", tmp_path / "jobs", "--apply")
    work(other)
    assert work(queue) == [b"first", b"second", b"last"]


def test_a_job_that_waits_for_one_in_the_file_is_not_told_of(
    redis: Redis, queue: rq.Queue, tmp_path: Path, run: Run
) -> None:
    first = queue.enqueue(note_run, "first")
    rq.Queue("other", connection=redis).enqueue(note_run, "last", depends_on=first)
    run("quarantine", "--larger-than", "1 byte", "--to", tmp_path / "jobs", "--apply")
    assert "ended" not in run("restore", tmp_path / "jobs", "--queue", "other", "--apply")
    run("restore", tmp_path / "jobs", "--apply")
    work(queue)
    assert work(rq.Queue("other", connection=redis)) == [b"first", b"last"]


@pytest.mark.parametrize("allows_failure", [False, True])
def test_a_job_is_told_of_whose_dependency_failed_where_it_may(
    allows_failure: bool, redis: Redis, queue: rq.Queue, tmp_path: Path, run: Run
) -> None:
    first = queue.enqueue(backlog_samples.fail)
    last = queue.enqueue(note_run, "last", depends_on=Dependency([first], allow_failure=allows_failure))
    run("quarantine", "--state", "deferred", "--to", tmp_path / "jobs", "--apply")
    work(queue)
    output = run("restore", tmp_path / "jobs", "--apply")
    assert (f"{last.id}: {first.id} it waits for, and they have ended" in output) == allows_failure
    assert redis.smembers(first.dependents_key) == {last.id.encode()}


def test_a_job_that_is_left_in_the_file_changes_nothing_of_those_it_waits_for(
    redis: Redis, queue: rq.Queue, tmp_path: Path, run: Run
) -> None:
    first = queue.enqueue(note_run, "first")
    queue.enqueue(note_run, "old", depends_on=first, job_id="same")
    run("quarantine", "--state", "deferred", "--to", tmp_path / "jobs", "--apply")
    redis.delete(first.dependents_key)
    queue.enqueue(note_run, "new", job_id="same")
    before = dump(redis)
    assert "there is another job with its id" in run("restore", tmp_path / "jobs", "--apply", status=1)
    assert dump(redis) == before


def test_what_rq_wrote_of_a_job_that_was_gone_is_no_other_job(
    redis: Redis, queue: rq.Queue, tmp_path: Path, run: Run
) -> None:
    queue.enqueue(note_run, "first", job_id="first")
    run("quarantine", "--queue", "mail", "--to", tmp_path / "jobs", "--apply")
    redis.hset("rq:job:first", mapping={"status": "ready_to_enqueue", "note": "x"})
    redis.expire("rq:job:first", 100)
    run("restore", tmp_path / "jobs", "--apply")
    assert (redis.hexists("rq:job:first", "note"), redis.ttl("rq:job:first")) == (False, -1)
    assert work(queue) == [b"first"]


def test_a_dependent_that_was_requeued_meanwhile_does_not_run_again(
    redis: Redis, queue: rq.Queue, tmp_path: Path, run: Run
) -> None:
    first = queue.enqueue(note_run, "first")
    last = queue.enqueue(note_run, "last", depends_on=first)
    run("quarantine", "--state", "queued", "--to", tmp_path / "jobs", "--apply")
    queue.deferred_job_registry.requeue(last.id)
    work(queue)
    run("restore", tmp_path / "jobs", "--apply")
    assert work(queue) == [b"last", b"first"]


def test_a_job_that_waits_for_several_comes_back_behind_those_of_its_file(
    redis: Redis, queue: rq.Queue, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine_module, "_BATCH_JOBS", 1)
    other = rq.Queue("other", connection=redis)
    root, second = other.enqueue(note_run, "root"), queue.enqueue(note_run, "second")
    first = queue.enqueue(note_run, "first", depends_on=root, job_id="first")
    last = queue.enqueue(note_run, "last", depends_on=[first, second], job_id="last")
    redis.hset(last.key, "created_at", "2020-01-01T00:00:00.000000Z")  # it goes before what it waits for
    run("quarantine", "--state", "deferred", "--to", tmp_path / "jobs", "--apply")
    output = run("restore", tmp_path / "jobs", "--apply", status=1)
    assert "last: left where it is, it waits for first, which is not back" in output
    assert work(queue) == [b"second"]
    run("restore", tmp_path / "jobs", "--apply")
    work(other)
    assert work(queue) == [b"second", b"root", b"first", b"last"]
