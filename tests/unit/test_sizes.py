"""Sizes as text, and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimjobs.sizes import format_pair, format_size, parse_size


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        (512, 512),
        ("512", 512),
        ("64 KiB", 65_536),
        ("64KiB", 65_536),
        ("64KB", 64_000),
        ("64 kb", 64_000),
        ("1 MB", 1_000_000),
        ("1.5 MiB", 1_572_864),
        ("2 GiB", 2 * 2**30),
        ("10 bytes", 10),
        ("1 byte", 1),
    ],
)
def test_sizes_are_read(text: int | str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    "text", ["", "many", "-1", "1 XB", "1.2.3 KB", "9" * 5000, "9" * 400 + ".5", -1, True, 1.5, None]
)
def test_what_is_no_size_is_refused_with_an_example(text: object) -> None:
    with pytest.raises(ValueError, match="64 KiB"):
        parse_size(text)  # type: ignore[arg-type]


@given(st.integers(0, 2**45))
def test_what_is_printed_can_be_read(size_bytes: int) -> None:
    read = parse_size(format_size(size_bytes))
    assert abs(read - size_bytes) <= size_bytes * 0.05


def test_numbers_that_round_to_the_same_text_are_printed_in_full() -> None:
    assert format_pair(65_537, 65_536) == ("65537 bytes", "65536 bytes")
    assert format_pair(65_536, 65_536) == ("64.0 KiB", "64.0 KiB")
    assert format_pair(5_000_000, 65_536) == ("4.8 MiB", "64.0 KiB")
