"""The file of jobs that were set aside: one record a job, each with its length and checksum.

    header   the line `slimjobs quarantine 1`, and a record of {"quarantine", "prefix", "created_at"}
    record   length (4 bytes, big-endian), CRC-32 of the body (4 bytes), body (msgpack); for each name in its "large"
    part     length (8 bytes), the field's bytes, their CRC-32 (4 bytes)

What comes after the last whole record was being written when the process was killed: that job was not removed. A record
that is damaged is passed over, by its length. No record has length 0: so the parts behind a damaged one are known too.
A job's record has the header's "quarantine" too, lest damage to that one lose all; those of slimjobs 0.1.0 have not.
"""

from __future__ import annotations

import os
import struct
import zlib
from contextlib import suppress
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
_NOTHING_LOST = "The jobs that were set aside are whole in it, and the others in Redis; go on with another file."
_TRY_A_COPY = "Restore from a copy of it that is whole, if jobs were set aside into it."

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
        self._path = path
        try:
            # It holds whatever jobs hold: for its owner's eyes.
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise ConfigurationError(f"{path} exists", hint="Name a new file: this one may hold jobs.") from None
        except OSError as error:
            raise ConfigurationError(f"{path} cannot be written ({error.strerror})") from None
        self._file: BinaryIO = os.fdopen(file, "wb")
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

        Raises:
            ConfigurationError: They cannot be written.
        """
        try:
            for record in records:
                self._append(record, read_large)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            problem = f"{self._path} cannot be written any more ({error.strerror})"
            raise ConfigurationError(problem, hint=_NOTHING_LOST) from None

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):  # what is still in the buffer is of a job that was not removed
            self._file.close()

    def _append(self, record: Record, read_large: ReadLarge | None) -> None:
        body: Any = msgpack.packb(record, use_bin_type=True)
        self._file.write(_FRAME.pack(len(body), zlib.crc32(body)))
        self._file.write(body)
        for name in record.get("large", ()):
            assert read_large is not None
            with read_large(record["id"], name) as (size_bytes, pieces):
                self._append_part(size_bytes, pieces)

    def _append_part(self, size_bytes: int, pieces: Iterable[bytes]) -> None:
        checksum = 0
        self._file.write(_PART_SIZE.pack(size_bytes))
        for piece in pieces:
            checksum = zlib.crc32(piece, checksum)
            self._file.write(piece)
        self._file.write(_CHECKSUM.pack(checksum))


def read_records(path: Path) -> Iterator[Record]:
    """Yield the "quarantine" of the whole file, and then the records of its jobs, whose "large" is a `Part` by field.

    Jobs that are damaged are left out.

    Raises:
        ConfigurationError: It is no such file, or no record that is whole has its "quarantine".
    """
    try:
        with path.open("rb") as file:
            if file.read(len(HEADER)) != HEADER:
                raise ConfigurationError(f"{path} was not written by `slimjobs quarantine`")
            size_bytes = path.stat().st_size
            bodies = _read_bodies(file, size_bytes)
            records = (_read_parts(file, path, size_bytes, body) if body else None for body in bodies)
            whole = (record for record in records if record)
            first = next(whole, {})
            if "quarantine" not in first:
                problem = "is cut before its first job, or damaged where it says which Redis its jobs are from"
                raise ConfigurationError(f"{path} {problem}", hint=_TRY_A_COPY)
            yield {"quarantine": first["quarantine"]}
            if "id" in first:
                yield first
            yield from whole
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read ({error.strerror})") from None


def _read_bodies(file: BinaryIO, size_bytes: int) -> Iterator[bytes | None]:
    """Yield the bodies of records, None for each that is damaged, up to where the file ends or a length is impossible.

    Args:
        file: The file, where the last record ended.
        size_bytes: Its size.
    """
    while len(frame := file.read(_FRAME.size)) == _FRAME.size:
        length, checksum = _FRAME.unpack(frame)
        if not length:  # a part of a damaged record: what was taken for its checksum is its size
            file.seek(checksum + _CHECKSUM.size, os.SEEK_CUR)
            continue
        start = file.tell()
        if length > size_bytes - start:
            return
        # A length that is wrong may be any: what is not whole is not held.
        if _sum_up(file, length) == checksum:
            file.seek(start)
            yield file.read(length)
        else:
            yield None


def _read_parts(file: BinaryIO, path: Path, size_bytes: int, body: bytes) -> Record | None:
    """Return a record with its large fields, or None where one is damaged, or the file ends in it."""
    record: Record = msgpack.unpackb(body, raw=False, strict_map_key=False)
    parts = {name: _read_part(file, path, size_bytes) for name in record.get("large", ())}
    if None in parts.values():
        return None
    record["large"] = parts
    return record


def _read_part(file: BinaryIO, path: Path, size_bytes: int) -> Part | None:
    head = file.read(_PART_SIZE.size)
    part = Part(path, file.tell(), *_PART_SIZE.unpack(head)) if len(head) == _PART_SIZE.size else None
    if part is None or part.size_bytes + _CHECKSUM.size > size_bytes - part.start:
        file.seek(size_bytes)
        return None
    checksum = _sum_up(file, part.size_bytes)
    return part if _CHECKSUM.pack(checksum) == file.read(_CHECKSUM.size) else None


def _sum_up(file: BinaryIO, size_bytes: int) -> int:
    checksum = 0
    for piece in _pieces(file, size_bytes):
        checksum = zlib.crc32(piece, checksum)
    return checksum


def _pieces(file: BinaryIO, size_bytes: int) -> Iterator[bytes]:
    while size_bytes and (piece := file.read(min(size_bytes, _PIECE_BYTES))):
        size_bytes -= len(piece)
        yield piece
