"""Bytes that nobody wrote: a value or PayloadDecodeError, nothing else, with no import and in bounded memory."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import subprocess
import sys
import zlib
from itertools import islice
from typing import Any

import codec_samples
import msgpack
import pytest
import sample_app
from codec_samples import (
    GOLDEN,
    SUPPORT_FOLDER,
    NoImports,
    extra_bytes,
    hostile_payloads,
    read_golden,
    strange_types,
)
from msgpack import ExtType

import slimjobs
from slimjobs import PayloadDecodeError, Ref, Serializer, SlimjobsError
from slimjobs.codec import Inert, wire
from slimjobs.hydration import hydrate
from slimjobs.policies import Policy

HEADER = b"\xc1\x01"
GOLDEN_BYTES = read_golden()
MARKERS = tuple(range(wire.TUPLE, wire.VALUE + 1))
SCALARS = tuple(range(wire.DATETIME, wire.COMPLEX + 1))
MARK_TUPLE, MARK_SET, MARK_FROZENSET, MARK_REF, MARK_ENUM, MARK_VALUE = (ExtType(code, b"") for code in MARKERS)


def payload(value: Any) -> bytes:
    """Return the bytes of a payload that holds exactly what msgpack makes of this."""
    return HEADER + bytes(msgpack.packb([value]))


def integer(value: int) -> ExtType:
    return ExtType(wire.INTEGER, value.to_bytes((value.bit_length() + 8) // 8, "big", signed=True))


class Odd:
    pass


def refusal(data: bytes) -> str:
    with NoImports() as imports, pytest.raises(PayloadDecodeError) as caught:
        Serializer.loads(data)
    assert imports.asked == []
    return str(caught.value)


REFUSED = object()


def read(data: bytes) -> Any:
    """Return the value in a payload, or REFUSED."""
    try:
        return Serializer.loads(data)
    except PayloadDecodeError:
        return REFUSED


def test_many_payloads_give_a_value_or_the_one_error_and_import_nothing() -> None:
    modules = set(sys.modules)
    refused = 0
    with NoImports() as imports:
        for data in islice(hostile_payloads(seed=7), 15_000):
            value = read(data)
            if value is REFUSED:
                refused += 1
            else:
                assert strange_types(value) == set(), data.hex()
    assert imports.asked == []
    assert set(sys.modules) == modules
    assert 5000 < refused < 15_000


def test_what_can_be_read_can_be_hydrated_or_is_refused_with_an_error_of_ours() -> None:
    sample_app.reset()
    for data in islice(hostile_payloads(seed=8), 10_000):
        value = read(data)
        if value is not REFUSED:
            with NoImports(), contextlib.suppress(SlimjobsError):
                hydrate(value, policy=Policy(on_missing="none"))


@pytest.mark.parametrize("name", GOLDEN)
def test_every_truncation_is_refused(name: str) -> None:
    data = GOLDEN_BYTES[name]
    for length in range(len(data)):
        refusal(data[:length])


@pytest.mark.parametrize("name", GOLDEN)
def test_what_follows_the_end_is_refused(name: str) -> None:
    for tail in (b"\x00", b"\xc0", b"\xc1", b"\xc1\x01\x91\x01", b"\x91", bytes(5000)):
        refusal(GOLDEN_BYTES[name] + tail)


def test_the_error_says_what_the_bytes_look_like() -> None:
    assert "format 2" in refusal(b"\xc1\x02\x91\x01")
    assert "Upgrade slimjobs" in refusal(b"\xc1\x02\x91\x01")
    assert "read_pickle=True" in refusal(pickle.dumps(("f", None, (), {})))
    assert "the payload is empty" in refusal(b"")
    assert "the payload is cut off" in refusal(b"\xc1\x01\x92\x01")
    for data in (b"\xc1", b"\x00", json.dumps(["f", None, [], {}]).encode(), zlib.compress(b"x"), b"\x91\x01"):
        assert "not a slimjobs payload" in refusal(data)
    assert "cut off" in refusal(b"\xc1\x01")


@pytest.mark.parametrize(
    "frame",
    [
        *([], [1, 2], [1, 2, 3], ["f", None, [], {}, 1], None, 1, "x", {}, {0: 1}, [[]] * 5),
        *([MARK_TUPLE, 1], [MARK_TUPLE, "f", None, [], {}], [MARK_SET, 1], [MARK_REF, "a.B", 1, None]),
        *([MARK_ENUM, "sample_app:Color", "RED"], [MARK_VALUE, "sample_app.Money", {"amount": 1}]),
        *(["f", None, 5, {}], ["f", None, None, {}], ["f", None, "args", {}], ["f", None, {"a": 1}, {}]),
        *(["f", None, [], []], ["f", None, [], None], [5, None, [], {}], [["f"], None, [], {}]),
    ],
    ids=repr,
)
def test_what_holds_neither_a_value_nor_a_call_is_refused(frame: Any) -> None:
    assert "damaged" in refusal(HEADER + bytes(msgpack.packb(frame)))


def test_a_type_of_a_newer_version_is_named() -> None:
    for code in sorted(set(range(128)) - {*MARKERS, *SCALARS}):
        for body in (b"", b"1", b"12", b"x" * 300):
            for value in (ExtType(code, body), [1, {"a": ExtType(code, body)}], [ExtType(code, body), 1]):
                message = refusal(payload(value))
                assert f"type {code} is not known" in message
                assert "newer slimjobs" in message


def test_msgpacks_own_types_never_come_out() -> None:
    for code in range(128, 256):
        for length in (0, 1, 4, 8, 12, 16):
            data = HEADER + bytes((0x91, 0xC7, length, code)) + bytes(length)
            value = read(data)
            assert value is REFUSED or strange_types(value) == set(), data.hex()


@pytest.mark.parametrize("code", SCALARS)
def test_scalars_of_the_wrong_length_are_refused(code: int) -> None:
    rightful = {len(value.data) for value in map(_only_ext, GOLDEN_BYTES.values()) if value and value.code == code}
    assert rightful
    for length in range(40):
        value = read(payload(ExtType(code, b"\xff" * length)))
        if value is REFUSED:
            continue
        assert strange_types(value) == set()
        assert code in {wire.INTEGER, wire.COMPLEX, wire.UUID, wire.TIMEDELTA, wire.DATE} or length in rightful


def _only_ext(data: bytes) -> ExtType | None:
    value = msgpack.unpackb(data[2:], strict_map_key=False, use_list=False, unicode_errors="surrogatepass")[0]
    return value if type(value) is ExtType else None


@pytest.mark.parametrize("marker", [MARK_TUPLE, MARK_SET, MARK_FROZENSET, MARK_REF, MARK_ENUM, MARK_VALUE])
def test_a_marker_that_heads_no_array_is_refused(marker: ExtType) -> None:
    for value in (
        marker,
        [1, marker],
        [[], marker],
        [MARK_TUPLE, marker],
        [MARK_TUPLE, 1, marker],
        [MARK_SET, marker],
        {"a": marker},
        {marker: 1},
        [MARK_REF, "a.B", marker, None],
        [MARK_VALUE, "sample_app.Money", marker],
        [MARK_VALUE, "unknown", marker],
        [MARK_VALUE, "unknown", {"a": marker}],
        [MARK_ENUM, "sample_app:Color", marker],
    ):
        refusal(payload(value))
        refusal(payload([0, value, "x" * 5000]))
        refusal(payload([0, value, [MARK_TUPLE, 1], [MARK_SET]]))
        refusal(HEADER + msgpack.packb([[0, value, "caf\udce9"]], unicode_errors="surrogatepass"))
    refusal(HEADER + msgpack.packb([marker, None, [], {}]))
    refusal(HEADER + msgpack.packb(["f", None, [], {}, marker]))


def test_a_decode_function_never_sees_what_stands_for_a_marker() -> None:
    seen: Any = []
    slimjobs.register_type(
        Odd, name="app.odd", encode=lambda _: None, decode=lambda content: seen.append(content) or Odd()
    )
    for content in (MARK_SET, [1, MARK_SET], {"a": MARK_SET}, {MARK_SET: 1}, [MARK_TUPLE, MARK_SET]):
        refusal(payload([MARK_VALUE, "app.odd", content]))
    assert set().union(*map(strange_types, seen)) == set()


def test_a_marker_with_bytes_is_refused() -> None:
    for code in MARKERS:
        for body in (b"1", b"12", b"12345678", b"x" * 20):
            refusal(payload([ExtType(code, body), 1]))


def test_a_marker_written_in_a_longer_form_is_no_way_around() -> None:
    for code in MARKERS:
        for form in (b"\xc8\x00\x00", b"\xc9\x00\x00\x00\x00"):
            for before, after in ((b"\x91", b""), (b"\x92\x01", b""), (b"\x91\x92", b"\x01"), (b"\x91\x81\x01", b"")):
                value = read(HEADER + before + form + bytes((code,)) + after)
                assert value is REFUSED or strange_types(value) == set()


@pytest.mark.parametrize(
    "value",
    [
        [MARK_REF],
        [MARK_REF, "a.B", 1],
        [MARK_REF, "a.B", 1, None, 2],
        [MARK_REF, 5, 1, None],
        [MARK_REF, None, 1, None],
        [MARK_REF, "a.B", 1, 5],
        [MARK_REF, "a.B", [1], None],
        [MARK_REF, "a.B", {}, None],
        [MARK_REF, "a.B", [MARK_TUPLE, [1]], None],
        [MARK_ENUM],
        [MARK_ENUM, "sample_app:Color"],
        [MARK_ENUM, "sample_app:Color", None],
        [MARK_ENUM, "sample_app:Color", ["RED"]],
        [MARK_ENUM, "sample_app:Color", 1.0],
        [MARK_ENUM, "sample_app:Color", True],
        [MARK_ENUM, b"sample_app:Color", "RED"],
        [MARK_ENUM, [MARK_ENUM, "a:b", "c"], "RED"],
        [MARK_VALUE],
        [MARK_VALUE, "sample_app.Money"],
        [MARK_VALUE, "sample_app.Money", {}, 1],
        [MARK_VALUE, 7, {}],
        [MARK_VALUE, "sample_app.Money", 5],
        [MARK_VALUE, "sample_app.Money", {}],
        [MARK_VALUE, "sample_app.Money", {1: 2}],
        [MARK_VALUE, "codec.point", [1, 2, 3]],
        [MARK_SET, [1]],
        [MARK_SET, {}],
        [MARK_FROZENSET, [MARK_SET]],
        [MARK_SET, [MARK_TUPLE, []]],
    ],
    ids=repr,
)
def test_forged_refs_enums_values_and_sets_are_refused(value: Any) -> None:
    data = payload(value)
    assert "damaged" in refusal(data) or "raised" in refusal(data)
    assert "damaged" in refusal(HEADER + b"\x91\x81\x90\x01")  # a dict with a list as its key


@pytest.mark.parametrize(
    "name", ["sample_app:Email", "os:system", "sys:modules", "sample_app:", ":", "", "a:b:c", "x" * 99]
)
@pytest.mark.parametrize("key", ["RED", "__class__", "mro", "", 5, -1])
def test_a_forged_enum_stays_inert_and_is_refused_at_the_call(name: str, key: Any) -> None:
    data = payload([MARK_ENUM, name, key])
    with NoImports() as imports:
        value = Serializer.loads(data)
        assert type(value) is Inert
        assert imports.asked == []
        with pytest.raises(PayloadDecodeError):
            hydrate(value)


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".a", ".a.b", "a.", "a..b", "a\0b.c", "sample_app.Money", "os.system", "x" * 99]
)
def test_a_forged_ref_is_refused_at_the_call(name: str) -> None:
    ref = Serializer.loads(payload([MARK_REF, name, 1, None]))
    assert ref == Ref(name, 1)
    with NoImports(), pytest.raises(SlimjobsError):
        hydrate(ref)
    with NoImports(), pytest.raises(SlimjobsError):
        ref.load()


@pytest.mark.parametrize(
    "pk", [integer(10**5000), integer(-(2**40_000)), "x" * 100_000, b"\xff" * 100_000, float("nan")]
)
def test_a_forged_primary_key_can_be_shown(pk: Any) -> None:
    ref = Serializer.loads(payload([MARK_REF, "app.Email", pk, None]))
    assert len(repr(ref)) < 100


def test_a_member_of_an_enum_that_is_no_flag_is_found_by_its_name_alone() -> None:
    asked: list[Any] = []

    def missing(cls: Any, value: Any) -> Any:
        asked.append(value)

    original = sample_app.Color.__dict__.get("_missing_")
    sample_app.Color._missing_ = classmethod(missing)  # type: ignore[method-assign, assignment]
    try:
        assert type(Serializer.loads(payload([MARK_ENUM, "sample_app:Color", 12345]))) is Inert
    finally:
        if original is None:
            del sample_app.Color._missing_
    assert asked == []


HUGE_FLAG = """
import re, sys
from slimjobs import PayloadDecodeError, Serializer
try:
    Serializer.loads(bytes.fromhex(sys.stdin.read()))
except PayloadDecodeError:
    pass
"""


@pytest.mark.parametrize("name", ["re:RegexFlag", "sample_app:Channel"])
@pytest.mark.parametrize(
    "numbers",
    [[2**500_000 - 1], [-(2**500_000)], [2**4096 - 1 - number for number in range(100)]],
    ids=["half a million bits", "negative", "a hundred with 4096 bits"],
)
def test_flags_of_many_bits_do_not_hang(name: str, numbers: list[int]) -> None:
    # Python 3.10 makes a member for every bit.
    data = payload([[MARK_ENUM, name, integer(number)] for number in numbers])
    subprocess.run(
        [sys.executable, "-c", f"import sample_app\n{HUGE_FLAG}"],
        input=data.hex(),
        text=True,
        check=True,
        timeout=15,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(SUPPORT_FOLDER), os.environ.get("PYTHONPATH", "")])},
    )


def test_decoding_flags_keeps_nothing() -> None:
    both = codec_samples.Permission(3)
    kinds = (sample_app.Channel, codec_samples.Permission)
    before = [len(kind._value2member_map_) for kind in kinds]
    for number in range(1000, 2000):
        Serializer.loads(payload([MARK_ENUM, "codec_samples:Permission", number]))
        Serializer.loads(payload([MARK_ENUM, "sample_app:Channel", number]))
    bits = (2000).bit_length()  # Python 3.10 has a member for each
    assert all(len(kind._value2member_map_) <= number + bits for kind, number in zip(kinds, before, strict=True))
    assert Serializer.loads(payload([MARK_ENUM, "codec_samples:Permission", 3])) is both
    assert Serializer.loads(payload([MARK_ENUM, "codec_samples:Permission", 1000])) == codec_samples.Permission(1000)


NO_ZONES = [
    *("../../../etc/passwd", "/etc/passwd", "/usr/share/zoneinfo/UTC", "Europe/../UTC", "No/Such", "", ".", "Europe"),
    *("UTC\0", "utc\n", "x" * 65, "a/" * 10, "ä", "zone.tab", "tzdata.zi", "leapseconds"),
]


@pytest.mark.parametrize("key", NO_ZONES)
def test_a_time_zone_is_only_ever_a_known_zone(key: str) -> None:
    real = _only_ext(GOLDEN_BYTES["datetime in a zone, with fold"])
    assert real is not None
    assert real.data.endswith(b"Europe/Berlin")
    refusal(payload(ExtType(wire.DATETIME, real.data.removesuffix(b"Europe/Berlin") + key.encode())))


@pytest.mark.parametrize("beside", [[], ["x"] * 5000], ids=["alone", "in a long payload"])
def test_a_time_zone_that_is_not_known_here_is_named_with_the_next_step(beside: list[str]) -> None:
    real = _only_ext(GOLDEN_BYTES["datetime in a zone, with fold"])
    assert real is not None
    elsewhere = ExtType(wire.DATETIME, real.data.removesuffix(b"Europe/Berlin") + b"Europe/Newtown")
    with pytest.raises(PayloadDecodeError) as caught:
        Serializer.loads(payload([elsewhere, *beside]))
    assert str(caught.value) == (
        "the time zone Europe/Newtown is not known on this machine.\nInstall the tzdata package where jobs are read."
    )


NO_SYSTEM_ZONES = """
import sys
from slimjobs import Serializer
before = set(sys.modules)
print(Serializer.loads(bytes.fromhex(sys.argv[1])).isoformat())
assert set(sys.modules) == before, set(sys.modules) - before
"""


def test_a_time_zone_is_read_without_an_import_where_the_machine_has_none() -> None:
    completed = subprocess.run(
        [sys.executable, "-c", NO_SYSTEM_ZONES, GOLDEN_BYTES["datetime in a zone, with fold"].hex()],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONTZPATH": ""},
    )
    assert completed.stdout == "2024-10-27T02:30:15.123456+01:00\n", completed.stderr
    assert completed.returncode == 0, completed.stderr


def test_extreme_scalars_are_values_or_refused() -> None:
    for text in (
        b"1E999999999999999999",
        b"NaN" + b"9" * 5000,
        b"1_000",
        b" 1 ",
        b"",
        b"x",
        b"\xff",
        b"--1",
        b"1" * 5000,
    ):
        number = ExtType(wire.DECIMAL, text)
        for item in (number, [MARK_SET, number, 1.5, 7], {"a": number}):
            value = read(payload(item))
            assert value is REFUSED or strange_types(value) == set()
    for body in (b"\x7f\xff\xff\xff" * 3, b"\x80\x00\x00\x00" * 3):
        refusal(payload(ExtType(wire.TIMEDELTA, body)))
        refusal(payload(ExtType(wire.DATE, body[:4])))


BOMBS = {
    "array of 2**31": b"\xdd\x7f\xff\xff\xff",
    "map of 2**31": b"\xdf\x7f\xff\xff\xff",
    "text of 2**31": b"\xdb\x7f\xff\xff\xff",
    "bytes of 2**31": b"\xc6\x7f\xff\xff\xff",
    "ext of 2**31": b"\xc9\x7f\xff\xff\xff\x16",
    "array of 2**32 - 1": b"\xdd\xff\xff\xff\xff",
    "arrays of 4000": b"\xdc\x0f\xa0",
    "arrays of 65535": b"\xdc\xff\xff",
    "maps of 65535": b"\xde\xff\xff",
    "arrays of as many as there are bytes": b"",
    "arrays of one": b"\x91",
    "tuples of one": b"\x92\xc7\x00\x01",
    "refs of refs": b"\x94\xc7\x00\x04\xa1a",
}


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("length", [20, 4000, 4090, 5000, 60_000])
@pytest.mark.parametrize(
    "tail", [b"", b"\xc7\x00\x01", b"\xa2\xff\xff", b"\x00" * 3000], ids=["", "marker", "text", "zeros"]
)
def test_a_promise_of_much_takes_little_memory(name: str, length: int, tail: bytes) -> None:
    bomb = BOMBS[name] or b"\xdc" + (length - 1).to_bytes(2, "big")
    for opening in (b"\x91", b"\x94"):  # of a value, of a call
        data = HEADER + opening + (bomb * (length // len(bomb)))[:length] + tail
        assert extra_bytes(lambda data=data: read(data)) < 40 * 2**20  # type: ignore[misc]


def test_deep_nesting_is_read_and_hydrated_or_refused() -> None:
    for opening in (b"\x91", b"\x92\xc7\x00\x01", b"\x81\xa1a", b"\x93\xc7\x00\x06\xa1a", b"\x94\xc7\x00\x04\xa1a"):
        closing = b"\xc0" if opening[0] == 0x94 else b""
        for depth in (100, 300, 500, 700, 1000, 3000, 100_000):
            value = read(HEADER + b"\x91" + opening * depth + b"\x01" + closing * depth)
            if value is not REFUSED:
                assert depth < 3000
                with contextlib.suppress(SlimjobsError):
                    hydrate(value, policy=Policy(on_missing="none"))
