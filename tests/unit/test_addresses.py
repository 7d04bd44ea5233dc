"""Pools that lead to one Redis as one user have one address."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import fakeredis
import pytest
from redis import BlockingConnectionPool, Redis, UsernamePasswordCredentialProvider
from redis.sentinel import Sentinel

from slimjobs.addresses import address_of

if TYPE_CHECKING:
    from collections.abc import Hashable

URL = "redis://ann:secret@example.org:6379/1"


def address(url: str = URL, **options: Any) -> Hashable:
    return address_of(Redis.from_url(url, **options).connection_pool)


def of_sentinels(*hosts: str, name: str = "main", **options: Any) -> Hashable:
    sentinel: Any = Sentinel([(host, 26379) for host in hosts])  # type: ignore[no-untyped-call]  # redis-py's own
    return address_of(sentinel.master_for(name, **options).connection_pool)


def test_it_goes_by_redis_database_and_user() -> None:
    assert address() == address() == address(socket_timeout=3, decode_responses=True)
    assert address() == address_of(BlockingConnectionPool.from_url(URL))
    others = [
        URL.replace("ann", "bob"),
        URL.replace("example", "example2"),
        URL.replace("6379", "6380"),
        URL.replace("/1", "/2"),
        URL.replace("redis:", "rediss:"),
        "unix:///run/redis.sock?db=1",
        "unix:///run/redis2.sock?db=1",
    ]
    assert len({address(), *map(address, others)}) == len(others) + 1


def test_it_holds_no_password() -> None:
    assert "secret" not in repr(address())
    assert address() == address(URL.replace("secret", "changed"))


def test_sentinels_give_one_for_each_service() -> None:
    assert of_sentinels("a", "b", db=1) == of_sentinels("b", "a", db=1)
    others = [of_sentinels("a"), of_sentinels("a", "b"), of_sentinels("a", db=1), of_sentinels("a", name="other")]
    assert len(set(others)) == len(others)


@pytest.mark.parametrize(
    "make",
    [
        lambda: fakeredis.FakeRedis(host="localhost", server=fakeredis.FakeServer()),
        lambda: Redis(credential_provider=UsernamePasswordCredentialProvider("ann", "secret")),
    ],
    ids=["fakeredis", "a provider of credentials"],
)
def test_where_the_pool_alone_knows_it_is_its_own_and_not_kept_alive(make: Any) -> None:
    client = make()
    pool = client.connection_pool
    known: Any = address_of(pool)

    assert known == address_of(pool) != address_of(make().connection_pool)
    del client, pool
    gc.collect()
    assert known() is None
