"""Limits: what they are, where they are set, which wins, and what happens exactly there."""

from __future__ import annotations

import copy
import logging
import pickle
from typing import Any

import pytest
import sample_app
from codec_samples import NOWHERE, TASK, Box, Node, create
from hypothesis import given, settings
from hypothesis import strategies as st

import slimjobs
from slimjobs import ConfigurationError, Job, Limits, PayloadTooLargeError, Queue, Serializer, limits


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("max_bytes", 65_536),
        ("warn_bytes", 16_384),
        ("max_batch_bytes", 16 * 2**20),
        ("max_result_bytes", 65_536),
        ("mode", "reject"),
    ],
)
def test_defaults(name: str, default: object) -> None:
    assert getattr(Limits(), name) == default
    assert getattr(limits.settings().limits, name) == default
    assert getattr(limits.for_task(TASK), name) == default


def test_limits_are_values() -> None:
    given_limits = Limits("64 KiB", warn_bytes=100, mode="warn")
    assert given_limits.max_bytes == 65_536
    for again in (
        copy.copy(given_limits),
        copy.deepcopy(given_limits),
        pickle.loads(pickle.dumps(given_limits)),
        Limits(65_536, 100, mode="warn"),
    ):
        assert again == given_limits
        assert hash(again) == hash(given_limits)
        assert again.given == given_limits.given
    assert given_limits != Limits("64 KiB")
    assert given_limits != "64 KiB"
    assert repr(given_limits) == "Limits(max_bytes=65536, warn_bytes=100, mode='warn')"
    assert eval(repr(given_limits), {"Limits": Limits}) == given_limits
    with pytest.raises(AttributeError, match="max_bytes="):
        given_limits.max_bytes = 1


BAD_OPTIONS: list[tuple[str, Any, str]] = [
    ("max_bytes", "lots", "64 KiB"),
    ("max_bytes", -1, "64 KiB"),
    ("max_bytes", 1.5, "64 KiB"),
    ("max_bytes", True, "64 KiB"),
    ("max_bytes", 0, "track"),
    ("max_bytes", "0", "track"),
    ("warn_bytes", "1 XB", "64 KiB"),
    ("max_batch_bytes", "", "64 KiB"),
    ("max_result_bytes", [], "64 KiB"),
    ("mode", "strict", "reject, warn, track"),
    ("mode", 1, "reject, warn, track"),
    ("mode", [], "reject, warn, track"),
]


@pytest.mark.parametrize(("name", "value", "good"), BAD_OPTIONS)
def test_a_bad_option_is_named_with_a_good_value(name: str, value: Any, good: str) -> None:
    for setter in (Limits, slimjobs.configure):
        with pytest.raises(ConfigurationError) as caught:
            setter(**{name: value})
        assert name in str(caught.value)
        assert good in str(caught.value)
        assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("name", "value", "good"), [("describe", "all", "types, values"), ("read_pickle", "maybe", "true")]
)
def test_a_bad_process_option_is_named_with_a_good_value(name: str, value: Any, good: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}: .*{good}"):
        slimjobs.configure(**{name: value})
    with pytest.raises(ConfigurationError, match=f"SLIMJOBS_{name.upper()}: .*{good}"):
        limits.read_environment({f"SLIMJOBS_{name.upper()}": value})


@pytest.mark.parametrize(("name", "value", "good"), [row for row in BAD_OPTIONS if isinstance(row[1], str) and row[1]])
def test_a_bad_variable_is_named_with_a_good_value(
    name: str, value: str, good: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"SLIMJOBS_{name.upper()}", value)
    for _ in range(2):  # the second call fails as the first
        with pytest.raises(ConfigurationError) as caught:
            limits.settings()
        assert f"SLIMJOBS_{name.upper()}" in str(caught.value)
        assert good in str(caught.value)


def _any(**options: Any) -> dict[str, Any]:
    return options


@pytest.mark.parametrize(
    "decorate",
    [
        lambda: slimjobs.job("q", max_bytes="lots"),
        lambda: slimjobs.job("q", warn_bytes="lots"),
        lambda: slimjobs.job("q", **_any(mode="lots")),
        lambda: slimjobs.job("q", **_any(on_missing="lots")),
        lambda: slimjobs.job("q", **_any(wait_for_row="lots")),
        lambda: slimjobs.job("q", wait_for_row=-1),
        lambda: slimjobs.job("q", wait_for_row=float("nan")),
        lambda: slimjobs.job("q", at_frnot=True),
        lambda: Queue("q", connection=NOWHERE, limits={"max_bytes": "lots"}),
        lambda: Queue("q", connection=NOWHERE, limits={"max_byte": 5}),
        lambda: Queue("q", connection=NOWHERE, **_any(limits="64 KiB")),
    ],
)
def test_bad_options_of_tasks_and_queues_are_configuration_errors(decorate: Any) -> None:
    with pytest.raises(ConfigurationError):
        decorate()


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "MAX_BYTES": "1 MB",
        "WARN_BYTES": "2KiB",
        "MAX_BATCH_BYTES": "3000",
        "MAX_RESULT_BYTES": "",
        "MODE": "warn",
        "DESCRIBE": "values",
        "READ_PICKLE": "yes",
    }.items():
        monkeypatch.setenv(f"SLIMJOBS_{name}", value)
    now = limits.settings()
    assert now.limits == Limits(1_000_000, 2048, 3000, mode="warn")
    assert now.limits.max_result_bytes == 65_536
    assert (now.describe, now.read_pickle) == ("values", True)


def test_configure_leaves_what_is_not_given() -> None:
    slimjobs.configure(max_bytes=100, describe="values")
    slimjobs.configure(warn_bytes=50, read_pickle=True)
    slimjobs.configure(mode="track")
    now = limits.settings()
    assert now.limits == Limits(100, 50, mode="track")
    assert (now.describe, now.read_pickle) == ("values", True)
    slimjobs.configure(describe="types", read_pickle=False)
    now = limits.settings()
    assert (now.describe, now.read_pickle) == ("types", False)


def test_a_bad_option_changes_nothing() -> None:
    slimjobs.configure(max_bytes=100)
    for bad in ({"warn_bytes": "lots"}, {"describe": "lots"}, {"read_pickle": "lots"}):
        with pytest.raises(ConfigurationError):
            slimjobs.configure(max_bytes=7, mode="track", **bad)  # type: ignore[arg-type]
    assert limits.settings().limits == Limits(100)


@pytest.mark.parametrize("name", ["max_bytes", "warn_bytes", "max_result_bytes", "mode"])
@pytest.mark.parametrize("highest", range(5))
def test_task_wins_over_queue_over_configure_over_environment_over_defaults(
    name: str, highest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = ("reject", "warn", "track", "warn", "track")
    chosen: list[Any] = [modes[level] if name == "mode" else 1000 + level for level in range(5)]
    default = getattr(Limits(), name)
    queue_limits = Limits()
    if highest >= 1:
        monkeypatch.setenv(f"SLIMJOBS_{name.upper()}", str(chosen[1]))
    if highest >= 2:
        slimjobs.configure(**{name: chosen[2]})
    if highest >= 3:
        queue_limits = Limits(**{name: chosen[3]})
    if highest >= 4:
        limits.limit_task(TASK, Limits(**{name: chosen[4]}))
    assert getattr(limits.for_task(TASK, queue_limits), name) == (chosen[highest] if highest else default)


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_each_limit_falls_through_by_itself(data: st.DataObject) -> None:
    names = ("max_bytes", "warn_bytes", "max_batch_bytes", "max_result_bytes")
    options = st.fixed_dictionaries({}, optional=dict.fromkeys(names, st.integers(1, 10**6)))
    levels = [Limits(**_any(**data.draw(options))) for _ in range(3)]
    merged = levels[0].over(levels[1]).over(levels[2])
    assert merged == levels[0].over(levels[1].over(levels[2]))
    for name in names:
        given_by = [level.given[name] for level in levels if name in level.given]
        assert getattr(merged, name) == (given_by[0] if given_by else getattr(Limits(), name))


def sized(exact_bytes: int, limit_bytes: int) -> Job:
    """Return a job of exactly this many payload bytes, made with the limits at `limit_bytes`."""
    slimjobs.configure(max_bytes=10**9, warn_bytes=10**9)
    without = len(create("x" * 70_000).data) - 70_000
    slimjobs.configure(max_bytes=limit_bytes, warn_bytes=1)
    job = create("x" * (exact_bytes - without))
    assert len(job.data) == exact_bytes
    return job


@pytest.mark.parametrize("limit_bytes", [66_000, 65_537 * 2])
def test_a_payload_at_its_limit_passes_and_one_byte_more_does_not(limit_bytes: int) -> None:
    sized(limit_bytes, limit_bytes)
    with pytest.raises(PayloadTooLargeError) as caught:
        sized(limit_bytes + 1, limit_bytes)
    error = caught.value
    assert (error.size_bytes, error.limit_bytes, error.task) == (limit_bytes + 1, limit_bytes, TASK)
    assert f"{limit_bytes + 1} bytes, limit is {limit_bytes} bytes" in str(error)
    assert [path for path, _ in error.parts] == ["args[0]"]


def exact_size(*args: Any, **kwargs: Any) -> int:
    slimjobs.configure(max_bytes=10**9, warn_bytes=10**9)
    return len(create(*args, **kwargs).data)


MIXED: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((), {}),
    ((1, None, True), {}),
    (("ä" * 40, "x" * 300), {"k": b"x" * 300}),
    ((["a"] * 5, ["b"] * 50, [["c"], ["d" * 20]]), {}),
    (([1] * 50, ["x"] * 15 + [1], list(range(1000))), {}),
    (({1: "a", "b": {2}}, (1, (2, "x"))), {"deep": {"er": [{"est": "x" * 9}]}}),
    ((Node(Box("x" * 40), [Box(2)]), sample_app.Email(5)), {"email": sample_app.Email(6)}),
    (("\ud800" * 10, 2**80, 1.5), {"name": "\udcff"}),
    ((set(), frozenset({1}), {}, [], ()), {"a": [], "b": {}}),
    ((), {f"k{number}": number % 100 for number in range(300)}),
    ((0,) * 300, {}),
    (([[]] * 300, ((),) * 20, [{}] * 300), {}),
    (([""] * 300, ["\U0001f4e7"] * 300, ["ä" * 3] * 300), {}),
]


@pytest.mark.parametrize(("args", "kwargs"), MIXED)
def test_the_limit_is_exact_whatever_the_payload_holds(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    size_bytes = exact_size(*args, **kwargs)
    slimjobs.configure(max_bytes=size_bytes)
    assert len(create(*args, **kwargs).data) == size_bytes
    slimjobs.configure(max_bytes=size_bytes - 1)
    with pytest.raises(PayloadTooLargeError) as caught:
        create(*args, **kwargs)
    assert caught.value.size_bytes is not None
    assert caught.value.size_bytes >= size_bytes


@pytest.mark.parametrize(
    "args",
    [
        (["a"] * 60_000,),
        ([1] * 200_000,),
        ([None, True] * 100_000,),
        ({number: number for number in range(50_000)},),
        ([["a"]] * 50_000,),
        ([()] * 70_000,),
        ("ä" * 70_000,),
        ("x" * 70_000, b"x" * 70_000),
        ([1.5] * 70_000,),
        (["ä" * 30] * 3000,),
        tuple("a" * 70_000),
    ],
    ids=["texts", "ints", "constants", "dict", "lists", "tuples", "text", "two", "floats", "longer texts", "arguments"],
)
def test_at_least_is_never_more_than_it_is(args: tuple[Any, ...]) -> None:
    with pytest.raises(PayloadTooLargeError) as caught:
        create(*args)
    error = caught.value
    assert error.at_least
    assert error.size_bytes is not None
    assert 65_536 < error.size_bytes <= exact_size(*args)


def test_meta_counts() -> None:
    args, meta = ("a" * 200,), {"note": "x" * 300}
    size_bytes = exact_size(*args) + len(Serializer.dumps(meta))
    slimjobs.configure(max_bytes=size_bytes)
    Job.create(TASK, args=args, meta=meta, connection=NOWHERE)
    for too_much in ({**meta, "n": 1}, {"note": "x" * 301}, {"note": "x" * 10**6}):
        with pytest.raises(PayloadTooLargeError) as caught:
            Job.create(TASK, args=args, meta=too_much, connection=NOWHERE)
        assert caught.value.parts[0][0] == "meta['note']"


def test_the_largest_parts_are_named_by_path() -> None:
    body = "x" * 300_000
    with pytest.raises(PayloadTooLargeError) as caught:
        create(1, {"rows": [0, {"html": body}], "n": 1}, draft=Node([body]), note="short")
    (first, first_bytes), (second, second_bytes) = caught.value.parts
    assert {first, second} == {"args[1]['rows'][1]['html']", "kwargs['draft'].value[0]"}
    assert 300_000 <= first_bytes <= 300_100
    assert 300_000 <= second_bytes <= 300_100


def test_a_registered_model_is_never_to_blame_for_what_it_holds() -> None:
    email = sample_app.Email(1, body="x" * 1_000_000)
    with pytest.raises(PayloadTooLargeError) as caught:
        create(email, ["y" * 100_000])
    assert [path for path, _ in caught.value.parts] == ["args[1][0]"]


@pytest.mark.parametrize(("mode", "lines"), [("warn", 1), ("track", 0)])
def test_the_other_modes_let_it_pass(mode: Any, lines: int, caplog: pytest.LogCaptureFixture) -> None:
    slimjobs.configure(mode=mode)
    with caplog.at_level(logging.WARNING, "slimjobs"):
        job = create("x" * 100_000)
    assert len(job.data) > 100_000
    assert len(caplog.records) == lines
    assert job.payload is not None
    assert job.payload.is_warned


@pytest.mark.parametrize("mode", ["warn", "track"])
def test_what_no_process_would_inflate_is_refused_in_every_mode(monkeypatch: pytest.MonkeyPatch, mode: Any) -> None:
    monkeypatch.setattr(limits, "READABLE_BYTES", 2000)
    slimjobs.configure(max_bytes=1000, mode=mode)
    create("x" * 1900)
    with pytest.raises(PayloadTooLargeError) as caught:
        create("x" * 2000)
    assert caught.value.limit_bytes == 2000

    slimjobs.configure(max_bytes=3000)
    create("x" * 2900)


def test_a_task_may_not_write_what_no_process_would_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "READABLE_BYTES", 2000)
    limits.limit_task(TASK, Limits(max_bytes=3000))
    slimjobs.configure(max_bytes=1000)
    with pytest.raises(PayloadTooLargeError) as caught:
        create("x" * 2000)
    assert caught.value.limit_bytes == 2000

    slimjobs.configure(max_bytes=3000)
    create("x" * 2000)
