"""What is found in a damaged hash: the fields that can be read, and the name of the task."""

from __future__ import annotations

import json
import pickle
import zlib
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import rq

from slimjobs import Serializer, fields

if TYPE_CHECKING:
    from redis import Redis

CALL: Any = ("app.jobs.send_email", None, ("x" * 100,), {})
METHOD: Any = ("shout", None, ("x" * 100,), {})


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        ("app.jobs.send_email(<Email 1>, list[100])", ("app.jobs.send_email", "its description")),
        ("app.jobs.Email.send()", ("app.jobs.Email.send", "its description")),
        ("größe.maß(int)", ("größe.maß", "its description")),
        ("Send to bob@example.com (urgent)", None),
        ("bob@example.com(1)", None),
        ("hello(world)", None),
        ("app.jobs.send_email", None),
        ("", None),
        (None, None),
    ],
)
def test_a_description_tells_the_task_where_it_begins_with_one(description: Any, expected: Any) -> None:
    assert fields.find_task(b"\xc1\x63", description) == expected


@pytest.mark.parametrize(
    "data",
    [
        Serializer.dumps(CALL),
        Serializer.dumps(CALL)[:40],
        pickle.dumps(CALL),
        pickle.dumps(CALL, protocol=2)[:40],
        zlib.compress(Serializer.dumps(CALL))[:-9],
        zlib.compress(pickle.dumps(CALL))[:-9],
    ],
)
def test_the_beginning_of_a_payload_tells_it_too(data: bytes) -> None:
    assert fields.find_task(data, "Send it") == ("app.jobs.send_email", "the beginning of its payload")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1\x01\x94",
        b"\xc1\x01\x94\xdd\xff\xff\xff\xff",
        b"\xc1\x02" + Serializer.dumps(CALL)[2:],
        Serializer.dumps(CALL)[:10],
        Serializer.dumps(METHOD),
        Serializer.dumps(["app.jobs.send_email"]),
        json.dumps(CALL).encode(),
        b"\x80\x04",
        b"\xff" * 100,
    ],
)
def test_nothing_is_made_up_where_nothing_tells(data: bytes) -> None:
    assert fields.find_task(data, "Send it") is None


class Loud:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("it was unpickled",))


def test_no_pickle_is_run_for_its_task() -> None:
    data = pickle.dumps(("app.jobs.send_email", Loud(), (), {}))
    assert fields.find_task(data, None) == ("app.jobs.send_email", "the beginning of its payload")


def test_fields_are_told_apart_without_their_values(fake_redis: Redis) -> None:
    hash_ = {
        "status": b"queued",
        "created_at": b"2026-11-24T09:48:53.000000Z",
        "enqueued_at": b"",
        "started_at": b"secret",
        "timeout": b"180",
        "ttl": b"9" * 30,
        "retry_intervals": b"[1, 0.5]",
        "dependency_ids": b'{"secret": 1}',
        "origin": b"\xff",
        "success_callback_timeout": b"",
        "of a later RQ": b"\xff",
    }
    readable, problems = fields.sort_out(hash_, partial(rq.job.Job, "id", fake_redis))

    assert problems.keys() == {"started_at", "ttl", "dependency_ids", "origin", "success_callback_timeout"}
    assert readable == {name: value for name, value in hash_.items() if name not in problems}
    assert "secret" not in str(problems)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("app.task", [1], {"a": 1}), True),
        ((None, (), {}), True),
        ((7, (), {}), False),
        (("app.task", 7, {}), False),
        (("app.task", (), []), False),
        (("app.task", (), {1: 2}), False),
    ],
)
def test_a_call_is_a_name_a_list_and_a_dict_of_names(parts: tuple[Any, Any, Any], expected: bool) -> None:
    assert fields.is_call(*parts) is expected
