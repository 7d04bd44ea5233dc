"""The file of jobs that were set aside: one record a job, each with its length and checksum.

    header   the line `slimjobs quarantine 1`, and a record of {"quarantine", "prefix", "created_at"}
    record   length (4 bytes, big-endian), CRC-32 of the body (4 bytes), body (msgpack)

What comes after the last whole record was being written when the process was killed: that job was not removed.
"""

from __future__ import annotations

import os
import struct
import zlib
from typing import TYPE_CHECKING, Any, BinaryIO

import msgpack

from slimjobs.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

HEADER = b"slimjobs quarantine 1\n"
_FRAME = struct.Struct(">II")

# Keys are texts; a job's fields and ids are bytes, as Redis has them.
Record = dict[str, Any]


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

    def append(self, records: Iterable[Record]) -> None:
        """Write records; they are on the disk when this returns."""
        for record in records:
            body: Any = msgpack.packb(record, use_bin_type=True)
            self._file.write(_FRAME.pack(len(body), zlib.crc32(body)))
            self._file.write(body)
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_records(path: Path) -> Iterator[Record]:
    """Yield the record of the whole file, and then those of its jobs.

    Raises:
        ConfigurationError: It is no such file, or is damaged before its end.
    """
    try:
        size_bytes = path.stat().st_size
        with path.open("rb") as file:
            if file.read(len(HEADER)) != HEADER:
                raise ConfigurationError(f"{path} was not written by `slimjobs quarantine`")
            while len(frame := file.read(_FRAME.size)) == _FRAME.size:
                length, checksum = _FRAME.unpack(frame)
                if length > size_bytes - file.tell():
                    return
                body = file.read(length)
                if zlib.crc32(body) != checksum:
                    if file.tell() == size_bytes:
                        return
                    at = file.tell() - length
                    raise ConfigurationError(f"{path} is damaged at byte {at}; the jobs before it were read")
                yield msgpack.unpackb(body, raw=False, strict_map_key=False)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read ({error.strerror})") from None
