"""What can become of a job after it is enqueued: how it is, what happens then, and how often it runs."""

from __future__ import annotations

import http.server
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import rq.job
from queue_samples import (
    DEADLINE_SECONDS,
    Letter,
    enqueue_due_jobs,
    hang,
    make_all_due,
    on_failure,
    on_success,
    rows,
    run_worker,
)
from rq import Callback, Repeat, Retry
from rq.command import send_stop_job_command
from rq.group import Group
from rq.job import Dependency, JobStatus
from rq.registry import CanceledJobRegistry, FailedJobRegistry
from rq.worker_pool import WorkerPool
from rq_versions import RateLimit, Webhook, needs_rate_limits, needs_unique_jobs, needs_webhooks

from slimjobs import Job, Queue, SimpleWorker, SpawnWorker, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from processes import Processes
    from redis import Redis


# Tasks. Each says that it ran.


def note(letter: Letter) -> str:
    rows().rpush("runs", letter.text)
    return letter.text


async def note_async(letter: Letter) -> str:
    return note(letter)


def note_slowly(letter: Letter) -> str:
    note(letter)
    return hang(letter)


def fail_at_first(letter: Letter) -> str:
    note(letter)
    if rows().incr("tries") < 2:
        raise RuntimeError("not yet")
    return letter.text


def ask_at_first(letter: Letter) -> Any:
    note(letter)
    return Retry(max=2) if rows().incr("tries") < 2 else letter.text


def ask_for_later_at_first(letter: Letter) -> Any:
    note(letter)
    return Retry(max=2, interval=60) if rows().incr("tries") < 2 else letter.text


def on_stopped(job: rq.job.Job, connection: Redis) -> None:
    connection.rpush("callbacks", f"stopped {type(job.args[0]).__name__}")


@dataclass
class Stage:
    """Where a life takes place: a queue, and processes of the same application."""

    queue: Queue
    processes: Processes
    redis_url: str

    @property
    def redis(self) -> Redis:
        return self.queue.connection

    def work(self, worker_class: Any = SimpleWorker) -> None:
        run_worker(worker_class, self.queue.name, self.redis)

    def work_later(self) -> None:
        """Work, let what is scheduled become due, and work again, until nothing is left."""
        self.work()
        while self.queue.scheduled_job_registry.get_job_count(cleanup=False):
            make_all_due(self.queue)
            enqueue_due_jobs(self.queue.name, self.redis)
            self.work()

    def rq(self, command: str, *arguments: str) -> None:
        """Run a command of RQ's own."""
        self.processes.run("-m", "rq.cli", command, "--url", self.redis_url, *arguments)


def work(stage: Stage, _: Job) -> None:
    stage.work()


def work_later(stage: Stage, _: Job) -> None:
    stage.work_later()


def work_as(worker_class: Any) -> Callable[[Stage, Job], None]:
    return lambda stage, _: stage.work(worker_class)


def work_in_a_pool(stage: Stage, _: Job) -> None:
    pool = WorkerPool([stage.queue], connection=stage.redis, num_workers=1, worker_class=Worker)
    pool.start(burst=True, logging_level="ERROR")


def fail_then(requeue: Callable[[Stage, Job], object]) -> Callable[[Stage, Job], None]:
    def happen(stage: Stage, job: Job) -> None:
        stage.work()
        assert job.get_status() == JobStatus.FAILED
        requeue(stage, job)
        stage.work()

    return happen


def then_work(do: Callable[[Stage, Job], object]) -> Callable[[Stage, Job], None]:
    def happen(stage: Stage, job: Job) -> None:
        do(stage, job)
        stage.work()

    return happen


def cancel_then_requeue(stage: Stage, job: Job) -> None:
    job.cancel()
    stage.work()
    assert job.get_status() == JobStatus.CANCELED
    CanceledJobRegistry(stage.queue.name, stage.redis).requeue(job.id)
    stage.work()


def stop(stage: Stage, job: Job) -> None:
    with stage.processes.workers(1):
        assert stage.redis.blpop(["horse"], timeout=DEADLINE_SECONDS)
        send_stop_job_command(stage.redis, job.id)
        assert stage.redis.blpop(["callbacks"], timeout=DEADLINE_SECONDS) == (b"callbacks", b"stopped Ref")


def expire(stage: Stage, job: Job) -> None:
    assert 0 < stage.redis.ttl(job.key) <= 500
    stage.redis.pexpire(job.key, 0)
    stage.work()


def call_back(stage: Stage, _: Job) -> None:
    stage.work()
    assert stage.redis.lrange("callbacks", 0, -1) == [b"success Ref str"]


def fail_and_call_back(stage: Stage, _: Job) -> None:
    stage.work()
    assert stage.redis.lrange("callbacks", 0, -1) == [b"failure Ref RuntimeError not yet"]


@contextmanager
def listener() -> Iterator[tuple[str, list[bytes]]]:
    """Listen for webhooks; give the URL, and the bodies that were posted."""
    bodies: list[bytes] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/done", bodies
        server.shutdown()
        thread.join()


def hook(stage: Stage, job: Job) -> None:
    with listener() as (url, bodies):
        job.webhooks = [Webhook(url, "finished", method="POST")]
        job.save()
        stage.work()
    assert len(bodies) == 1
    assert b"lives.note" in bodies[0]
    assert b"dear" not in bodies[0]


def finish_the_dependency(stage: Stage, job: Job) -> None:
    assert job.get_status() == JobStatus.DEFERRED
    stage.work()


def behind_another(stage: Stage) -> dict[str, Any]:
    stage.queue.enqueue(len, "other")
    return {"at_front": True}


def overtake(stage: Stage, job: Job) -> None:
    assert stage.queue.job_ids[0] == job.id
    stage.work()


def find_in_group(stage: Stage, job: Job) -> None:
    (group,) = Group.all(stage.redis)
    assert [each.id for each in group.get_jobs()] == [job.id]
    stage.work()


def take_turns(stage: Stage, job: Job) -> None:
    other = stage.queue.enqueue(len, "other", rate_limit=RateLimit("letters", 1))
    assert (job.get_status(), other.get_status()) == (JobStatus.QUEUED, JobStatus.RATE_LIMITED)
    stage.work()
    assert other.return_value() == 5


@dataclass
class Life:
    """One life of a job.

    Attributes:
        happen: What happens after it is enqueued.
        task: What is enqueued, with the letter as its argument.
        options: What RQ is told when it is enqueued, or a function that returns it.
        enqueue: How it is enqueued.
        runs: How often the task is called, and its letter loaded.
        status: What the job is in the end; None where RQ has deleted it.
        needs: The marks of tests for what older versions of RQ lack.
    """

    happen: Callable[[Stage, Job], object] = work
    task: Any = note
    options: Callable[[Stage], dict[str, Any]] = lambda _: {}
    runs: int = 1
    status: JobStatus | None = JobStatus.FINISHED
    needs: tuple[pytest.MarkDecorator, ...] = ()

    def enqueue(self, stage: Stage, *args: Any) -> Job:
        job = stage.queue.enqueue(self.task, args=args, **self.options(stage))
        assert isinstance(job, Job)
        return job


class GroupLife(Life):
    def enqueue(self, stage: Stage, *args: Any) -> Job:
        (job,) = Group.create(stage.redis).enqueue_many(stage.queue, [Queue.prepare_data(self.task, args)])
        assert isinstance(job, Job)
        return job


class SynchronousLife(Life):
    def enqueue(self, stage: Stage, *args: Any) -> Job:
        queue = Queue(stage.queue.name, connection=stage.redis, is_async=False)
        job = queue.enqueue(self.task, args=args)
        assert isinstance(job, Job)
        return job


def given(**options: Any) -> Callable[[Stage], dict[str, Any]]:
    return lambda _: options


LIVES = {
    "a SimpleWorker": Life(),
    "a Worker": Life(work_as(Worker)),
    "a SpawnWorker": Life(work_as(SpawnWorker)),
    "a WorkerPool": Life(work_in_a_pool),
    "rq worker": Life(lambda stage, _: stage.rq("worker", "--worker-class", "slimjobs.Worker", "--burst", "letters")),
    "a synchronous queue": SynchronousLife(lambda *_: None),
    "an async function": Life(task=note_async),
    "an async function, forked": Life(work_as(Worker), note_async),
    "retry": Life(task=fail_at_first, options=given(retry=Retry(max=2)), runs=2),
    "retry, forked": Life(work_as(Worker), fail_at_first, given(retry=Retry(max=2)), runs=2),
    "retry, later": Life(work_later, fail_at_first, given(retry=Retry(max=2, interval=60)), runs=2),
    "a failure": Life(task=fail_at_first, status=JobStatus.FAILED),
    "a returned retry": Life(task=ask_at_first, runs=2),
    "a returned retry, later": Life(work_later, ask_for_later_at_first, runs=2),
    "repeat": Life(options=given(repeat=Repeat(times=2)), runs=3),
    "repeat, later": Life(work_later, options=given(repeat=Repeat(times=2, interval=60)), runs=3),
    "requeued by its registry": Life(
        fail_then(lambda stage, job: stage.queue.failed_job_registry.requeue(job)), fail_at_first, runs=2
    ),
    "requeued by a registry that knows neither class nor serializer": Life(
        fail_then(lambda stage, job: FailedJobRegistry("letters", stage.redis).requeue(job.id)), fail_at_first, runs=2
    ),
    "requeued by itself": Life(fail_then(lambda _, job: job.requeue()), fail_at_first, runs=2),
    "requeued by RQ's function": Life(
        fail_then(lambda stage, job: rq.job.requeue_job(job.id, stage.redis)), fail_at_first, runs=2
    ),
    "rq requeue": Life(
        fail_then(lambda stage, job: stage.rq("requeue", "--queue", "letters", job.id)), fail_at_first, runs=2
    ),
    "canceled": Life(then_work(lambda _, job: job.cancel()), runs=0, status=JobStatus.CANCELED),
    "canceled by RQ's function": Life(
        then_work(lambda stage, job: rq.job.cancel_job(job.id, stage.redis)), runs=0, status=JobStatus.CANCELED
    ),
    "canceled, then requeued": Life(cancel_then_requeue),
    "deleted": Life(then_work(lambda _, job: job.delete()), runs=0, status=None),
    "rq empty": Life(then_work(lambda stage, _: stage.rq("empty", "letters")), runs=0, status=None),
    "stopped": Life(stop, note_slowly, given(on_stopped=Callback(on_stopped)), status=JobStatus.STOPPED),
    "ttl, in time": Life(options=given(ttl=500)),
    "ttl, too late": Life(expire, options=given(ttl=500), runs=0, status=None),
    "result_ttl of nothing": Life(options=given(result_ttl=0), status=None),
    "a callback": Life(call_back, options=given(on_success=Callback(on_success))),
    "a callback of a failure": Life(
        fail_and_call_back, fail_at_first, given(on_failure=Callback(on_failure)), status=JobStatus.FAILED
    ),
    "a webhook": Life(hook, needs=(needs_webhooks,)),
    "at_front": Life(overtake, options=behind_another),
    "unique": Life(options=given(unique=True, job_id="one"), needs=(needs_unique_jobs,)),
    "rate limited": Life(
        take_turns, options=lambda _: {"rate_limit": RateLimit("letters", 1)}, needs=(needs_rate_limits,)
    ),
    "a dependency": Life(
        finish_the_dependency, options=lambda stage: {"depends_on": stage.queue.enqueue(len, "other")}
    ),
    "a dependency that fails, and may": Life(
        finish_the_dependency,
        options=lambda stage: {"depends_on": Dependency(stage.queue.enqueue(len), allow_failure=True)},
    ),
    "a dependency that fails": Life(
        finish_the_dependency,
        options=lambda stage: {"depends_on": stage.queue.enqueue(len)},
        runs=0,
        status=JobStatus.DEFERRED,
    ),
    "a group": GroupLife(find_in_group),
}

each_life = pytest.mark.parametrize(
    "life", [pytest.param(life, id=name, marks=life.needs) for name, life in LIVES.items()]
)
