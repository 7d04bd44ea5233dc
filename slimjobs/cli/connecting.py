"""The Redis that a command speaks to: its option, the connection, and what its errors say."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NoReturn

from redis import Redis
from redis.exceptions import AuthenticationWrongNumberOfArgsError, BusyLoadingError, OutOfMemoryError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from redis.exceptions import RedisError

# The second is the one of the `rq` command.
VARIABLES = ("REDIS_URL", "RQ_REDIS_URL")
DEFAULT_URL = "redis://localhost:6379/0"
NAME_IT = f"Name it with --redis-url or {VARIABLES[0]}"
# What redis-py puts behind the command of a pipeline that failed, which may hold a payload.
_BEHIND_COMMAND = " of pipeline caused error: "


def add_redis_url(parser: argparse.ArgumentParser) -> None:
    """Add the option that says which Redis, by the names that the `rq` command gives it too."""
    parser.add_argument(
        "--redis-url",
        "--url",
        "-u",
        metavar="URL",
        help=f"the Redis to use (default: the environment's {' or '.join(VARIABLES)}, else {DEFAULT_URL})",
    )
    parser.set_defaults(fail=parser.error)


def connect(arguments: argparse.Namespace) -> Redis:
    """Return a connection to the Redis that was asked for, which is not opened yet, and gives bytes.

    A URL that cannot be read or used ends the process as every wrong argument does, and says where it came from. It is
    not shown, since it may hold a password.

    Args:
        arguments: What a parser with `add_redis_url` has read.
    """
    source, url = "--redis-url", arguments.redis_url
    if url is None:
        source = next((name for name in VARIABLES if os.environ.get(name)), VARIABLES[0])
        url = os.environ.get(source) or DEFAULT_URL
    try:
        connection = Redis.from_url(url)
        # The URL may ask for texts, and goes before arguments.
        connection.connection_pool.connection_kwargs["decode_responses"] = False
        _try(connection)
    except Exception as error:  # noqa: BLE001  # redis-py hands options on as they are, and what they meet raises
        fail: Callable[[str], NoReturn] = arguments.fail
        fail(f"{source}: {error}".rstrip("."))
    return connection


def _try(connection: Redis) -> None:
    """Do what redis-py leaves for the first command, save for opening the connection."""
    pool = connection.connection_pool
    pool.connection_class(**pool.connection_kwargs)
    "".encode(pool.get_encoder().encoding)
    str(pool.connection_kwargs.get("host", "")).encode("idna")


def name_of(connection: Redis) -> str:
    """Return which Redis a connection is of, without its user and password."""
    kwargs: dict[str, Any] = connection.connection_pool.connection_kwargs
    place = kwargs.get("path") or f"{kwargs.get('host', 'localhost')}:{kwargs.get('port', 6379)}"
    return f"{place}, database {kwargs.get('db') or 0}"


def said(error: RedisError) -> str:
    """Return what Redis said, without the command that it said it of."""
    words = str(error)
    return words.rpartition(_BEHIND_COMMAND)[2] if words.startswith("Command # ") else words


def explain(error: RedisError) -> str:
    """Return what Redis said, and the next step where there is one, in a line."""
    if isinstance(error, OutOfMemoryError):
        return "Redis is at its maxmemory and refuses to write. Raise it for the time: CONFIG SET maxmemory."
    is_of_connection = isinstance(
        error, (RedisConnectionError, RedisTimeoutError, AuthenticationWrongNumberOfArgsError)
    ) and not isinstance(error, BusyLoadingError)
    return f"{said(error).rstrip('.')}. {NAME_IT}." if is_of_connection else said(error)
