"""What is open while a job is called."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import rq
import sample_app

import slimjobs
from slimjobs import Queue, scopes

if TYPE_CHECKING:
    from collections.abc import Iterator

SEEN: list[str] = []


@contextmanager
def session(name: str) -> Iterator[str]:
    SEEN.append(f"{name} opened")
    try:
        yield name
    except BaseException as error:
        SEEN.append(f"{name} saw {type(error).__name__}")
        raise
    finally:
        SEEN.append(f"{name} closed")


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    SEEN.clear()


def work(name: str, *, fails: bool = False) -> bool:
    scope = scopes.current()
    assert scope is not None
    assert scope.shared(name, lambda: session(name)) == scope.shared(name, lambda: session("other")) == name
    assert scope.get(name) == name
    SEEN.append(f"{name} used")
    if fails:
        raise RuntimeError
    return True


async def work_later(name: str) -> bool:
    await asyncio.sleep(0)
    return work(name)


@slimjobs.job("q")
def decorated_work(name: str) -> bool:
    return work(name)


@slimjobs.job("q")
async def decorated_work_later(name: str) -> bool:
    return await work_later(name)


@slimjobs.job("q")
def decorated_read(_: Any) -> bool:
    return work("main")


@slimjobs.job("q")
async def decorated_read_later(_: Any) -> bool:
    return await work_later("main")


def work_inside(queue_name: str) -> bool:
    work("outer")
    job = rq.get_current_job()
    assert job is not None
    Queue(queue_name, connection=job.connection, is_async=False).enqueue(work, "inner")
    return work("outer")


@pytest.mark.parametrize(
    ("queue_class", "func"),
    [
        (Queue, work),
        (Queue, work_later),
        (Queue, decorated_work),
        (Queue, decorated_work_later),
        (rq.Queue, decorated_work),
        (rq.Queue, decorated_work_later),
    ],
)
def test_what_is_opened_for_a_call_is_closed_after_it(fake_redis: Any, func: Any, queue_class: Any) -> None:
    queue = queue_class("q", connection=fake_redis, is_async=False)

    assert queue.enqueue(func, "main").return_value() is True

    assert SEEN == ["main opened", "main used", "main closed"]
    assert scopes.current() is None


def test_what_is_open_sees_how_the_call_ends(fake_redis: Any) -> None:
    job = Queue("q", connection=fake_redis, is_async=False).enqueue(work, "main", fails=True)

    assert job.is_failed
    assert SEEN == ["main opened", "main used", "main saw RuntimeError", "main closed"]


def test_a_job_inside_a_job_has_a_scope_of_its_own(fake_redis: Any) -> None:
    assert Queue("q", connection=fake_redis, is_async=False).enqueue(work_inside, "q").return_value() is True

    opened_and_used = ["outer opened", "outer used", "inner opened", "inner used", "inner closed"]
    assert [*opened_and_used, "outer used", "outer closed"] == SEEN


def test_a_task_that_calls_another_shares_its_scope(fake_redis: Any) -> None:
    queue = Queue("q", connection=fake_redis, is_async=False)
    slimjobs.job(queue)(sample_app.subject)
    with scopes.scope() as outer:
        assert slimjobs.job(queue)(work)("main") is True
        assert outer.get("main") == "main"
    assert SEEN == ["main opened", "main used", "main closed"]


@pytest.mark.parametrize("func", ["decorated_read", "decorated_read_later"])
@pytest.mark.parametrize("queue_class", [rq.Queue, Queue])
def test_what_loading_opens_is_open_for_the_call(fake_redis: Any, queue_class: Any, func: str) -> None:
    def load(pk: int) -> sample_app.Unregistered:
        scope = scopes.current()
        assert scope is not None
        scope.shared("main", lambda: session("main"))
        return sample_app.Unregistered()

    slimjobs.register(sample_app.Unregistered, load=load, id=id)
    queue = queue_class("q", connection=fake_redis, is_async=False)
    ref = slimjobs.Ref("sample_app.Unregistered", 1)

    queue.enqueue(globals()[func], ref)

    assert SEEN == ["main opened", "main used", "main closed"]
