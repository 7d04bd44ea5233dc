"""What the tests of queues and workers share: models whose rows are in Redis, tasks, and ways to run workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import rq
from redis import Redis
from rq.job import get_current_job
from rq.registry import ScheduledJobRegistry
from rq.serializers import DefaultSerializer

import slimjobs
from slimjobs.ledger import LedgerRow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rq.worker import BaseWorker

URL_VARIABLE = "QUEUE_SAMPLES_REDIS_URL"
SUPPORT_FOLDER = Path(__file__).parent
# For machines that are busy with other things: the gate runs several suites at a time.
DEADLINE_SECONDS = 180


@lru_cache(maxsize=1)
def _connect(url: str) -> Redis:
    return Redis.from_url(url)


def rows() -> Redis:
    """Return the Redis that holds the rows, which every process of a test can reach."""
    return _connect(os.environ[URL_VARIABLE])


class Letter:
    """A model whose rows are in Redis."""

    def __init__(self, pk: Any, text: str) -> None:
        self.id = pk
        self.text = text

    def save(self) -> Letter:
        rows().hset("letters", str(self.id), self.text)
        return self

    def shout(self, mark: str = "!") -> str:
        return self.text.upper() + mark

    def check(self, *_: Any) -> str:
        return f"checked {self.text}"

    @classmethod
    def name(cls, suffix: str) -> str:
        return f"{cls.__name__}{suffix}"


def load_letter(pk: int) -> Letter | None:
    rows().rpush("loads", pk)
    if rows().exists("letters are away"):
        raise ConnectionRefusedError
    if rows().exists("letters are slow"):
        rows().blpop(["never"], timeout=DEADLINE_SECONDS)
    text: Any = rows().hget("letters", str(pk))
    return None if text is None else Letter(pk, text.decode())


class Stamp(Letter):
    """A model with a name of its own in payloads."""


def load_stamps(pks: list[int]) -> dict[int, Stamp]:
    texts: Any = rows().hmget("letters", [str(pk) for pk in pks])
    return {pk: Stamp(pk, text.decode()) for pk, text in zip(pks, texts, strict=True) if text is not None}


class Empty(Letter):
    """A model that is false, as one with `__len__` may be."""

    def __bool__(self) -> bool:
        return False


@dataclass(frozen=True)
class Parcel:
    letter: Any
    weight: int

    def label(self) -> str:
        return f"{self.letter.text} {self.weight}"

    def grams(self) -> int:
        return self.weight * 1000


slimjobs.register(Letter, load=load_letter)
slimjobs.register(Stamp, load_many=load_stamps, name="post.stamp")
slimjobs.register(Empty, load=lambda pk: Empty(pk, "empty"))
slimjobs.register_type(Parcel)


class PickleQueue(slimjobs.Queue):
    """A queue that keeps RQ's pickle."""

    default_serializer: ClassVar[Any] = DefaultSerializer


class PickleWorker(slimjobs.Worker):
    """A worker that keeps RQ's pickle."""

    default_serializer: ClassVar[Any] = DefaultSerializer


# Tasks. What they return tells what they were given.


def read(letter: Letter) -> str:
    return letter.text


async def read_later(letter: Letter) -> str:
    return letter.text


def read_all(*letters: Any, **named: Any) -> Any:
    return {"letters": [letter.text for letter in letters], "named": {key: each.text for key, each in named.items()}}


def read_nested(tree: Any) -> list[str]:
    return sorted(letter.text for letter in walk(tree))


def walk(value: Any) -> Iterator[Letter]:
    if isinstance(value, Letter):
        yield value
    elif isinstance(value, dict):
        for pair in value.items():
            for item in pair:
                yield from walk(item)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            yield from walk(item)
    elif isinstance(value, Parcel):
        yield from walk(value.letter)


def give(value: Any) -> Any:
    return value


def give_type(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def give_letter(pk: int) -> Letter:
    return Letter(pk, "new")


def watch_itself(letter: Letter) -> list[str]:
    """Return what the running job says of its arguments."""
    job = get_current_job()
    assert job is not None
    return [type(job.args[0]).__name__, type(letter).__name__, str(job.args[0] is letter)]


def read_at_second_try(letter: Letter) -> str:
    if rows().incr("tries") < 2:
        raise RuntimeError("not yet")
    return letter.text


def ask_for_a_retry(letter: Letter, interval: int = 0) -> Any:
    if rows().incr("tries") < 2:
        return rq.Retry(max=3, interval=interval)
    return letter.text


def note_done(letter: Letter, name: str) -> None:
    assert letter.text == "dear"
    rows().rpush("done", name)


def give_command_line() -> list[str]:
    """Return what everybody on the machine can read of this process."""
    return sys.orig_argv


def hang(letter: Letter) -> str:
    """Say which process this is, and wait until somebody says "go"."""
    rows().rpush("horse", os.getpid())
    assert rows().blpop(["go"], timeout=DEADLINE_SECONDS)
    return letter.text


def save_itself(letter: Letter) -> str:
    """Let the running job be written again in the ways RQ offers."""
    job = get_current_job()
    assert job is not None
    job.meta["progress"] = 1
    job.save_meta()  # type: ignore[no-untyped-call]
    job.save()
    return letter.text


def pass_on(letter: Letter) -> str:
    """Enqueue another job with the very model that this one was given."""
    job = get_current_job()
    assert job is not None
    return slimjobs.Queue(job.origin, connection=job.connection).enqueue(read, letter).id


def fail_after_enqueueing(letter: Letter, text: str, **named: Any) -> None:
    """Write to Redis what it was given, and fail."""
    job = get_current_job()
    assert job is not None
    rows().set("told", text)
    slimjobs.Queue("inner", connection=job.connection).enqueue(give, [letter, text, named])
    raise RuntimeError("the task failed")


def refuse_one() -> None:
    """Let a call be refused inside a job."""
    job = get_current_job()
    assert job is not None
    refuse(slimjobs.Queue("inner", connection=job.connection))


def refuse(queue: slimjobs.Queue) -> None:
    try:
        queue.enqueue(give, "x" * 100_000)
    except slimjobs.PayloadTooLargeError:
        return
    raise AssertionError("it was not refused")


def on_success(job: rq.job.Job, connection: Redis, result: Any) -> None:
    connection.rpush("callbacks", f"success {type(job.args[0]).__name__} {type(result).__name__}")


def on_failure(job: rq.job.Job, connection: Redis, kind: type[Exception], error: Exception, _: Any) -> None:
    connection.rpush("callbacks", f"failure {type(job.args[0]).__name__} {kind.__name__} {error}")


def note_result(_: rq.job.Job, connection: Redis, result: Any) -> None:
    connection.set("result", type(result).__name__)


def refuse_on_success(_: rq.job.Job, connection: Redis, __: Any) -> None:
    refuse(slimjobs.Queue("inner", connection=connection))


# Tasks with the decorator, each with what it does about rows that are gone.


@slimjobs.job("letters", connection=rows)
def read_or_fail(letter: Letter) -> str:
    return letter.text


@slimjobs.job("letters", connection=rows, on_missing="discard")
def read_or_discard(letter: Letter) -> str:
    return letter.text


@slimjobs.job("letters", connection=rows, on_missing="none")
def read_or_none(letter: Letter | None) -> str:
    return "nothing" if letter is None else letter.text


@slimjobs.job("letters", connection=rows, wait_for_row=30)
def read_when_there(letter: Letter) -> str:
    return letter.text


@slimjobs.job("letters", connection=rows)
async def read_async(letter: Letter) -> str:
    return letter.text


@slimjobs.job("letters", connection=rows)
def go_on(letter: Letter, run: int, ending: str) -> Any:
    """Say what it was given, and let its next run, if there is one, begin with the next letter."""
    rows().rpush("seen", f"{letter.text} {run}")
    job = get_current_job()
    assert job is not None
    job.args = (Letter(letter.id + 1, "x" * 10_000), run + 1, ending)
    if ending.endswith("saved"):
        job.save()
    if run < 2 and ending == "ask":
        return rq.Retry(max=3)
    if run < 2 and ending.startswith("fail"):
        raise RuntimeError("not yet")
    return run


@slimjobs.job("letters", connection=rows)
def go_on_with_what_cannot_travel(ending: str) -> Any:
    """Do its work, and set what no payload can hold for its next run."""
    rows().rpush("sent", ending)
    job = get_current_job()
    assert job is not None
    job.args = (object() if ending.endswith("an object") else "x" * 100_000,)
    if ending.startswith("raise"):
        raise ConnectionError("the real error")
    return rq.Retry(max=3) if ending.startswith("ask") else "done"


@slimjobs.job("letters", connection=rows)
def read_tree(tree: Any) -> list[str]:
    return read_nested(tree)


@slimjobs.job("letters", connection=rows)
def read_first(tree: Any) -> str:
    while isinstance(tree, list):
        tree = tree[0]
    return str(tree.text)


@slimjobs.job("letters", connection=rows)
def gather(tree: Any, found: list[str]) -> list[str]:
    """Gather texts by calling itself, as a plain function, for what is inside."""
    for item in tree:
        if isinstance(item, list):
            gather(item, found)
        else:
            found.append(item.text)
    return found


def marked(function: Any) -> Any:
    """Give a function one more argument, as decorators that inject a session or a lock do."""

    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, mark="!", **kwargs)

    return wrapper


@marked
@slimjobs.job("letters", connection=rows)
def read_marked(letter: Letter, mark: str = "") -> str:
    return letter.text + mark


@slimjobs.job("letters", connection=rows)
def call_another(letter: Letter) -> list[str]:
    found = [read_or_fail(letter), read_or_none(None)]
    gather([letter], found)
    return found


def run_worker(worker_class: type[BaseWorker], queue: Any, redis: Redis, **options: Any) -> None:
    """Run a worker in this process, its work horses forked or spawned, until the queue is empty."""
    worker = worker_class([queue], connection=redis, **options)
    # The thread that listens for commands can take a second to end, and makes a fork unsafe.
    worker.subscribe = lambda: None  # type: ignore[method-assign]
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        worker.work(burst=True, logging_level="WARNING")
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def enqueue_due_jobs(queue: str, redis: Redis) -> None:
    """Do one round of a scheduler's work."""
    scheduler = slimjobs.Scheduler([queue], redis, logging_level="WARNING")
    scheduler.prepare_registries([queue])
    scheduler.enqueue_scheduled_jobs()


def make_all_due(queue: rq.Queue) -> None:
    """Turn the clock for all jobs on the schedule of a queue, instead of waiting."""
    registry = ScheduledJobRegistry(queue=queue)  # type: ignore[no-untyped-call]
    for job_id in registry.get_job_ids(cleanup=False):
        queue.connection.zadd(registry.key, {job_id: 1})


def python(code: str, redis_url: str, **environment: str) -> subprocess.Popen[str]:
    """Start Python code in a process that has imported nothing; `redis` is there for it."""
    path = os.pathsep.join([str(SUPPORT_FOLDER), *filter(None, [os.environ.get("PYTHONPATH")])])
    setup = "import os\nfrom redis import Redis\nredis = Redis.from_url(os.environ['QUEUE_SAMPLES_REDIS_URL'])\n"
    return subprocess.Popen(
        [sys.executable, "-c", setup + code],
        env={**os.environ, "PYTHONPATH": path, URL_VARIABLE: redis_url, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_python(code: str, redis_url: str, **environment: str) -> str:
    """Run Python code in a process that has imported nothing, and return what it prints."""
    with python(code, redis_url, **environment) as process:
        output, errors = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 0, errors
    return output


FRESH_WORKER = "import slimjobs\nslimjobs.Worker(['{queue}'], connection=redis).work(burst=True, logging_level='ERROR')"


def snapshot(redis: Redis) -> dict[bytes, Any]:
    """Return all that is in the database, as it is stored."""
    keys: Any = redis.keys()
    return {key: redis.dump(key) for key in keys}


def count(redis: Redis, task: str, queue: str | None = None) -> LedgerRow:
    """Return what the ledger says of one task; of a task that it does not know, a row of zeros."""
    found = [
        row for row in slimjobs.Ledger(redis).totals() if row.task == task and (queue is None or row.queue == queue)
    ]
    assert len(found) <= 1, found
    return found[0] if found else LedgerRow(queue or "", task)


def failure(job: rq.job.Job) -> str:
    """Return why a job failed."""
    result = job.latest_result()
    assert result is not None, job.get_status()
    assert result.exc_string is not None, result.type
    return result.exc_string


@contextmanager
def between_watch_and_exec(meddle: Any) -> Iterator[type[slimjobs.Job]]:
    """Give a job class that runs `meddle` once, when RQ watches a job's dependencies and has not written yet."""
    pending = [meddle]

    class Meddled(slimjobs.Job):
        def register_dependency(self, pipeline: Any = None) -> None:
            super().register_dependency(pipeline=pipeline)
            while pending:
                pending.pop()()

    yield Meddled
    assert not pending, "nothing was watched"
