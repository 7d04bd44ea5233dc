"""Every way in: how a call of `sample_app.record` can be enqueued, with models among its arguments."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
import sample_app
from queue_samples import run_worker
from rq.group import Group
from rq.job import Dependency
from rq_versions import (
    RateLimit,
    needs_dependencies_that_failed,
    needs_rate_limits,
    needs_scheduling_in_pipelines,
    needs_unique_jobs,
    needs_unique_schedules,
)

import slimjobs
from slimjobs import Job, Queue, SimpleWorker

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis
    from redis.client import Pipeline

TASK = "sample_app.record"
NOW = datetime(2020, 1, 1, tzinfo=timezone.utc)


@dataclass
class Call:
    """One call of `sample_app.record`, and what it finds when it is made."""

    queue: Queue
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    meta: dict[str, Any] | None = None
    dependency: Any = None
    pipeline: Pipeline | None = None

    @property
    def redis(self) -> Redis:
        return self.queue.connection

    def enqueue(self, **options: Any) -> list[Any]:
        job = self.queue.enqueue(sample_app.record, args=self.args, kwargs=self.kwargs, meta=self.meta, **options)
        return [job]

    def enqueue_at(self, **options: Any) -> list[Any]:
        return [
            self.queue.enqueue_at(NOW, sample_app.record, args=self.args, kwargs=self.kwargs, meta=self.meta, **options)
        ]

    def data(self, **options: Any) -> Any:
        return Queue.prepare_data(sample_app.record, self.args, self.kwargs, meta=self.meta, **options)

    def made_elsewhere(self) -> Job:
        return Job.create(sample_app.record, self.args, self.kwargs, self.redis, meta=self.meta)

    def created(self) -> Any:
        return self.queue.create_job(sample_app.record, self.args, self.kwargs, meta=self.meta)

    def task(self) -> Any:
        return slimjobs.job(self.queue)(sample_app.record)

    def task_options(self) -> dict[str, Any]:
        return {} if self.meta is None else {"meta": self.meta}


def nothing(_: Call) -> None:
    pass


def unmet(call: Call) -> None:
    call.dependency = call.queue.enqueue(sample_app.give_back, 1)


def met(call: Call) -> None:
    unmet(call)
    run_worker(SimpleWorker, call.queue.name, call.redis)


def failed(call: Call) -> None:
    call.dependency = call.queue.enqueue(sample_app.fail)
    run_worker(SimpleWorker, call.queue.name, call.redis)


def own_pipeline(call: Call) -> None:
    call.pipeline = call.redis.pipeline()


def own_pipeline_and_dependency(call: Call) -> None:
    unmet(call)
    own_pipeline(call)


def synchronous(call: Call) -> None:
    call.queue = type(call.queue)(call.queue.name, connection=call.redis, is_async=False)


def small(number: int = 1) -> Any:
    return Queue.prepare_data(sample_app.give_back, (number,))


def last(jobs: list[Any]) -> list[Any]:
    return [job for job in jobs if job.func_name == TASK]


@dataclass
class Way:
    """A way in: what it needs to be there already, and how it enqueues."""

    enqueue: Callable[[Call], list[Any]]
    prepare: Callable[[Call], None] = nothing
    jobs: int = 1
    needs: tuple[pytest.MarkDecorator, ...] = ()


WAYS = {
    "enqueue": Way(lambda call: call.enqueue()),
    "enqueue, by import path": Way(
        lambda call: [call.queue.enqueue(TASK, args=call.args, kwargs=call.kwargs, meta=call.meta)]
    ),
    "enqueue, arguments in place": Way(
        lambda call: [call.queue.enqueue(sample_app.record, *call.args, **call.kwargs, meta=call.meta)]
    ),
    "enqueue, at_front": Way(lambda call: call.enqueue(at_front=True)),
    "enqueue, unique": Way(lambda call: call.enqueue(unique=True, job_id="one"), needs=(needs_unique_jobs,)),
    "enqueue, unique, at_front": Way(
        lambda call: call.enqueue(unique=True, job_id="one", at_front=True), needs=(needs_unique_jobs,)
    ),
    "enqueue, rate limited": Way(
        lambda call: call.enqueue(rate_limit=RateLimit("letters", 1)), needs=(needs_rate_limits,)
    ),
    "enqueue, described": Way(lambda call: call.enqueue(description="a campaign")),
    "enqueue, dependency unmet": Way(lambda call: call.enqueue(depends_on=call.dependency), unmet),
    "enqueue, dependency met": Way(lambda call: call.enqueue(depends_on=call.dependency), met),
    "enqueue, dependency failed and allowed to": Way(
        lambda call: call.enqueue(depends_on=Dependency(call.dependency, allow_failure=True)),
        failed,
        needs=(needs_dependencies_that_failed,),
    ),
    "enqueue, dependency rate limited": Way(
        lambda call: call.enqueue(depends_on=call.dependency, rate_limit=RateLimit("letters", 1)),
        unmet,
        needs=(needs_rate_limits,),
    ),
    "enqueue, in a pipeline": Way(lambda call: call.enqueue(pipeline=call.pipeline), own_pipeline),
    "enqueue, in a pipeline, dependency unmet": Way(
        lambda call: call.enqueue(pipeline=call.pipeline, depends_on=call.dependency), own_pipeline_and_dependency
    ),
    "enqueue, synchronous": Way(lambda call: call.enqueue(), synchronous),
    "enqueue, synchronous, unique": Way(
        lambda call: call.enqueue(unique=True, job_id="one"), synchronous, needs=(needs_unique_jobs,)
    ),
    "enqueue_call": Way(
        lambda call: [call.queue.enqueue_call(sample_app.record, call.args, call.kwargs, meta=call.meta)]
    ),
    "enqueue_at": Way(lambda call: call.enqueue_at()),
    "enqueue_at, unique": Way(lambda call: call.enqueue_at(unique=True, job_id="one"), needs=(needs_unique_schedules,)),
    "enqueue_at, in a pipeline": Way(
        lambda call: call.enqueue_at(pipeline=call.pipeline), own_pipeline, needs=(needs_scheduling_in_pipelines,)
    ),
    "enqueue_at, rate limited": Way(
        lambda call: call.enqueue_at(rate_limit=RateLimit("letters", 1)), needs=(needs_rate_limits,)
    ),
    "enqueue_in": Way(
        lambda call: [
            call.queue.enqueue_in(timedelta(0), sample_app.record, args=call.args, kwargs=call.kwargs, meta=call.meta)
        ]
    ),
    "enqueue_many": Way(lambda call: last(call.queue.enqueue_many([small(), call.data(), call.data()])), jobs=2),
    "enqueue_many, from a generator": Way(
        lambda call: last(call.queue.enqueue_many(each for each in [small(), call.data()]))
    ),
    "enqueue_many, in a pipeline": Way(
        lambda call: last(call.queue.enqueue_many([small(), call.data()], pipeline=call.pipeline)), own_pipeline
    ),
    "enqueue_many, dependency unmet": Way(
        lambda call: last(call.queue.enqueue_many([small(), call.data(depends_on=call.dependency), call.data()])),
        unmet,
        jobs=2,
    ),
    "enqueue_many, dependency met": Way(
        lambda call: last(call.queue.enqueue_many([small(), call.data(depends_on=call.dependency)])), met
    ),
    "enqueue_many, synchronous": Way(lambda call: last(call.queue.enqueue_many([small(), call.data()])), synchronous),
    "a group": Way(lambda call: last(Group.create(call.redis).enqueue_many(call.queue, [small(), call.data()]))),
    "enqueue_job, made elsewhere": Way(lambda call: [call.queue.enqueue_job(call.made_elsewhere())]),
    "enqueue_job, made here": Way(lambda call: [call.queue.enqueue_job(call.created())]),
    "enqueue_job, in a pipeline": Way(
        lambda call: [call.queue.enqueue_job(call.made_elsewhere(), pipeline=call.pipeline)], own_pipeline
    ),
    "schedule_job, made elsewhere": Way(lambda call: [call.queue.schedule_job(call.made_elsewhere(), NOW)]),
    "schedule_job, made here": Way(lambda call: [call.queue.schedule_job(call.created(), NOW)]),
    "task.enqueue": Way(lambda call: [call.task().enqueue(*call.args, **call.kwargs, **call.task_options())]),
    "task.delay": Way(lambda call: [call.task().delay(*call.args, **call.kwargs, **call.task_options())]),
    "task.enqueue_at": Way(
        lambda call: [call.task().enqueue_at(NOW, *call.args, **call.kwargs, **call.task_options())]
    ),
    "task.enqueue_in": Way(
        lambda call: [call.task().enqueue_in(timedelta(0), *call.args, **call.kwargs, **call.task_options())]
    ),
    "task.options": Way(
        lambda call: [call.task().options(at_front=True, **call.task_options()).enqueue(*call.args, **call.kwargs)]
    ),
    "task.enqueue_many": Way(
        lambda call: last(
            call.task().enqueue_many(
                [small(), call.task().options(**call.task_options()).prepare(*call.args, **call.kwargs)]
            )
        )
    ),
}


def each(ways: dict[str, Way]) -> pytest.MarkDecorator:
    """Return the mark that runs a test for each of some ways, save those that the installed RQ has not."""
    return pytest.mark.parametrize("way", [pytest.param(way, id=name, marks=way.needs) for name, way in ways.items()])


each_way = each(WAYS)
