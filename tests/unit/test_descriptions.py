"""What a job is called: refs and types, never a value unless asked, and never a `repr` of the user's."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from typing import Any, get_args
from uuid import UUID

import pytest
import sample_app
from codec_samples import Box, Node, Point, create, extra_bytes, nested, python_calls, values
from hypothesis import given, settings

import slimjobs
from slimjobs import Ref
from slimjobs.descriptions import describe_call
from slimjobs.limits import Describe


class Loud:
    """A model that must not be asked how it looks."""

    id: Any = 7

    def __repr__(self) -> str:
        raise RuntimeError("a query")

    __str__ = __repr__

    def __format__(self, _: str) -> str:
        raise RuntimeError("a query")

    def __len__(self) -> int:
        raise RuntimeError("a query")


class LoudText(str):
    __slots__ = ()

    def __repr__(self) -> str:
        raise RuntimeError

    __str__ = __repr__


def describe(*args: Any, **kwargs: Any) -> str:
    return describe_call("f", args, kwargs)


def describe_values(*args: Any, **kwargs: Any) -> str:
    return describe_call("f", args, kwargs, with_values=True)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (sample_app.Email(1, body="secret"), "<Email 1>"),
        (sample_app.Subscriber("ann", "secret"), "<subscriber ann>"),
        (Ref("app.models.Email", 2), "<Email 2>"),
        (sample_app.Email(None), "Email"),
        (["secret"] * 100, "list[100]"),
        ((1, 2), "tuple[2]"),
        ({"secret": 1}, "dict[1]"),
        ({"secret"}, "set[1]"),
        (frozenset(), "frozenset[0]"),
        ("secret", "str[6]"),
        (b"secret", "bytes[6]"),
        (None, "None"),
        (4711, "int"),
        (True, "bool"),
        (1.5, "float"),
        (Decimal(4711), "Decimal"),
        (UUID(int=4711), "UUID"),
        (datetime(2024, 1, 1, tzinfo=timezone.utc), "datetime"),
        (sample_app.Color.RED, "Color"),
        (sample_app.Money(4711), "Money"),
        (Node(Box("secret")), "Node"),
        (Point("secret"), "Point"),
        (LoudText("secret"), "LoudText"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 20 else None,
)
def test_refs_and_types_are_shown(value: Any, shown: str) -> None:
    assert describe(value) == f"f({shown})"
    assert describe(key=value) == f"f(key={shown})"


def test_a_job_is_described_like_this() -> None:
    job = create(sample_app.Email(1), ["a@example.org"] * 100, copy=True)
    assert job.description == "app.jobs.work(<Email 1>, list[100], copy=bool)"


def test_values_are_shown_on_demand() -> None:
    slimjobs.configure(describe="values")
    job = create(sample_app.Email(1), ["a", 1], "it's", copy=True, rows={"a": (1, None)})
    assert job.description == """app.jobs.work(<Email 1>, ['a', 1], "it's", copy=True, rows={'a': (1, None)})"""


def test_a_repr_of_the_user_is_never_run() -> None:
    slimjobs.register(Loud, load=lambda _: None, name="app.Loud")
    slimjobs.register_type(Held, encode=lambda _: None, decode=lambda _: Held())
    args = (Loud(), [Loud()], LoudText("x"), {LoudText("k"): Loud()}, Held(), (Held(), {Loud()}))
    assert describe(*args) == "f(<Loud 7>, list[1], LoudText, dict[1], Held, tuple[2])"
    assert describe_values(*args) == "f(<Loud 7>, [<Loud 7>], LoudText, {LoudText: <Loud 7>}, Held, (Held, set[1]))"
    for mode in get_args(Describe):
        slimjobs.configure(describe=mode)
        create(*args, one=Loud())


class Held(Loud):
    pass


def test_a_repr_of_a_primary_key_is_never_run() -> None:
    class Line(Loud):
        pass

    class Key(Loud):
        pass

    slimjobs.register(Line, load=lambda _: None, name="app.Line")
    slimjobs.register_type(Key, name="app.key", encode=lambda _: 1, decode=lambda _: Key())
    line = Line()
    line.id = Key()
    assert create(line).description == "app.jobs.work(<Line Key>)"
    assert repr(Ref("app.Line", Key())) == "<Ref Line Key>"


def test_a_primary_key_is_read_but_the_model_is_not_asked_for_anything_else() -> None:
    class Lazy:
        def __init__(self) -> None:
            self.id = 5

        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(name)

    slimjobs.register(Lazy, load=lambda _: None, name="app.Lazy")
    assert describe(Lazy()) == "f(<Lazy 5>)"


@pytest.mark.parametrize(
    "value",
    [
        "x" * 10**6,
        "\U0001f600" * 10**6,
        "\x00" * 10**6,
        "'\"" * 1000,
        b"\xff" * 10**6,
        10**100_000,
        -(10**4299),
        ["x" * 1000] * 1000,
        [[1, 2, 3]] * 10_000,
        dict.fromkeys(range(10_000), "x" * 100),
        {"x" * 10_000: "y" * 10_000},
        [1] * 10**6,
        {1} | set(range(1000)),
        Ref("app.models.Email", "x" * 10_000),
        1e300,
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_are_bounded(value: Any) -> None:
    text = describe_values(value)
    assert len(text) <= 75 * 2
    assert len(describe(value)) < 75

    def describe_all() -> None:
        describe_values(*[value] * 8)

    assert python_calls(describe_all) < 20_000
    assert extra_bytes(describe_all) < 200_000


def test_many_arguments_are_bounded() -> None:
    assert describe(*range(12)) == "f(int, int, int, int, int, int, int, int, ... 4 more)"
    assert describe_values(*range(10), a=1) == "f(0, 1, 2, 3, 4, 5, 6, 7, ... 3 more)"
    assert describe(*range(8)) == f"f({', '.join(['int'] * 8)})"


def test_only_the_arguments_that_are_shown_are_looked_at() -> None:
    args, kwargs = (sample_app.Email(1),) * 20_000, {f"k{number}": sample_app.Email(1) for number in range(20_000)}
    assert python_calls(lambda: describe_call("f", args, kwargs)) < 1000
    assert python_calls(lambda: describe_call("f", args, kwargs, with_values=True)) < 1000


def test_names_of_keywords_are_bounded() -> None:
    assert len(describe(**{"x" * 60_000: 1})) < 200
    assert len(describe_values(**{"x" * 60_000: 1})) < 200


def on_a_deep_stack(frames: int, act: Any) -> Any:
    return act() if frames == 0 else on_a_deep_stack(frames - 1, act)


def test_nested_values_need_no_deep_stack() -> None:
    for value in (nested(250, 1), (nested(250, 1),), {"a": nested(249)}):
        text = on_a_deep_stack(400, lambda value=value: describe_values(value))
        assert len(text) < 200


@settings(max_examples=40, deadline=None)
@given(values)
def test_anything_that_travels_can_be_described(value: Any) -> None:
    assert len(describe(value)) < 100
    assert len(describe_values(value)) < 200
