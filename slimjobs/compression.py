"""Payload bytes as they are stored, and back; what is inflated has a bound."""

from __future__ import annotations

import zlib

from slimjobs.limits import READABLE_BYTES

# RQ reads both forms. zlib costs more than it saves below, and takes no byte off many small payloads.
_COMPRESSED_FROM_BYTES = 1024
_DEFLATED = 8  # the low half of the first byte of all zlib data (RFC 1950, CM)


def compress(data: bytes) -> bytes:
    """Return payload bytes as they are stored, which RQ's `Job.restore` reads either way."""
    if len(data) < _COMPRESSED_FROM_BYTES and data[:1] and data[0] & 0x0F != _DEFLATED:
        return data
    return zlib.compress(data)


def inflate(stored: bytes, most_bytes: int) -> bytes:
    """Return payload bytes as they were before `compress`.

    What exceeds the bound, or `READABLE_BYTES` if that is more, is returned as it is stored: no payload
    begins as zlib does, so the job says that it cannot be read, and nothing of it is lost.
    """
    inflating = zlib.decompressobj()
    try:
        data = inflating.decompress(stored, max(most_bytes, READABLE_BYTES))
    except zlib.error:
        return stored
    return data if inflating.eof and not inflating.unused_data else stored
