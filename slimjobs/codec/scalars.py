"""Values that msgpack does not know, each to a few bytes and back: dates, numbers, UUIDs."""

from __future__ import annotations

import re
import struct
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import TYPE_CHECKING, Any
from uuid import UUID
from zoneinfo import TZPATH, ZoneInfo

from slimjobs.codec import wire
from slimjobs.errors import PayloadDecodeError, UnsupportedTypeError

if TYPE_CHECKING:
    from collections.abc import Callable

try:  # the zones of machines that bring none of their own
    import tzdata
except ImportError:
    tzdata = None
else:
    # zoneinfo imports tzdata's packages one by one as it looks for zones, but decoding imports nothing.
    if not any(Path(root).is_dir() for root in TZPATH):
        for package in walk_packages(tzdata.__path__, "tzdata."):
            import_module(package.name)
        ZoneInfo("UTC")  # what importlib itself imports to read one

_NAIVE, _UTC, _OFFSET, _ZONE = range(4)
_DATETIME = struct.Struct(">HBBBBBIBB")
_TIME = struct.Struct(">BBBIBB")
_DATE = struct.Struct(">i")
_TIMEDELTA = struct.Struct(">iii")
_OFFSET_MICROSECONDS = struct.Struct(">q")
_COMPLEX = struct.Struct(">dd")
_ZONE_KEY = re.compile(r"[A-Za-z0-9_+-]{1,64}(?:/[A-Za-z0-9_+-]{1,64}){0,3}")
_MICROSECOND = timedelta(microseconds=1)


def encode_datetime(value: datetime) -> bytes:
    """Return a datetime's fields, its fold and its time zone."""
    kind, zone = _encode_zone(value.tzinfo)
    fields = (value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond)
    return _DATETIME.pack(*fields, value.fold, kind) + zone


def decode_datetime(data: bytes) -> datetime:
    """Return the datetime that was encoded."""
    *fields, fold, kind = _DATETIME.unpack_from(data)
    year, month, day, hour, minute, second, microsecond = fields
    zone = _decode_zone(kind, data[_DATETIME.size :])
    return datetime(year, month, day, hour, minute, second, microsecond, zone, fold=fold)


def encode_time(value: time) -> bytes:
    """Return a time's fields, its fold and its time zone."""
    kind, zone = _encode_zone(value.tzinfo)
    return _TIME.pack(value.hour, value.minute, value.second, value.microsecond, value.fold, kind) + zone


def decode_time(data: bytes) -> time:
    """Return the time that was encoded."""
    *fields, fold, kind = _TIME.unpack_from(data)
    hour, minute, second, microsecond = fields
    return time(hour, minute, second, microsecond, _decode_zone(kind, data[_TIME.size :]), fold=fold)


def _encode_zone(zone: tzinfo | None) -> tuple[int, bytes]:
    if zone is None:
        return _NAIVE, b""
    if zone is timezone.utc:
        return _UTC, b""
    if type(zone) is timezone:
        offset = _OFFSET_MICROSECONDS.pack(zone.utcoffset(None) // _MICROSECOND)
        # A name that was not given follows from the offset.
        name = zone.tzname(None)
        given = name != timezone(zone.utcoffset(None)).tzname(None)
        return _OFFSET, offset + (name.encode("utf-8", "surrogatepass") if given else b"")
    if type(zone) is ZoneInfo and zone.key and _ZONE_KEY.fullmatch(zone.key):
        return _ZONE, zone.key.encode()
    raise UnsupportedTypeError(
        f"a time zone of type {type(zone).__module__}.{type(zone).__qualname__} cannot travel",
        hint="Use datetime.timezone or zoneinfo.ZoneInfo.",
    )


def _decode_zone(kind: int, data: bytes) -> tzinfo | None:
    if kind == _ZONE:
        return _find_zone(data.decode())
    if kind == _OFFSET:
        offset = timedelta(microseconds=_OFFSET_MICROSECONDS.unpack_from(data)[0])
        name = data[_OFFSET_MICROSECONDS.size :]
        return timezone(offset, name.decode("utf-8", "surrogatepass")) if name else timezone(offset)
    if data or kind not in (_NAIVE, _UTC):
        raise ValueError(f"time zone of kind {kind}")
    return timezone.utc if kind == _UTC else None


@lru_cache(maxsize=512)
def _find_zone(key: str) -> ZoneInfo:
    # ZoneInfo imports from the tzdata package when it does not find a key elsewhere: it is asked
    # only for zones whose file is there, so that bytes from outside cannot start an import.
    if not _ZONE_KEY.fullmatch(key):
        raise ValueError("not the name of a time zone")
    roots = [Path(root) for root in TZPATH]
    if tzdata is not None:
        roots.append(Path(tzdata.__file__).parent / "zoneinfo")
    if not any((root / key).is_file() for root in roots):
        raise PayloadDecodeError(
            f"the time zone {key} is not known on this machine", hint="Install the tzdata package where jobs are read."
        )
    return ZoneInfo(key)


def encode_integer(value: int) -> bytes:
    """Return an integer of any size in two's complement, the most significant byte first."""
    return value.to_bytes((value.bit_length() + 8) // 8, "big", signed=True)


def encode_timedelta(value: timedelta) -> bytes:
    """Return the three numbers that a timedelta consists of."""
    return _TIMEDELTA.pack(value.days, value.seconds, value.microseconds)


ENCODERS: dict[type[Any], tuple[int, Callable[[Any], bytes]]] = {
    datetime: (wire.DATETIME, encode_datetime),
    date: (wire.DATE, lambda value: _DATE.pack(value.toordinal())),
    time: (wire.TIME, encode_time),
    timedelta: (wire.TIMEDELTA, encode_timedelta),
    Decimal: (wire.DECIMAL, lambda value: str(value).encode("ascii")),
    UUID: (wire.UUID, lambda value: value.bytes),
    int: (wire.INTEGER, encode_integer),
    complex: (wire.COMPLEX, lambda value: _COMPLEX.pack(value.real, value.imag)),
}

DECODERS: dict[int, Callable[[bytes], Any]] = {
    wire.DATETIME: decode_datetime,
    wire.DATE: lambda data: date.fromordinal(*_DATE.unpack(data)),
    wire.TIME: decode_time,
    wire.TIMEDELTA: lambda data: timedelta(*_TIMEDELTA.unpack(data)),
    wire.DECIMAL: lambda data: Decimal(data.decode("ascii")),
    wire.UUID: lambda data: UUID(bytes=data),
    wire.INTEGER: lambda data: int.from_bytes(data, "big", signed=True),
    wire.COMPLEX: lambda data: complex(*_COMPLEX.unpack(data)),
}
