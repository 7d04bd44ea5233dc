"""A large field of a hash on its way from or to Redis in pieces, so that no process holds the whole of it.

redis-py gives and takes values whole, and needs some three times their size. So one field is asked for, or sent, over a
connection of its pool, and its bytes pass by.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from redis.exceptions import ConnectionError as RedisConnectionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from redis import Redis

# A field of more than this is large: a process may hold some of that size, and not one of any size.
LARGE_BYTES = 2**20
_PIECE_BYTES = 2**16


@contextmanager
def read_field(connection: Redis, key: str, name: bytes) -> Iterator[tuple[int, Iterator[bytes]]]:
    """Give the size of a field in bytes, and its bytes in pieces.

    Args:
        connection: The Redis; another connection of its pool is used.
        key: The key of the hash.
        name: The field; one that is not there is read as an empty one.

    Raises:
        redis.exceptions.ConnectionError: The connection was lost, or Redis refuses.
    """
    with connection.client() as client:  # type: ignore[no-untyped-call]
        link: Any = client.connection
        try:
            link.send_command("HGET", key, name)
            size_bytes = _read_size(link)
            pieces = _pieces(link, size_bytes or 0)
            yield size_bytes or 0, pieces
            for _ in pieces:
                pass
            if size_bytes is not None:
                _read_line(link)
        except BaseException:
            link.disconnect()  # what was not read would be taken for the next answer
            raise


def write_field(connection: Redis, key: str, name: bytes, size_bytes: int, pieces: Iterable[bytes]) -> None:
    """Set a field of a hash to what comes in pieces.

    Args:
        connection: The Redis; another connection of its pool is used.
        key: The key of the hash.
        name: The field.
        size_bytes: How many bytes will come.
        pieces: The bytes.

    Raises:
        redis.exceptions.RedisError: It was not set.
    """
    with connection.client() as client:  # type: ignore[no-untyped-call]
        link: Any = client.connection
        link.send_packed_command(_command(key.encode(), name, size_bytes, pieces))
        link.read_response()


def _command(key: bytes, name: bytes, size_bytes: int, pieces: Iterable[bytes]) -> Iterator[bytes]:
    words = b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in (b"HSET", key, name))
    yield b"*4\r\n%s$%d\r\n" % (words, size_bytes)
    yield from pieces
    yield b"\r\n"


def _pieces(link: Any, size_bytes: int) -> Iterator[bytes]:
    while size_bytes:
        piece = _receive(link, min(size_bytes, _PIECE_BYTES))
        size_bytes -= len(piece)
        yield piece


def _read_size(link: Any) -> int | None:
    """Return the size of the answer in bytes, or None where there is no such field."""
    head = _read_line(link)
    if head in (b"$-1", b"_"):  # in RESP2, and in RESP3
        return None
    if head[:1] != b"$":
        raise RedisConnectionError(f"Redis does not give a field: {head[:200].decode(errors='replace')}")
    return int(head[1:])


def _read_line(link: Any) -> bytes:
    line = b""
    while not line.endswith(b"\r\n"):  # byte by byte, since what follows is none of this line
        line += _receive(link, 1)
    return line[:-2]


def _receive(link: Any, most_bytes: int) -> bytes:
    try:
        received: bytes = link._sock.recv(most_bytes)  # noqa: SLF001  # redis-py has no reading in pieces
    except OSError as error:
        raise RedisConnectionError(f"Error while reading from socket: {error}") from None
    if not received:
        raise RedisConnectionError("Connection closed by server.")
    return received
