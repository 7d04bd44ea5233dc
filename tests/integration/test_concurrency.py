"""Threads and processes at once: no job is lost or doubled, and the ledger is exact."""

from __future__ import annotations

import sys
from threading import Barrier, Thread
from typing import TYPE_CHECKING, Any

import pytest
import queue_samples
import sample_app
from queue_samples import FRESH_WORKER, Letter, count, python, run_worker
from rq_versions import UNIQUE, RateLimit, needs_rate_limits

import slimjobs
from slimjobs import Ledger, Queue, SimpleWorker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from redis import Redis

pytestmark = pytest.mark.slow

THREADS = 8
PROCESSES = 4
TASK = "queue_samples.note_done"

# Each thread of each process enqueues in all ways, is refused in between, and names its jobs.
ENQUEUE = """
import threading
import queue_samples, slimjobs
from slimjobs import Queue
queue = Queue('letters', connection=redis)
task = slimjobs.job(queue)(queue_samples.note_done)
def enqueue(thread):
    letter = queue_samples.Letter(1, '')
    for turn in range({turns}):
        name = f'{process} {{thread}} {{turn}}'
        queue.enqueue(queue_samples.note_done, letter, name + ' a')
        queue_samples.refuse(queue)
        queue.enqueue_many(
            [Queue.prepare_data(queue_samples.note_done, (letter, f'{{name}} many {{n}}')) for n in range(3)]
        )
        task.enqueue(letter, name + ' b')
        queue.enqueue(queue_samples.note_done, letter, name + ' c', **{unique}, job_id=(name + ' c').replace(' ', '-'))
threads = [threading.Thread(target=enqueue, args=(number,)) for number in range({threads})]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
JOBS_A_TURN = 6

# Waits for jobs, so that it works while they are enqueued.
WORK = "import slimjobs\nslimjobs.{worker}(['letters'], connection=redis).work(max_jobs={jobs}, logging_level='ERROR')"


@pytest.fixture(autouse=True)
def rows(redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(queue_samples.URL_VARIABLE, redis_url)
    Letter(1, "dear").save()


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Let threads take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def in_threads(act: Callable[[int], None]) -> None:
    barrier = Barrier(THREADS)
    errors: list[BaseException] = []

    def run(number: int) -> None:
        barrier.wait()
        try:
            act(number)
        except BaseException as error:  # noqa: BLE001  # it is raised again, where the test can see it
            errors.append(error)

    threads = [Thread(target=run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_processes_that_enqueue_and_work_at_once_lose_and_double_nothing(redis: Redis, redis_url: str) -> None:
    turns = 2
    processes = [
        *[python(WORK.format(worker=worker, jobs=60), redis_url) for worker in ("Worker", "SimpleWorker")],
        *[
            python(ENQUEUE.format(process=number, threads=THREADS, turns=turns, unique=UNIQUE), redis_url)
            for number in range(PROCESSES)
        ],
    ]
    for process in processes:
        _, errors = process.communicate(timeout=queue_samples.DEADLINE_SECONDS)
        assert process.returncode == 0, errors
    run_worker(SimpleWorker, "letters", redis)

    expected = [
        f"{process} {thread} {turn} {way}"
        for process in range(PROCESSES)
        for thread in range(THREADS)
        for turn in range(turns)
        for way in ("a", "b", "c", "many 0", "many 1", "many 2")
    ]
    done: Any = redis.lrange("done", 0, -1)
    assert sorted(name.decode() for name in done) == sorted(expected)
    row = count(redis, TASK, "letters")
    assert row.jobs == len(expected) == PROCESSES * THREADS * turns * JOBS_A_TURN
    assert sum(row.sizes.values()) == row.jobs
    assert count(redis, "queue_samples.give", "letters").refused == PROCESSES * THREADS * turns
    assert sum(each.jobs for each in Ledger(redis).hours()) == row.jobs


def test_threads_that_are_refused_are_all_counted(redis: Redis, hasty_threads: None) -> None:
    queue = Queue("q", connection=redis)

    def act(_: int) -> None:
        for _ in range(40):
            queue_samples.refuse(queue)
            queue.enqueue(sample_app.record, 1)

    in_threads(act)

    assert count(redis, "queue_samples.give").refused == THREADS * 40
    assert count(redis, "sample_app.record").jobs == queue.count == THREADS * 40


def test_threads_that_enqueue_a_task_first_all_reach_its_queue(redis: Redis, hasty_threads: None) -> None:
    def connect() -> Redis:
        redis.ping()
        return redis

    function: Any = queue_samples.read_or_fail
    for _ in range(5):
        task = slimjobs.job("letters", connection=connect)(function.__wrapped__)
        in_threads(lambda _, task=task: task.enqueue(Letter(1, "")))  # type: ignore[misc]

    assert Queue("letters", connection=redis).count == THREADS * 5
    assert Queue.all(connection=redis) == [Queue("letters", connection=redis)]


def test_threads_share_a_queue_whatever_they_send(redis: Redis, hasty_threads: None) -> None:
    queue = Queue("q", connection=redis)

    def act(number: int) -> None:
        for turn in range(20):
            queue.enqueue(sample_app.record, [number, turn, {"nested": [("deep", Letter(number, ""))] * turn}])

    in_threads(act)

    jobs = queue.get_jobs()
    assert len(jobs) == THREADS * 20
    found = sorted((job.args[0][0], job.args[0][1], len(job.args[0][2]["nested"])) for job in jobs)
    assert found == [(number, turn, turn) for number in range(THREADS) for turn in range(20)]


@needs_rate_limits
def test_rate_limited_jobs_are_counted_once_however_often_they_wait(redis: Redis, redis_url: str) -> None:
    queue = Queue("letters", connection=redis)
    for number in range(10):
        queue.enqueue(queue_samples.note_done, Letter(1, ""), str(number), rate_limit=RateLimit("letters", 1))
    workers = [python(FRESH_WORKER.format(queue="letters"), redis_url) for _ in range(2)]
    for worker in workers:
        _, errors = worker.communicate(timeout=queue_samples.DEADLINE_SECONDS)
        assert worker.returncode == 0, errors
    run_worker(SimpleWorker, "letters", redis)

    done: Any = redis.lrange("done", 0, -1)
    assert sorted(map(int, done)) == list(range(10))
    assert count(redis, TASK).jobs == 10
