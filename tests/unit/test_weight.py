"""The lower bound found before encoding: what is far too large is refused at the price of a small value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from codec_samples import Box, Node, create, extra_bytes, hashables, nested, python_calls, values
from hypothesis import given, settings
from hypothesis import strategies as st

import slimjobs
from slimjobs import PayloadTooLargeError, SlimjobsError, UnsupportedTypeError
from slimjobs.codec import NO_LIMIT, Encoder, Refused, weigh
from slimjobs.registry import dehydrate

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.slow

_MOST_EXTRA_BYTES = 16 * 2**20
_MOST_CALLS = 200_000  # some 50 ms
_MANY = 300_000
_ENCODER = Encoder(dehydrate)


class Text(str):  # as Django's SafeString, which rendering a template returns
    __slots__ = ()


@settings(max_examples=40, deadline=None)
@given(values | st.lists(hashables, min_size=16) | st.lists(st.text() | st.text().map(Text), min_size=16))
def test_it_is_never_more_than_the_encoded_bytes(value: Any) -> None:
    data = _ENCODER.encode(value)
    assert data is not None
    assert NO_LIMIT - weigh(value, NO_LIMIT) <= len(data)
    assert _ENCODER.encode(value, len(data)) == data


@settings(max_examples=40, deadline=None)
@given(values, st.integers(0, 60))
def test_no_room_ends_it_early_only_where_the_value_cannot_fit(value: Any, room: int) -> None:
    data = _ENCODER.encode(value)
    assert data is not None
    if _ENCODER.encode(value, room) is None:
        assert len(data) > room


@pytest.mark.parametrize(
    ("value", "least"),
    [
        (["x" * 100] * 100, 900),
        (("x" * 100,) * 100, 10_000),
        ({str(number) * 20: "x" * 80 for number in range(10, 110)}, 10_000),
        ([{"rows": [["x" * 100] * 10] * 10}], 10_000),
        ({"x" * 10_000}, 10_000),
        ("x" * 10_000, 10_000),
        (b"x" * 10_000, 10_000),
        ([1] * 10_000, 10_000),
        ([[[1] * 100] * 100], 10_000),
    ],
)
def test_it_counts_what_makes_values_large(value: Any, least: int) -> None:
    assert NO_LIMIT - weigh(value, NO_LIMIT) >= least


def test_exponential_values_are_left_where_the_room_ends() -> None:
    value: Any = []
    for _ in range(200):
        value = [value, value]
    with pytest.raises(PayloadTooLargeError):
        create(value)


@pytest.fixture(scope="module")
def large_text() -> str:
    return "x" * 200_000_000


@pytest.fixture(scope="module")
def many_texts() -> list[str]:
    return [f"subscriber-{number}@example.org" for number in range(_MANY)]


def enqueue(*args: Any, **kwargs: Any) -> Callable[[], None]:
    def act() -> None:
        with pytest.raises(PayloadTooLargeError) as caught:
            create(*args, **kwargs)
        assert caught.value.parts
        found.append(caught.value.parts[0][0])

    found: list[str] = []
    act.found = found  # type: ignore[attr-defined]
    return act


WRAPPERS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "alone": (lambda value: value, "args[0]"),
    "nested": (lambda value: {"rows": [1, {"b": (2, value)}]}, "args[0]['rows'][1]['b'][1]"),
    "in a dataclass": (Box, "args[0].content"),
    "in dataclasses, with a lone surrogate": (
        lambda value: ["\ud800", Node([Box(value)])],
        "args[0][1].value[0].content",
    ),
    "in a list of many": (lambda value: [*["x"] * 100, value], "args[0][100]"),
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_huge_text_is_refused_in_little_memory(name: str, large_text: str) -> None:
    wrap, path = WRAPPERS[name]
    act = enqueue(wrap(large_text))
    assert extra_bytes(act) < _MOST_EXTRA_BYTES
    assert act.found == [path]  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_huge_text_of_a_subclass_is_refused_in_little_memory(name: str, large_text: str) -> None:
    wrap, path = WRAPPERS[name]
    act = enqueue(wrap(Text(large_text)))
    assert extra_bytes(act) < _MOST_EXTRA_BYTES
    assert act.found == [path]  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_list_of_five_million_texts_is_refused_at_once(name: str) -> None:
    wrap, path = WRAPPERS[name]
    act = enqueue(wrap(["subscriber@example.org"] * 5_000_000))
    assert python_calls(act) < _MOST_CALLS
    assert extra_bytes(act) < _MOST_EXTRA_BYTES
    assert act.found == [path, path]  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", WRAPPERS)
@pytest.mark.parametrize("kind", [list, tuple, set, frozenset, dict.fromkeys])
def test_many_texts_are_refused_at_once(name: str, kind: Any, many_texts: list[str]) -> None:
    wrap, path = WRAPPERS[name]
    act = enqueue(wrap(kind(many_texts)))
    assert python_calls(act) < _MOST_CALLS
    assert extra_bytes(act) < _MOST_EXTRA_BYTES
    assert act.found == [path, path]  # type: ignore[attr-defined]


def test_many_arguments_are_refused_at_once(many_texts: list[str]) -> None:
    def act() -> None:
        with pytest.raises(PayloadTooLargeError):
            create(*many_texts)

    assert python_calls(act) < _MOST_CALLS
    assert extra_bytes(act) < _MOST_EXTRA_BYTES


def test_what_cannot_travel_beside_many_texts_is_refused_at_once(many_texts: list[str]) -> None:
    def act() -> None:
        with pytest.raises(SlimjobsError):
            create(many_texts, bytearray(b"x"))

    assert python_calls(act) < _MOST_CALLS
    assert extra_bytes(act) < _MOST_EXTRA_BYTES


@pytest.mark.parametrize("mode", ["warn", "track"])
def test_the_path_of_what_cannot_travel_is_found_beside_many_texts(mode: Any, many_texts: list[str]) -> None:
    slimjobs.configure(mode=mode)
    value = {"rows": many_texts, "file": object()}

    def act() -> None:
        with pytest.raises(UnsupportedTypeError) as caught:
            create(value)
        assert caught.value.path == "args[0]['file']"

    # What was encoded until then, three times over.
    assert extra_bytes(act) < _MOST_EXTRA_BYTES + 4 * 30 * _MANY


def test_depth_is_counted_in_every_container() -> None:
    for wrap in (list, tuple, frozenset):
        value: Any = ()
        for _ in range(255):
            value = wrap([value])
        weigh(value, NO_LIMIT)
        for _ in range(10):
            value = wrap([value])
        with pytest.raises(Refused):
            weigh(value, NO_LIMIT)
    with pytest.raises(Refused):
        weigh({"a": nested(300)}, NO_LIMIT)
