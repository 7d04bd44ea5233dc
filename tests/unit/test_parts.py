"""The parts of a call by path: which are the largest, and where one stands."""

from __future__ import annotations

import copy
import pickle
from datetime import datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
import sample_app
from codec_samples import Box, Node, Point, create, nested, python_calls, values
from hypothesis import given, settings
from hypothesis import strategies as st
from rq.serializers import DefaultSerializer, JSONSerializer

from slimjobs import PayloadTooLargeError, Queue, Ref, SlimjobsError, register_type
from slimjobs.calls import Call
from slimjobs.parts import call_parts, find_path, measure
from slimjobs.serializer import SLIM, format_of

if TYPE_CHECKING:
    from redis import Redis

BIG = "x" * 50_000


class Culprit:
    pass


CULPRIT = Culprit()


@pytest.mark.parametrize(
    ("args", "kwargs", "path"),
    [
        ([CULPRIT], {}, "args[0]"),
        ([1, [2, (3, CULPRIT)]], {}, "args[1][1][1]"),
        ([], {"rows": [0, 1, 2, Node(CULPRIT)]}, "kwargs['rows'][3].value"),
        ([{"a": {1: CULPRIT}}], {}, "args[0]['a'].values()[0]"),
        ([{None: CULPRIT}], {}, "args[0].values()[0]"),
        ([{b"k": CULPRIT}], {}, "args[0].values()[0]"),
        ([Box((1, CULPRIT))], {}, "args[0].content[1]"),
        ([Point(1, CULPRIT)], {}, "args[0][1]"),
    ],
)
def test_a_culprit_is_found_by_its_path(args: list[Any], kwargs: dict[str, Any], path: str) -> None:
    assert find_path(call_parts(None, tuple(args), kwargs), CULPRIT) == path


def test_a_culprit_is_found_in_keys_sets_instance_and_meta() -> None:
    assert find_path(call_parts(CULPRIT, (), {}), CULPRIT) == "self"
    assert find_path(call_parts(None, (), {}, {"a": CULPRIT}), CULPRIT) == "meta['a']"
    for value in ({CULPRIT: 1}, {CULPRIT}, frozenset([(1, CULPRIT)]), {(CULPRIT,): 1}):
        path = find_path(call_parts(None, (value,), {}), CULPRIT)
        assert path is not None
        assert path.startswith("args[0].")


def test_what_is_not_there_has_no_path() -> None:
    assert (
        find_path(
            call_parts(
                None,
                (
                    1,
                    [2],
                ),
                {"a": "b"},
            ),
            CULPRIT,
        )
        is None
    )


def test_values_that_contain_themselves_are_walked_once() -> None:
    items: list[Any] = []
    items += [items, {"a": items}]
    node = cycle()
    assert (
        find_path(
            call_parts(
                None,
                (
                    items,
                    node,
                    [CULPRIT],
                ),
                {},
            ),
            CULPRIT,
        )
        == "args[2][0]"
    )
    assert measure(call_parts(None, (items, node, [BIG]), {}), SLIM.travels_as)[1][0][0] == "args[2][0]"


def test_long_keys_are_cut_and_odd_ones_named_by_their_type() -> None:
    for key in ("k" * 500, b"k" * 500, 10**400, 10**5000, (1, 2), Node):
        path = find_path(call_parts(None, ({key: CULPRIT},), {}), CULPRIT)
        assert path is not None
        assert path.startswith("args[0]")
        assert len(path) < 80


def test_a_long_path_is_cut() -> None:
    deep: Any = CULPRIT
    for _ in range(1000):
        deep = [deep]
    path = find_path(call_parts(None, (deep,), {}), CULPRIT)
    assert path is not None
    assert path.startswith("args[0]" + "[0]" * 30)
    assert len(path) < 150


def test_what_a_model_holds_is_not_to_blame_since_it_does_not_travel() -> None:
    email = sample_app.Email(1)
    email.body = CULPRIT  # type: ignore[assignment]
    error = refusal(email, sample_app.Order(email), [CULPRIT])
    assert error.path == "args[2][0]"


def test_a_model_that_refers_to_itself_is_not_to_blame_for_what_is_nested_too_deeply() -> None:
    email = sample_app.Email(1)
    email.subject = email  # type: ignore[assignment]
    for deep in (nested(300), cycle()):
        error = refusal(email, {"deep": deep})
        assert error.path is not None
        assert error.path.startswith("args[1]['deep']")


def cycle() -> Node:
    node = Node()
    node.next = node
    return node


def test_an_enum_member_is_not_to_blame_for_what_its_class_holds() -> None:
    assert ~sample_app.Channel.MAIL is not None  # which makes members refer to each other
    for deep in (nested(300), cycle()):
        error = refusal(sample_app.Channel.MAIL, {"deep": deep})
        assert error.path is not None
        assert error.path.startswith("args[1]['deep']")


def refusal(*args: Any) -> SlimjobsError:
    with pytest.raises(SlimjobsError) as caught:
        create(*args)
    return caught.value


def named(*args: Any, **kwargs: Any) -> list[str]:
    return [path for path, _ in measure(call_parts(None, args, kwargs), SLIM.travels_as)[1]]


def test_the_largest_part_is_what_holds_most_not_what_holds_it() -> None:
    assert named({"rows": [1, {"body": BIG}]}, "small") == ["args[0]['rows'][1]['body']"]
    assert named(a=1, b=Box(Node([BIG]))) == ["kwargs['b'].content.value[0]"]
    assert named(["x" * 100] * 500) == ["args[0]"]
    assert named({"a": BIG, "b": BIG}) == ["args[0]"]


def test_what_an_encode_function_leaves_out_is_not_to_blame() -> None:
    class Doc:
        def __init__(self, body: str) -> None:
            self.body, self.title = body, "x" * 100

    register_type(Doc, encode=lambda doc: {"title": doc.title}, decode=Doc)

    assert named(Doc(BIG), ["y" * 5000]) == ["args[1][0]"]
    assert named([Doc(BIG), Doc(BIG)], "y" * 150) == ["args[0]", "args[1]"]
    assert measure(call_parts(None, ([Doc(BIG)] * 50,), {}), SLIM.travels_as)[0] > 5000


def test_at_most_three_are_named_and_none_that_hardly_matters() -> None:
    assert named(BIG, BIG * 3, BIG * 2, BIG) == ["args[1]", "args[2]", "args[0]"]
    assert named(BIG, "x" * 4000, "x" * 3000) == ["args[0]"]


EMAILS = [f"subscriber{number}@example.org" for number in range(30_000)]


@pytest.mark.parametrize(
    "many",
    [
        EMAILS,
        tuple(EMAILS),
        set(EMAILS),
        {email: number for number, email in enumerate(EMAILS)},
        [{"id": number, "email": email} for number, email in enumerate(EMAILS)],
        {"rows": EMAILS},
    ],
    ids=["list", "tuple", "set", "dict", "rows", "inside"],
)
def test_many_items_are_weighed_by_some_of_them(many: Any) -> None:
    for args in ((many, "y" * 40_000), ("y" * 40_000, many), (list(range(9_990)), many)):
        total_bytes, largest = measure(call_parts(None, args, {}), SLIM.travels_as)
        assert total_bytes <= size_of(args)
        index = args.index(many)
        assert largest[0][0] in {f"args[{index}]", f"args[{index}]['rows']"}
        assert largest[0][1] == pytest.approx(size_of(many), rel=0.1)


ROW = {"name": "x" * 50, "tags": ["a", "b"]}
NESTED: Any = [["u" * 20] * 10]


@pytest.mark.parametrize("many", [[ROW] * 1500, [Box("n" * 500)] * 500, {"rows": NESTED * 600}, [[ROW] * 40] * 40])
def test_what_is_held_many_times_weighs_as_often_as_it_is_written(many: Any) -> None:
    args = (many, "y" * 9000)
    total_bytes, largest = measure(call_parts(None, args, {}), SLIM.travels_as)

    assert largest[0][0].startswith("args[0]")
    assert largest[0][1] == pytest.approx(size_of(many), rel=0.1)
    assert total_bytes <= size_of(args)
    assert total_bytes == pytest.approx(size_of(args), rel=0.1)


def test_what_is_held_many_times_is_to_blame_where_the_serializer_writes_it_many_times(fake_redis: Redis) -> None:
    for serializer, path in ((JSONSerializer, "args[0]"), (DefaultSerializer, "args[1]")):
        queue = Queue("rows", connection=fake_redis, serializer=serializer)
        with pytest.raises(PayloadTooLargeError) as caught:
            queue.enqueue(sample_app.record, [ROW] * 2000, "y" * 66_000)
        assert caught.value.parts[0][0] == path

    args = ([[index, ROW] for index in range(2000)], [ROW] * 2000)
    least_bytes, _ = format_of(DefaultSerializer).measure(Call(None, None, args=args))
    assert least_bytes <= len(pickle.dumps(args))


def test_lists_that_hold_each_other_many_times_are_told_of() -> None:
    many: Any = ["x"]
    for _ in range(200):
        many = [many] * 100
    assert refusal(many).path is None
    assert isinstance(refusal(many), PayloadTooLargeError)


WIDE = [{str(key): "v" * 10 for key in range(60)} for _ in range(1500)]


def test_each_part_has_its_share_of_what_is_looked_at() -> None:
    assert named(WIDE, {"body": BIG * 100})[0] == "args[1]['body']"
    assert named({"rows": WIDE, "deep": {"body": BIG * 100}}) == ["args[0]['deep']['body']"]
    assert named([{"id": row, "lines": [BIG * 10 if row == 3 else "a"]} for row in range(1500)], "y" * 900) == [
        "args[0][3]['lines'][0]"
    ]


def size_of(value: Any) -> int:
    data = SLIM.dump(value)
    assert data is not None
    return len(data)


def test_models_are_as_light_as_they_travel() -> None:
    email = sample_app.Email(1, body=BIG)
    assert named(email, ["y" * 500]) == ["args[1][0]"]
    assert dict(measure(call_parts(email, (), {}), SLIM.travels_as)[1])["self"] < 50
    assert named(sample_app.Order(email, []), "y" * 500) == ["args[1]"]
    assert named(Ref("app.Email", "x" * 400), "y" * 500) == ["args[1]", "args[0]"]


class Zone(tzinfo):
    """One that cannot travel, and cannot even be asked."""

    def utcoffset(self, _: object) -> timedelta:
        raise LookupError

    dst = utcoffset

    def tzname(self, _: object) -> str:
        raise LookupError


MOMENT = datetime(2026, 11, 28, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    "item",
    [sample_app.Email(1, body=BIG), Ref("app.Email", 7, "replica"), UUID(int=1), Decimal("1.5"), MOMENT, 1j],
    ids=lambda item: type(item).__name__,
)
def test_what_msgpack_does_not_know_is_weighed_as_it_travels(item: Any) -> None:
    items = [copy.copy(item) for _ in range(500)]
    total_bytes, [(path, size_bytes), *_] = measure(call_parts(None, (items, "y" * 1000), {}), SLIM.travels_as)
    assert path == "args[0]"
    assert size_bytes == pytest.approx(size_of(items), rel=0.15)
    assert total_bytes <= size_of((items, "y" * 1000))


def test_what_cannot_travel_is_weighed_too() -> None:
    assert named([datetime(2026, 11, 28, tzinfo=Zone())], BIG) == ["args[1]"]
    assert named([sample_app.Email(None)], BIG) == ["args[1]"]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.binary(min_size=200, max_size=400) | st.lists(st.sampled_from(["", 1, "short"]), min_size=60),
        min_size=1,
        max_size=3,
    )
)
def test_the_bytes_of_a_part_are_those_it_takes(args: list[Any]) -> None:
    alone = len(create().data)
    for path, size_bytes in measure(call_parts(None, tuple(args), {}), SLIM.travels_as)[1]:
        index = int(path[5 : path.index("]")])
        assert size_bytes == pytest.approx(len(create(args[index]).data) - alone, rel=0.1)


@settings(max_examples=40, deadline=None)
@given(values)
def test_the_total_is_a_lower_bound(value: Any) -> None:
    assert measure(call_parts(None, (value,), {}), SLIM.travels_as)[0] <= len(create(value).data)


@pytest.mark.parametrize(
    "value",
    [
        [["x"] * 1000] * 1000,
        {number: {"a": number} for number in range(200_000)},
        [set(range(100)) for _ in range(9000)],
        set(range(500_000)),
        [Node(number) for number in range(200_000)],
        tuple(str(number) for number in range(400_000)),
    ],
    ids=["lists", "dict", "sets", "set", "dataclasses", "tuple"],
)
def test_looking_for_the_largest_is_bounded(value: Any) -> None:
    def look() -> None:
        assert measure(
            call_parts(
                None,
                (
                    value,
                    value,
                ),
                {"a": value},
            ),
            SLIM.travels_as,
        )

    assert python_calls(look) < 1_500_000


def test_what_is_deep_inside_is_found_beside_much_else() -> None:
    deep: Any = {"body": BIG * 100}
    for _ in range(40):
        deep = {"before": [[1] * 20], "next": deep, "after": [[2] * 20]}
    for args in ((deep, BIG * 10), (BIG * 10, deep, WIDE)):
        _, [(path, size_bytes), *_] = measure(call_parts(None, args, {}), SLIM.travels_as)
        assert path.startswith(f"args[{args.index(deep)}]['next']['next']")
        assert size_bytes == len(BIG) * 100 + 5


def test_what_is_deep_inside_takes_no_longer_to_find() -> None:
    shallow, deep = (
        python_calls(partial(measure, call_parts(None, (nested(levels, WIDE),), {}), SLIM.travels_as))
        for levels in (0, 200)
    )
    assert deep < 2 * shallow


def test_nothing_of_a_class_of_the_user_is_run() -> None:
    class Loud:
        def __init__(self) -> None:
            self.body = BIG
            self.culprit = CULPRIT

        def __len__(self) -> int:
            raise RuntimeError

        __iter__ = __repr__ = __str__ = __bool__ = __len__  # type: ignore[assignment]

        def __eq__(self, other: object) -> bool:
            raise RuntimeError

        def __hash__(self) -> int:
            raise RuntimeError

    loud = Loud()
    assert named(loud, 1) == ["args[0].body"]
    assert find_path(call_parts(None, (loud,), {}), CULPRIT) == "args[0].culprit"
