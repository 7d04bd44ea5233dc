"""A call's refs, loaded in batches, and what happens where rows are missing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
import sample_app
from codec_samples import Box, Node, Point, canonical, create, nested, travel, values
from hypothesis import given, settings
from sample_app import EMAILS, SUBSCRIBERS, Email, Money, Order

import slimjobs
from slimjobs import (
    ConfigurationError,
    PayloadDecodeError,
    RecordNotFoundError,
    RecordUnavailableError,
    Ref,
    Serializer,
)
from slimjobs.codec import Inert
from slimjobs.hydration import hydrate
from slimjobs.policies import Policy, policy_for, set_policy

if TYPE_CHECKING:
    from collections.abc import Callable

ONE, TWO = Ref("sample_app.Email", 1), Ref("sample_app.Email", 2)
ANN, BOB = Ref("people.subscriber", "ann"), Ref("people.subscriber", "bob")
GONE = Ref("sample_app.Email", 99)


@pytest.fixture(autouse=True)
def _usual_rows() -> None:
    sample_app.reset()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that only sleeping moves; returns how long was slept."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setattr(time, "monotonic", lambda: 100.0 + sum(slept))
    return slept


def test_refs_are_loaded_at_any_depth() -> None:
    value = [ONE, (TWO, {ANN}), {"a": [frozenset([BOB]), {ONE: {"b": ((TWO,),)}}]}, 5, "x"]
    loaded = hydrate(value).values[0]
    one, two, ann, bob = EMAILS[1], EMAILS[2], SUBSCRIBERS["ann"], SUBSCRIBERS["bob"]
    assert loaded == [one, (two, {ann}), {"a": [frozenset([bob]), {one: {"b": ((two,),)}}]}, 5, "x"]
    assert hydrate(ONE, [ONE], {"k": ONE}).values == (one, [one], {"k": one})


def test_all_refs_of_a_class_are_loaded_in_one_call() -> None:
    asked: list[list[Any]] = []

    class Row:
        def __init__(self, id: int) -> None:
            self.id = id

    def load_many(pks: list[int]) -> list[Row]:
        asked.append(pks)
        return [Row(pk) for pk in reversed(pks)]

    slimjobs.register(Row, load_many=load_many, name="a.Row")
    rows = [Row(number) for number in (5, 3, 5, 9, 3)]
    _, instance, args, kwargs = Serializer.loads(create(rows, Box([Row(7)]), one=Row(3)).data)
    loaded = hydrate(instance, args, kwargs).values
    assert asked == [[5, 3, 9, 7]]
    assert [row.id for row in loaded[1][0]] == [5, 3, 5, 9, 3]
    assert loaded[1][0][0] is loaded[1][0][2]
    assert loaded[2]["one"] is loaded[1][0][1]
    assert loaded[1][1].content[0].id == 7


def test_the_order_of_dicts_and_lists_is_kept() -> None:
    value = {BOB: 1, ANN: 2, "z": ONE, "a": TWO}
    loaded = hydrate(value).values[0]
    assert list(loaded) == [SUBSCRIBERS["bob"], SUBSCRIBERS["ann"], "z", "a"]


def test_without_refs_the_very_values_are_returned_and_nothing_is_asked() -> None:
    value = [1, {"a": (Money(1),)}]
    hydrated = hydrate(value, (), {})
    assert hydrated.values[0] is value
    assert hydrated.missing == ()
    assert sample_app.LOADS == []


@settings(max_examples=30, deadline=None)
@given(values)
def test_everything_else_stays_as_it_is(value: Any) -> None:
    if "Ref " not in canonical(value):
        assert canonical(hydrate(travel([value, ONE])).values[0][0]) == canonical(value)


def test_value_types_get_models_inside() -> None:
    order = hydrate(travel(Order(Email(1), [Money(1)]))).values[0]
    assert type(order) is Order
    assert order.email is EMAILS[1]
    assert hydrate(travel(Point(Email(1), {Email(2)}))).values[0] == Point(EMAILS[1], {EMAILS[2]})


def test_a_key_may_be_a_member_of_an_enum_that_was_not_loaded() -> None:
    pending = Ref("sample_app.Email", Inert(True, "sample_app:Priority", "LOW"))
    assert hydrate([pending, pending]).values[0] == [EMAILS[1]] * 2


def test_a_missing_row_fails_the_call_and_is_named() -> None:
    with pytest.raises(
        RecordNotFoundError, match=r"^app\.work: args\[1\]\[0\]: no row for <Ref Email 99>, <Ref subscriber zoe>"
    ) as caught:
        hydrate(None, (ONE, [GONE]), {"k": Ref("people.subscriber", "zoe"), "again": GONE}, task="app.work")
    assert caught.value.refs == (GONE, Ref("people.subscriber", "zoe"))
    assert caught.value.task == "app.work"


def test_a_missing_row_may_be_none() -> None:
    hydrated = hydrate([ONE, GONE], Order(GONE), {"k": (GONE,)}, policy=Policy(on_missing="none"))
    assert hydrated.values == ([EMAILS[1], None], Order(GONE), {"k": (None,)})
    assert hydrated.missing == (GONE,)
    assert hydrate(travel(Order(Email(99))), policy=Policy(on_missing="none")).values[0] == Order(None)


class Reply:
    """A value that needs its row."""

    def __init__(self, email: Any) -> None:
        self.email = email
        self.subject = f"Re: {email.subject}"


slimjobs.register_type(Reply, encode=lambda reply: reply.email, decode=Reply)

# What None cannot take its place in.
NOT_NONE = {
    "a set": {Email(98), Email(99)},
    "a set of pairs": {(Email(98), 1), (Email(99), 1)},
    "keys of a dict": {Email(98): 1, Email(99): 2},
    "None itself in a set": {Email(99), None},
    "a value type": [{"reply": Reply(Email(99, "gone"))}],
}


@pytest.mark.parametrize("value", NOT_NONE.values(), ids=NOT_NONE)
def test_a_call_is_discarded_wherever_a_row_is_missing(value: Any) -> None:
    assert GONE in hydrate(travel(value), policy=Policy(on_missing="discard")).missing


@pytest.mark.parametrize("value", NOT_NONE.values(), ids=NOT_NONE)
def test_a_row_that_cannot_be_none_fails_the_call_and_says_why(value: Any) -> None:
    with pytest.raises(
        RecordNotFoundError, match=r"^app\.work: no row for .*Email 99>.*\.\nNone cannot stand for it here"
    ) as caught:
        hydrate([ONE, travel(value)], policy=Policy(on_missing="none"), task="app.work")
    assert GONE in caught.value.refs
    assert ONE not in caught.value.refs


def test_a_value_type_that_fails_for_another_reason_is_no_missing_row() -> None:
    reply = travel(Reply(EMAILS[1]))
    del EMAILS[1].subject
    with pytest.raises(PayloadDecodeError, match=r"^app\.work: decode of value type '.*Reply' raised AttributeError"):
        hydrate([GONE, reply], policy=Policy(on_missing="none"), task="app.work")


def test_a_row_that_comes_later_is_waited_for(pauses: list[float]) -> None:
    asked: list[Any] = []

    class Late:
        def __init__(self, id: int) -> None:
            self.id = id

    def load_many(pks: list[int]) -> list[Late]:
        asked.append(pks)
        return [Late(pk) for pk in pks if pk == 1 or len(asked) >= 4]

    slimjobs.register(Late, load_many=load_many, name="a.Late")
    refs = [Ref("a.Late", 1), Ref("a.Late", 2), ONE]
    hydrated = hydrate(refs, policy=Policy(wait_for_row=10))
    assert [row.id for row in hydrated.values[0]] == [1, 2, 1]
    assert hydrated.missing == ()
    assert asked == [[1, 2], [2], [2], [2]]
    assert sample_app.LOADS == [("Email", [1])]
    assert len(pauses) == 3
    assert pauses == sorted(pauses)
    assert sum(pauses) < 1


@pytest.mark.parametrize("seconds", [0.01, 0.2, 5, 60])
def test_it_is_asked_for_again_until_the_time_is_up_and_once_more_then(pauses: list[float], seconds: float) -> None:
    with pytest.raises(RecordNotFoundError):
        hydrate([GONE], policy=Policy(wait_for_row=seconds))
    assert sum(pauses) == pytest.approx(seconds)
    assert len(sample_app.LOADS) == len(pauses) + 1
    assert max(pauses) <= 1


def test_without_waiting_it_is_asked_for_once(pauses: list[float]) -> None:
    with pytest.raises(RecordNotFoundError):
        hydrate([GONE])
    assert pauses == []
    assert sample_app.LOADS == [("Email", [99])]


def test_a_row_that_comes_later_is_waited_for_on_a_real_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = []

    def load(pk: Any) -> Email | None:
        attempts.append(pk)
        return Email(pk) if len(attempts) == 3 else None

    class Late(Email):
        pass

    slimjobs.register(Late, load=load, name="a.Late")  # type: ignore[arg-type]
    assert hydrate(Ref("a.Late", 1), policy=Policy(wait_for_row=5)).values[0].id == 1


def test_a_database_that_goes_away_while_waiting_is_no_missing_row(pauses: list[float]) -> None:
    class Far:
        id = 1

    def load(_: Any) -> Far | None:
        if pauses:
            raise ConnectionResetError
        return None

    slimjobs.register(Far, load=load, name="a.Far")
    with pytest.raises(RecordUnavailableError):
        hydrate([Ref("a.Far", 1)], policy=Policy(on_missing="none", wait_for_row=5))


@pytest.mark.parametrize("error", [ZeroDivisionError("x"), RecursionError("in the loader"), KeyError("x")])
def test_errors_of_loaders_pass(error: Exception) -> None:
    class Odd:
        id = 1

    def load(_: Any) -> Odd:
        raise error

    slimjobs.register(Odd, load=load, name="a.Odd")
    with pytest.raises(type(error)) as caught:
        hydrate([Ref("a.Odd", 1)])
    assert caught.value is error


@pytest.mark.parametrize(
    ("options", "good"),
    [
        ({"on_missing": "ignore"}, "fail, discard, none"),
        ({"on_missing": None}, "fail, discard, none"),
        ({"wait_for_row": -1}, "seconds"),
        ({"wait_for_row": "5"}, "seconds"),
        ({"wait_for_row": True}, "seconds"),
        ({"wait_for_row": float("inf")}, "seconds"),
        ({"wait_for_row": float("nan")}, "seconds"),
    ],
)
def test_a_bad_policy_names_the_option(options: dict[str, Any], good: str) -> None:
    (name,) = options
    with pytest.raises(ConfigurationError, match=f"{name}: .*{good}"):
        Policy(**options)


def test_a_policy_is_that_of_its_task() -> None:
    policy = Policy("none", 2)
    set_policy("app.work", policy)
    assert policy_for("app.work") is policy
    assert policy_for("app.other") == policy_for(None) == Policy("fail", 0)


def on_a_deep_stack(frames: int, act: Callable[[], Any]) -> Any:
    return act() if frames == 0 else on_a_deep_stack(frames - 1, act)


@pytest.mark.parametrize(
    "value",
    [
        nested(200, Email(1)),
        {"a": nested(220, (Email(1),))},
        nested(200, Box(nested(200, Node(Email(1), nested(80))))),
    ],
    ids=["lists", "mixed", "through value types"],
)
def test_what_is_taken_at_the_call_can_be_hydrated_on_the_stack_of_a_worker(value: Any) -> None:
    try:
        data = create(value).data
    except slimjobs.UnsupportedTypeError:
        return
    loaded = on_a_deep_stack(150, lambda: hydrate(Serializer.loads(data)[2]))
    assert loaded.missing == ()
    assert sample_app.LOADS == [("Email", [1])]


def test_one_missing_row_may_be_none_in_a_dicts_keys() -> None:
    assert hydrate({Ref("sample_app.Email", 98): 1}, policy=Policy(on_missing="none")).values == ({None: 1},)
