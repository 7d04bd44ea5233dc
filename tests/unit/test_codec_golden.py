"""The bytes of version 1 of the wire format, pinned: what was once queued can be read for ever."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from codec_samples import GOLDEN, canonical, read_golden
from sample_app import Money

from slimjobs import Ref, Serializer
from slimjobs.codec import Inert, wire

GOLDEN_BYTES = read_golden()
# What holds a ref is no value before the ref is loaded.
READ_AS: dict[str, Any] = {
    "dataclass with a ref": Inert(False, "sample_app.Order", {"email": Ref("sample_app.Email", 1), "lines": [Money(1)]})
}


def test_each_entry_has_its_bytes() -> None:
    assert list(GOLDEN_BYTES) == list(GOLDEN)


@pytest.mark.parametrize("name", GOLDEN)
def test_bytes_are_read_as_what_they_were(name: str) -> None:
    assert canonical(Serializer.loads(GOLDEN_BYTES[name])) == canonical(READ_AS.get(name, GOLDEN[name]))


@pytest.mark.parametrize("name", GOLDEN)
def test_values_are_written_to_these_very_bytes(name: str) -> None:
    assert Serializer.dumps(GOLDEN[name]).hex() == GOLDEN_BYTES[name].hex()


@pytest.mark.parametrize("name", GOLDEN)
def test_what_was_read_is_written_to_the_very_same_bytes(name: str) -> None:
    assert Serializer.dumps(Serializer.loads(GOLDEN_BYTES[name])).hex() == GOLDEN_BYTES[name].hex()


def test_every_code_of_the_wire_has_an_entry() -> None:
    codes: set[int] = set()

    def note(code: int, data: bytes) -> int:
        codes.add(code)
        return code

    for data in GOLDEN_BYTES.values():
        assert data[:2] == b"\xc1\x01"
        msgpack.unpackb(data[2:], ext_hook=note, strict_map_key=False, use_list=False, unicode_errors="surrogatepass")
    assert codes == {*range(wire.TUPLE, wire.VALUE + 1), *range(wire.DATETIME, wire.COMPLEX + 1)}
