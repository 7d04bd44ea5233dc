"""What is recorded: every job that this process enqueues, on every path, once."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import rq
import sample_app
from queue_samples import run_worker
from rq.decorators import job as job_decorator
from rq.serializers import DefaultSerializer, JSONSerializer
from rq_versions import RQ, needs_unique_jobs, needs_unique_schedules
from ways import TASK, Call, Way, each_way

import slimjobs
from slimjobs import Serializer
from slimjobs.testing import record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from redis import Redis

SOON = datetime(2030, 1, 1, tzinfo=timezone.utc)


@pytest.fixture(autouse=True)
def rows() -> Iterator[None]:
    sample_app.reset()
    yield
    sample_app.reset()


@each_way
def test_each_way_into_a_queue_of_ours_is_recorded_once_per_job(way: Way, redis: Redis) -> None:
    call = Call(slimjobs.Queue("letters", connection=redis), ("x" * 1000,), {"to": [1]}, {"campaign": 7})
    way.prepare(call)
    with record() as recorded:
        jobs = way.enqueue(call)
        if call.pipeline is not None:
            call.pipeline.execute()
        for job in jobs:
            job.save()  # as RQ does after a run

    found = recorded.by_task[TASK].jobs
    assert sorted(job.id for job in found) == sorted(job.id for job in jobs)
    assert len(found) == way.jobs
    for job in found:
        written = slimjobs.Job.fetch(job.id, connection=redis)
        assert job.size_bytes == len(written.data) + len(Serializer.dumps({"campaign": 7}))
        assert (job.queue, job.limit_bytes, job.refusal, job.problem) == (written.origin, 64 * 1024, None, "")
        assert job.place is not None
        assert job.place.file.endswith(("ways.py", "test_recording.py"))


def unique(queue: rq.Queue, **options: Any) -> Any:
    job = queue.enqueue(sample_app.give_back, "abc", job_id="one", unique=True, **options)
    with pytest.raises(Exception, match="already exists"):
        queue.enqueue(sample_app.give_back, "abc", job_id="one", unique=True, **options)
    return job


def unique_schedule(queue: rq.Queue) -> Any:
    job = queue.enqueue_at(SOON, sample_app.give_back, "abc", job_id="one", unique=True)
    with pytest.raises(Exception, match="already exists"):
        queue.enqueue_at(SOON, sample_app.give_back, "abc", job_id="one", unique=True)
    return job


def created_and_saved(queue: rq.Queue) -> Any:
    job = rq.job.Job.create(
        sample_app.give_back, ("abc",), connection=queue.connection, origin=queue.name, serializer=queue.serializer
    )
    job.save()
    job.save()
    return job


def in_a_pipeline(queue: rq.Queue) -> Any:
    with queue.connection.pipeline() as pipeline:
        job = queue.enqueue(sample_app.give_back, "abc", pipeline=pipeline)
        pipeline.execute()
    return job


def repeated(queue: rq.Queue) -> Any:
    return queue.enqueue(sample_app.give_back, "abc", repeat=rq.Repeat(times=2, interval=0))


STOCK: dict[str, tuple[Callable[[rq.Queue], Any], tuple[pytest.MarkDecorator, ...]]] = {
    "enqueue": (lambda queue: queue.enqueue(sample_app.give_back, "abc"), ()),
    "enqueue, by import path": (lambda queue: queue.enqueue("sample_app.give_back", "abc"), ()),
    "enqueue, in a pipeline": (in_a_pipeline, ()),
    "enqueue, unique": (unique, (needs_unique_jobs,)),
    "enqueue, unique, at_front": (partial(unique, at_front=True), (needs_unique_jobs,)),
    "enqueue, repeated": (repeated, ()),
    "enqueue_call": (lambda queue: queue.enqueue_call(sample_app.give_back, ("abc",)), ()),
    "enqueue_at": (lambda queue: queue.enqueue_at(SOON, sample_app.give_back, "abc"), ()),
    "enqueue_at, unique": (unique_schedule, (needs_unique_schedules,)),
    "enqueue_in": (lambda queue: queue.enqueue_in(timedelta(hours=1), sample_app.give_back, "abc"), ()),
    "enqueue_many": (
        lambda queue: queue.enqueue_many([rq.Queue.prepare_data(sample_app.give_back, ("abc",)) for _ in "12"]),
        (),
    ),
    "Job.create and save": (created_and_saved, ()),
    "enqueue_job": (lambda queue: queue.enqueue_job(queue.create_job(sample_app.give_back, ("abc",))), ()),
    "@rq.job": (lambda queue: job_decorator(queue, connection=queue.connection)(sample_app.give_back).delay("abc"), ()),
}
each_stock_way = pytest.mark.parametrize(
    "enqueue", [pytest.param(way, id=name, marks=marks) for name, (way, marks) in STOCK.items()]
)


@pytest.mark.parametrize("serializer", [DefaultSerializer, JSONSerializer])
@pytest.mark.parametrize("is_async", [True, False], ids=["async", "sync"])
@each_stock_way
def test_each_way_into_a_stock_queue_is_recorded_once_per_job(
    enqueue: Callable[[rq.Queue], Any], is_async: bool, serializer: Any, redis: Redis
) -> None:
    queue = rq.Queue("stock", connection=redis, serializer=serializer, is_async=is_async)
    with record() as recorded:
        made = enqueue(queue)
        if is_async:
            run_worker(rq.SimpleWorker, queue, redis, serializer=serializer)

    jobs = made if isinstance(made, list) else [made]
    assert [job.id for job in recorded.jobs] == [job.id for job in jobs]
    for found, job in zip(recorded.jobs, jobs, strict=True):
        assert (found.task, found.size_bytes, found.problem) == ("sample_app.give_back", len(job.data), "")
        assert found.place is not None
        assert found.place.file == __file__


def test_a_retried_and_a_requeued_job_stay_one(redis: Redis) -> None:
    queue = rq.Queue("stock", connection=redis)
    with record() as recorded:
        job = queue.enqueue(sample_app.fail, retry=rq.Retry(max=1))
        run_worker(rq.SimpleWorker, queue, redis)
        queue.failed_job_registry.requeue(job.id)
        queue.enqueue_job(rq.job.Job.fetch(job.id, connection=redis))
    assert [found.id for found in recorded.jobs] == [job.id]


def test_what_slimjobs_refuses_is_recorded_as_refused(redis: Redis) -> None:
    queue = slimjobs.Queue("letters", connection=redis, limits={"max_bytes": 100})
    with record() as recorded, pytest.raises(slimjobs.PayloadTooLargeError) as raised:
        queue.enqueue(sample_app.record, "x" * 200)
    (refused,) = recorded.refused
    assert recorded.jobs == []
    assert (refused.task, refused.limit_bytes, refused.refusal) == (TASK, 100, raised.value)
    assert refused.parts == raised.value.parts


def test_a_batch_that_is_refused_is_recorded_as_one(redis: Redis) -> None:
    queue = slimjobs.Queue("letters", connection=redis, limits={"max_batch_bytes": 100})
    with record() as recorded, pytest.raises(slimjobs.BatchTooLargeError):
        queue.enqueue_many([slimjobs.Queue.prepare_data(sample_app.record, ("x" * 60,)) for _ in range(3)])
    assert [job.size_bytes > 100 for job in recorded.refused] == [True]


def test_a_payload_that_the_serializer_alone_refuses_is_recorded(redis: Redis) -> None:
    slimjobs.configure(max_bytes=100)
    queue = rq.Queue("letters", connection=redis, serializer=Serializer)
    with record() as recorded, pytest.raises(slimjobs.PayloadTooLargeError):
        queue.enqueue(sample_app.record, "x" * 200)
    assert [job.task for job in recorded.refused] == [TASK]


def test_what_was_enqueued_is_added_up(redis: Redis) -> None:
    queue = rq.Queue("stock", connection=redis)
    with record() as recorded:
        assert [recorded.largest, recorded.total_bytes] == [None, 0]
        queue.enqueue(sample_app.give_back, "x" * 100)
        big = queue.enqueue(sample_app.record, "y" * 1000)
        queue.enqueue(sample_app.record, "z")
    queue.enqueue(sample_app.record, "after the block")
    assert recorded.largest is not None
    assert recorded.largest.id == big.id
    assert recorded.total_bytes == sum(job.size_bytes for job in recorded.jobs)
    assert {task: len(found.jobs) for task, found in recorded.by_task.items()} == {"sample_app.give_back": 1, TASK: 2}
    assert recorded.by_task["app.nothing"].jobs == []
    assert "x" * 10 not in repr(recorded)
    recorded.clear()
    assert len(recorded) == 0


def test_recorders_may_be_nested(redis: Redis) -> None:
    queue = rq.Queue("stock", connection=redis)
    with record() as outer:
        queue.enqueue(sample_app.record, 1)
        with record() as inner:
            queue.enqueue(sample_app.record, 2)
        queue.enqueue(sample_app.record, 3)
    assert (len(outer), len(inner)) == (3, 1)


def test_rqs_classes_are_as_they_were_afterwards() -> None:
    before = rq.job.Job.save, rq.job.Job.restore, rq.queue.Queue.enqueue_call, list(sys.meta_path)
    with record():
        assert rq.job.Job.save is not before[0]
        assert rq.job.Job.save.__name__ == "save"
    assert (rq.job.Job.save, rq.job.Job.restore, rq.queue.Queue.enqueue_call, list(sys.meta_path)) == before


def test_what_somebody_put_in_place_meanwhile_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def save(*_: Any) -> None:
        """Save nothing."""

    before = rq.job.Job.save
    with record():
        monkeypatch.setattr(rq.job.Job, "save", save)
    assert rq.job.Job.save is save
    monkeypatch.setattr(rq.job.Job, "save", before)


def test_rq_may_be_imported_later_and_its_modules_are_as_ever(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from slimjobs.recording.watching import Watcher\n"
        "jobs = []\n"
        "watcher = Watcher(jobs.append)\n"
        "watcher.start()\n"
        "assert not {'rq', 'redis', 'msgpack'} & {*sys.modules}\n"
        "import fakeredis, rq, rq.job, inspect\n"
        "assert type(rq.job.__spec__.loader) is type(rq.__spec__.loader) is type(rq.job.__loader__)\n"
        "assert 'class Job' in inspect.getsource(rq.job)\n"
        "rq.Queue(connection=fakeredis.FakeRedis()).enqueue(print, 1)\n"
        "print(len(jobs), jobs[0].task)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == "1 builtins.print\n"


def test_an_import_of_rq_that_fails_is_its_own(tmp_path: Path) -> None:
    (tmp_path / "rq").mkdir()
    (tmp_path / "rq" / "__init__.py").write_text("")
    script = (
        "import sys; sys.path.insert(0, '.')\n"
        "from slimjobs.recording.watching import Watcher\n"
        "Watcher(print).start()\n"
        "try: import rq.job\n"
        "except ModuleNotFoundError as error: print(error.name)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == "rq.job\n"


class Whole(dict[str, Any]):
    """What can be pickled, and not be read back."""

    def __reduce__(self) -> Any:
        return (Whole.__new__, ())


@pytest.mark.parametrize("is_async", [True, False], ids=["async", "sync"])
def test_a_job_that_cannot_be_read_back_is_recorded_with_the_reason(is_async: bool, redis: Redis) -> None:
    queue = rq.Queue("stock", connection=redis, is_async=is_async)
    with record() as recorded:
        queue.enqueue(sample_app.give_back, Whole())
    (job,) = recorded.jobs
    assert (job.task, job.problem.partition(":")[0]) == ("sample_app.give_back", "TypeError")


@pytest.mark.parametrize("function", [lambda: 1, print, "app.jobs.send"], ids=["lambda", "builtin", "path"])
def test_whether_a_worker_can_import_the_function_is_recorded(function: Any, redis: Redis) -> None:
    with record() as recorded:
        rq.Queue("stock", connection=redis).enqueue(function)
    assert recorded.jobs[0].is_importable == ("lambda" not in recorded.jobs[0].task)
    assert recorded.jobs[0].problem == ""


class Shy:
    """An object that will not be looked at, and can be pickled."""

    @property
    def __class__(self) -> Any:
        raise RuntimeError("not here")

    @__class__.setter
    def __class__(self, cls: Any) -> None:
        raise RuntimeError("not here")

    def __reduce__(self) -> Any:
        return (int, (1,))

    def send(self) -> None:
        """Send nothing."""


def test_what_will_not_be_looked_at_does_not_keep_the_application_from_enqueueing(redis: Redis) -> None:
    queue = rq.Queue("stock", connection=redis)
    with record() as recorded:
        job = queue.enqueue(sample_app.give_back, Shy())
        queue.enqueue(sample_app.give_back, Shy(), "x" * 70_000)
        method = queue.enqueue(Shy().send)
    assert [found.is_too_large for found in recorded.jobs] == [False, True, False]
    assert {job.id, method.id} <= {*queue.job_ids}
    assert [found.id for found in recorded.jobs][::2] == [job.id, method.id]


def test_whole_models_are_recorded_with_their_path(redis: Redis) -> None:
    email = sample_app.EMAILS[1]
    queue = rq.Queue("stock", connection=redis)
    with record() as recorded:
        queue.enqueue(sample_app.record, [1, {"mails": (email, email)}], to=sample_app.SUBSCRIBERS["ann"])
        queue.enqueue(email.send, "a@example.org")
        queue.enqueue(sample_app.record, "plain", ["x" * 100] * 20_000)
        slimjobs.Queue("letters", connection=redis).enqueue(sample_app.record, email)
    assert [job.models for job in recorded.jobs] == [
        (("args[0][1]['mails'][0]", "Email"), ("kwargs['to']", "Subscriber")),
        (("self", "Email"),),
        (),
        (),
    ]


def test_a_query_that_is_copied_is_recorded_with_its_path(redis: Redis, shop: Any) -> None:
    shop.Email.everything.create(subject="news")
    with record() as recorded:
        rq.Queue("stock", connection=redis).enqueue(sample_app.record, [shop.Email.everything.all()])
    ((path, label),) = recorded.jobs[0].models
    assert path == "args[0][0]"
    assert "Email" in label


def test_the_parts_of_a_large_payload_are_recorded(redis: Redis) -> None:
    sample_app.EMAILS[1].body = "x" * 70_000
    with record() as recorded:
        rq.Queue("stock", connection=redis).enqueue(sample_app.record, 1, {"mail": sample_app.EMAILS[1]})
        rq.Queue("stock", connection=redis, serializer=JSONSerializer).enqueue(sample_app.record, body="y" * 70_000)
        slimjobs.configure(mode="track")
        slimjobs.Queue("letters", connection=redis).enqueue(sample_app.record, 1, {"body": "z" * 70_000})
    assert [job.is_too_large for job in recorded.jobs] == [True] * 3
    assert [job.parts[0][0] for job in recorded.jobs] == ["args[1]['mail'].body", "kwargs['body']", "args[1]['body']"]


@pytest.mark.skipif(RQ < (3, 0), reason="slimjobs.cron needs RQ 3.0")
@pytest.mark.parametrize("package", ["rq.cron", "slimjobs.cron"])
def test_cron_jobs_are_recorded(package: str, redis: Redis) -> None:
    cron = __import__(package, fromlist=["CronScheduler"]).CronScheduler(connection=redis)
    cron.register(sample_app.give_back, "letters", args=("abc",), interval=10)
    with record() as recorded:
        cron.enqueue_jobs()
    assert [job.task for job in recorded.jobs] == ["sample_app.give_back"]
