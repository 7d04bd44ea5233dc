"""RQ's `dumps` and `loads`, other serializers behind the same checks, and what is stored of results."""

from __future__ import annotations

import gc
import json
import logging
import pickle
import re
import tracemalloc
import weakref
from typing import TYPE_CHECKING, Any

import pytest
import rq
import sample_app
from codec_samples import NOWHERE, TASK, canonical, extra_bytes
from rq.job import Job as RQJob
from rq.serializers import DefaultSerializer, JSONSerializer, resolve_serializer
from sample_app import Email, Unregistered

import slimjobs
from slimjobs import Limits, PayloadDecodeError, PayloadTooLargeError, Ref, Serializer, UnsavedModelError
from slimjobs import UnsupportedTypeError as Unsupported
from slimjobs.calls import Call
from slimjobs.limits import for_task, limit_task
from slimjobs.payload import build
from slimjobs.results import storable_result
from slimjobs.serializer import SLIM, ForeignFormat, format_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def test_rq_takes_it_as_a_serializer() -> None:
    assert resolve_serializer(Serializer) is Serializer
    assert rq.Queue("q", connection=NOWHERE, serializer=Serializer).serializer is Serializer
    assert RQJob(id="x", connection=NOWHERE, serializer=Serializer).serializer is Serializer
    assert Serializer.__qualname__ == "Serializer"


def test_a_stock_job_is_written_and_read() -> None:
    job = RQJob.create(
        sample_app.record, args=(Email(1), (1,)), kwargs={"a": {2}}, connection=NOWHERE, serializer=Serializer
    )
    again = RQJob("x", connection=NOWHERE, serializer=Serializer)
    again.data = job.data
    assert again.func_name == "sample_app.record"
    assert canonical(again.args) == canonical((Ref("sample_app.Email", 1), (1,)))
    assert again.kwargs == {"a": {2}}
    assert again.instance is None


def test_the_instance_of_a_method_is_a_ref() -> None:
    data = Serializer.dumps(("send", Email(1, body="x" * 100_000), ("a@example.org",), {}))
    assert len(data) < 100
    assert Serializer.loads(data) == ("send", Ref("sample_app.Email", 1), ("a@example.org",), {})


@pytest.mark.parametrize("value", [{}, {"a": 1}, None, [1, 2, 3, 4], (1, 2, 3, 4), ("a", "b", "c", "d"), ("a",) * 3])
def test_meta_and_results_are_written_as_they_are(value: Any) -> None:
    assert canonical(Serializer.loads(Serializer.dumps(value))) == canonical(value)


@pytest.mark.parametrize("args", [("x" * 70_000,), ["x" * 70_000], ["x"] * 70_000], ids=["tuple", "list", "many"])
def test_a_call_over_its_limit_is_refused_also_with_a_list_of_arguments(args: Any) -> None:
    with pytest.raises(PayloadTooLargeError) as caught:
        Serializer.dumps((TASK, None, args, {}))
    assert caught.value.task == TASK
    limit_task(TASK, Limits(max_bytes="1 MB"))
    assert Serializer.loads(Serializer.dumps((TASK, None, args, {})))[2] == (type(args)(args))


def test_what_is_no_call_has_no_limit_here() -> None:
    assert len(Serializer.dumps({"a": "x" * 100_000})) > 100_000


def test_what_cannot_travel_is_refused_with_its_path() -> None:
    with pytest.raises(Unsupported) as in_a_call:
        Serializer.dumps((TASK, None, (1, [Unregistered()]), {}))
    assert (in_a_call.value.task, in_a_call.value.path) == (TASK, "args[1][0]")
    with pytest.raises(Unsupported) as in_a_value:
        Serializer.dumps({"a": [Unregistered()]})
    assert (in_a_value.value.task, in_a_value.value.path) == (None, "value['a'][0]")
    with pytest.raises(UnsavedModelError) as unsaved:
        Serializer.dumps(("send", Email(None), (), {}))
    assert unsaved.value.path == "self"


def test_a_pickle_is_read_only_where_that_is_switched_on() -> None:
    data = DefaultSerializer.dumps(("f", None, (1,), {}))
    with pytest.raises(PayloadDecodeError, match="read_pickle=True"):
        Serializer.loads(data)
    slimjobs.configure(read_pickle=True)
    assert Serializer.loads(data) == ("f", None, (1,), {})
    assert Serializer.loads(Serializer.dumps([1])) == [1]
    for damaged in (data[:-3], b"", b"x", b"\x80\x04."):
        with pytest.raises(PayloadDecodeError, match="pickle"):
            Serializer.loads(damaged)


RAN: list[int] = []


class Unpickled:
    def __reduce__(self) -> Any:
        return (note_run, (1,))


def note_run(number: int) -> int:
    RAN.append(number)
    return number


def test_nothing_of_a_pickle_is_run_by_default() -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        data = pickle.dumps(Unpickled(), protocol)
        with pytest.raises(PayloadDecodeError):
            Serializer.loads(data)
    assert RAN == []
    slimjobs.configure(read_pickle=True)
    assert Serializer.loads(pickle.dumps(Unpickled())) == 1
    RAN.clear()


def test_other_serializers_write_what_they_always_wrote() -> None:
    call = Call(TASK, TASK, None, ({"a": 1}, "x"), {"k": [1]})
    for serializer in (DefaultSerializer, JSONSerializer):
        form = format_of(serializer)
        assert isinstance(form, ForeignFormat)
        payload = build(call, Limits(), form)
        assert payload.data == serializer.dumps((TASK, None, ({"a": 1}, "x"), {"k": [1]}))
    assert format_of(Serializer) is SLIM
    assert format_of(Serializer()) is SLIM


@pytest.mark.parametrize("serializer", [DefaultSerializer, JSONSerializer])
def test_limits_hold_for_other_serializers(serializer: Any) -> None:
    form = format_of(serializer)
    size_bytes = len(build(Call(TASK, TASK, None, ("x" * 1000,)), Limits(), form).data)
    build(Call(TASK, TASK, None, ("x" * 1000,)), Limits(size_bytes), form)
    with pytest.raises(PayloadTooLargeError) as caught:
        build(Call(TASK, TASK, None, ("x" * 1000,)), Limits(size_bytes - 1), form)
    assert caught.value.size_bytes == size_bytes
    assert caught.value.parts[0][0] == "args[0]"


def test_what_a_model_holds_is_to_blame_where_it_is_pickled() -> None:
    with pytest.raises(PayloadTooLargeError) as caught:
        build(Call(TASK, TASK, None, (1, Email(1, body="x" * 100_000))), Limits(), format_of(DefaultSerializer))
    assert caught.value.parts[0][0] == "args[1].body"


def test_what_a_pickle_holds_once_counts_once() -> None:
    call = Call(TASK, TASK, None, (["x" * 1000] * 100,))
    assert len(build(call, Limits(), format_of(DefaultSerializer)).data) < 2000
    with pytest.raises(PayloadTooLargeError):
        build(call, Limits(), SLIM)


def store(result: Any, caplog: pytest.LogCaptureFixture, serializer: Any = Serializer) -> Any:
    caplog.clear()
    with caplog.at_level(logging.DEBUG, "slimjobs"):
        return storable_result(result, TASK, "job-1", for_task(TASK), format_of(serializer))


def test_a_result_that_can_be_stored_is_stored(caplog: pytest.LogCaptureFixture) -> None:
    for result in (None, 0, "", [1], {"a": Email(1)}, "x" * 60_000):
        assert store(result, caplog) is result
    assert caplog.records == []


def test_a_result_at_its_limit_is_stored_and_one_byte_more_is_not(caplog: pytest.LogCaptureFixture) -> None:
    result = "x" * 1000
    limit_bytes = len(Serializer.dumps(result))
    slimjobs.configure(max_result_bytes=limit_bytes)
    assert store(result, caplog) == result
    marker = store(result + "x", caplog)
    reason = f"it is {limit_bytes + 1} bytes, limit is {limit_bytes} bytes"
    assert marker == f"slimjobs: result of {TASK} not stored: {reason}"
    assert caplog.messages == [f"{TASK}: result of job job-1 is not stored: {reason}"]


@pytest.mark.parametrize("serializer", [Serializer, DefaultSerializer, JSONSerializer])
def test_a_result_over_its_limit_leaves_a_marker_and_a_line(serializer: Any, caplog: pytest.LogCaptureFixture) -> None:
    marker = store("secret" * 20_000, caplog, serializer)
    assert marker.startswith(f"slimjobs: result of {TASK} not stored: it is ")
    assert "117.2 KiB, limit is 64.0 KiB" in marker
    assert "secret" not in marker
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage().startswith(f"{TASK}: result of job job-1 is not stored: it is ")
    assert (vars(record)["task"], vars(record)["job_id"], vars(record)["limit_bytes"]) == (TASK, "job-1", 65_536)


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ([1, Unregistered()], r"result\[1\]: a sample_app.Unregistered cannot travel"),
        ({"a": Email(None)}, r"result\['a'\]: Email has no primary key yet"),
        ((number for number in [1]), "result: a generator cannot travel"),
    ],
)
def test_a_result_that_cannot_travel_leaves_a_marker_that_says_why(
    result: Any, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    marker = store(result, caplog)
    assert marker.startswith(f"slimjobs: result of {TASK} not stored: ")
    assert re.search(reason, marker)
    assert len(caplog.records) == 1


def test_a_result_that_another_serializer_cannot_write_leaves_a_marker(caplog: pytest.LogCaptureFixture) -> None:
    for result, serializer, path in (
        ([{1, 2}], JSONSerializer, r"result\[0\]: a set"),
        ({"a": lambda: 1}, DefaultSerializer, r"result\['a'\]: a function"),
    ):
        marker = store(result, caplog, serializer)
        assert re.search(f"result of {TASK} not stored: {path} cannot be written by the serializer", marker)


def test_modes_hold_for_results(caplog: pytest.LogCaptureFixture) -> None:
    result = "x" * 100_000
    slimjobs.configure(mode="warn")
    assert store(result, caplog) is result
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "over its limit" in caplog.records[0].getMessage()
    assert store([Unregistered()], caplog).startswith("slimjobs: result of")
    slimjobs.configure(mode="track")
    assert store(result, caplog) is result
    assert caplog.records == []


@pytest.mark.slow
def test_a_huge_result_is_refused_in_little_memory(caplog: pytest.LogCaptureFixture) -> None:
    large = "x" * 50_000_000
    assert extra_bytes(lambda: store([large], caplog)) < 2**20
    assert "it is at least" in caplog.records[0].getMessage()


def test_json_is_not_a_payload_of_ours() -> None:
    with pytest.raises(PayloadDecodeError, match="not a slimjobs payload"):
        Serializer.loads(json.dumps([TASK, None, [], {}]).encode())


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Let nothing be freed but what nobody refers to any more, as between two runs of the collector."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
def test_large_payloads_leave_nothing_behind() -> None:
    slimjobs.configure(mode="track")
    text = "x" * 3_000_000
    tracemalloc.start()
    for number in range(5):
        Serializer.dumps(("a.b", None, (f"{text}{number}",), {}))
    held_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held_bytes < 1_000_000


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize(
    ("make", "beside"),
    # The second is found to be too large when it is encoded, and not before.
    [(Unregistered, []), (lambda: Email(1), [2**40 + number for number in range(9000)])],
    ids=["what cannot travel", "what is too large"],
)
def test_what_was_refused_is_let_go_of(make: Callable[[], Any], beside: list[int]) -> None:
    def refuse() -> weakref.ref[Any]:
        value = make()
        with pytest.raises(slimjobs.SlimjobsError):
            Serializer.dumps(("a.b", None, ([value, *beside],), {}))
        return weakref.ref(value)

    assert refuse()() is None
