"""Numbers of bytes as text, and back."""

from __future__ import annotations

import re

# IEC 80000-13: KiB is 1024, kB is 1000. "K" alone is read as in `redis.conf`: a thousand.
_UNITS = {
    "": 1,
    "b": 1,
    "byte": 1,
    "bytes": 1,
    "k": 10**3,
    "kb": 10**3,
    "m": 10**6,
    "mb": 10**6,
    "g": 10**9,
    "gb": 10**9,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
}
_PATTERN = re.compile(r"\s*(\d{1,18}(?:\.\d{1,18})?)\s*([a-z]*)\s*", re.IGNORECASE)


def parse_size(value: int | str) -> int:
    """Return the number of bytes that `value` names.

    Args:
        value: An int, or text such as "64 KiB" (65,536), "64KB" (64,000), "1.5 MB" or "512".

    Raises:
        ValueError: It is not a size; the message shows one.
    """
    if isinstance(value, str):
        match = _PATTERN.fullmatch(value)
        unit = _UNITS.get(match[2].lower()) if match else None
        if match is None or unit is None:
            raise ValueError(f'{value!r} is not a size; write a number of bytes, or text such as "64 KiB"')
        return round(float(match[1]) * unit) if "." in match[1] else int(match[1]) * unit
    if type(value) is not int or value < 0:
        raise ValueError(f'{value!r} is not a size; write a number of bytes, or text such as "64 KiB"')
    return value


def format_size(size_bytes: int) -> str:
    """Return `size_bytes` as short text that `parse_size` reads, such as "64.0 KiB"."""
    if size_bytes < 2**10:
        return f"{size_bytes} bytes"
    for unit, factor in (("KiB", 2**10), ("MiB", 2**20)):
        if size_bytes < factor * 2**10 - factor // 20:
            return f"{size_bytes / factor:.1f} {unit}"
    return f"{size_bytes / 2**30:.1f} GiB"


def format_pair(size_bytes: int, limit_bytes: int) -> tuple[str, str]:
    """Return both numbers as text, exact where rounding would make a difference look like none."""
    texts = format_size(size_bytes), format_size(limit_bytes)
    if texts[0] == texts[1] and size_bytes != limit_bytes:
        return f"{size_bytes} bytes", f"{limit_bytes} bytes"
    return texts
