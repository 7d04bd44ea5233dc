"""Payload bytes as they are stored, and back; what is inflated has a bound."""

from __future__ import annotations

import zlib

from slimjobs.codec import MAGIC
from slimjobs.limits import READABLE_BYTES

# RQ reads both forms. zlib costs more than it saves below, and takes no byte off many small payloads.
_COMPRESSED_FROM_BYTES = 1024


def compress(data: bytes) -> bytes:
    """Return payload bytes as they are stored: as RQ does, save that small ones of our format stay as they are."""
    if len(data) < _COMPRESSED_FROM_BYTES and data[:1] == MAGIC:
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
