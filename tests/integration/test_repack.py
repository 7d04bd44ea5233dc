"""Pickled models in jobs become refs, in place; the jobs run with the rows, and what cannot be rewritten stays."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import zlib
from contextlib import ExitStack
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest
import queue_samples
from backlog_samples import no_room
from queue_samples import Letter

import slimjobs
from slimjobs.backlog import repack as repack_module
from slimjobs.backlog.repack import Converter, repack
from slimjobs.backlog.selection import Selection
from slimjobs.cli.main import main
from slimjobs.codec import MAGIC

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import rq
    from redis import Redis

    Run = Callable[..., str]

LARGE = "".join(f"{number:06}" for number in range(20_000))
ROOM_BYTES = 2 * 2**30


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str, status: int = 0) -> str:
        options = ["--app", "queue_samples", "--trust-pickle", "--memory", str(ROOM_BYTES)]
        assert main(["repack", *options, *arguments]) == status
        return capsys.readouterr().out

    return run


def data_of(redis: Redis, job: Any) -> bytes:
    data: Any = redis.hget(job.key, "data")
    return bytes(data)


def test_a_pickled_model_becomes_a_ref_and_runs_with_the_row(redis: Redis, queue: rq.Queue, run: Run) -> None:
    letter = Letter(1, LARGE).save()
    queued = queue.enqueue(queue_samples.Letter.shout, letter, mark="?", meta={"note": 1})
    late = queue.enqueue_at(datetime.now(timezone.utc), letter.shout)
    before = {job.id: redis.hgetall(job.key) for job in (queued, late)}
    assert "nothing was changed" in run()
    assert {job.id: redis.hgetall(job.key) for job in (queued, late)} == before
    output = run("--apply")
    assert len(data_of(redis, queued)) < 200 > len(data_of(redis, late))
    assert "bytes after" in output
    for job in (queued, late):
        after: Any = redis.hgetall(job.key)
        was: Any = before[job.id]
        assert {name for name in after if after[name] != was[name]} <= {b"data", b"meta", b"description"}
        assert LARGE[:100].encode() not in after[b"description"]
    Letter(1, "new").save()
    slim = slimjobs.Queue("mail", connection=redis)
    assert slim.fetch_job(queued.id).meta == {"note": 1}  # type: ignore[union-attr]
    slimjobs.Scheduler([slim], connection=redis).acquire_locks()  # type: ignore[no-untyped-call]
    from slimjobs.schedule import Schedule

    Schedule("mail", redis).move_due()
    slimjobs.SimpleWorker([slim], connection=redis).work(burst=True, logging_level="CRITICAL")
    assert slim.fetch_job(queued.id).return_value() == "NEW?"  # type: ignore[union-attr]
    assert slim.fetch_job(late.id).return_value() == "NEW!"  # type: ignore[union-attr]


def test_outcomes_for_scripts(redis: Redis, queue: rq.Queue, run: Run) -> None:
    good, gone = queue.enqueue(print, Letter(1, LARGE).save()), queue.enqueue(print, Letter(7, LARGE))
    before_bytes = sum(len(data_of(redis, job)) for job in (good, gone))
    for arguments in (["--json"], ["--json", "--apply"]):
        found = json.loads(run(*arguments, status=1))
        (task,) = found["tasks"]
        assert (task["jobs"], task["rewritten"], task["before_bytes"]) == (2, 1, before_bytes)
        assert [left["id"] for left in found["left"]] == [gone.id]
        assert found["applied"] == ("--apply" in arguments)
    assert task["after_bytes"] == sum(len(data_of(redis, job)) for job in (good, gone))


def test_a_job_that_has_the_only_copy_of_a_model_keeps_it(redis: Redis, queue: rq.Queue, run: Run) -> None:
    job = queue.enqueue(print, Letter(7, LARGE))
    before = data_of(redis, job)
    assert "it has the only copy of Letter 7" in run("--apply", status=1)
    assert data_of(redis, job) == before


def test_jobs_without_models_and_slim_ones_stay(redis: Redis, queue: rq.Queue, run: Run) -> None:
    jobs = [queue.enqueue(print, 1), slimjobs.Queue("mail", connection=redis).enqueue(print, 2)]
    before = [data_of(redis, job) for job in jobs]
    output = run("--apply")
    assert "1 as they were: it carries no registered model" in output
    assert "1 as they were: it is slim already" in output
    assert [data_of(redis, job) for job in jobs] == before


def test_all_leaves_no_pickle_but_the_only_copy_of_a_model(redis: Redis, queue: rq.Queue, run: Run) -> None:
    plain, alone = queue.enqueue(len, "abc", meta={"note": 1}), queue.enqueue(print, Letter(7, LARGE))
    output = run("--all", "--apply", status=1)
    assert "1 as they were: it has the only copy of Letter 7" in output
    assert "no registered model" not in output
    assert data_of(redis, plain)[:1] == MAGIC != data_of(redis, alone)[:1]
    slimjobs.SimpleWorker(["mail"], connection=redis).work(burst=True, logging_level="CRITICAL")
    ran = slimjobs.Job.fetch(plain.id, connection=redis)
    assert (ran.return_value(), ran.meta) == (3, {"note": 1})
    assert "1 as they were: it is slim already" in run("--all", status=1)


class Trap:
    def __reduce__(self) -> Any:
        return (exec, ("import os; os._exit(3)",))  # by name: what measures processes has an `os._exit` of its own


class Bomb:
    def __reduce__(self) -> Any:
        return (bytearray, (ROOM_BYTES + 2**30,))


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        (pickle.dumps(Trap()), "its process was ended"),
        (pickle.dumps(Bomb()), "it cannot be unpickled here (MemoryError)"),
        (b"damaged", "it cannot be unpickled here"),
        (pickle.dumps(1), "it cannot be unpickled here (TypeError)"),
        (pickle.dumps((1, 2, 3, 4)), "it holds no call"),
        (pickle.dumps(("a.b", None, (Letter(None, ""),), {})), "args[0]"),
    ],
)
def test_what_cannot_be_unpickled_stays_and_the_others_are_rewritten(
    payload: bytes, problem: str, redis: Redis, queue: rq.Queue, run: Run
) -> None:
    bad, good = queue.enqueue(print, 1), queue.enqueue(print, Letter(1, LARGE).save())
    redis.hset(bad.key, "data", zlib.compress(payload))
    assert problem in run("--apply", status=1)
    assert zlib.decompress(data_of(redis, bad)) == payload
    assert len(data_of(redis, good)) < 200


@pytest.mark.slow
def test_a_job_that_never_ends_to_unpickle_is_given_up(
    redis: Redis, queue: rq.Queue, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repack_module, "_MOST_SECONDS", 3.0)
    bad = queue.enqueue(print, 1)
    redis.hset(bad.key, "data", zlib.compress(b"ctime\nsleep\n(I1000\ntR."))
    assert "it took too long" in run("--apply", status=1)


def test_a_job_that_changes_meanwhile_stays(redis: Redis, queue: rq.Queue) -> None:
    job = queue.enqueue(print, Letter(1, LARGE).save())

    class Slow(Converter):
        def convert(self, size_bytes: int, pieces: Iterable[bytes], *others: Any) -> dict[str, Any]:
            redis.hset(job.key, "status", "started")
            return super().convert(size_bytes, pieces, *others)

    converter = Slow(["queue_samples"], ROOM_BYTES)
    rows = [row for step in Selection().rows(redis) for row in step]
    (outcome,) = repack(redis, rows, converter, writes=True)
    converter.close()
    assert outcome.problem == "it was written to meanwhile"
    assert len(data_of(redis, job)) > 10_000


@pytest.mark.parametrize("after", [0, 1])
def test_a_redis_without_memory_is_told_of_behind_what_was_rewritten(
    after: int, redis: Redis, queue: rq.Queue, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [queue.enqueue(print, Letter(number, LARGE).save()) for number in range(3)]
    with ExitStack() as stack:

        class Full(Converter):
            converted = 0

            def convert(self, *arguments: Any) -> dict[str, Any]:
                found = super().convert(*arguments)
                if self.converted == after:
                    stack.enter_context(no_room(redis))
                self.converted += 1
                return found

        monkeypatch.setattr("slimjobs.cli.repack.Converter", Full)
        options = ["--app", "queue_samples", "--trust-pickle", "--memory", str(ROOM_BYTES), "--apply"]
        assert main(["repack", *options]) == 2
    captured = capsys.readouterr()
    assert slim_ones(redis, jobs) == after
    assert [line.split()[:3] for line in captured.out.splitlines() if "print" in line] == (
        [["builtins.print", "1", "1"]] * after
    )
    assert captured.err == (
        "slimjobs: Redis is at its maxmemory and refuses to write. Raise it for the time: CONFIG SET maxmemory.\n"
    )


@pytest.mark.slow
def test_killed_at_any_moment_every_job_is_there_once_and_runs(redis: Redis, redis_url: str, queue: rq.Queue) -> None:
    letters = [Letter(number, f"letter {number} {LARGE[:5000]}").save() for number in range(60)]
    jobs = [queue.enqueue(letter.shout, job_id=f"job-{letter.id}") for letter in letters]
    before = {key: redis.dump(key) for key in redis.scan_iter() if not key.startswith(b"rq:job:")}
    for most in (15, 35):
        kill_at(redis, redis_url, jobs, most)
        assert {key: redis.dump(key) for key in before} == before
        assert all(data_of(redis, job)[:1] in (b"\xc1", b"x") for job in jobs)  # slim, or zlib's pickle
    assert 35 <= slim_ones(redis, jobs) < len(jobs)
    # Two at once, to the end.
    both = [start_repack(redis_url) for _ in range(2)]
    for process in both:
        process.communicate(timeout=queue_samples.DEADLINE_SECONDS)
    assert slim_ones(redis, jobs) == len(jobs)
    assert {key: redis.dump(key) for key in before} == before
    slim = slimjobs.Queue("mail", connection=redis)
    slimjobs.SimpleWorker([slim], connection=redis).work(burst=True, logging_level="CRITICAL")
    found = [slim.fetch_job(job.id) for job in jobs]
    shouted = [f"LETTER {letter.id} {LARGE[:5000]}!" for letter in letters]
    assert [job.return_value() for job in found if job] == shouted


def kill_at(redis: Redis, redis_url: str, jobs: list[Any], most: int) -> None:
    """Kill the command with SIGKILL when so many jobs are rewritten, and wait until its processes are gone."""
    process = start_repack(redis_url)
    while slim_ones(redis, jobs) < most:
        assert process.poll() is None
    process.kill()
    process.communicate(timeout=queue_samples.DEADLINE_SECONDS)  # the pipe ends when the last process has closed it


def start_repack(redis_url: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "slimjobs.cli", "repack", "--app", "queue_samples", "--trust-pickle", "--apply"]
    return subprocess.Popen([*command, "--redis-url", redis_url], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def slim_ones(redis: Redis, jobs: list[Any]) -> int:
    with redis.pipeline(transaction=False) as pipeline:
        for job in jobs:
            pipeline.hstrlen(job.key, "data")
        return sum(data_bytes < 200 for data_bytes in pipeline.execute())


def test_pickles_are_not_read_without_a_word(queue: rq.Queue, capsys: pytest.CaptureFixture[str]) -> None:
    queue.enqueue(print, 1)
    with pytest.raises(SystemExit) as ended:
        main(["repack", "--app", "queue_samples", "--apply"])
    assert ended.value.code == 2
    assert "--trust-pickle" in capsys.readouterr().err


def test_an_application_that_cannot_be_imported_is_told_of(queue: rq.Queue, capsys: pytest.CaptureFixture[str]) -> None:
    queue.enqueue(print, 1)
    assert main(["repack", "--app", "no_such_module", "--trust-pickle"]) == 2
    assert "the application cannot be imported" in capsys.readouterr().err


def test_an_application_that_takes_more_memory_than_it_may_is_told_of(
    queue: rq.Queue, capsys: pytest.CaptureFixture[str]
) -> None:
    queue.enqueue(print, Letter(1, LARGE).save())
    assert main(["repack", "--app", "queue_samples", "--trust-pickle", "--memory", "1MiB"]) == 2
    assert "the application does not fit in 1.0 MiB of memory" in capsys.readouterr().err


@pytest.mark.parametrize("description", ["Invoice 4711 for ACME", "print it (twice)", ""])
def test_a_description_that_a_user_gave_stays(description: str, redis: Redis, queue: rq.Queue, run: Run) -> None:
    letter = Letter(1, LARGE).save()
    jobs = [queue.enqueue(each, letter, description=description) for each in (print, letter.shout)]
    run("--apply")
    made: list[Any] = ["builtins.print(<Letter 1>)", "queue_samples.Letter.shout(<Letter 1>)"]
    for job, without in zip(jobs, made, strict=True):
        assert len(data_of(redis, job)) < 200
        assert redis.hget(job.key, "description") == (description or without).encode()
