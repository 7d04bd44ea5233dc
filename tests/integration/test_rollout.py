"""From pickled jobs to slim ones and back: in every step and every undo each job runs once, with the right values."""

from __future__ import annotations

from pickle import UnpicklingError
from typing import TYPE_CHECKING, cast

import pytest
import rq
import rq.job
from queue_samples import count, failure, run_worker
from rollout import BEGINS, QUEUE, Fleet, Rollout, part, write_versions
from rq.registry import FailedJobRegistry

import slimjobs
from slimjobs.codec import MAGIC
from slimjobs.compression import inflate

if TYPE_CHECKING:
    from pathlib import Path

    from redis import Redis

pytestmark = pytest.mark.slow

STOCK_WORKER = part("stock", "-m", "rq.cli", "worker", "--with-scheduler", QUEUE)
STOCK_CRON = part("stock", "-m", "rq.cli", "cron", "app.cron_config")
SLIM_WORKER = ("-m", "rq.cli", "worker", "--worker-class", "slimjobs.Worker", QUEUE)
SLIM_SCHEDULER = ("-m", "slimjobs.cli", "scheduler", QUEUE)
OUR_REQUEUE = ("--job-class", "slimjobs.Job", "--serializer", "slimjobs.Serializer")
WARNING = {"SLIMJOBS_MODE": "warn", "SLIMJOBS_MAX_BYTES": "10 KiB"}


def counting(**environment: str) -> Fleet:
    return Fleet((STOCK_WORKER,), (part("stock"), part("counting", **environment)), STOCK_CRON)


NOTHING = Fleet((STOCK_WORKER,), (part("stock"),), STOCK_CRON)
COUNT = counting(SLIMJOBS_MODE="track")
WARN = counting(**WARNING)
READER = part("counting", *SLIM_WORKER, SLIMJOBS_READ_PICKLE="1", **WARNING)
SOME_READERS = Fleet((STOCK_WORKER, READER, part("counting", *SLIM_SCHEDULER)), WARN.producers, STOCK_CRON)
READERS = Fleet((READER, part("counting", *SLIM_SCHEDULER)), WARN.producers, STOCK_CRON, OUR_REQUEUE)
WRITERS = Fleet(
    (READER, part("slim", *SLIM_WORKER, SLIMJOBS_READ_PICKLE="1", **WARNING), part("slim", *SLIM_SCHEDULER)),
    (*WARN.producers, part("slim", **WARNING)),
    part("slim", "-m", "slimjobs.cli", "cron", "app.cron_config"),
    OUR_REQUEUE,
)
REFUSE = Fleet((part("slim", *SLIM_WORKER), part("slim", *SLIM_SCHEDULER)), (part("slim"),), WRITERS.cron, OUR_REQUEUE)


def stored(redis: Redis, name: str) -> tuple[bytes, bytes]:
    """Return a job's payload, which stock RQ compresses when it writes it back, and its meta."""
    data, meta = cast("list[bytes]", redis.hmget(f"rq:job:{name}", ["data", "meta"]))
    return inflate(data), meta


@pytest.fixture
def rollout(redis: Redis, redis_url: str, tmp_path: Path) -> Rollout:
    write_versions(tmp_path)
    return Rollout(tmp_path, redis, redis_url)


def test_counting_and_warning_change_no_payload_and_count_every_job_once(rollout: Rollout, redis: Redis) -> None:
    for fleet in (NOTHING, COUNT, WARN):
        rollout.run(fleet)
    assert count(redis, "app.jobs.send", QUEUE).jobs == 2 * len(BEGINS)
    for kind in BEGINS:
        ours, theirs = (stored(redis, f"2{version}-{kind}") for version in ("counting", "stock"))
        longer = len("counting") - len("stock")  # the name is in both
        assert [len(each) for each in ours] == [len(each) + longer for each in theirs]
    assert "app.jobs.send: payload is 12.8 KiB, limit is 10.0 KiB; largest is args[0].body (12.7 KiB)" in rollout.log()
    for fleet in (COUNT, NOTHING):
        rollout.run(fleet)
    rollout.finish(NOTHING)


def test_readers_work_beside_stock_workers_and_write_what_stock_callers_read(rollout: Rollout, redis: Redis) -> None:
    for fleet in (WARN, SOME_READERS, READERS, WARN):
        rollout.run(fleet)
    rollout.finish(WARN)
    for name in rollout.names():
        job = rq.job.Job.fetch(name, connection=redis)
        assert (job.return_value(), job.meta) == (f"sent {name}", {"name": name})


def test_writers_and_all_the_way_back(rollout: Rollout, redis: Redis) -> None:
    for fleet in (NOTHING, COUNT, READERS, WRITERS, READERS):
        rollout.run(fleet)
    for _ in range(2):  # slim jobs that wait for a retry, or repeat, end before their readers go
        rollout.run(READERS)
    rollout.run(NOTHING)
    rollout.finish(NOTHING)


def test_pickles_are_refused_once_none_is_left_and_read_again_after_the_undo(rollout: Rollout, redis: Redis) -> None:
    rollout.run(READERS)
    rollout.run(WRITERS)
    repack = ("-m", "slimjobs.cli", "repack", "--all", "--app", "app.jobs", "--app", "app.models", "--trust-pickle")
    states = ("--state", "queued", "--state", "scheduled", "--state", "deferred", "--state", "failed")
    assert "nothing was changed" in rollout.call("slim", *repack, *states)
    rollout.call("slim", *repack, *states, "--apply")
    after = rollout.call("slim", *repack, *states)
    assert "nothing was changed" not in after
    assert [line for line in after.splitlines() if "as they were" in line and "slim already" not in line] == []

    rollout.run(REFUSE)
    rollout.run(WRITERS)
    rollout.finish(WRITERS)


def test_a_stock_worker_fails_slim_jobs_and_keeps_them_whole_for_readers(rollout: Rollout, redis: Redis) -> None:
    rollout.run(READERS)
    rollout.run(WRITERS)
    slim = [name for name in rollout.names(["slim"]) if redis.hget(f"rq:job:{name}", "status") != b"finished"]
    before = {name: stored(redis, name) for name in slim}
    assert all(data[:1] == MAGIC for data, _ in before.values())
    ran = redis.llen("runs")

    rollout.turn_the_clock()
    with rollout.at_work(NOTHING):  # the readers are taken away too early
        rollout.wait_until(rollout.is_idle)
    failed = set(FailedJobRegistry(QUEUE, redis).get_job_ids(cleanup=False))
    waiting = {name for name in slim if name.endswith("after")}
    assert failed >= set(slim) - waiting
    assert {name: stored(redis, name) for name in slim} == before
    stranded = rq.job.Job.fetch(next(name for name in slim if name.endswith("scheduled")), connection=redis)
    assert "DeserializationError" in failure(stranded)
    assert redis.llen("runs") > ran  # pickled ones run there

    rollout.finish(READERS)
    assert slimjobs.Job.fetch(stranded.id, connection=redis).return_value() == f"sent {stranded.id}"


def test_a_stock_worker_uses_up_the_retries_of_a_slim_job_which_runs_once_it_is_requeued(redis: Redis) -> None:
    job = slimjobs.Queue(QUEUE, connection=redis).enqueue(len, "abc", retry=rq.Retry(max=2))
    run_worker(rq.SimpleWorker, QUEUE, redis)
    assert (job.get_status(), rq.job.Job.fetch(job.id, connection=redis).retries_left) == ("failed", 0)

    rq.job.requeue_job(job.id, redis)
    run_worker(slimjobs.SimpleWorker, QUEUE, redis)
    assert slimjobs.Job.fetch(job.id, connection=redis).return_value() == 3
    with pytest.raises(UnpicklingError):
        rq.job.Job.fetch(job.id, connection=redis).return_value()
