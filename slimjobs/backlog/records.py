"""The file of jobs that were set aside: one record a job, each with its length and checksum.

    header   the line `slimjobs quarantine 1`, and a record of {"quarantine", "prefix", "created_at"}
    record   length (4 bytes, big-endian), CRC-32 of the body (4 bytes), body (msgpack); for each name in its "large"
    part     length (8 bytes), the field's bytes, their CRC-32 (4 bytes)

What comes after the last whole record was being written when the process was killed: that job was not removed.
"""

from __future__ import annotations

import os
import struct
import zlib
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import msgpack

from slimjobs.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    ReadLarge = Callable[[str, bytes], AbstractContextManager[tuple[int, Iterator[bytes]]]]

HEADER = b"slimjobs quarantine 1\n"
_FRAME = struct.Struct(">II")
_PART_SIZE, _CHECKSUM = struct.Struct(">Q"), struct.Struct(">I")
_PIECE_BYTES = 2**16

# Keys are texts; a job's fields and ids are bytes, as Redis has them.
Record = dict[str, Any]


class Part(NamedTuple):
    """A large field of a job in its file.

    Attributes:
        path: The file.
        start: Where its bytes begin.
        size_bytes: How many they are.
    """

    path: Path
    start: int
    size_bytes: int

    def pieces(self) -> Iterator[bytes]:
        """Yield its bytes."""
        with self.path.open("rb") as file:
            file.seek(self.start)
            yield from _pieces(file, self.size_bytes)


class RecordWriter:
    """Writes a file that did not exist before.

    Args:
        path: The file.
        about: The record of the whole file.

    Raises:
        ConfigurationError: It exists, or cannot be written.
    """

    def __init__(self, path: Path, about: Record) -> None:
        try:
            self._file: BinaryIO = path.open("xb")
        except FileExistsError:
            raise ConfigurationError(f"{path} exists", hint="Name a new file: this one may hold jobs.") from None
        except OSError as error:
            raise ConfigurationError(f"{path} cannot be written ({error.strerror})") from None
        self._file.write(HEADER)
        self.append([about])
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # else the name of the file may be lost, and all in it
        finally:
            os.close(folder)

    def append(self, records: Iterable[Record], read_large: ReadLarge | None = None) -> None:
        """Write records; they are on the disk when this returns.

        Args:
            records: The records. "large" has the names of those fields that are not in "fields".
            read_large: Gives such a field's size in bytes, and its bytes in pieces.
        """
        for record in records:
            body: Any = msgpack.packb(record, use_bin_type=True)
            self._file.write(_FRAME.pack(len(body), zlib.crc32(body)))
            self._file.write(body)
            for name in record.get("large", ()):
                assert read_large is not None
                with read_large(record["id"], name) as (size_bytes, pieces):
                    self._append_part(size_bytes, pieces)
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _append_part(self, size_bytes: int, pieces: Iterable[bytes]) -> None:
        checksum = 0
        self._file.write(_PART_SIZE.pack(size_bytes))
        for piece in pieces:
            checksum = zlib.crc32(piece, checksum)
            self._file.write(piece)
        self._file.write(_CHECKSUM.pack(checksum))


def read_records(path: Path) -> Iterator[Record]:
    """Yield the record of the whole file, and then those of its jobs, whose "large" is a `Part` by field.

    Raises:
        ConfigurationError: It is no such file, or is damaged before its end.
    """
    try:
        with path.open("rb") as file:
            if file.read(len(HEADER)) != HEADER:
                raise ConfigurationError(f"{path} was not written by `slimjobs quarantine`")
            size_bytes = path.stat().st_size
            while (record := _read_record(file, path, size_bytes)) is not None:
                yield record
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read ({error.strerror})") from None


def _read_record(file: BinaryIO, path: Path, size_bytes: int) -> Record | None:
    """Return the next record, or None where the file ends, in a record too.

    Args:
        file: The file, where the last record ended.
        path: The same.
        size_bytes: Its size.
    """
    start = file.tell()
    frame = file.read(_FRAME.size)
    if len(frame) < _FRAME.size:
        return None
    length, checksum = _FRAME.unpack(frame)
    if length > size_bytes - file.tell():
        return None
    body = file.read(length)
    is_whole = zlib.crc32(body) == checksum
    if is_whole:
        record: Record = msgpack.unpackb(body, raw=False, strict_map_key=False)
        parts = {name: _read_part(file, path, size_bytes) for name in record.get("large", ())}
        if any(part is None for part in parts.values()):
            return None
        record["large"] = parts
        return record
    if file.tell() == size_bytes:
        return None
    raise _damaged(path, start)


def _read_part(file: BinaryIO, path: Path, size_bytes: int) -> Part | None:
    """Return where a large field is, or None where the file ends in it."""
    head = file.read(_PART_SIZE.size)
    if len(head) < _PART_SIZE.size:
        return None
    part = Part(path, file.tell(), *_PART_SIZE.unpack(head))
    if part.size_bytes + _CHECKSUM.size > size_bytes - part.start:
        return None
    checksum = 0
    for piece in _pieces(file, part.size_bytes):
        checksum = zlib.crc32(piece, checksum)
    if _CHECKSUM.pack(checksum) == file.read(_CHECKSUM.size):
        return part
    if file.tell() == size_bytes:
        return None
    raise _damaged(path, part.start)


def _pieces(file: BinaryIO, size_bytes: int) -> Iterator[bytes]:
    while size_bytes and (piece := file.read(min(size_bytes, _PIECE_BYTES))):
        size_bytes -= len(piece)
        yield piece


def _damaged(path: Path, at: int) -> ConfigurationError:
    return ConfigurationError(f"{path} is damaged at byte {at}; the jobs before it were read")
