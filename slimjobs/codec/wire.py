"""The constants of the wire format, version 1: what each code stands for, for ever.

Bytes begin with 0xC1 (which msgpack never uses, and no pickle or JSON starts with) and a version
byte. Then comes msgpack: an array of four for a call (function, instance, args, kwargs), an array
of one for a value. A type that msgpack does not know is either an ext value with its few bytes
inside, or an array headed by a marker, an ext value without bytes: `[TUPLE, 1, 2]`. So everything
is written and read in the one pass that msgpack makes in C.
"""

from __future__ import annotations

MAGIC = b"\xc1"
VERSION = 1
HEADER = MAGIC + bytes([VERSION])

# Ext codes that head arrays.
TUPLE, SET, FROZENSET, REF, ENUM, VALUE = range(1, 7)

# The most bits of a combination of flags: Python makes a member for every one it has not seen.
MOST_FLAGS = 4096

# Ext codes with bytes.
DATETIME, DATE, TIME, TIMEDELTA, DECIMAL, UUID, INTEGER, COMPLEX = range(16, 24)
