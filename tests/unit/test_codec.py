"""Values to bytes and back: equal and of the same type, or refused at the call with a path."""

from __future__ import annotations

import array
import collections
import contextlib
import functools
import gc
import io
import threading
import tracemalloc
import weakref
from datetime import datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import msgpack
import pytest
import sample_app
from codec_samples import NOWHERE, TASK, Box, Node, Point, Shade, canonical, create, extra_bytes, nested, travel, values
from hypothesis import given, settings

import slimjobs
from slimjobs import Job, PayloadTooLargeError, Ref, Serializer, SlimjobsError, UnsavedModelError, UnsupportedTypeError
from slimjobs.codec import Encoder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECRET = "correct horse battery staple"


class Text(str):  # as Django's SafeString
    __slots__ = ()


class Whole(int):
    pass


class Unlisted(NamedTuple):
    x: int


class SubEmail(sample_app.Email):
    pass


class Pytz(tzinfo):
    """A time zone of a library of its own."""

    zone = "Europe/Berlin"

    def utcoffset(self, _: datetime | None) -> timedelta:
        return timedelta(hours=1)

    dst = utcoffset

    def tzname(self, _: datetime | None) -> str:
        return self.zone


def refusal(*args: Any, **kwargs: Any) -> SlimjobsError:
    with pytest.raises(SlimjobsError) as caught:
        create(*args, **kwargs)
    return caught.value


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(values)
def test_values_come_back_equal_and_of_the_same_type(value: Any) -> None:
    assert canonical(travel(value)) == canonical(value)


@pytest.mark.slow
@settings(max_examples=75, deadline=None)
@given(values, values)
def test_arguments_come_back_equal_and_of_the_same_type(first: Any, second: Any) -> None:
    _, instance, args, kwargs = Serializer.loads(create(first, second, named=second).data)
    assert instance is None
    assert type(args) is tuple
    assert canonical(args) == canonical((first, second))
    assert canonical(kwargs) == canonical({"named": second})


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(values)
def test_what_was_read_is_written_to_the_same_bytes_unless_sets_change_their_order(value: Any) -> None:
    data = Serializer.dumps(value)
    again = Serializer.dumps(Serializer.loads(data))
    assert len(again) == len(data)
    assert canonical(Serializer.loads(again)) == canonical(value)


@pytest.mark.parametrize(
    "value",
    [
        {1: "int", "1": "text"},
        {True: 1, 0: False},
        {1.0: "float"},
        [1, True, 1.0, Decimal(1), 1 + 0j, "1", b"1"],
        {frozenset({(1, frozenset({"a"}))}): {((),): {()}}},
        [({(1, 2)},)],
        2**100,
        -(2**100),
        float("nan"),
        "\ud800 alone",
        ("\ud800 in a tuple", {"\ud800"}),
        {"\udcff": ["\udcff" * 20, {"\ud800"}]},
        "",
        b"",
        ["x"] * 20,
        ["x"] * 19 + [1],
        ("f", None, (1,), {"k": 1}),
        ("f", None, [1], {"k": 1}),
        (None, None, (), {}),
        [None] * 70_000,
        "x" * 70_000,
        {"a": {"b": {"c": [Decimal("sNaN")]}}},
    ],
    ids=lambda value: canonical(value)[:40].encode("ascii", "backslashreplace").decode(),
)
def test_special_values_come_back(value: Any) -> None:
    assert canonical(travel(value)) == canonical(value)


def test_a_text_subclass_travels_as_text() -> None:
    assert canonical(travel([Text("safe"), {Text("key"): Text("\ud800")}])) == canonical(["safe", {"key": "\ud800"}])


@pytest.mark.parametrize(
    "wrap",
    [lambda value: [value], lambda value: (value,), lambda value: {"a": value}, lambda value: frozenset([value])],
    ids=["list", "tuple", "dict", "frozenset"],
)
def test_two_hundred_levels_travel(wrap: Callable[[Any], Any]) -> None:
    value = functools.reduce(lambda inner, _: wrap(inner), range(200), None)
    assert canonical(travel(value)) == canonical(value)
    assert Serializer.loads(create(value).data)[2] == (value,)


@pytest.mark.parametrize("depth", [300, 100_000])
def test_more_than_that_is_refused(depth: int) -> None:
    error = refusal(nested(depth))
    assert isinstance(error, UnsupportedTypeError)
    assert "levels" in str(error)
    assert error.path is not None
    assert error.path.startswith("args[0][0][0]")


def test_what_contains_itself_is_refused() -> None:
    items: list[Any] = [1]
    items.append(items)
    mapping: dict[str, Any] = {}
    mapping["self"] = mapping
    node = Node()
    node.next = node
    for value in (items, mapping, node):
        for args in ([value, 1], [value, "\ud800"], ["\ud800", value]):
            error = refusal(*args)
            assert isinstance(error, UnsupportedTypeError)
            assert "contains itself" in str(error)
            assert error.path is not None
            assert error.path.startswith("args[1]" if args[0] == "\ud800" else "args[0]")


def numbers() -> Iterator[int]:
    yield 1


CANNOT_TRAVEL: list[tuple[str, Any]] = [
    ("function", lambda: None),
    ("function", numbers),
    ("builtin_function_or_method", len),
    ("functools.partial", functools.partial(print)),
    ("type", sample_app.Email),
    ("generator", numbers()),
    ("map", map(str, [])),
    ("_io.StringIO", io.StringIO(SECRET)),
    ("sample_app.Unregistered", sample_app.Unregistered()),
    ("SubEmail", SubEmail(1)),
    ("object", object()),
    ("ValueError", ValueError(SECRET)),
    ("collections.OrderedDict", collections.OrderedDict(a=SECRET)),
    ("collections.defaultdict", collections.defaultdict(list)),
    ("collections.deque", collections.deque([SECRET])),
    ("Unlisted", Unlisted(1)),
    ("Whole", Whole(3)),
    ("range", range(3)),
    ("bytearray", bytearray(SECRET.encode())),
    ("memoryview", memoryview(SECRET.encode())),
    ("array.array", array.array("i", [1])),
    ("ExtType", msgpack.ExtType(1, b"")),
    ("ExtType", msgpack.ExtType(23, b"0" * 16)),
    ("Timestamp", msgpack.Timestamp(1)),
    ("Pytz", datetime(2024, 1, 1, tzinfo=Pytz())),
    ("dict_keys", {SECRET: 1}.keys()),
]


@pytest.mark.parametrize(("class_name", "culprit"), CANNOT_TRAVEL, ids=[name for name, _ in CANNOT_TRAVEL])
@pytest.mark.parametrize(
    ("arrange", "path"),
    [
        (lambda culprit: ((culprit,), {}), "args[0]"),
        (lambda culprit: ((1,), {"rows": [0, 1, 2, {"owner": (culprit,)}]}), "kwargs['rows'][3]['owner'][0]"),
        (lambda culprit: ((["x"] * 20 + [culprit],), {}), "args[0][20]"),
        (lambda culprit: (("\ud800", Node(Box([culprit]))), {}), "args[1].value.content[0]"),
    ],
    ids=["argument", "nested", "long list", "dataclass"],
)
def test_what_cannot_travel_is_refused_with_its_path_class_and_a_hint(
    class_name: str, culprit: Any, arrange: Any, path: str
) -> None:
    args, kwargs = arrange(culprit)
    error = refusal(*args, **kwargs)
    assert isinstance(error, UnsupportedTypeError)
    assert error.path == path
    assert error.task == TASK
    assert error.hint
    text = str(error)
    assert text.startswith(f"{TASK}: {path}: ")
    assert class_name in text
    assert SECRET not in text


def test_what_cannot_travel_is_found_as_a_key_and_in_sets() -> None:
    culprit = msgpack.ExtType(2, b"")
    for value in ({culprit: 1}, {(culprit,): 1}, {culprit}, frozenset([(culprit,)]), Ref("a.B", culprit)):
        error = refusal([value])
        assert isinstance(error, UnsupportedTypeError)
        assert error.path is not None
        assert error.path.startswith("args[0][0]")


def test_a_value_whose_class_hides_its_attributes_is_refused_too() -> None:
    class Lazy:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(name)

        def __len__(self) -> int:
            raise RuntimeError("this may be a query")

        def __repr__(self) -> str:
            raise RuntimeError

        __str__ = __repr__

    for value in (Lazy(), [Lazy()] * 20):
        error = refusal(value)
        assert isinstance(error, UnsupportedTypeError)
        assert "Lazy" in str(error)


def test_nothing_of_a_model_is_run_but_what_reads_its_primary_key() -> None:
    class Playlist:
        id = 7

        def __len__(self) -> int:
            raise RuntimeError("this would be a query")

        def __bool__(self) -> bool:
            raise RuntimeError

        def __eq__(self, other: object) -> bool:
            raise RuntimeError

        def __hash__(self) -> int:
            raise RuntimeError

        def __iter__(self) -> Any:
            raise RuntimeError

        def __repr__(self) -> str:
            raise RuntimeError

    slimjobs.register(Playlist, load=lambda _: None, name="app.Playlist")
    job = create([Playlist()] * 20, one=Playlist())
    assert Serializer.loads(job.data)[2:] == (([Ref("app.Playlist", 7)] * 20,), {"one": Ref("app.Playlist", 7)})


def test_an_unsaved_instance_is_refused_with_its_path() -> None:
    error = refusal(rows=[{"email": sample_app.Email(None, body=SECRET)}])
    assert isinstance(error, UnsavedModelError)
    assert error.path == "kwargs['rows'][0]['email']"
    assert "Email" in str(error)
    assert SECRET not in str(error)


@pytest.mark.parametrize("pk", [[1, 2], {"a": 1}, {1}])
def test_a_primary_key_that_cannot_be_read_again_is_refused_at_the_call(pk: Any) -> None:
    error = refusal([sample_app.Email(pk)])
    assert error.path is not None
    assert error.path.startswith("args[0][0]")


@pytest.mark.parametrize(
    "ref",
    [
        Ref("app.Email", [1]),
        Ref("app.Email", {"a": 1}),
        Ref("app.Email", (1, [2])),
        Ref(cast("Any", 5), 1),
        Ref("app.Email", 1, cast("Any", 5)),
    ],
    ids=["list", "dict", "tuple with a list", "name", "database"],
)
def test_a_ref_made_by_hand_that_could_not_be_read_again_is_refused_at_the_call(ref: Ref) -> None:
    error = refusal([ref])
    assert isinstance(error, UnsupportedTypeError)
    assert error.path == "args[0][0]"


def test_a_primary_key_that_cannot_travel_is_the_fault_of_its_model() -> None:
    error = refusal(sample_app.Money(1), [sample_app.Email(cast("Any", object()))])
    assert isinstance(error, UnsupportedTypeError)
    assert error.path is not None
    assert error.path.startswith("args[1][0]")


def test_nothing_of_a_call_is_kept_in_memory() -> None:
    class Model:
        id = 1

    slimjobs.register(Model, load=lambda _: None, name="app.Model")
    for make in (lambda: Node(Node([1])), Model, lambda: Node(Model())):
        value = make()
        watch = weakref.ref(value)
        with pytest.raises(PayloadTooLargeError):
            create(value, Box("x" * 100_000))
        with pytest.raises(UnsupportedTypeError):
            create(value, Box([object()]))
        create([value], "\udcff")
        create([value])
        del value
        gc.collect()
        assert watch() is None


def test_a_large_payload_leaves_no_large_buffer_behind() -> None:
    slimjobs.configure(mode="track")
    large = ["x" * 20_000_000]
    tracemalloc.start()
    try:
        for value in (large, Node(large), ["\udcff", large]):
            create()  # which leaves a packer for the next to use
            create(value)
            gc.collect()
            assert tracemalloc.get_traced_memory()[0] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", [1, None, b"a", (1,)])
def test_keyword_arguments_whose_names_are_no_text_are_refused(name: Any) -> None:
    with pytest.raises(SlimjobsError):
        Job.create(TASK, kwargs={name: 1}, connection=NOWHERE)


@pytest.mark.parametrize("beside", ["text", "\ud800"])
def test_a_name_of_a_time_zone_with_a_lone_surrogate_travels_or_is_refused(beside: str) -> None:
    value = datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=1), "\udcff"))
    try:
        job = create(beside, [value])
    except UnsupportedTypeError as error:
        assert error.path == "args[1][0]"  # noqa: PT017  # not every example raises
    else:
        assert canonical(Serializer.loads(job.data)[2]) == canonical((beside, [value]))


def test_a_primary_key_of_any_hashable_type_travels() -> None:
    for pk in (0, "", (1, "a"), b"x", Decimal(1), 2**70, Shade.DARK, frozenset({1})):
        assert travel(sample_app.Email(pk)) == Ref("sample_app.Email", pk)  # type: ignore[arg-type]


def test_instances_become_refs_wherever_they_are() -> None:
    email, ref = sample_app.Email(1, body=SECRET), Ref("sample_app.Email", 1)
    value = [email, (email,), {email}, frozenset([email]), {email: email}, {"a": [({"b": email},)]}]
    expected = [ref, (ref,), {ref}, frozenset([ref]), {ref: ref}, {"a": [({"b": ref},)]}]
    assert canonical(travel(value)) == canonical(expected)
    assert SECRET.encode() not in Serializer.dumps(value)


def test_an_error_in_an_encode_function_says_which_argument_it_was() -> None:
    class Odd:
        pass

    slimjobs.register_type(Odd, name="app.odd", encode=lambda _: [lambda: 1], decode=lambda _: Odd())
    error = refusal([1, Odd()])
    assert isinstance(error, UnsupportedTypeError)
    assert error.path is not None
    assert error.path.startswith("args[0][1]")


def test_what_a_value_type_holds_counts_against_the_limit_before_it_is_encoded() -> None:
    large = "x" * 20_000_000

    def enqueue() -> None:
        with pytest.raises(PayloadTooLargeError):
            create("\ud800", Node([Box({"a": large})]))

    assert extra_bytes(enqueue) < 2**20


def test_threads_and_encode_functions_that_encode_get_the_right_bytes() -> None:
    encoder = Encoder()

    class Wrapped:
        def __init__(self, depth: int, number: int) -> None:
            self.depth = depth
            self.number = number

    def encode(value: Wrapped) -> Any:
        inner = Wrapped(value.depth - 1, value.number) if value.depth else value.number
        return [encoder.encode(inner), Serializer.dumps([value.number]), value.number]

    def decode(content: Any) -> Any:
        return (Serializer.loads(content[0]), Serializer.loads(content[1]), content[2])

    slimjobs.register_type(Wrapped, name="app.wrapped", encode=encode, decode=decode)

    def expected(depth: int, number: int) -> Any:
        return (expected(depth - 1, number) if depth else number, [number], number)

    wrong: list[Any] = []
    start = threading.Barrier(8)

    def work(seed: int) -> None:
        start.wait()
        for number in range(seed, seed + 150):
            value = [number, ("t", "x" * (number % 2000)), Wrapped(number % 4, number), {"k": Decimal(number)}]
            data = encoder.encode(value)
            assert data is not None
            back = Serializer.loads(data)
            if canonical(back) != canonical([*value[:2], expected(number % 4, number), value[3]]):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(seed * 1000,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_failed_encoding_leaves_nothing_behind_for_the_next() -> None:
    before = Serializer.dumps([1, ("a",)])
    for culprit in (object(), nested(300), Point(object()), "\ud800"):
        with contextlib.suppress(UnsupportedTypeError):
            Serializer.dumps(["left over", culprit])
        assert Serializer.dumps([1, ("a",)]) == before


def test_a_file_is_refused_with_advice_to_pass_its_path() -> None:
    with Path(__file__).open() as file:
        assert "a path" in str(refusal(file))
