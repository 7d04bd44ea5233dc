"""RQ's command line, `rq worker` and the rest, each command as a process of its own: with our classes and without."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import queue_samples
import rq
import sample_app
from processes import Processes
from queue_samples import Letter
from rq.job import Job as RQJob
from rq.suspension import is_suspended
from rq_versions import needs_metas_kept, needs_queue_class_of_pools, needs_serializer_aliases

import slimjobs
from slimjobs import Job, Ledger, Queue, Serializer

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

pytestmark = pytest.mark.slow

OUR_WORKERS = ["Worker", "SimpleWorker", "SpawnWorker"]
OURS = ("--queue-class", "slimjobs.Queue", "--job-class", "slimjobs.Job")
with_our_classes_and_without = pytest.mark.parametrize("classes", [(), OURS], ids=["RQ's classes", "our classes"])


@pytest.fixture
def command_line(redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run a command of `rq`, and return what it prints."""
    monkeypatch.setenv(queue_samples.URL_VARIABLE, redis_url)
    for pk, text in enumerate(("dear", "hello"), start=1):
        Letter(pk, text).save()
    processes = Processes("letters", redis, redis_url, RQ_REDIS_URL=redis_url)
    return lambda *arguments: processes.run("-m", "rq.cli", *arguments)


@pytest.fixture
def queue(redis: Redis) -> Queue:
    return Queue("letters", connection=redis)


def letter(pk: int = 1) -> Letter:
    """Return an instance whose text is not that of its row: what arrives with "dear" was loaded."""
    return Letter(pk, "as it was in the caller's process")


def failed_job(queue: Queue, command_line: Callable[..., str]) -> RQJob:
    """Return a job that failed because its row was not there, which it is now; it is told something in its meta."""
    job = queue.enqueue(queue_samples.read, Letter(3, ""), meta={"note": 1}, on_missing="fail")
    command_line("worker", "--worker-class", "slimjobs.SimpleWorker", "--burst", "letters")
    assert job.get_status() == "failed"
    Letter(3, "regards").save()
    return job


@pytest.mark.parametrize("worker", OUR_WORKERS)
def test_a_worker_of_ours_needs_no_other_option(queue: Queue, command_line: Callable[..., str], worker: str) -> None:
    jobs = [queue.enqueue(queue_samples.read, letter()), queue.enqueue(letter(2).shout)]
    command_line("worker", "--worker-class", f"slimjobs.{worker}", "--burst", "letters")

    assert [job.return_value() for job in jobs] == ["dear", "HELLO!"]


def test_all_classes_may_be_named(queue: Queue, command_line: Callable[..., str]) -> None:
    job = queue.enqueue(queue_samples.read, letter())
    options = (*OURS, "--worker-class", "slimjobs.Worker", "--serializer", "slimjobs.Serializer")
    command_line("worker", *options, "--burst", "letters")

    assert job.return_value() == "dear"


def test_a_pool_of_our_workers_needs_no_other_option(queue: Queue, command_line: Callable[..., str]) -> None:
    jobs = [queue.enqueue(queue_samples.read, letter()) for _ in range(3)]
    command_line("worker-pool", "--worker-class", "slimjobs.Worker", "--burst", "--num-workers", "2", "letters")

    assert [job.return_value() for job in jobs] == ["dear"] * 3


@pytest.mark.parametrize(
    "options",
    [
        ("worker", "--worker-class", "queue_samples.PickleWorker"),
        ("worker", "--worker-class", "slimjobs.SpawnWorker", "--queue-class", "queue_samples.PickleQueue"),
        ("worker-pool", "--worker-class", "queue_samples.PickleWorker"),
        pytest.param(
            ("worker-pool", "--worker-class", "slimjobs.Worker", "--queue-class", "queue_samples.PickleQueue"),
            marks=needs_queue_class_of_pools,
        ),
    ],
    ids=" ".join,
)
def test_workers_of_ours_keep_pickle(redis: Redis, command_line: Callable[..., str], options: tuple[str, ...]) -> None:
    job = rq.Queue("letters", connection=redis).enqueue(sample_app.give_back, {"a": 5})
    command_line(*options, "--burst", "letters")

    # Its result too is what stock parts of the application can read.
    assert RQJob.fetch(job.id, redis).return_value() == {"a": 5}


@needs_serializer_aliases
@pytest.mark.parametrize("name", ["pickle", "rq.serializers.PickleSerializer"])
def test_pickle_can_be_asked_for(redis: Redis, command_line: Callable[..., str], name: str) -> None:
    job = rq.Queue("letters", connection=redis).enqueue(sample_app.give_back, {"a": 5})
    command_line("worker", "--worker-class", "slimjobs.SpawnWorker", "--serializer", name, "--burst", "letters")

    assert RQJob.fetch(job.id, redis).return_value() == {"a": 5}


def test_a_worker_keeps_its_limits_and_its_counts(queue: Queue, command_line: Callable[..., str]) -> None:
    queue.enqueue(queue_samples.read, Letter(9, ""))
    command_line("worker", "--worker-class", "slimjobs.Worker", "--burst", "letters")

    (row,) = Ledger(queue.connection).totals()
    assert (row.queue, row.jobs, row.missing) == ("letters", 1, 1)


@pytest.mark.parametrize("options", [(), ("--schedule-in", "1h")], ids=["now", "later"])
@pytest.mark.parametrize("job_class", [(), OURS[2:]], ids=["RQ's job class", "our job class"])
def test_a_job_is_enqueued_as_our_queue_does(
    queue: Queue, command_line: Callable[..., str], options: tuple[str, ...], job_class: tuple[str, ...]
) -> None:
    named = ("--queue-class", "slimjobs.Queue", *job_class)
    command_line("enqueue", *named, *options, "--queue", "letters", "--job-id", "n", "sample_app.give_back", "five")
    (row,) = Ledger(queue.connection).totals()
    job = Job.fetch("n", connection=queue.connection)
    if options:
        assert queue.scheduled_job_registry.get_job_ids() == ["n"]
        queue.enqueue_job(job)
    command_line("worker", "--worker-class", "slimjobs.Worker", "--burst", "letters")

    assert job.serializer is Serializer
    assert (row.queue, row.task, row.jobs) == ("letters", "sample_app.give_back", 1)
    assert job.return_value() == "five"


def test_a_job_is_described_without_its_values(queue: Queue, command_line: Callable[..., str]) -> None:
    ours = ("--queue-class", "slimjobs.Queue", "--queue", "letters")  # as README has it
    command_line("enqueue", *ours, "sample_app.record", "ann@example.org", "to=ann@example.org")
    command_line("enqueue", *ours, "--description", "a campaign", "sample_app.record", "1")

    described, told = queue.jobs
    assert described.description == "sample_app.record(str[15], to=str[15])"
    assert told.description == "a campaign"


def test_a_job_that_is_too_large_is_refused(queue: Queue, command_line: Callable[..., str]) -> None:
    with pytest.raises(AssertionError, match=r"sample_app\.give_back: payload is .* limit is 64\.0 KiB"):
        command_line("enqueue", *OURS, "--queue", "letters", "sample_app.give_back", "x" * 70_000)

    assert queue.count == 0


@pytest.mark.parametrize(
    "classes", [pytest.param((), marks=needs_metas_kept), OURS], ids=["RQ's classes", "our classes"]
)
@pytest.mark.parametrize("which", ["--all", "by its id"])
def test_a_failed_job_is_requeued(
    queue: Queue, command_line: Callable[..., str], classes: tuple[str, ...], which: str
) -> None:
    job = failed_job(queue, command_line)
    command_line("requeue", *classes, "--queue", "letters", which if which == "--all" else job.id)
    assert job.get_status() == "queued"
    command_line("worker", "--worker-class", "slimjobs.Worker", "--burst", "letters")

    assert job.return_value() == "regards"
    assert Ledger(queue.connection).totals()[0].jobs == 1  # it is not counted again


@pytest.mark.parametrize(
    "classes", [pytest.param((), marks=needs_metas_kept), OURS], ids=["RQ's classes", "our classes"]
)
def test_a_requeued_job_keeps_what_it_was_told(
    queue: Queue, command_line: Callable[..., str], classes: tuple[str, ...]
) -> None:
    job = failed_job(queue, command_line)
    command_line("requeue", *classes, "--queue", "letters", job.id)

    meta = Job.fetch(job.id, queue.connection).meta
    assert meta["note"] == 1
    assert meta == job.meta


@with_our_classes_and_without
def test_queues_and_workers_are_shown(queue: Queue, command_line: Callable[..., str], classes: tuple[str, ...]) -> None:
    failed_job(queue, command_line)
    queue.enqueue(queue_samples.read, letter())
    slimjobs.Worker([queue]).register_birth()
    all_queues = command_line("info", *classes, "--raw")
    one_queue = command_line("info", *classes, "--raw", "--worker-class", "slimjobs.Worker", "letters")

    for shown in (all_queues, one_queue):
        assert "queue letters 1, 0 executing, 0 finished, 1 failed" in shown
        assert "letters. jobs: 0 finished, 0 failed" in shown


@with_our_classes_and_without
@pytest.mark.parametrize("which", ["--all", "letters"])
def test_a_queue_is_emptied(
    queue: Queue, command_line: Callable[..., str], classes: tuple[str, ...], which: str
) -> None:
    job = queue.enqueue(queue_samples.read, letter())
    printed = command_line("empty", *classes, which)

    assert "1 jobs removed from letters queue" in printed
    assert (queue.count, Job.exists(job.id, queue.connection)) == (0, False)


@with_our_classes_and_without
def test_workers_are_suspended_and_resumed(
    queue: Queue, command_line: Callable[..., str], classes: tuple[str, ...]
) -> None:
    command_line("suspend", *classes)
    assert is_suspended(queue.connection)
    command_line("resume", *classes)
    assert not is_suspended(queue.connection)
