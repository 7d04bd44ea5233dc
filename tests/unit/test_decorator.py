"""What the decorator does to a function, on fakeredis."""

from __future__ import annotations

import asyncio
import inspect
import sys
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
import rq
import sample_app
from rq.registry import ScheduledJobRegistry

import slimjobs
from slimjobs import ConfigurationError, Queue, Ref

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis


@pytest.fixture
def task(fake_redis: Redis) -> Callable[..., Any]:
    """Decorate a function as if it stood in `sample_app`."""

    def decorate(function: Callable[..., Any], **options: Any) -> Any:
        function.__module__, function.__qualname__ = "sample_app", "record"
        return slimjobs.job("q", fake_redis, **options)(function)

    return decorate


def takes(email: Any, to: tuple[str, ...] = (), *, subject: str = "") -> tuple[Any, ...]:
    return email, to, subject


def test_the_function_stays_a_function_with_its_name_and_signature(task: Callable[..., Any]) -> None:
    wrapped = task(takes)

    assert inspect.isfunction(wrapped)
    assert inspect.signature(wrapped) == inspect.signature(takes)
    assert rq.utils.resolve_function_reference(wrapped) == (None, "sample_app.record")


def test_a_coroutine_function_stays_one(task: Callable[..., Any]) -> None:
    async def later(email: Any) -> None: ...

    # Before Python 3.12 only asyncio's own can be told so of a function that returns a coroutine.
    is_one = inspect.iscoroutinefunction if sys.version_info >= (3, 12) else asyncio.iscoroutinefunction
    assert is_one(task(later))


def test_a_plain_call_gets_and_returns_the_very_same_objects(task: Callable[..., Any]) -> None:
    email, to = sample_app.Email(None), ("ann",)

    found = task(takes)(email, to, subject="hello")
    assert found[0] is email
    assert found[1] is to


def test_a_ref_in_a_plain_call_is_left_as_it_is(task: Callable[..., Any]) -> None:
    assert task(takes)(Ref("sample_app.Email", 1))[0] == Ref("sample_app.Email", 1)


def test_each_way_of_enqueueing_returns_its_job(task: Callable[..., Any], fake_redis: Redis) -> None:
    wrapped = task(takes)
    moment = datetime(2030, 1, 1, tzinfo=timezone.utc)
    jobs = [
        wrapped.enqueue(1, subject="a"),
        wrapped.delay(1, subject="a"),
        wrapped.enqueue_at(moment, 1, subject="a"),
        wrapped.enqueue_in(timedelta(hours=1), 1, subject="a"),
        *wrapped.enqueue_many([wrapped.prepare(1, subject="a")]),
        wrapped.options(at_front=True).enqueue(1, subject="a"),
    ]

    assert {(job.func_name, job.args, tuple(job.kwargs.items())) for job in jobs} == {
        ("sample_app.record", (1,), (("subject", "a"),))
    }
    queue = Queue("q", connection=fake_redis)
    assert queue.job_ids == [jobs[5].id, jobs[0].id, jobs[1].id, jobs[4].id]
    scheduled = ScheduledJobRegistry(queue=queue)  # type: ignore[no-untyped-call]
    assert scheduled.get_scheduled_time(jobs[2]) == moment
    assert sorted(scheduled.get_job_ids()) == sorted([jobs[2].id, jobs[3].id])


@pytest.mark.parametrize("name", ["timeout", "job_timeout"])
def test_a_timeout_may_be_given_at_the_decorator_in_options_and_at_the_call(
    task: Callable[..., Any], name: str
) -> None:
    wrapped = task(takes, timeout=5)

    assert wrapped.enqueue(1).timeout == 5
    assert wrapped.options(**{name: 6}).enqueue(1).timeout == 6
    assert wrapped.options(**{name: 6}).enqueue(1, job_timeout="1m").timeout == 60
    (many,) = wrapped.enqueue_many([wrapped.options(**{name: 6}).prepare(1)])
    assert many.timeout == 6


def test_the_decorators_options_are_rqs(task: Callable[..., Any]) -> None:
    wrapped = task(takes, result_ttl=7, description="a campaign", retry=rq.Retry(max=2))

    job = wrapped.enqueue(1)
    assert (job.result_ttl, job.description, job.retries_left) == (7, "a campaign", 2)
    (many,) = wrapped.enqueue_many([wrapped.prepare(1)])
    assert (many.result_ttl, many.description, many.retries_left) == (7, "a campaign", 2)


def test_a_function_with_any_keyword_gets_all_but_rqs(task: Callable[..., Any]) -> None:
    def open_handed(**named: Any) -> None: ...

    job = task(open_handed).enqueue(color="red", job_id="one")
    assert (job.id, job.kwargs) == ("one", {"color": "red"})


def test_a_queue_may_be_given_itself(fake_redis: Redis) -> None:
    queue = Queue("mine", connection=fake_redis)
    wrapped: Any = slimjobs.job(queue)(sample_app.record)
    wrapped.enqueue(1)

    assert queue.count == 1


def test_the_class_of_the_queue_may_be_rqs(fake_redis: Redis) -> None:
    sample_app.reset()
    wrapped: Any = slimjobs.job("q", fake_redis, queue_class=rq.Queue)(sample_app.record)
    job = wrapped.enqueue(sample_app.EMAILS[1])

    assert type(job) is rq.job.Job
    assert job.args == (Ref("sample_app.Email", 1),)


@pytest.mark.parametrize("options", [{"colour": 1}, {"args": ()}, {"func": len}, {"self": 1}])
def test_options_that_rq_has_not_are_refused_where_they_are_given(
    task: Callable[..., Any], options: dict[str, Any]
) -> None:
    with pytest.raises(ConfigurationError, match="no such option"):
        task(takes, **options) if "self" not in options else task(takes).options(colour=1)


def test_a_task_of_the_main_module_is_refused_as_rq_does(fake_redis: Redis) -> None:
    def mine() -> None: ...

    mine.__module__, mine.__qualname__ = "__main__", "mine"
    wrapped: Any = slimjobs.job("q", fake_redis)(mine)
    with pytest.raises(ValueError, match="__main__"):
        wrapped.enqueue()


def test_a_function_inside_a_function_is_refused_at_its_enqueue(fake_redis: Redis) -> None:
    @slimjobs.job("q", fake_redis)
    def inner() -> None: ...

    with pytest.raises(slimjobs.UnsupportedTypeError, match="function inside a function"):
        inner.enqueue()
    assert fake_redis.keys() == []
