"""Jobs that are set aside are in Redis or in the file, and come back as they were, whatever happens in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import backlog_samples
import pytest
import rq
from redis.client import Pipeline
from redis.exceptions import WatchError

from slimjobs.backlog import quarantine as quarantine_module
from slimjobs.backlog.keys import QUARANTINE_PREFIX
from slimjobs.backlog.quarantine import Quarantine
from slimjobs.backlog.records import RecordWriter, read_records
from slimjobs.backlog.restoring import restore
from slimjobs.backlog.selection import Selection
from slimjobs.backlog.snapshots import Place, find_places, take
from slimjobs.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from redis import Redis

    from slimjobs.backlog.rows import JobRow

    Run = Callable[..., str]


def all_of(redis: Redis) -> dict[str, Any]:
    """Return all that is in Redis, and which of it expires."""
    readers: dict[bytes, Callable[[str], Any]] = {
        b"string": redis.get,
        b"hash": redis.hgetall,
        b"list": lambda key: redis.lrange(key, 0, -1),
        b"set": redis.smembers,
        b"zset": lambda key: redis.zrange(key, 0, -1, withscores=True),
        b"stream": redis.xrange,
    }
    keys = [key.decode() for key in redis.scan_iter("*")]
    return {key: (readers[redis.type(key)](key), redis.pttl(key) > 0) for key in keys}  # type: ignore[index]


def test_jobs_in_every_state_come_back_as_they_were(redis: Redis, queue: rq.Queue, tmp_path: Path, run: Run) -> None:
    jobs = backlog_samples.fill(redis, queue)
    before = all_of(redis)
    states = [word for state in jobs for word in ("--state", state)]
    is_one_left = "holds-the-slot" in queue.job_ids  # of a rate limit, which others would wait for
    output = run("quarantine", *states, "--to", tmp_path / "jobs", "--apply", status=int(is_one_left))
    left = {job.id for job in jobs.values() if redis.exists(job.key)}
    assert left == set()
    assert f"{jobs['queued'].id}: {jobs['deferred'].id} wait for it, and will until it is back" in output
    assert queue.job_ids == ["holds-the-slot"] * is_one_left
    run("restore", tmp_path / "jobs", "--apply")
    assert all_of(redis) == before
    assert "0 jobs of" in run("restore", tmp_path / "jobs", "--apply")
    assert all_of(redis) == before


def test_nothing_is_changed_without_apply(redis: Redis, queue: rq.Queue, tmp_path: Path, run: Run) -> None:
    first = queue.enqueue(backlog_samples.give_text, 1)
    second = queue.enqueue(backlog_samples.give_text, 2, depends_on=first)
    before = all_of(redis)
    output = run("quarantine", "--queue", "mail", "--to", tmp_path / "jobs")
    assert "nothing was changed" in output
    assert f"{first.id}: {second.id} wait for it" in output
    assert all_of(redis) == before
    assert not (tmp_path / "jobs").exists()
    run("quarantine", "--queue", "mail", "--to", tmp_path / "jobs", "--apply")
    after = all_of(redis)
    assert "nothing was changed" in run("restore", tmp_path / "jobs")
    assert all_of(redis) == after


def test_a_job_that_comes_back_alone_knows_who_waits_for_it(
    redis: Redis, queue: rq.Queue, tmp_path: Path, run: Run
) -> None:
    first = queue.enqueue(backlog_samples.give_text, 3)
    second = queue.enqueue(backlog_samples.give_text, 4, depends_on=first)
    before = all_of(redis)
    run("quarantine", "--state", "queued", "--to", tmp_path / "jobs", "--apply")
    run("restore", tmp_path / "jobs", "--apply")
    assert all_of(redis) == before
    rq.SimpleWorker([queue], connection=redis).work(burst=True, logging_level="CRITICAL")
    assert second.return_value() == "yyyy"


def test_a_deferred_job_whose_dependency_has_ended_meanwhile_is_told_of_and_can_be_run(
    redis: Redis, queue: rq.Queue, tmp_path: Path, run: Run
) -> None:
    first = queue.enqueue(backlog_samples.give_text, 3)
    second = queue.enqueue(backlog_samples.give_text, 4, depends_on=first)
    run("quarantine", "--state", "deferred", "--to", tmp_path / "jobs", "--apply")
    rq.SimpleWorker([queue], connection=redis).work(burst=True, logging_level="CRITICAL")
    output = run("restore", tmp_path / "jobs", "--apply")
    assert f"{second.id}: {first.id} it waits for, and they have ended" in output
    queue.deferred_job_registry.requeue(second.id)
    rq.SimpleWorker([queue], connection=redis).work(burst=True, logging_level="CRITICAL")
    assert second.return_value() == "yyyy"


def test_what_is_restored_runs(redis: Redis, queue: rq.Queue, tmp_path: Path, run: Run) -> None:
    job = queue.enqueue(backlog_samples.give_text, 3)
    run("quarantine", "--larger-than", "1 byte", "--to", tmp_path / "jobs", "--apply")
    rq.SimpleWorker([queue], connection=redis).work(burst=True, logging_level="CRITICAL")
    assert not redis.exists(job.key)
    run("restore", tmp_path / "jobs", "--apply")
    rq.SimpleWorker([queue], connection=redis).work(burst=True, logging_level="CRITICAL")
    assert job.return_value() == "yyy"


def test_a_running_job_is_never_touched(redis: Redis, queue: rq.Queue, tmp_path: Path) -> None:
    job = queue.enqueue(backlog_samples.set_itself_aside, str(tmp_path / "jobs"))
    rq.SimpleWorker([queue], connection=redis).work(burst=True, logging_level="CRITICAL")
    assert redis.get("outcome") == b"it runs"
    assert job.is_finished


@pytest.fixture
def deepest(monkeypatch: pytest.MonkeyPatch) -> int:
    """How deep in a queue jobs are moved, here."""
    monkeypatch.setattr("slimjobs.backlog.pace.DEEP_PLACES", 4)
    return 4


def test_jobs_deep_in_a_long_queue_move_only_when_told(
    deepest: int, redis: Redis, queue: rq.Queue, tmp_path: Path, run: Run
) -> None:
    for number in range(2 * deepest + 3):
        queue.enqueue(backlog_samples.give_text, number, job_id=f"job-{number}")
    before = queue.job_ids
    output = run("quarantine", "--queue", "mail", "--to", tmp_path / "jobs", "--apply", status=1)
    assert queue.job_ids == ["job-5"]
    assert "job-5: left where it is, it is 5 places deep in its queue" in output
    assert "--deep" in output
    run("quarantine", "--queue", "mail", "--to", tmp_path / "deep", "--deep", "--apply")
    assert queue.job_ids == []
    run("restore", tmp_path / "deep", "--apply")
    run("restore", tmp_path / "jobs", "--deep", "--apply")
    assert queue.job_ids == before


def test_jobs_are_chosen_by_their_task_and_not_by_a_description_that_looks_like_one(
    redis: Redis, queue: rq.Queue, tmp_path: Path, run: Run
) -> None:
    queue.enqueue(backlog_samples.give_text, 1, description="Invoice.pdf(4711)")
    queue.enqueue(backlog_samples.fail, 1, description="Invoice.pdf(4712)", job_id="stays")
    run("quarantine", "--task", "backlog_samples.give*", "--to", tmp_path / "jobs", "--apply")
    assert queue.job_ids == ["stays"]


def test_a_place_deep_in_a_long_queue_is_taken_only_when_told(
    deepest: int, redis: Redis, queue: rq.Queue, tmp_path: Path, run: Run
) -> None:
    for number in range(2 * deepest):
        queue.enqueue(backlog_samples.give_text, number, job_id=f"job-{number}")
    before = queue.job_ids
    for number in (1, 4):
        redis.hset(f"rq:job:job-{number}", mapping=backlog_samples.LARGE)
    run("quarantine", "--task", "app.large", "--to", tmp_path / "jobs", "--apply")
    output = run("restore", tmp_path / "jobs", "--apply", status=1)
    assert "1 jobs put back, 1 left" in output
    assert "job-4: left where it is, its place is deep in its queue" in output
    assert not list(redis.scan_iter("rq:slimjobs:restoring:*"))
    run("restore", tmp_path / "jobs", "--deep", "--apply")
    assert queue.job_ids == before


def test_what_was_last_in_a_long_queue_goes_back_to_its_end_at_once(
    deepest: int, redis: Redis, queue: rq.Queue, tmp_path: Path, run: Run
) -> None:
    for number in range(3 * deepest):
        queue.enqueue(backlog_samples.give_text, number, job_id=f"job-{number}")
    before = queue.job_ids
    redis.hset(f"rq:job:{before[-1]}", mapping=backlog_samples.LARGE)
    run("quarantine", "--task", "app.large", "--to", tmp_path / "jobs", "--apply")
    run("restore", tmp_path / "jobs", "--apply")
    assert queue.job_ids == before


@pytest.mark.parametrize(("ahead", "later", "end"), [(3, 9, 1), (9, 3, -1), (3, 3, 1)])
def test_a_job_is_looked_for_from_the_nearer_end(ahead: int, later: int, end: int) -> None:
    place = Place(b"", b"", ahead, later)
    assert (place.depth, place.nearer_end) == (3, end)


def test_places_are_found_while_workers_take_and_others_enqueue(redis: Redis, queue: rq.Queue) -> None:
    redis.rpush(queue.key, *(f"job-{number}" for number in range(5000)))

    class Busy:
        """A Redis whose queue moves between any two looks at it."""

        def __init__(self) -> None:
            self.count = 0

        def lrange(self, *arguments: Any) -> Any:
            self.count += 1
            redis.lpop(queue.key, 300)
            redis.rpush(queue.key, *(f"new-{self.count}-{number}" for number in range(200)))
            return redis.lrange(*arguments)

    wanted = {f"job-{number}" for number in range(2500, 5000, 100)} | {"job-4999"}
    places = find_places(Busy(), "mail", wanted)  # type: ignore[arg-type]
    assert set(places) == wanted
    assert list(places) == sorted(wanted, key=lambda job_id: int(job_id[4:]))
    for job_id, place in places.items():
        number = int(job_id[4:])
        assert place.before == f"job-{number - 1}".encode()
        assert place.behind == (b"new-1-0" if number == 4999 else f"job-{number + 1}".encode())


@pytest.mark.parametrize("taken", ["first", "middle", "last", "all"])
def test_queued_jobs_go_back_between_their_neighbours(
    taken: str, redis: Redis, queue: rq.Queue, tmp_path: Path, run: Run
) -> None:
    jobs = [queue.enqueue(backlog_samples.give_text, "x" * 2, job_id=f"job-{number}") for number in range(9)]
    chosen = {"first": jobs[:3], "middle": jobs[3:6], "last": jobs[6:], "all": jobs}[taken]
    for job in chosen:
        redis.hset(job.key, mapping=backlog_samples.LARGE)
    before = queue.job_ids
    run("quarantine", "--task", "app.large", "--to", tmp_path / "jobs", "--apply")
    assert queue.job_ids == [job_id for job_id in before if job_id not in {job.id for job in chosen}]
    run("restore", tmp_path / "jobs", "--apply")
    assert queue.job_ids == before


def test_jobs_whose_neighbours_had_their_turn_are_next(redis: Redis, queue: rq.Queue, tmp_path: Path, run: Run) -> None:
    for number in range(4):
        queue.enqueue(backlog_samples.give_text, number, job_id=f"job-{number}")
    for number in (1, 2):
        redis.hset(f"rq:job:job-{number}", mapping=backlog_samples.LARGE)
    run("quarantine", "--task", "app.large", "--to", tmp_path / "jobs", "--apply")
    queue.empty()  # type: ignore[no-untyped-call]
    queue.enqueue(backlog_samples.give_text, 9, job_id="later")
    run("restore", tmp_path / "jobs", "--apply")
    assert queue.job_ids == ["job-1", "job-2", "later"]


def test_a_job_that_changes_meanwhile_is_written_again_and_comes_back_as_it_was_last(
    redis: Redis, queue: rq.Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [queue.enqueue(backlog_samples.give_text, number) for number in range(3)]
    taken: list[str] = []

    def take_and_change(connection: Redis, row: JobRow, places: Any) -> Any:
        record = take(connection, row, places)
        if not taken:
            redis.hset(jobs[0].key, "note", "changed")
        taken.append(row.id)
        return record

    monkeypatch.setattr(quarantine_module, "take", take_and_change)
    rows = [row for step in Selection(queues=("mail",)).rows(redis) for row in step]
    outcomes = list(Quarantine(redis, tmp_path / "jobs").set_aside(rows))
    assert [outcome.problem for outcome in outcomes] == [""] * 3
    assert len(list(read_records(tmp_path / "jobs"))) == 1 + 3 + 3
    assert [outcome.problem for outcome in restore(redis, tmp_path / "jobs")] == [""] * 3
    assert redis.hget(jobs[0].key, "note") == b"changed"


def test_a_job_that_a_worker_takes_meanwhile_is_left_to_it(
    redis: Redis, queue: rq.Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = queue.enqueue(backlog_samples.give_text, 1)

    def take_after_pop(connection: Redis, row: JobRow, places: Any) -> Any:
        record = take(connection, row, places)
        redis.lpop(queue.key)
        return record

    monkeypatch.setattr(quarantine_module, "take", take_after_pop)
    rows = [row for step in Selection(queues=("mail",)).rows(redis) for row in step]
    (outcome,) = Quarantine(redis, tmp_path / "jobs").set_aside(rows)
    assert outcome.problem == "a worker has just taken it"
    assert redis.exists(job.key)
    assert list(restore(redis, tmp_path / "jobs")) == []


def test_jobs_by_age_and_state(redis: Redis, queue: rq.Queue, tmp_path: Path, run: Run) -> None:
    old, young = queue.enqueue(backlog_samples.give_text, 1), queue.enqueue(backlog_samples.give_text, 2)
    old.created_at = datetime.now(timezone.utc) - timedelta(days=9)
    old.save()
    queue.enqueue_at(datetime.now(timezone.utc) + timedelta(hours=1), backlog_samples.give_text, 3)
    run("quarantine", "--state", "queued", "--older-than", "7d", "--to", tmp_path / "jobs", "--apply")
    assert queue.job_ids == [young.id]
    assert queue.scheduled_job_registry.get_job_count() == 1


def test_a_file_that_exists_is_not_written_over(queue: rq.Queue, tmp_path: Path, run: Run) -> None:
    queue.enqueue(backlog_samples.give_text, 1)
    (tmp_path / "jobs").write_text("precious")
    run("quarantine", "--queue", "mail", "--to", tmp_path / "jobs", "--apply", status=2)
    assert (tmp_path / "jobs").read_text() == "precious"
    run("restore", tmp_path / "jobs", "--apply", status=2)
    run("restore", tmp_path / "nothing", status=2)


@pytest.mark.parametrize("arguments", [[], ["--apply", "--queue", "mail"], ["--state", "started"]])
def test_arguments_that_would_take_too_much_or_nothing(arguments: list[str], queue: rq.Queue) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["quarantine", *arguments])
    assert ended.value.code == 2


@pytest.mark.parametrize("cut", [1, 9, 300])
def test_a_file_that_ends_in_a_record_gives_the_others(cut: int, redis: Redis, queue: rq.Queue, tmp_path: Path) -> None:
    for number in range(3):
        queue.enqueue(backlog_samples.give_text, number)
    rows = [row for step in Selection(queues=("mail",)).rows(redis) for row in step]
    list(Quarantine(redis, tmp_path / "jobs").set_aside(rows))
    data = (tmp_path / "jobs").read_bytes()
    (tmp_path / "jobs").write_bytes(data[:-cut])
    assert [outcome.problem for outcome in restore(redis, tmp_path / "jobs")] == ["", ""]


def test_a_damaged_record_is_left_out_and_told_of(redis: Redis, queue: rq.Queue, tmp_path: Path, run: Run) -> None:
    jobs = [queue.enqueue(backlog_samples.give_text, number, job_id=f"job-{number}") for number in range(5)]
    run("quarantine", "--queue", "mail", "--to", tmp_path / "jobs", "--apply")
    whole = (tmp_path / "jobs").read_bytes()
    data = bytearray(whole)
    data[whole.index(b"\xa2id\xa5job-2") + 4] ^= 255
    (tmp_path / "jobs").write_bytes(data)
    output = run("restore", tmp_path / "jobs", "--apply", status=1)
    assert "1 more were set aside into it and are not in it: was it cut, or damaged?" in output
    assert queue.job_ids == [jobs[number].id for number in (0, 1, 3, 4)]
    (tmp_path / "jobs").write_bytes(whole)  # from a backup say
    run("restore", tmp_path / "jobs", "--apply")
    assert queue.job_ids == [job.id for job in jobs]


def test_a_damaged_length_gives_the_jobs_before_it(redis: Redis, queue: rq.Queue, tmp_path: Path, run: Run) -> None:
    jobs = [queue.enqueue(backlog_samples.give_text, number, job_id=f"job-{number}") for number in range(3)]
    run("quarantine", "--queue", "mail", "--to", tmp_path / "jobs", "--apply")
    data = bytearray((tmp_path / "jobs").read_bytes())
    begin = data.index(b"\xa2id\xa5job-1") - 9  # the length, the checksum and the first byte of the map
    data[begin] ^= 255
    (tmp_path / "jobs").write_bytes(data)
    assert "2 more were set aside" in run("restore", tmp_path / "jobs", "--apply", status=1)
    assert queue.job_ids == [jobs[0].id]


def test_a_file_whose_beginning_is_damaged_gives_its_jobs(
    redis: Redis, queue: rq.Queue, tmp_path: Path, run: Run
) -> None:
    for number in range(3):
        queue.enqueue(backlog_samples.give_text, number)
    before = all_of(redis)
    run("quarantine", "--queue", "mail", "--to", tmp_path / "jobs", "--apply")
    data = (tmp_path / "jobs").read_bytes()
    (tmp_path / "jobs").write_bytes(data.replace(b"prefix", b"prefax", 1))
    assert "3 jobs put back" in run("restore", tmp_path / "jobs", "--apply")
    assert all_of(redis) == before


@pytest.mark.parametrize("damage", ["cut", "no job is whole"])
@pytest.mark.parametrize("apply", [[], ["--apply"]])
def test_a_file_that_no_more_says_where_its_jobs_are_from_is_an_error(
    apply: list[str], damage: str, queue: rq.Queue, tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    queue.enqueue(backlog_samples.give_text, 1)
    run("quarantine", "--queue", "mail", "--to", tmp_path / "jobs", "--apply")
    data = (tmp_path / "jobs").read_bytes()
    (tmp_path / "jobs").write_bytes(data[:100] if damage == "cut" else data.replace(b"quarantine:", b"quarantane:"))
    assert main(["restore", str(tmp_path / "jobs"), *apply]) == 2
    captured = capsys.readouterr()
    assert not captured.out
    assert "is cut before its first job, or damaged where it says which Redis its jobs are from" in captured.err


def test_a_file_is_for_its_owner_alone(queue: rq.Queue, tmp_path: Path, run: Run) -> None:
    queue.enqueue(backlog_samples.give_text, 1)
    run("quarantine", "--queue", "mail", "--to", tmp_path / "jobs", "--apply")
    assert (tmp_path / "jobs").stat().st_mode & 0o777 == 0o600


def test_a_full_disk_ends_it_and_what_was_set_aside_by_then_is_told(
    redis: Redis, queue: rq.Queue, tmp_path: Path, run: Run
) -> None:
    for number in range(30):
        redis.hset(queue.enqueue(backlog_samples.give_text, number).key, "data", os.urandom(10_000))
    before = queue.job_ids
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000)); import slimjobs.cli.__main__"
    )
    arguments = ["quarantine", "--queue", "mail", "--to", str(tmp_path / "jobs"), "--apply"]
    process = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert process.returncode == 2
    assert "10 jobs set aside in" in process.stdout
    assert process.stderr.startswith(f"slimjobs: {tmp_path / 'jobs'} cannot be written any more (File too large)")
    assert queue.count == 20
    assert "10 jobs put back" in run("restore", tmp_path / "jobs", "--apply")
    assert queue.job_ids == before


def test_ctrl_c_ends_it_and_what_was_set_aside_by_then_is_told(
    queue: rq.Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(30):
        queue.enqueue(backlog_samples.give_text, number)
    write = RecordWriter.append
    written: list[Any] = []

    def write_and_interrupt(writer: RecordWriter, *arguments: Any) -> None:
        write(writer, *arguments)
        written.append(arguments)
        if len(written) == 3:  # the header, and ten jobs twice
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(RecordWriter, "append", write_and_interrupt)
    assert main(["quarantine", "--queue", "mail", "--to", str(tmp_path / "jobs"), "--apply"]) == 130
    captured = capsys.readouterr()
    assert f"at least 10 jobs set aside in {tmp_path / 'jobs'}" in captured.out
    assert f"`slimjobs restore {tmp_path / 'jobs'} --apply` puts them back" in captured.out
    assert captured.err.endswith("slimjobs: interrupted\n")
    assert queue.count == 20


def test_jobs_count_as_set_aside_where_only_the_answer_was_lost(
    redis: Redis, queue: rq.Queue, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        queue.enqueue(backlog_samples.give_text, number)
    execute = Pipeline.execute
    lost: list[Any] = []

    def execute_and_lose(pipeline: Any, *arguments: Any, **options: Any) -> Any:
        answers = execute(pipeline, *arguments, **options)
        if not lost and b"" in answers:
            lost.append(answers)
            raise WatchError  # as redis-py does when the connection is lost
        return answers

    monkeypatch.setattr(Pipeline, "execute", execute_and_lose)
    assert "3 jobs set aside in" in run("quarantine", "--queue", "mail", "--to", tmp_path / "jobs", "--apply")
    assert lost
    assert "3 jobs put back" in run("restore", tmp_path / "jobs", "--apply")


def test_a_redis_without_memory_is_told_of_with_what_helps(
    redis: Redis, queue: rq.Queue, tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(20):
        redis.hset(queue.enqueue(backlog_samples.give_text, number).key, "data", os.urandom(100_000))
    before: Any = redis.config_get("maxmemory*")
    redis.config_set("maxmemory-policy", "noeviction")
    redis.config_set("maxmemory", 1_000_000)
    try:
        assert main(["quarantine", "--queue", "mail", "--to", str(tmp_path / "jobs"), "--apply"]) == 2
        captured = capsys.readouterr()
    finally:
        for name in ("maxmemory", "maxmemory-policy"):
            redis.config_set(name, before[name])
    assert "0 jobs set aside" in captured.out
    assert "Redis is at its maxmemory and refuses to write" in captured.err
    assert queue.count == 20


def test_jobs_that_are_missing_in_the_file_are_told_of(redis: Redis, queue: rq.Queue, tmp_path: Path, run: Run) -> None:
    for number in range(3):
        queue.enqueue(backlog_samples.give_text, number)
    run("quarantine", "--queue", "mail", "--to", tmp_path / "jobs", "--apply")
    data = (tmp_path / "jobs").read_bytes()
    (tmp_path / "jobs").write_bytes(data[:-9])
    assert "1 more were set aside into it and are not in it" in run("restore", tmp_path / "jobs", status=1)
    assert json.loads(run("restore", tmp_path / "jobs", "--apply", "--json", status=1))["lost"] == 1
    (tmp_path / "jobs").write_bytes(data)  # the whole file, from a backup say
    run("restore", tmp_path / "jobs", "--apply")
    assert queue.count == 3


def test_jobs_of_one_queue_are_put_back(redis: Redis, queue: rq.Queue, tmp_path: Path, run: Run) -> None:
    other = rq.Queue("other", connection=redis)
    jobs = [each.enqueue(backlog_samples.give_text, 1) for each in (queue, other)]
    run("quarantine", "--larger-than", "1 byte", "--to", tmp_path / "jobs", "--apply")
    assert "1 jobs of" in run("restore", tmp_path / "jobs", "--queue", "mail", "--apply")
    assert (queue.job_ids, other.job_ids) == ([jobs[0].id], [])
    run("restore", tmp_path / "jobs", "--apply")
    assert (queue.job_ids, other.job_ids) == ([jobs[0].id], [jobs[1].id])


def test_outcomes_for_scripts(redis: Redis, queue: rq.Queue, tmp_path: Path, run: Run) -> None:
    first = queue.enqueue(backlog_samples.give_text, 1)
    second = queue.enqueue(backlog_samples.give_text, 2, depends_on=first)
    arguments = ["quarantine", "--state", "queued", "--to", tmp_path / "jobs", "--json"]
    others = [{"id": first.id, "jobs": [second.id]}]
    for applied in (False, True):
        found = json.loads(run(*arguments, *["--apply"] * applied))
        assert (found["jobs"], found["applied"], found["done"], found["others"]) == (1, applied, int(applied), others)
        assert [group["task"] for group in found["groups"]] == ["backlog_samples.give_text"]
    found = json.loads(run("restore", tmp_path / "jobs", "--apply", "--json"))
    assert (found["jobs"], found["lost"], found["done"], found["left"]) == (1, 0, 1, [])
    assert json.loads(run(*arguments[:3], "--state", "failed", "--json"))["jobs"] == 1


@pytest.mark.slow
def test_killed_at_any_moment_every_job_is_in_one_place(
    redis: Redis, redis_url: str, queue: rq.Queue, tmp_path: Path
) -> None:
    jobs = [queue.enqueue(backlog_samples.give_text, "x" * 50, job_id=f"job-{number}") for number in range(80)]
    later = datetime.now(timezone.utc) + timedelta(hours=1)
    jobs += [queue.enqueue_at(later, backlog_samples.give_text, n, job_id=f"late-{n}") for n in range(80)]
    before = all_of(redis)
    files: list[Path] = []
    for number in range(3):
        files.append(tmp_path / f"jobs-{number}")
        kill_after(redis, redis_url, 25, "quarantine", "--queue", "mail", "--to", files[-1])
        assert_each_is_in_one_place(redis, jobs)
        kill_after(redis, redis_url, 10, "restore", files[-1])
        assert_each_is_in_one_place(redis, jobs)
    for file in reversed(files):
        assert [outcome.problem for outcome in restore(redis, file) if outcome.problem] == []
    left = all_of(redis)
    loading = [key for key in left if key.startswith("rq:slimjobs:restoring:")]
    assert all(redis.ttl(key) > 0 for key in loading)  # of jobs whose restoring was killed
    assert {key: value for key, value in left.items() if key not in loading} == before


def kill_after(redis: Redis, url: str, moved: int, *arguments: Any) -> None:
    """Kill a command with SIGKILL when it has moved so many jobs, or let it end before."""
    started = quarantined(redis)
    command = [sys.executable, "-m", "slimjobs.cli", *map(str, arguments), "--apply", "--redis-url", url]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            if abs(quarantined(redis) - started) >= moved:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()


def quarantined(redis: Redis) -> int:
    counts: list[Any] = [redis.scard(key) for key in redis.scan_iter(f"{QUARANTINE_PREFIX}*")]
    return sum(counts)


def assert_each_is_in_one_place(redis: Redis, jobs: list[Any]) -> None:
    sets: list[Any] = [redis.smembers(key) for key in redis.scan_iter(f"{QUARANTINE_PREFIX}*")]
    aside = [job_id for ids in sets for job_id in ids]
    there = [job.id.encode() for job in jobs if redis.exists(job.key)]
    assert sorted(aside + there) == sorted(job.id.encode() for job in jobs)
    listed: Any = redis.lrange("rq:queue:mail", 0, -1)
    scheduled: Any = redis.zrange("rq:scheduled:mail", 0, -1)
    assert sorted(listed + scheduled) == sorted(there)
