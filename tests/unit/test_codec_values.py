"""Enum members and registered value types: by name into a payload and back, importing nothing until the call."""

from __future__ import annotations

import copy
import dataclasses
import enum
import importlib
import math
import os
import subprocess
import sys
from dataclasses import InitVar, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import sample_app
from codec_samples import (
    NOWHERE,
    SUPPORT_FOLDER,
    Box,
    Invoice,
    Node,
    Permission,
    Point,
    Shade,
    Shop,
    canonical,
    create,
    travel,
)
from sample_app import Channel, Color, Email, Money, Order, Priority

import slimjobs
from slimjobs import ConfigurationError, Job, PayloadDecodeError, Serializer, UnsupportedTypeError, register_type
from slimjobs.hydration import hydrate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(autouse=True)
def _usual_rows() -> None:
    sample_app.reset()


def load(value: Any) -> Any:
    """Return what a task is given for a value."""
    return hydrate(travel(value)).values[0]


@pytest.mark.parametrize("kind", [Color, Priority, Shade, Channel, Permission, Shop.State])
def test_enum_members_are_the_very_same(kind: type[enum.Enum]) -> None:
    for member in kind:
        assert travel(member) is member
        assert travel({member: [member]}) == {member: [member]}


@pytest.mark.parametrize("number", range(8))
def test_flags_come_back_combined(number: int) -> None:
    for kind in (Channel, Permission):
        value = travel(kind(number))
        assert value == kind(number)
        assert type(value) is kind


def test_inverted_flags_come_back() -> None:
    for value in (~Permission.READ, ~Permission(0), ~Channel.MAIL, ~Channel(0)):
        assert travel(value) == value
        assert type(travel(value)) is type(value)
        assert load([{"a": value}]) == [{"a": value}]


def test_flags_of_many_bits_come_back() -> None:
    value = Permission(2**70 + 4)
    assert travel(value) == value
    assert type(travel(value)) is Permission


def test_an_alias_comes_back_as_its_member() -> None:
    assert travel(Shop.State.SHUT) is Shop.State.CLOSED


def test_an_enum_that_no_worker_could_find_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Local(enum.Enum):
        RED = 1

    in_main: Any = enum.Enum("in_main", "A", module="__main__")
    monkeypatch.setattr(sys.modules["__main__"], "in_main", in_main, raising=False)
    make_enum: Any = enum.Enum
    replaced = make_enum("Color", "RED", module="sample_app")
    for member in (Local.RED, in_main.A, replaced.RED):
        with pytest.raises(UnsupportedTypeError, match="no worker could find the enum") as caught:
            create(rows=[member])
        assert caught.value.path == "kwargs['rows'][0]"


def test_dataclasses_and_named_tuples_come_back() -> None:
    for value in (Money(1), Point(1, [2]), Box((Money(2),)), Node(Node(1), [Point({1}, None)]), {Money(1): Point(1)}):
        assert canonical(travel(value)) == canonical(value)


def test_computed_fields_are_as_they_were() -> None:
    invoice = Invoice(1, [Money(5), Money(6)])
    invoice.total = 12
    assert travel(invoice).total == 12


def test_what_a_dataclass_does_as_it_is_made_may_run_again_where_nothing_comes_of_it() -> None:
    @register_type
    @dataclass(frozen=True, kw_only=True, **({"slots": True} if sys.version_info >= (3, 11) else {}))
    class Parcel:
        name: str
        email: Any
        lines: list[Any]
        label: str = field(init=False)

        def __post_init__(self) -> None:
            object.__setattr__(self, "name", self.name.strip())
            object.__setattr__(self, "label", f"{self.email.subject} {self.name}")

    parcel = Parcel(name=" a ", email=Email(1), lines=[Money(1), float("nan")])
    loaded = load(parcel)

    assert (loaded.name, loaded.label, loaded.lines[0]) == ("a", parcel.label, Money(1))
    assert loaded.email is sample_app.EMAILS[1]


class Price:
    """Prices that differ each time they are made of what they hold."""

    @dataclass
    class Counted:
        cents: int

        def __post_init__(self) -> None:
            self.cents *= 100

    @dataclass
    class Noted:
        cents: int
        notes: list[str]

        def __post_init__(self) -> None:
            self.notes.append("made")

    @dataclass
    class Read:
        cents: Any

        def __post_init__(self) -> None:
            self.cents = int(self.cents, 16)

    @dataclass(init=False)
    class Own:
        cents: int

        def __init__(self, cents: int) -> None:
            self.cents = cents * 100

    @dataclass
    class Child(Counted):
        name: str = ""

    @dataclass
    class Set:
        cents: int

        def __setattr__(self, name: str, value: Any) -> None:
            object.__setattr__(self, name, value * 100)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (Price.Counted(5), "a Price.Counted made again from its fields has another cents"),
        (Price.Noted(5, []), "a Price.Noted made again from its fields has another notes"),
        (Price.Read("ff"), r"a Price.Read cannot be made again from its fields \(TypeError\)"),
        (Price.Own(5), "a Price.Own made again from its fields has another cents"),
        (Price.Child(5), "a Price.Child made again from its fields has another cents"),
        (Price.Set(5), "a Price.Set made again from its fields has another cents"),
    ],
)
def test_a_dataclass_that_would_come_out_as_another_is_refused(value: Any, problem: str) -> None:
    register_type(type(value))
    before = copy.deepcopy(vars(value))
    message = rf"^\S+: kwargs\['rows'\]\[0\]: {problem}\.\nPass encode= and decode="

    with pytest.raises(UnsupportedTypeError, match=message):
        create(rows=[value])

    assert vars(value) == before


@register_type
@dataclass
class Marking:
    """Does something to what it is given."""

    email: Any

    def __post_init__(self) -> None:
        marked = self.email
        while isinstance(marked, (list, Box)):
            marked = marked[0] if isinstance(marked, list) else marked.content
        marked.subject += "!"


@pytest.mark.parametrize("wrap", [lambda email: email, lambda email: [email], Box], ids=["itself", "a list", "a value"])
def test_a_check_at_the_enqueue_call_changes_no_model(wrap: Callable[[Any], Any]) -> None:
    email = Email(1, subject="hi")
    marking = Marking(wrap(email))
    for _ in range(3):
        create(marking)

    assert email.subject == "hi!"


def test_a_nan_that_a_dataclass_makes_anew_is_the_same() -> None:
    @register_type
    @dataclass
    class Measured:
        grams: float
        all: list[float]

        def __post_init__(self) -> None:
            self.grams *= 1.0
            self.all = [grams * 1.0 for grams in self.all]

    loaded = load(Measured(float("nan"), [1.0, float("nan")]))

    assert (math.isnan(loaded.grams), loaded.all[0], math.isnan(loaded.all[1])) == (True, 1.0, True)


def test_one_line_registers_a_dataclass_also_as_a_decorator() -> None:
    @register_type
    @dataclass(frozen=True)
    class Slotted:
        __slots__ = ("a", "b")
        a: int
        b: Any

    @register_type
    @dataclass
    class Keywords:
        a: int = field(kw_only=True)
        b: list[int] = field(default_factory=list, compare=False)

    assert travel(Slotted(1, (2,))) == Slotted(1, (2,))
    value = travel(Keywords(a=1, b=[2]))
    assert value == Keywords(a=1)
    assert value.b == [2]


def test_a_field_that_is_new_gets_its_default_for_jobs_that_were_queued_before() -> None:
    @dataclass
    class Old:
        a: int

    @dataclass
    class New:
        a: int
        b: int = 5

    register_type(Old, name="app.thing", encode=dataclasses.asdict, decode=lambda content: Old(**content))
    data = Serializer.dumps(Old(1))
    slimjobs.codec.values._by_name.pop("app.thing")
    register_type(New, name="app.thing")
    assert Serializer.loads(data) == New(1, 5)


def test_a_field_that_is_gone_is_left_out_for_jobs_that_were_queued_before() -> None:
    register_type(Plain, name="app.plain", encode=lambda _: {"a": 1, "gone": 2}, decode=lambda _: Plain())
    data = Serializer.dumps(Plain())
    slimjobs.codec.values._by_class.pop(Plain)
    slimjobs.codec.values._by_name.pop("app.plain")
    register_type(Plain, name="app.plain")
    assert vars(Serializer.loads(data)) == {"a": 1}


def test_models_inside_value_types_travel_as_refs_and_are_loaded_once() -> None:
    email = Email(1, body="x" * 100_000)
    value = {"orders": [Order(email, [Money(1)]), Order(email)], "box": Box(Node(Box((email,))))}
    job = create(value)
    assert len(job.data) < 1000
    loaded = hydrate(Serializer.loads(job.data)[2]).values[0][0]
    first, second = loaded["orders"]
    assert type(first) is Order
    assert first.email is sample_app.EMAILS[1]
    assert second.email is first.email
    assert loaded["box"].content.value.content == (first.email,)
    assert first.lines == [Money(1)]
    assert sample_app.LOADS == [("Email", [1])]


def test_models_as_keys_inside_value_types_are_loaded() -> None:
    loaded = load(Box({Box(Email(1)): {Email(2)}}))
    assert loaded.content == {Box(sample_app.EMAILS[1]): {sample_app.EMAILS[2]}}


def test_a_subclass_of_a_registered_value_type_is_refused() -> None:
    class Tip(Money):
        pass

    class Place(Point):
        pass

    for value in (Tip(1), Place(1)):
        with pytest.raises(UnsupportedTypeError, match="cannot travel"):
            create(value)


@dataclass
class Plain:
    a: int = 0


@dataclass
class WithInitVar:
    a: InitVar[int]
    b: int = field(init=False, default=0)


@dataclass
class InheritsInitVar(WithInitVar):
    c: int = 0


class Pair(NamedTuple):
    a: int
    b: int


@pytest.mark.parametrize("kind", [Pair, Email, WithInitVar, InheritsInitVar, 5, Plain(1)])
def test_what_is_no_plain_dataclass_needs_both_functions(kind: Any) -> None:
    with pytest.raises(ConfigurationError):
        register_type(kind)
    if isinstance(kind, type):
        with pytest.raises(ConfigurationError, match="encode= and decode="):
            register_type(kind, encode=lambda _: 1)


def test_a_class_or_name_is_registered_once() -> None:
    with pytest.raises(ConfigurationError, match=r"Money is registered already, as 'sample_app\.Money'"):
        register_type(Money)
    with pytest.raises(ConfigurationError, match=r"'sample_app\.Money' is taken by Money"):
        register_type(Plain, name="sample_app.Money")
    register_type(Plain)
    assert travel(Plain(2)) == Plain(2)


@pytest.mark.parametrize("kind", [dict, int, str, tuple, Color])
def test_a_class_that_travels_anyway_cannot_be_registered_in_vain(kind: Any) -> None:
    with pytest.raises(ConfigurationError):
        register_type(kind, name="mine", encode=lambda _: 1, decode=lambda _: None)


def test_a_decode_function_that_raises_is_named() -> None:
    class Odd:
        pass

    def decode(_: Any) -> Any:
        raise KeyError("secret")

    register_type(Odd, name="app.odd", encode=lambda _: 1, decode=decode)
    data = Serializer.dumps(Odd())
    with pytest.raises(PayloadDecodeError, match=r"'app\.odd' raised KeyError") as caught:
        Serializer.loads(data)
    assert "secret" not in str(caught.value)


UNLOADED = """
import sys, json
from slimjobs import Serializer
before = set(sys.modules)
data = bytes.fromhex(sys.argv[1])
value = Serializer.loads(data)
print(json.dumps({
    "imported": sorted(set(sys.modules) - before),
    "types": [type(item).__name__ for item in value],
    "shown": repr(value),
    "same": Serializer.dumps(value) == data,
}))
"""


def test_what_is_not_loaded_stays_inert_and_is_written_to_the_same_bytes() -> None:
    value = [Color.RED, Channel.MAIL | Channel.SMS, Shade.DARK, Money(1), Point(1), Box(Node(Color.BLUE)), (Money(2),)]
    completed = run(UNLOADED, Serializer.dumps(value).hex())
    answer = eval(completed, {"true": True, "false": False})
    assert answer["imported"] == []
    assert answer["types"] == ["Inert"] * 6 + ["tuple"]
    assert answer["same"] is True
    assert answer["shown"].startswith("[<Color.RED>, <Channel.3>, <Shade.DARK>, <Money>, ")


RESOLVED = """
import sys
from slimjobs import Serializer
from slimjobs.hydration import hydrate
value = Serializer.loads(bytes.fromhex(sys.argv[1]))
assert "sample_app" not in sys.modules
loaded = hydrate(value).values[0]
import sample_app, codec_samples
flags = sample_app.Channel.MAIL | sample_app.Channel.SMS
assert loaded == [sample_app.Color.RED, {flags: codec_samples.Shop.State.OPEN}]
print("resolved")
"""


def test_an_enum_is_imported_for_the_call() -> None:
    value = [Color.RED, {Channel.MAIL | Channel.SMS: Shop.State.OPEN}]
    assert run(RESOLVED, Serializer.dumps(value).hex()) == "resolved\n"


TASK_MODULE = """
import sys
from slimjobs import Job
from redis import Redis
job = Job("x", connection=Redis(port=1))
job.data = bytes.fromhex(sys.argv[1])
assert "sample_app" not in sys.modules
print(job._execute())
"""


def test_a_value_type_is_known_once_the_module_of_the_task_is_imported() -> None:
    job = Job.create("sample_app.record", args=(Money(1), [Money(2)]), connection=NOWHERE)
    shown = run(TASK_MODULE, job.data.hex())
    assert shown == "{'args': [Money(amount=1, currency='EUR'), [Money(amount=2, currency='EUR')]], 'kwargs': {}}\n"


def test_what_is_unknown_at_the_call_too_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "gone_tomorrow.py").write_text("import enum\nclass Size(enum.Enum):\n    S = 1\n    M = 2\n")
    module = importlib.import_module("gone_tomorrow")
    class_name, member = Serializer.dumps([module.Size.S]), Serializer.dumps([module.Size.M])
    register_type(Plain, name="app.plain")
    value_type = Serializer.dumps(Plain(1))
    slimjobs.codec.values._by_name.pop("app.plain")
    with pytest.raises(PayloadDecodeError, match=r"'app\.plain' is not registered"):
        hydrate(Serializer.loads(value_type))

    del module.Size.M._member_map_["M"]
    with pytest.raises(PayloadDecodeError, match="no enum Size with a member M"):
        hydrate(Serializer.loads(member))
    del module.Size
    with pytest.raises(PayloadDecodeError, match="no enum Size with a member S"):
        hydrate(Serializer.loads(class_name))
    monkeypatch.delitem(sys.modules, "gone_tomorrow")
    (tmp_path / "gone_tomorrow.py").unlink()
    importlib.invalidate_caches()
    with pytest.raises(PayloadDecodeError, match="enum Size cannot be imported from gone_tomorrow"):
        hydrate(Serializer.loads(class_name))


def test_a_primary_key_that_is_an_enum_is_resolved_before_its_rows_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    class Setting:
        def __init__(self, key: Any) -> None:
            self.key = key

    def load_many(keys: list[Any]) -> list[Setting]:
        asked.extend(keys)
        return [Setting(key) for key in keys]

    slimjobs.register(Setting, load_many=load_many, id="key", name="app.Setting")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "later_loaded.py").write_text("import enum\nclass Size(enum.Enum):\n    S = 1\n")
    module = importlib.import_module("later_loaded")
    data = Serializer.dumps([Setting(Color.RED), Setting(module.Size.S)])
    monkeypatch.delitem(sys.modules, "later_loaded")
    loaded = hydrate(Serializer.loads(data)).values[0]
    assert asked == [Color.RED, importlib.import_module("later_loaded").Size.S]
    assert [setting.key for setting in loaded] == asked


def run(code: str, *arguments: str) -> str:
    """Return what a fresh Python prints."""
    completed = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(SUPPORT_FOLDER), os.environ.get("PYTHONPATH", "")])},
    )
    assert completed.returncode == 0, completed.stderr
    return completed.stdout
