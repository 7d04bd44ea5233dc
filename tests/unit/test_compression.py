"""Payload bytes as they are stored: what comes back is what was given, or a reason, in bounded memory."""

from __future__ import annotations

import os
import random
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

import slimjobs
from slimjobs import PayloadDecodeError
from slimjobs.compression import compress, inflate, inflate_beginning


def reason(stored: bytes) -> str:
    with pytest.raises(PayloadDecodeError) as caught:
        inflate(stored)
    return caught.value.describe()


@pytest.mark.parametrize("size_bytes", [0, 1, 1023, 1024, 70_000, 2**20 - 1, 2**20, 2**20 + 1, 5_000_000])
@pytest.mark.parametrize("is_random", [False, True])
def test_what_is_compressed_is_inflated_again(size_bytes: int, is_random: bool) -> None:
    data = os.urandom(size_bytes) if is_random else b"x" * size_bytes
    assert inflate(compress(data)) == data
    assert inflate(zlib.compress(data)) == data


@pytest.mark.parametrize("first", range(256))
def test_no_payload_is_taken_for_compressed_data(first: int) -> None:
    for second in range(256):
        data = bytes([first, second]) + b"rest of a payload"
        assert inflate(compress(data)) == data


@pytest.mark.parametrize("size_bytes", [2000, 3_000_000])
def test_damaged_data_is_told_from_data_that_is_cut_off(size_bytes: int) -> None:
    stored = zlib.compress(random.Random(1).randbytes(size_bytes))

    assert reason(stored[:-1]) == reason(stored[: len(stored) // 2]) == "the compressed data is cut off"
    assert reason(stored[:-1] + b"?") == "the compressed data is damaged"
    assert reason(stored + b"?") == "the compressed data is damaged"
    assert reason(stored[:20] + b"\xff" * 40 + stored[60:]) == "the compressed data is damaged"


def test_data_up_to_the_bound_is_read_and_no_byte_more() -> None:
    most_bytes = 64 * 2**20
    assert len(inflate(zlib.compress(bytes(most_bytes), 1))) == most_bytes
    assert "inflates to more than 64.0 MiB" in reason(zlib.compress(bytes(most_bytes + 1), 1))

    slimjobs.configure(max_bytes=most_bytes + 1)
    assert len(inflate(zlib.compress(bytes(most_bytes + 1), 1))) == most_bytes + 1


def test_too_much_data_is_refused_without_holding_it() -> None:
    bomb = zlib.compress(bytes(70 * 2**20), 1)
    tracemalloc.start()
    try:
        reason(bomb)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak_bytes < 3 * 2**20


def test_the_beginning_of_damaged_data_is_what_is_left_of_it() -> None:
    data = bytes(range(256)) * 100
    stored = zlib.compress(data)

    assert inflate_beginning(stored[:-9], 1000) == data[:1000]
    assert data.startswith(inflate_beginning(stored[:50], 1000))
    assert inflate_beginning(b"plain", 3) == b"pla"
    assert inflate_beginning(b"\x78\x9c\xff\xff", 10) == b""


@given(st.binary(max_size=3000), st.integers(0, 3000), st.binary(max_size=8), st.booleans())
def test_whatever_is_stored_is_inflated_or_refused(data: bytes, at: int, patch: bytes, is_compressed: bool) -> None:
    stored = zlib.compress(data) if is_compressed else data
    stored = stored[:at] + patch + stored[at + len(patch) :]
    try:
        inflated = inflate(stored)
    except PayloadDecodeError:
        assert stored[0] & 0x0F == 8  # no other bytes can be compressed data
    else:
        assert inflated in (stored, data) or inflated == zlib.decompress(stored)
    inflate_beginning(stored, 1000)
