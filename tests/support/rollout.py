"""An application on its way from pickled jobs to slim ones: its code before, between and after, and its processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from queue_samples import DEADLINE_SECONDS
from rq import Queue
from rq.cron import get_cron_job_ids
from rq.registry import DeferredJobRegistry, FailedJobRegistry, ScheduledJobRegistry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from redis import Redis

QUEUE = "mail"
BODY = "Dear reader, " * 1_000

MODELS = """
import os
from redis import Redis

def rows():
    return Redis.from_url(os.environ["REDIS_URL"])

class Email:
    def __init__(self, pk, body):
        self.id = pk
        self.body = body

def fetch_email(pk):
    body = rows().hget("emails", pk)
    return None if body is None else Email(pk, body.decode())
"""
REGISTERED = """
import slimjobs
slimjobs.register(Email, load=fetch_email)
"""
JOBS = """
import json
from rq import get_current_job
from app.models import rows

def send(email, name, failures=0):
    job = get_current_job()
    tries = rows().incr(f"tries:{name}")
    rows().rpush("attempts", name)
    assert job.meta == {"name": name}, job.meta
    if tries <= failures:
        raise RuntimeError("not yet")
    rows().rpush("runs", json.dumps([name, email.id, email.body]))
    return f"sent {name}"

def tick(email):
    rows().rpush("ticks", f"{get_current_job().id} {email.id}")
"""
QUEUES = {
    "stock": "from rq import Queue\n",
    "counting": """
import slimjobs
from rq.serializers import DefaultSerializer

class Queue(slimjobs.Queue):
    default_serializer = DefaultSerializer
""",
    "slim": "from slimjobs import Queue\n",
}
PRODUCE = """
from datetime import timedelta
from rq import Repeat, Retry
from app.jobs import send
from app.models import fetch_email, rows
from app.queues import Queue

DAY = 24 * 60 * 60

def produce(batch):
    queue = Queue("mail", connection=rows())
    email = fetch_email(7)

    def told(kind, **options):
        name = f"{batch}-{kind}"
        return {"job_id": name, "meta": {"name": name}, "result_ttl": DAY, **options}

    def arguments(kind, failures=0):
        return send, email, f"{batch}-{kind}", failures

    first = queue.enqueue(*arguments("queued"), **told("queued"))
    queue.enqueue(*arguments("deferred"), **told("deferred", depends_on=first))
    queue.enqueue(*arguments("retried", 1), **told("retried", retry=Retry(max=1)))
    day_after = queue.enqueue_in(timedelta(days=1), *arguments("scheduled"), **told("scheduled"))
    queue.enqueue(*arguments("after"), **told("after", depends_on=day_after))
    queue.enqueue(*arguments("later", 1), **told("later", retry=Retry(max=1, interval=DAY)))
    queue.enqueue(*arguments("failed", 1), **told("failed"))
    queue.enqueue(*arguments("repeat"), **told("repeat", repeat=Repeat(times=2, interval=DAY)))
"""
CRON = """
from rq import cron
from app.jobs import tick
from app.models import fetch_email

cron.register(tick, "mail", args=(fetch_email(7),), interval=1, name="ticks")
"""
CRON_NAME = "ticks"

# How often each kind of job is begun: in the phase in which it is enqueued, in the next one, and in the one after.
# Between two phases the clock is turned for all that is scheduled, and what failed is requeued.
BEGINS = {
    "queued": (1,),
    "deferred": (1,),
    "retried": (2,),
    "scheduled": (0, 1),
    "after": (0, 1),
    "later": (1, 1),
    "failed": (1, 1),
    "repeat": (1, 1, 1),
}


def write_versions(folder: Path) -> None:
    """Write the application's three versions, each in a folder of its own."""
    for version, queues in QUEUES.items():
        app = folder / version / "app"
        app.mkdir(parents=True)
        (app / "models.py").write_text(MODELS + (REGISTERED if version != "stock" else ""))
        for name, text in (("jobs", JOBS), ("queues", queues), ("produce", PRODUCE), ("cron_config", CRON)):
            (app / f"{name}.py").write_text(text)


@dataclass(frozen=True)
class Part:
    """A process: the version of the code that it has, its command, and what it finds in its environment."""

    version: str
    command: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()


def part(version: str, *command: str, **environment: str) -> Part:
    return Part(version, command, tuple(environment.items()))


@dataclass(frozen=True)
class Fleet:
    """The processes that are there at the same time."""

    workers: tuple[Part, ...]
    producers: tuple[Part, ...]
    cron: Part | None
    requeue: tuple[str, ...] = ()


def stop(process: subprocess.Popen[str]) -> None:
    """Tell a process once to end, and wait for it to finish what it does."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(DEADLINE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise


class Rollout:
    """Phases of a rollout, one fleet after another on the same Redis, with every kind of job in every phase."""

    def __init__(self, folder: Path, redis: Redis, redis_url: str) -> None:
        self.redis = redis
        self._folder = folder
        self._url = redis_url
        self._log = folder / "processes.log"
        self._batches: list[tuple[int, str]] = []  # the phase of each, and its name
        self._phase = 0
        redis.hset("emails", "7", BODY)

    def run(self, fleet: Fleet) -> None:
        """Turn the clock, have the fleet at work with all its producers, and wait until all is done that is due."""
        self._phase += 1
        self.turn_the_clock()
        self.requeue(fleet)
        self._batches += [(self._phase, f"{self._phase}{each.version}") for each in fleet.producers]
        with self.at_work(fleet):
            producers = [
                self.start(part(each.version, "-c", _produce(f"{self._phase}{each.version}"), **dict(each.environment)))
                for each in fleet.producers
            ]
            for process in producers:
                assert process.wait(DEADLINE_SECONDS) == 0, self.log()
            self._await_begun()

    @contextmanager
    def at_work(self, fleet: Fleet) -> Iterator[None]:
        """Have the workers, schedulers and cron of a fleet run; they end one after another, having finished."""
        processes = [self.start(each) for each in (*fleet.workers, fleet.cron) if each is not None]
        try:
            yield
        finally:
            for process in reversed(processes):
                stop(process)

    def start(self, each: Part, output: int | None = None) -> subprocess.Popen[str]:
        folder = self._folder / each.version
        path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
        own = {"PYTHONPATH": path, "REDIS_URL": self._url, "RQ_REDIS_URL": self._url, **dict(each.environment)}
        with self._log.open("a") as log:
            return subprocess.Popen(
                [sys.executable, *each.command],
                cwd=folder,
                env={**os.environ, **own},
                stdout=log if output is None else output,
                stderr=log,
                text=True,
            )

    def log(self) -> str:
        return self._log.read_text()

    def call(self, version: str, *command: str) -> str:
        """Run a command of one version of the application, and return what it prints."""
        with self.start(part(version, *command), subprocess.PIPE) as process:
            output, _ = process.communicate(timeout=DEADLINE_SECONDS)
        assert process.returncode == 0, output + self.log()
        return output

    def turn_the_clock(self) -> None:
        registry: Any = ScheduledJobRegistry(QUEUE, self.redis)  # type: ignore[no-untyped-call]
        for job_id in registry.get_job_ids(cleanup=False):
            self.redis.zadd(registry.key, {job_id: 1})

    def requeue(self, fleet: Fleet) -> None:
        """Requeue what failed, with the command that the fleet has."""
        if FailedJobRegistry(QUEUE, self.redis).get_job_count(cleanup=False):
            command = ("-m", "rq.cli", "requeue", "--url", self._url, "--queue", QUEUE, "--all", *fleet.requeue)
            self.call(fleet.workers[0].version, *command)

    def wait_until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not holds():
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.02)

    def is_idle(self) -> bool:
        """Return whether nothing is left that a worker or a scheduler would do now."""
        scheduled = ScheduledJobRegistry(QUEUE, self.redis)  # type: ignore[no-untyped-call]
        return not (
            self.redis.llen(f"rq:queue:{QUEUE}")
            or self.redis.zcard(f"rq:wip:{QUEUE}")
            or self.redis.zcount(scheduled.key, 0, time.time())
        )

    def _await_begun(self) -> None:
        due = sum(
            begins[self._phase - phase]
            for phase, _ in self._batches
            for begins in BEGINS.values()
            if self._phase - phase < len(begins)
        )
        begun = Counter[str]()
        deadline = time.monotonic() + DEADLINE_SECONDS
        while begun.total() < due:
            found: Any = self.redis.blpop(["attempts"], timeout=1)
            if found:
                begun[found[1].decode()] += 1
            else:
                self._enqueue_ready()
            assert time.monotonic() < deadline, f"{due - begun.total()} of {due} were not begun; {begun}\n{self.log()}"

    def _enqueue_ready(self) -> None:
        """Enqueue the dependents that RQ has left for its maintenance, which a worker does every ten minutes.

        Two workers that end jobs with dependents at the same moment are in each other's way there, since RQ 3.0.
        """
        registry: Any = getattr(Queue(QUEUE, connection=self.redis), "ready_job_registry", None)
        if registry is not None:
            registry.cleanup()

    def finish(self, fleet: Fleet) -> None:
        """Run the last fleet until no job is left, and hold what ran against what was enqueued."""
        for _ in range(2):
            self.run(replace(fleet, producers=()))
        with self.at_work(replace(fleet, cron=None)):
            self.wait_until(self.is_idle)
        self.check()

    def check(self) -> None:
        """Each job ran once, a repeated one three times, with the row's values; nothing is left."""
        runs = [json.loads(run) for run in self._list("runs")]
        expected = Counter(
            {f"{batch}-{kind}": 3 if kind == "repeat" else 1 for _, batch in self._batches for kind in BEGINS}
        )
        assert Counter(name for name, _, _ in runs) == expected
        assert {(pk, body) for _, pk, body in runs} == {(7, BODY)}
        ticks = self._list("ticks")
        assert ticks
        assert sorted(ticks) == sorted(f"{job_id} 7" for job_id in get_cron_job_ids(CRON_NAME, self.redis))
        for registry in (FailedJobRegistry, DeferredJobRegistry):
            left = registry(QUEUE, self.redis).get_job_ids(cleanup=False)
            assert not left, self.log()
        assert self.is_idle()

    def names(self, versions: Sequence[str] = ()) -> list[str]:
        """Return the ids of all jobs, or of those that producers of some versions made."""
        batches = [batch for _, batch in self._batches if not versions or batch.lstrip("0123456789") in versions]
        return [f"{batch}-{kind}" for batch in batches for kind in BEGINS]

    def _list(self, key: str) -> list[str]:
        values: Any = self.redis.lrange(key, 0, -1)
        return [value.decode() for value in values]


def _produce(batch: str) -> str:
    return f"from app.produce import produce; produce({batch!r})"
