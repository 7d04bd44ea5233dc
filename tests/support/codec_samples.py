"""What the tests of the codec share: types that travel, values of every kind, deep equality, and memory measured.

Golden bytes of new entries are written by hand, in this folder: `python -c "import codec_samples as c; c.main()"`.
"""

from __future__ import annotations

import enum
import json
import sys
import tracemalloc
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from hypothesis import strategies as st
from redis import Redis
from sample_app import Channel, Color, Money, Order, Priority

import slimjobs
from slimjobs import Job, Ref, Serializer
from slimjobs.codec import Inert

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SUPPORT_FOLDER = Path(__file__).parent
GOLDEN_FILE = SUPPORT_FOLDER.parent / "unit" / "golden" / "wire_v1.json"
TASK = "app.jobs.work"
# Making a job writes nothing, so this is never connected.
NOWHERE = Redis(port=1)


class Shade(str, enum.Enum):
    LIGHT = "light"
    DARK = "dark"


class Permission(enum.IntFlag):
    READ = 4
    WRITE = 2
    EXECUTE = 1


class Shop:
    class State(enum.Enum):
        OPEN = enum.auto()
        CLOSED = enum.auto()
        SHUT = 2  # an alias


class Point(NamedTuple):
    x: Any
    y: Any = 0


@dataclass
class Node:
    value: Any = None
    next: Any = None


@dataclass(frozen=True)
class Box:
    content: Any


@dataclass
class Invoice:
    number: int
    lines: list[Money] = field(default_factory=list)
    total: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.total = sum(line.amount for line in self.lines)


slimjobs.register_type(Point, name="codec.point", encode=tuple, decode=lambda content: Point(*content))
slimjobs.register_type(Node)
slimjobs.register_type(Box)
slimjobs.register_type(Invoice)


def create(*args: Any, **kwargs: Any) -> Job:
    """Return a new job with these arguments, as an enqueue call makes it before anything is written."""
    return Job.create(TASK, args=args, kwargs=kwargs, connection=NOWHERE)


def travel(value: Any) -> Any:
    """Return what a value is read as after it was written."""
    return Serializer.loads(Serializer.dumps(value))


def nested(depth: int, innermost: Any = None) -> Any:
    """Return lists, one inside the other."""
    for _ in range(depth):
        innermost = [innermost]
    return innermost


def extra_bytes(act: Callable[[], object]) -> int:
    """Return the most memory that Python held while this ran, beyond what it held before."""
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def python_calls(act: Callable[[], object]) -> int:
    """Return how many Python functions this called: what takes time, without a clock."""
    calls = 0

    def count(_: object, event: str, __: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        act()
    finally:
        sys.setprofile(None)
    return calls


def canonical(value: Any) -> str:  # noqa: C901, PLR0911  # a list of types
    """Return a text that two values share if they are equal and of equal types, all the way down."""
    cls = type(value)
    name = cls.__name__
    if cls in (list, tuple):
        return f"{name}[{', '.join(map(canonical, value))}]"
    if cls in (set, frozenset):
        return f"{name}[{', '.join(sorted(map(canonical, value)))}]"
    if cls is dict:
        return f"dict[{', '.join(f'{canonical(key)}: {canonical(item)}' for key, item in value.items())}]"
    if cls is float:
        return f"float {value.hex()}"
    if cls is complex:
        return f"complex {value.real.hex()} {value.imag.hex()}"
    if cls is Decimal:
        return f"Decimal {value.as_tuple()}"
    if cls in (datetime, time):
        return f"{name} {value.replace(tzinfo=None).isoformat()} fold={value.fold} {_zone(value.tzinfo)}"
    if isinstance(value, enum.Enum):
        return f"{cls.__module__}.{cls.__qualname__} {value._name_} {value._value_!r}"
    if cls is Ref:
        return f"Ref {value.name!r} {canonical(value.pk)} {value.db!r}"
    if cls is Inert:
        return f"Inert {value.is_enum} {value.name!r} {canonical(value.content)}"
    if cls is Point:
        return f"Point[{', '.join(map(canonical, value))}]"
    if cls in (Money, Order, Node, Box, Invoice):
        return f"{name}{canonical(vars(value))}"
    assert cls.__module__ in ("builtins", "datetime", "uuid"), cls
    return f"{cls.__module__}.{cls.__qualname__} {value!r}"


def _zone(zone: tzinfo | None) -> str:
    if isinstance(zone, ZoneInfo):
        return f"zone {zone.key}"
    return "naive" if zone is None else f"{type(zone).__name__} {zone.utcoffset(None)} {zone.tzname(None)!r}"


_zones = st.one_of(
    st.none(),
    st.just(timezone.utc),
    st.builds(timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23))),
    st.builds(timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23)), st.text(min_size=1, max_size=12)),
    st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kathmandu", "UTC", "Etc/GMT+5"]).map(ZoneInfo),
)
_folded = st.integers(0, 1)
datetimes = st.builds(lambda value, fold: value.replace(fold=fold), st.datetimes(timezones=_zones), _folded)
times = st.builds(lambda value, zone, fold: value.replace(tzinfo=zone, fold=fold), st.times(), _zones, _folded)
any_text = st.text(st.characters(exclude_categories=()), max_size=20)
integers = st.one_of(
    st.integers(),
    st.integers(-(2**300), 2**300),
    st.sampled_from([2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 2**127, 2**128 - 1, -(2**127)]),
)
decimals = st.one_of(
    st.decimals().filter(lambda value: not value.is_snan()),  # which no set can hold
    st.sampled_from(["-0", "-0.000", "NaN", "-NaN", "NaN123", "Infinity", "-Infinity", "1E+400", "1E-400"]).map(
        Decimal
    ),
)
enum_members = st.sampled_from(
    [
        Color.RED,
        Priority.HIGH,
        Shade.DARK,
        Shop.State.OPEN,
        Shop.State.SHUT,
        Channel.MAIL,
        Channel.MAIL | Channel.PUSH,
        Channel(0),
        Permission.READ | Permission.EXECUTE,
        Permission(0),
    ]
)
refs = st.builds(
    Ref,
    st.text(min_size=1, max_size=20),
    st.one_of(integers, any_text, st.uuids(), st.tuples(st.integers(), st.text(max_size=5))),
    st.none() | st.text(max_size=10),
)
_scalars = st.one_of(
    st.none(),
    st.booleans(),
    integers,
    st.floats(),
    st.complex_numbers(),
    any_text,
    st.binary(max_size=40),
    decimals,
    st.uuids(),
    datetimes,
    st.dates(),
    times,
    st.timedeltas(),
    enum_members,
)
# A value type that holds a ref stays a placeholder until the ref is loaded, so none of these does.
_hashable_value_types = st.recursive(
    _scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(tuple),
        st.builds(Money, st.integers(), st.text(max_size=3)),
        st.builds(Point, inner, inner),
        st.builds(Box, inner),
    ),
    max_leaves=6,
)
hashables = st.recursive(
    _hashable_value_types | refs,
    lambda inner: st.lists(inner, max_size=4).map(tuple) | st.frozensets(inner, max_size=4),
    max_leaves=8,
)
_value_types = st.one_of(
    st.builds(Node, _hashable_value_types, st.lists(_hashable_value_types, max_size=3)),
    st.builds(Invoice, st.integers(), st.lists(st.builds(Money, st.integers()), max_size=3)),
    st.builds(Node, st.builds(Node, _hashable_value_types)),
)
values = st.recursive(
    st.one_of(hashables, _value_types, st.sampled_from([Decimal("sNaN"), Decimal("-sNaN7")])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=6),
        st.lists(inner, max_size=5).map(tuple),
        st.sets(hashables, max_size=5),
        st.dictionaries(hashables, inner, max_size=5),
    ),
    max_leaves=12,
)

_MOMENT = (2024, 10, 27, 2, 30, 15, 123456)

# One entry for each kind, and for each way that it is written. Sets have one item: their order is not fixed.
GOLDEN: dict[str, Any] = {
    "none": None,
    "true": True,
    "false": False,
    "integer": 1,
    "integer negative": -33,
    "integer of 64 bits": 2**64 - 1,
    "integer of 65 bits": 2**64,
    "integer of 65 bits, negative": -(2**63) - 1,
    "float": 1.5,
    "float -0": -0.0,
    "float inf": float("inf"),
    "float nan": float("nan"),
    "complex": complex(1.5, -2),
    "text": "hällo",
    "text with a lone surrogate": "caf\udce9",
    "bytes": b"\x00\xc1\xff",
    "list": [1, "1", None],
    "list empty": [],
    "dict": {1: "int", "1": "str"},
    "dict with a tuple as key": {(1, 2): {"a": []}},
    "tuple": (1, (2,), ()),
    "set": {1},
    "set empty": set(),
    "frozenset": frozenset({(1,)}),
    "datetime naive": datetime(*_MOMENT),  # noqa: DTZ001  # naive ones travel too
    "datetime naive with fold": datetime(*_MOMENT, fold=1),  # noqa: DTZ001  # naive ones travel too
    "datetime in UTC": datetime(*_MOMENT, tzinfo=timezone.utc),
    "datetime with an offset": datetime(*_MOMENT, tzinfo=timezone(timedelta(hours=-3, minutes=-30))),
    "datetime with a named offset": datetime(*_MOMENT, tzinfo=timezone(timedelta(hours=1), "CET")),
    "datetime in a zone, with fold": datetime(*_MOMENT, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
    "date": date(2024, 2, 29),
    "time": time(23, 59, 58, 7),
    "time in UTC": time(1, 2, 3, tzinfo=timezone.utc),
    "timedelta": timedelta(days=-1, seconds=2, microseconds=3),
    "decimal": Decimal("-12.3400"),
    "decimal exponent": Decimal("1E+3"),
    "decimal sNaN": Decimal("sNaN"),
    "uuid": UUID("12345678-9abc-def0-1234-56789abcdef0"),
    "enum": Color.RED,
    "enum of ints": Priority.HIGH,
    "enum of texts": Shade.DARK,
    "enum inside a class": Shop.State.CLOSED,
    "flag": Channel.SMS,
    "flags": Channel.MAIL | Channel.PUSH,
    "flags of ints": Permission.READ | Permission.WRITE,
    "dataclass": Money(5, "USD"),
    "named tuple": Point(1, [2]),
    "dataclass with a ref": Order(Ref("sample_app.Email", 1), [Money(1)]),
    "ref": Ref("sample_app.Email", 1),
    "ref with a database": Ref("people.subscriber", "ann", "replica"),
    "ref with a tuple as pk": Ref("app.Line", (7, "a")),
    "call": ("app.jobs.send", None, ("a", 1), {"copy": True}),
    "call of a method": ("send", Ref("sample_app.Email", 1), (), {}),
}


def read_golden() -> dict[str, bytes]:
    """Return the golden bytes by the names of `GOLDEN`."""
    return {name: bytes.fromhex(text) for name, text in json.loads(GOLDEN_FILE.read_text()).items()}


def hostile_payloads(seed: int) -> Iterator[bytes]:
    """Yield damaged, forged and random payloads without end, the same for the same seed."""
    random = Random(seed)
    originals = [*read_golden().values(), *map(Serializer.dumps, _LARGE)]
    while True:
        data = bytearray(random.choice(originals))
        kind = random.random()
        if kind < 0.1:
            data[2:] = random.randbytes(random.randrange(60))
        elif kind < 0.3:
            data[2:] = b"\x91" + _forged(random, 6)
        else:
            for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
                random.choice(_MUTATIONS)(random, data, originals)
        yield bytes(data)


def _forged(random: Random, depth: int) -> bytes:
    """Return well-formed msgpack of nonsense: markers and ext values where none belong, or the wrong ones."""
    kind = random.randrange(8 if depth else 5)
    if kind == 0:
        return random.choice(_SNIPPETS)
    if kind == 1:
        code, length = random.choice((*_CODES, random.randrange(256))), random.choice((0, 1, 4, 8, 12, 16, 17, 30))
        return bytes((0xC7, length, code)) + random.randbytes(length)
    if kind == 2:
        return random.choice(_NAMES)
    if kind in (3, 4):
        return bytes((random.choice((0xC0, 0xC2, 0xC3, 0, 1, 2, 0x7F, 0xFF, 0xA0, 0x90, 0x80)),))
    count = random.randrange(5)
    if kind == 5:
        return bytes((0x80 + count,)) + b"".join(_forged(random, depth - 1) for _ in range(2 * count))
    marker = bytes((0xC7, 0, random.choice(_CODES[:6]))) if kind == 6 else _forged(random, depth - 1)
    return bytes((0x91 + count,)) + marker + b"".join(_forged(random, depth - 1) for _ in range(count))


def _flip(random: Random, data: bytearray, _: list[bytes]) -> None:
    if data:
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def _overwrite(random: Random, data: bytearray, _: list[bytes]) -> None:
    if data:
        data[random.randrange(len(data))] = random.choice(_TELLING_BYTES)


def _truncate(random: Random, data: bytearray, _: list[bytes]) -> None:
    del data[random.randrange(len(data) + 1) :]


def _delete(random: Random, data: bytearray, _: list[bytes]) -> None:
    start = random.randrange(len(data) + 1)
    del data[start : start + random.randrange(1, 9)]


def _insert(random: Random, data: bytearray, _: list[bytes]) -> None:
    start = random.randrange(len(data) + 1)
    data[start:start] = random.choice((*_SNIPPETS, *_NAMES, random.randbytes(random.randrange(1, 9))))


def _duplicate(random: Random, data: bytearray, _: list[bytes]) -> None:
    start = random.randrange(len(data) + 1)
    data[start:start] = data[start : start + random.randrange(1, 200)] * random.randrange(1, 4)


def _splice(random: Random, data: bytearray, originals: list[bytes]) -> None:
    other = random.choice(originals)
    data[random.randrange(len(data) + 1) :] = other[random.randrange(len(other)) :]


_MUTATIONS = (_flip, _flip, _overwrite, _overwrite, _truncate, _delete, _insert, _duplicate, _splice)
_CODES = (*range(1, 7), *range(16, 24), 0, 7, 15, 24, 127, 128, 255)
_TELLING_BYTES = bytes.fromhex(
    "0001027f80818f9091949fa0bfc0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d3d4d5d6d7d8d9dadbdcdddedfe0ff"
)
_LARGE = (
    [f"subscriber-{number}@example.org" for number in range(200)],
    [{"id": number, "tags": ("a", Color.RED), "owner": Ref("sample_app.Email", number)} for number in range(100)],
    ["x" * 5000, Decimal("1." + "3" * 5000), 2**40_000, ("caf\udce9",) * 50],
    nested(250, Ref("sample_app.Email", 1)),
)
_SNIPPETS = (
    *(bytes((0xC7, 0, code)) for code in (*range(7), 16, 22, 255)),
    *(bytes((0x92, 0xC7, 0, code, 0x01)) for code in range(1, 7)),
    *(bytes((length_byte,)) + b"\x7f\xff\xff\xff" for length_byte in (0xDD, 0xDF, 0xDB, 0xC6)),
    *(bytes((length_byte,)) + b"\xff\xff" for length_byte in (0xDC, 0xDE, 0xDA, 0xC5)),
    *(b"\xc9\x7f\xff\xff\xff" + bytes((code,)) for code in (1, 16, 22, 200)),
    b"\xc8\x00\x00\x01",
    b"\xc9\x00\x00\x00\x00\x04",
    b"\xd6\xff\x00\x00\x00\x01",
    b"\xd7\xff" + b"\xff" * 8,
    b"\xdc\x10\x00" * 100,
    b"\x91" * 600,
    b"\x92\xc7\x00\x01" * 300,
    b"\x94\xc7\x00\x04\xa1a" * 100,
    b"\xc1\x01\x91",
)


def _packed_text(text: str) -> bytes:
    return bytes((0xA0 + len(text),)) + text.encode()


_NAMES = (
    *map(
        _packed_text,
        ("sample_app:Color", "sample_app:Channel", "os:system", "re:RegexFlag", "this:x", "antigravity:x", "a:"),
    ),
    *map(
        _packed_text, ("sample_app.Money", "sample_app.Order", "sample_app.Email", "codec.point", "antigravity.x", ".")
    ),
    *map(_packed_text, ("RED", "amount", "email", "__class__", "", "Europe/Berlin", "../../etc/passwd")),
    *(bytes((0x93, 0xC7, 0, code)) + _packed_text(name) for code in (5, 6) for name in ("this:x", "sample_app:Color")),
    b"\x93\xc7\x00\x06" + _packed_text("sample_app.Money") + b"\x81" + _packed_text("amount"),
    b"\x93\xc7\x00\x05" + _packed_text("re:RegexFlag") + b"\xcf\x7f\xff\xff\xff\xff\xff\xff\xff",
    b"\x94\xc7\x00\x04" + _packed_text("antigravity.Flight"),
)


class NoImports:
    """A finder that refuses every import of what is not loaded, and remembers what was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        self.asked.append(name)
        raise ModuleNotFoundError(name)

    def __enter__(self) -> NoImports:  # noqa: PYI034  # Python 3.10 has no Self
        sys.meta_path.insert(0, self)
        return self

    def __exit__(self, *_: object) -> None:
        sys.meta_path.remove(self)


def strange_types(value: Any) -> set[type]:
    """Return the types inside a decoded value that no payload of ours can hold."""
    strange: set[type] = set()
    pending = [value]
    while pending:
        item = pending.pop()
        cls = type(item)
        if cls is Ref:
            pending += [item.name, item.pk, item.db]
        elif cls is Inert:
            pending += [item.name, item.content]
        elif cls is dict:
            pending += item.keys()
            pending += item.values()
        elif cls in (list, tuple, set, frozenset, Point):
            pending += item
        elif cls in (Money, Order, Node, Box, Invoice):
            pending += vars(item).values()
        elif cls not in _PLAIN_TYPES and not isinstance(item, enum.Enum):
            strange.add(cls)
    return strange


_PLAIN_TYPES = {type(None), bool, int, float, complex, str, bytes, datetime, date, time, timedelta, Decimal, UUID}


def main() -> None:
    """Write the golden bytes of entries that have none yet; those that have some are left as they are."""
    known = json.loads(GOLDEN_FILE.read_text()) if GOLDEN_FILE.exists() else {}
    written = {name: known.get(name) or Serializer.dumps(value).hex() for name, value in GOLDEN.items()}
    GOLDEN_FILE.parent.mkdir(exist_ok=True)
    GOLDEN_FILE.write_text(json.dumps(written, indent=1) + "\n")
