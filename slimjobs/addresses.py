"""Which Redis a connection pool leads to, and as which user: one address for all pools that do.

An application may make a pool for each request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import ref

from redis.connection import BlockingConnectionPool, ConnectionPool
from redis.sentinel import SentinelConnectionPool

if TYPE_CHECKING:
    from collections.abc import Hashable

# How many are remembered anywhere: some applications have a pool for each request whose address is its own.
MOST_ADDRESSES = 100
# The password is not among them, since it says nothing of where.
_PARTS = ("host", "port", "path", "db", "username")
_PLAIN_POOLS = (ConnectionPool, BlockingConnectionPool)


def address_of(pool: ConnectionPool) -> Hashable:
    """Return the address of a pool; where only the pool knows, it is its own, and not kept alive by that."""
    options = pool.connection_kwargs
    # A provider of credentials decides who the user is, and a fakeredis has its server among the options.
    if options.get("credential_provider") is not None or is_fake(pool):
        return ref(pool)
    address = (pool.connection_class, *map(options.get, _PARTS))
    if type(pool) in _PLAIN_POOLS:
        return address
    if type(pool) is SentinelConnectionPool:
        sentinels = frozenset(address_of(each.connection_pool) for each in pool.sentinel_manager.sentinels)
        return (*address, pool.service_name, pool.is_master, sentinels)
    return ref(pool)


def is_fake(pool: ConnectionPool) -> bool:
    """Return whether this is a fakeredis."""
    module: str = pool.connection_class.__module__
    return module.startswith("fakeredis")
