"""Schedulers in processes: killed at any moment, beside RQ's own, in workers, and by the command."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import rq
from queue_samples import DEADLINE_SECONDS, give, python, run_python
from redis import Redis
from redis.exceptions import RedisError
from rq.scheduler import RQScheduler

import slimjobs
from slimjobs.demo.redis_server import find_redis_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.slow

FAR_AHEAD = datetime(2100, 1, 1, tzinfo=timezone.utc)
LONG_AGO = datetime(2020, 1, 1, tzinfo=timezone.utc)
LOCK = RQScheduler.get_locking_key("a")
KNOWS_RATE_LIMITS = hasattr(rq.job.Job, "has_rate_limit")


def until(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)


def add_due(redis: Redis, jobs: int, first: int = 0, **options: Any) -> None:
    """Put copies of one due job on the schedule."""
    queue = rq.Queue("a", connection=redis)
    # Not due yet: RQ before 3.0 puts an id on the schedule before there is a job.
    made = queue.enqueue_at(FAR_AHEAD, give, 1, job_id=str(first), **options)
    fields: Any = redis.hgetall(made.key)
    with redis.pipeline() as pipeline:
        for number in range(first, first + jobs):
            pipeline.hset(f"rq:job:{number}", mapping=fields)
            pipeline.zadd("rq:scheduled:a", {str(number): number})
        pipeline.execute()


def moved(redis: Redis) -> list[int]:
    return sorted(int(job_id) for job_id in redis.lrange("rq:queue:a", 0, -1))


# Each scheduler is killed with jobs left to move, in processes that are forked, since starting one takes longer.
KILLED = """
import random, signal, sys, time
import slimjobs.schedule
slimjobs.schedule.Schedule.move_due.__defaults__ = (3,)  # the smaller the chunks, the more moments
redis.close()
random.seed(int(sys.argv[1]) if len(sys.argv) > 1 else None)
kills = 0
while kills < KILLS:
    if redis.zcard("rq:scheduled:a") < 200:
        break
    redis.delete("rq:scheduler-lock:a")  # it expires
    redis.connection_pool.disconnect()
    pid = os.fork()
    if not pid:
        slimjobs.Scheduler(["a"], redis, logging_level="CRITICAL").work()
        os._exit(1)
    before = redis.zcard("rq:scheduled:a")
    deadline = time.monotonic() + 30
    while redis.zcard("rq:scheduled:a") == before and time.monotonic() < deadline:
        pass
    time.sleep(random.random() * 0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    kills += 1
print(kills, redis.zcard("rq:scheduled:a"))
"""
KILLS = int(os.environ.get("SLIMJOBS_TEST_KILLS", "60"))


def test_killed_at_any_moment_it_loses_no_job_and_moves_none_twice(redis: Redis, redis_url: str) -> None:
    each = 100 * KILLS
    kinds: list[dict[str, Any]] = [{}, {"at_front": True, "ttl": 1000}]
    if KNOWS_RATE_LIMITS:
        kinds.append({"rate_limit": rq.RateLimit("a", 3 * KILLS)})
    for number, options in enumerate(kinds):
        add_due(redis, each, number * each, **options)
    # The kinds take turns.
    ids = [str(kind * each + number) for number in range(each) for kind in range(len(kinds))]
    redis.zadd("rq:scheduled:a", {job_id: position for position, job_id in enumerate(ids)})
    kills, left = map(int, run_python(KILLED.replace("KILLS", str(KILLS)), redis_url).split())
    assert (kills, left > 0) == (KILLS, True)

    redis.delete(LOCK)
    slimjobs.Scheduler(["a"], redis, logging_level="WARNING").work_once()
    held_back: Any = redis.zrange("rq:rl:a:rate_limited", 0, -1)
    waiting = {int(job_id) for job_id in held_back}
    assert sorted([*moved(redis), *waiting]) == list(range(each * len(kinds)))
    statuses = {job_id: redis.hget(f"rq:job:{job_id}", "status") for job_id in ids}
    expected = {job_id: b"rate_limited" if int(job_id) in waiting else b"queued" for job_id in ids}
    assert statuses == expected
    if KNOWS_RATE_LIMITS:
        assert redis.zcard("rq:rl:a:allowed") == 3 * KILLS


# It tells of each round in which it has the lock, and asks for it in each round in which it has not.
SCHEDULER = """
import sys
import rq.scheduler, slimjobs
rq.scheduler.DEFAULT_SCHEDULER_FALLBACK_PERIOD = slimjobs.scheduler.TAKE_OVER_SECONDS = -1

class Telling({"stock": rq.scheduler.RQScheduler, "slim": slimjobs.Scheduler}["KIND"]):
    def enqueue_scheduled_jobs(self):
        if self.acquired_locks:
            self.connection.rpush("rounds", "NAME")
        super().enqueue_scheduled_jobs()

redis.rpush("started", "NAME")
Telling(["a"], redis, interval=1, logging_level="WARNING").work()
"""


@contextmanager
def schedulers(redis: Redis, redis_url: str, *kinds: str) -> Iterator[list[subprocess.Popen[str]]]:
    """Start schedulers, the first of which has the lock, and end those that are left."""
    processes: list[subprocess.Popen[str]] = []
    try:
        for number, kind in enumerate(kinds):
            code = SCHEDULER.replace("KIND", kind).replace("NAME", f"{number} {kind}")
            processes.append(python(code, redis_url))
            until(lambda: redis.lpop("started"), "its start")
            until(lambda: redis.exists(LOCK), "the lock")
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def rounds(redis: Redis, at_least: int) -> set[Any]:
    """Return who worked in the next rounds."""
    redis.delete("rounds")
    until(lambda: redis.llen("rounds") >= at_least, "rounds")
    return set(redis.lrange("rounds", 0, -1))


@pytest.mark.parametrize("kinds", [("stock", "slim"), ("slim", "stock"), ("slim", "slim")])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_one_works_at_a_time_and_another_takes_over(
    redis: Redis, redis_url: str, kinds: tuple[str, str], number: signal.Signals
) -> None:
    with schedulers(redis, redis_url, *kinds) as (first, second):
        add_due(redis, 300)
        until(lambda: len(moved(redis)) == 300, "the first jobs")
        assert rounds(redis, 3) == {f"0 {kinds[0]}".encode()}

        first.send_signal(number)
        first.communicate(timeout=DEADLINE_SECONDS)
        if number == signal.SIGKILL:
            assert redis.exists(LOCK)
            redis.delete(LOCK)  # it expires
        add_due(redis, 300, 300)
        until(lambda: len(moved(redis)) == 600, "the other jobs")
        assert rounds(redis, 2) == {f"1 {kinds[1]}".encode()}
        assert moved(redis) == list(range(600))

        second.send_signal(signal.SIGTERM)
        assert second.wait(DEADLINE_SECONDS) == 0
        assert not redis.exists(LOCK)


def test_a_scheduler_that_rests_ends_when_it_is_told_to(redis: Redis, redis_url: str) -> None:
    code = SCHEDULER.replace("KIND", "slim").replace("NAME", "only").replace("interval=1", "interval=3600")
    with python(code, redis_url) as process:
        until(lambda: redis.llen("rounds"), "a round")
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=DEADLINE_SECONDS)

    assert (process.returncode, errors) == (0, "")
    assert not redis.exists(LOCK)


WORKERS = {
    "slimjobs": ["Worker", "SimpleWorker", "SpawnWorker"],
    "slimjobs.contrib.django_rq": ["Worker", "SimpleWorker", "SpawnWorker"],
}


@pytest.mark.parametrize("path", [(module, name) for module, names in WORKERS.items() for name in names])
def test_a_workers_burst_moves_all_that_is_due(redis: Redis, redis_url: str, path: tuple[str, str]) -> None:
    add_due(redis, 1001)  # RQ's own moves a thousand
    module, name = path
    django = "import django.conf; django.conf.settings.configure(RQ_QUEUES={})\n" if "django" in module else ""
    code = f"{django}import {module} as m\nm.{name}(['a'], connection=redis)._start_scheduler(burst=True)"
    run_python(code, redis_url)

    assert moved(redis) == list(range(1001))
    assert not redis.exists(LOCK)


def test_a_worker_pool_is_not_held_up_by_a_broken_job(redis: Redis, redis_url: str) -> None:
    queue = slimjobs.Queue("a", connection=redis)
    for job_id in ("0", "1"):
        queue.enqueue_at(LONG_AGO, give, 1, job_id=job_id)
    redis.hdel("rq:job:0", "data")
    code = "import slimjobs\nfrom rq.worker_pool import WorkerPool\n"
    run_python(f"{code}WorkerPool(['a'], redis, worker_class=slimjobs.Worker).start(burst=True)", redis_url)

    assert slimjobs.Job.fetch("1", connection=redis).is_finished
    assert redis.zrange("rq:scheduled:a", 0, -1) == [b"0"]


def test_maintenance_starts_a_killed_scheduler_again(redis: Redis, redis_url: str) -> None:
    code = """
import signal, time, slimjobs
def wait():
    while not redis.lpop("go"):
        time.sleep(0.01)
worker = slimjobs.Worker(["a"], connection=redis)
worker._start_scheduler(logging_level="WARNING")
redis.incr("started")
for number in range(2):
    process = worker.scheduler._process
    wait()
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    if not hasattr(worker.scheduler, "name"):
        redis.delete("rq:scheduler-lock:a")  # before RQ 2.11 it has to expire
    worker.last_cleaned_at = True
    worker.run_maintenance_tasks()
    assert worker.scheduler._process.pid != process.pid
    redis.incr("started")
wait()
worker.stop_scheduler()
"""
    with python(code, redis_url) as process:
        for number in range(1, 4):
            # Else the one that is about to be killed may move them.
            until(lambda: int(redis.get("started") or 0) == number or process.poll() is not None, "a scheduler")  # noqa: B023  # called before the next round
            add_due(redis, 10, 10 * (number - 1))
            until(lambda: len(moved(redis)) == 10 * number or process.poll() is not None, "the jobs")  # noqa: B023  # the same
            redis.rpush("go", 1)
        _, errors = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 0, errors
    assert not redis.exists(LOCK)


def command(redis_url: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "slimjobs.cli", "scheduler", "-u", redis_url, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_works_until_it_is_told_to_stop(redis: Redis, redis_url: str, number: signal.Signals) -> None:
    add_due(redis, 10)
    with command(redis_url, "a", "b", "-q") as process:
        until(lambda: len(moved(redis)) == 10, "the jobs")
        add_due(redis, 10, 10)
        until(lambda: len(moved(redis)) == 20, "the later jobs")
        process.send_signal(number)
        output, _ = process.communicate(timeout=DEADLINE_SECONDS)

    assert (process.returncode, output) == (0, "")
    assert redis.keys("rq:scheduler*") == []


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells how much memory a process had")
def test_the_command_takes_little_memory_whatever_is_due(redis: Redis, redis_url: str) -> None:
    """The body is one that compresses well, so that three thousand fit into Redis."""
    body = "<p>All work and no play makes Jack a dull boy.</p>" * 100_000
    stock = rq.Queue("a", connection=redis).enqueue_at(LONG_AGO, give, body, job_id="0")
    fields: Any = redis.hgetall(stock.key)
    for start in range(0, 3000, 500):
        with redis.pipeline() as pipeline:
            for job in range(start, start + 500):
                pipeline.hset(f"rq:job:{job}", mapping=fields)
                pipeline.zadd("rq:scheduled:a", {str(job): 1})
            pipeline.execute()
    with command(redis_url, "a", "-q") as process:
        until(lambda: len(moved(redis)) == 3000, "the jobs")
        status = Path(f"/proc/{process.pid}/status").read_text()
        process.terminate()

    assert int(status.partition("VmHWM:")[2].split()[0]) <= 45_000


def test_the_command_moves_what_is_due_and_leaves(redis: Redis, redis_url: str) -> None:
    add_due(redis, 10)
    redis.set(RQScheduler.get_locking_key("b"), "rival", ex=60)
    with command(redis_url, "a", "b", "--burst") as process:
        output, _ = process.communicate(timeout=DEADLINE_SECONDS)

    assert process.returncode == 0, output
    assert moved(redis) == list(range(10))
    assert "left b to another scheduler" in output
    assert not redis.exists(LOCK)


@contextmanager
def redis_server(folder: str) -> Iterator[tuple[Redis, str]]:
    """Run a Redis on a socket, which can be started again with nothing in it."""
    path = Path(folder, "redis.sock")
    options = ["--port", "0", "--unixsocket", str(path), "--save", "", "--dir", folder]
    process = subprocess.Popen([find_redis_server() or "redis-server", *options], stdout=subprocess.DEVNULL)
    url = f"unix://{path}"
    connection = Redis.from_url(url)

    def answers() -> bool:
        try:
            return bool(connection.ping())
        except RedisError:
            return False

    try:
        until(answers, "Redis")
        yield connection, url
    finally:
        connection.close()
        process.terminate()
        process.wait()


def test_the_command_outlives_redis() -> None:
    folder = tempfile.mkdtemp(prefix="slimjobs-")
    processes: list[subprocess.Popen[str]] = []
    try:
        with redis_server(folder) as (redis, url):
            processes.append(process := command(url, "a"))
            until(lambda: redis.exists(LOCK), "the lock")
        assert process.stdout is not None
        until(lambda: "until Redis works" in (process.stdout.readline() if process.stdout else ""), "a line of the log")
        with redis_server(folder) as (redis, _):
            add_due(redis, 10)
            until(lambda: len(moved(redis)) == 10, "the jobs")
            assert redis.exists(LOCK)
            process.terminate()
            process.communicate(timeout=DEADLINE_SECONDS)
            assert process.returncode == 0
            assert not redis.exists(LOCK)
        with command(url, "a") as refused:
            output, _ = refused.communicate(timeout=DEADLINE_SECONDS)
        assert refused.returncode == 2
        assert output.startswith("slimjobs: ")
        assert output.count("\n") == 1
    finally:
        for process in processes:
            process.kill()
            process.communicate()
        shutil.rmtree(folder)


def test_a_burst_worker_works_whatever_key_its_scheduler_finds_broken(redis: Redis, redis_url: str) -> None:
    slimjobs.Queue("a", connection=redis).enqueue_at(LONG_AGO, give, 1)
    redis.set("rq:queue:a", "no list")
    job = slimjobs.Queue("b", connection=redis).enqueue(give, 1)
    code = (
        "import slimjobs\n"
        "slimjobs.Worker(['b'], connection=redis).work(burst=True)\n"
        "worker = slimjobs.Worker(['a'], connection=redis)\n"
        "worker._start_scheduler(burst=True)"
    )
    run_python(code, redis_url)

    assert job.is_finished
