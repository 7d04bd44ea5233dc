"""Every way in: models become refs, the limit holds before anything is written, and a job counts and loads once."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest
import queue_samples
import sample_app
from queue_samples import count, run_worker, snapshot
from rq.results import Result
from rq_versions import needs_unique_schedules
from ways import TASK, WAYS, Call, Way, each_way

import slimjobs
from slimjobs import Job, Queue, Ref, Serializer, SimpleWorker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis


@pytest.fixture(autouse=True)
def rows() -> Iterator[None]:
    sample_app.reset()
    yield
    sample_app.reset()


@pytest.fixture
def call(redis: Redis) -> Call:
    return Call(Queue("letters", connection=redis))


@each_way
def test_models_travel_as_refs_and_are_loaded_and_counted_once(way: Way, call: Call) -> None:
    email, other, ann = sample_app.EMAILS[1], sample_app.EMAILS[2], sample_app.SUBSCRIBERS["ann"]
    way.prepare(call)
    sample_app.LOADS.clear()
    sample_app.CALLS.clear()
    call.args, call.kwargs, call.meta = (email, [other, {"again": email}]), {"to": ann}, {"campaign": 7}

    jobs = way.enqueue(call)
    if call.pipeline is not None:
        assert call.pipeline.command_stack
        call.pipeline.execute()

    assert len(jobs) == way.jobs
    payload_bytes = 0
    for job in jobs:
        stored = Job.fetch(job.id, connection=call.redis)
        first, second = Ref("sample_app.Email", 1), Ref("sample_app.Email", 2)
        assert stored.args == (first, [second, {"again": first}])
        assert stored.kwargs == {"to": Ref("people.subscriber", "ann")}
        assert stored.meta == {"campaign": 7}
        assert stored.data == job.data
        payload_bytes += len(stored.data) + len(Serializer.dumps(stored.meta))
    row = count(call.redis, TASK, "letters")
    assert (row.jobs, row.payload_bytes, row.refused) == (way.jobs, payload_bytes, 0)

    queue_samples.enqueue_due_jobs(call.queue.name, call.redis)
    run_worker(SimpleWorker, call.queue.name, call.redis)

    assert len(sample_app.CALLS) == way.jobs
    assert sorted(map(repr, sample_app.LOADS)) == sorted(
        map(repr, [("Email", [1]), ("Email", [2]), ("Subscriber", ["ann"])] * way.jobs)
    )
    for args, kwargs in sample_app.CALLS:
        assert (args[0].subject, args[1][0].subject, kwargs["to"].address) == (
            "subject 1",
            "subject 2",
            "ann@example.org",
        )
        assert args[0] is args[1][1]["again"]
    # Not the status: RQ's own enqueue_many leaves "queued" behind where the queue is synchronous.
    assert [job.latest_result().type for job in jobs] == [Result.Type.SUCCESSFUL] * way.jobs
    assert count(call.redis, TASK, "letters") == row


@each_way
@pytest.mark.parametrize(
    ("refused", "error"),
    [
        ({"args": ("x" * 70_000,)}, slimjobs.PayloadTooLargeError),
        ({"kwargs": {"rows": [{"n": number} for number in range(20_000)]}}, slimjobs.PayloadTooLargeError),
        ({"meta": {"note": "x" * 70_000}}, slimjobs.PayloadTooLargeError),
        ({"args": ("x" * 40_000,), "meta": {"note": "x" * 40_000}}, slimjobs.PayloadTooLargeError),
        ({"args": ([sample_app.Email(None)],)}, slimjobs.UnsavedModelError),
        ({"kwargs": {"who": sample_app.Unregistered()}}, slimjobs.UnsupportedTypeError),
        ({"meta": {"lock": lambda: None}}, slimjobs.UnsupportedTypeError),
    ],
    ids=["argument", "many rows", "meta", "both together", "unsaved", "unregistered", "meta of no known type"],
)
def test_what_is_refused_leaves_everything_as_it_was(
    way: Way, call: Call, refused: dict[str, Any], error: type[Exception]
) -> None:
    way.prepare(call)
    for name, value in refused.items():
        setattr(call, name, value)
    before = snapshot(call.redis)

    with pytest.raises(error) as caught:
        way.enqueue(call)

    assert snapshot(call.redis) == before
    if call.pipeline is not None:
        assert call.pipeline.command_stack == []
        assert not call.pipeline.watching
    assert isinstance(caught.value, slimjobs.SlimjobsError)
    assert caught.value.task == TASK
    row = count(call.redis, TASK)
    is_too_large = error is slimjobs.PayloadTooLargeError
    was_made_elsewhere = way in (
        WAYS["enqueue_job, made elsewhere"],
        WAYS["enqueue_job, in a pipeline"],
        WAYS["schedule_job, made elsewhere"],
    )
    # Job.create refuses by itself there, and knows of no queue that it could be counted for.
    assert (row.jobs, row.refused) == (0, int(is_too_large and not was_made_elsewhere))


@needs_unique_schedules
def test_a_duplicate_of_a_unique_job_is_not_counted(call: Call) -> None:
    call.enqueue(unique=True, job_id="one")
    for again in (call.enqueue, call.enqueue_at):
        with pytest.raises(Exception, match="already exists"):
            again(unique=True, job_id="one")

    assert count(call.redis, TASK).jobs == 1


def test_a_bound_method_takes_its_instance_along_as_a_ref(call: Call) -> None:
    job = call.queue.enqueue(sample_app.EMAILS[1].send, "ann@example.org")

    stored = Job.fetch(job.id, connection=call.redis)
    assert stored.instance == Ref("sample_app.Email", 1)
    assert stored.func_name == "send"

    run_worker(SimpleWorker, call.queue.name, call.redis)
    assert job.return_value() == 1
    assert [(name, instance.subject) for name, instance, _ in sample_app.CALLS] == [("send", "subject 1")]


def test_a_bound_method_of_an_unsaved_model_is_refused_by_its_path(call: Call) -> None:
    before = snapshot(call.redis)

    with pytest.raises(slimjobs.UnsavedModelError, match=r"sample_app\.Email\.send: self: "):
        call.queue.enqueue(sample_app.Email(None).send)

    assert snapshot(call.redis) == before


def test_a_call_does_not_keep_its_models(call: Call) -> None:
    model = sample_app.Email(1, body="x" * 1000)
    seen = weakref.ref(model)
    job = call.queue.enqueue(sample_app.record, [model])
    del model
    gc.collect()

    assert seen() is None
    assert job.args == ([Ref("sample_app.Email", 1)],)
