"""Payload bytes as they are stored, and back; what is inflated has a bound, and so has the memory it takes."""

from __future__ import annotations

import zlib

from slimjobs.codec import MAGIC
from slimjobs.errors import PayloadDecodeError
from slimjobs.limits import readable_bytes
from slimjobs.sizes import format_size

# RQ reads both forms. zlib costs more than it saves below, and takes no byte off many small payloads.
_COMPRESSED_FROM_BYTES = 1024
_DEFLATED = 8  # the low half of the first byte of all zlib data (RFC 1950, CM)
# What is inflated at once. Larger data is measured first, which takes as much memory as one step.
_AT_ONCE_BYTES = 2**20
_STEP_BYTES = 2**16


def compress(data: bytes) -> bytes:
    """Return payload bytes as they are stored: as RQ does, save that small ones of our format stay as they are."""
    if len(data) < _COMPRESSED_FROM_BYTES and data[:1] == MAGIC:
        return data
    return zlib.compress(data)


def inflate(stored: bytes) -> bytes:
    """Return payload bytes as they were before `compress`; what is no zlib data is returned as it is.

    Raises:
        PayloadDecodeError: The data is damaged, or inflates to more than this process reads.
    """
    if not _is_deflated(stored):
        return stored
    try:
        inflating = zlib.decompressobj()
        if len(stored) <= _AT_ONCE_BYTES:
            data = inflating.decompress(stored, _AT_ONCE_BYTES)
            if inflating.eof and not inflating.unused_data:
                return data
            del data
        most_bytes = readable_bytes()
        _measure(stored, most_bytes)
        inflating = zlib.decompressobj()
        data = inflating.decompress(stored, most_bytes + 1)
    except zlib.error:
        raise PayloadDecodeError("the compressed data is damaged") from None
    if len(data) > most_bytes:
        raise _too_large(most_bytes)
    if not inflating.eof or inflating.unused_data:
        raise PayloadDecodeError(f"the compressed data is {'damaged' if inflating.eof else 'cut off'}")
    return data


def inflate_beginning(stored: bytes, most_bytes: int) -> bytes:
    """Return what can be inflated of the first bytes of data that may be damaged, at most so many bytes."""
    if not _is_deflated(stored):
        return stored[:most_bytes]
    try:
        return zlib.decompressobj().decompress(stored[:most_bytes], most_bytes)
    except zlib.error:
        return b""


def inflation(beginning: bytes) -> float:
    """Return how many payload bytes the first bytes of a stored payload have for each of them; 1 of no zlib data."""
    if not _is_deflated(beginning):
        return 1.0
    inflating = zlib.decompressobj()
    size_bytes, step = 0, beginning
    try:
        while step:
            inflated = inflating.decompress(step, _STEP_BYTES)
            size_bytes += len(inflated)
            step = inflating.unconsumed_tail
    except zlib.error:
        return 1.0
    return max(size_bytes / len(beginning), 1.0)


def _is_deflated(stored: bytes) -> bool:
    """Return whether bytes begin as zlib data does (RFC 1950, 2.2); nothing that `compress` leaves as it is does."""
    return len(stored) > 1 and stored[0] & 0x0F == _DEFLATED and int.from_bytes(stored[:2], "big") % 31 == 0


def _measure(stored: bytes, most_bytes: int) -> None:
    """Inflate zlib data without keeping it, and raise as soon as it is too large."""
    inflating = zlib.decompressobj()
    size_bytes = 0
    for start in range(0, len(stored), _STEP_BYTES):
        step = stored[start : start + _STEP_BYTES]
        while step and size_bytes <= most_bytes:
            size_bytes += len(inflating.decompress(step, _STEP_BYTES))
            step = inflating.unconsumed_tail
    if size_bytes > most_bytes:
        raise _too_large(most_bytes)


def _too_large(most_bytes: int) -> PayloadDecodeError:
    return PayloadDecodeError(
        f"the compressed data inflates to more than {format_size(most_bytes)}, which is more than this process reads",
        hint="If it is meant to be so large, set slimjobs.configure(max_bytes=) where jobs are read.",
    )
