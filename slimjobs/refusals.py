"""Counts refusals in memory, until this process writes to the ledger anyway.

A refusal leaves Redis as it was. So it is written with what comes next: an enqueue, the end of a
job, a read of the ledger, the process's exit; or a refusal that comes some seconds later.
"""

from __future__ import annotations

import atexit
import os
import time
from collections import Counter
from multiprocessing import util
from threading import Lock
from typing import TYPE_CHECKING

from redis import Redis
from redis.backoff import NoBackoff
from redis.connection import ConnectionPool, UnixDomainSocketConnection
from redis.retry import Retry

from slimjobs import entries
from slimjobs.addresses import MOST_ADDRESSES, address_of
from slimjobs.entries import Entry

if TYPE_CHECKING:
    from collections.abc import Hashable

_KEPT_SECONDS = 10.0
# How long a process that ends waits for all connections together, and then for an answer.
_EXIT_SECONDS = 1.0
_LEAST_SECONDS = 0.01


class _Pending:
    """What is not written yet of the calls refused at one address."""

    def __init__(self, connection: Redis) -> None:
        self.connection = connection
        self.since = time.monotonic()
        self.counts: Counter[tuple[str, str]] = Counter()


def note(connection: Redis, queue: str, task: str, number: int = 1) -> None:
    """Remember that calls were refused."""
    address = address_of(connection.connection_pool)
    with _lock:
        pending = _pending.get(address)
        is_full = pending is None and len(_pending) >= MOST_ADDRESSES
        oldest = next(iter(_pending.values())) if is_full else None
    if oldest is not None:
        _flush_soon(oldest.connection, _EXIT_SECONDS)
    elif pending is not None and time.monotonic() - pending.since > _KEPT_SECONDS:
        flush(connection)
    with _lock:
        if address not in _pending:
            _pending[address] = _Pending(connection)
        _pending[address].counts[queue, task] += number


def take(connection: Redis) -> list[Entry]:
    """Return what is not written yet, for the caller to write."""
    if not _pending:
        return []
    with _lock:
        pending = _pending.pop(address_of(connection.connection_pool), None)
    counts = pending.counts if pending is not None else {}
    return [Entry(queue, task, {"refused": number}) for (queue, task), number in counts.items()]


def give_back(connection: Redis, taken: list[Entry]) -> None:
    """Remember again what was taken and could not be written."""
    for entry in taken:
        note(connection, entry.queue, entry.task, entry.counts["refused"])


def flush(connection: Redis) -> None:
    """Write what is not written yet, as far as Redis can be reached."""
    waiting = take(connection)
    if waiting:
        entries.send(connection, waiting)


def flush_all() -> None:
    """Write what is not written yet at all addresses, as far as Redis can be reached."""
    for pending in list(_pending.values()):
        flush(pending.connection)


def flush_at_exit() -> None:
    """Write what is not written yet, as far as Redis answers soon: a process is not to hang for a count."""
    ends = time.monotonic() + _EXIT_SECONDS
    left = list(_pending.values())
    while left:
        # A share for each: one that does not answer is not to cost the others their counts.
        share_seconds = (ends - time.monotonic()) / len(left)
        _flush_soon(left.pop().connection, max(share_seconds, _LEAST_SECONDS))


def _flush_soon(connection: Redis, seconds: float) -> None:
    waiting = take(connection)
    if waiting and entries.runs_scripts(connection):
        pool = _hasty(connection.connection_pool, seconds)
        entries.send(Redis(connection_pool=pool), waiting)
        pool.disconnect()


def _hasty(pool: ConnectionPool, seconds: float) -> ConnectionPool:
    """Return a pool of the same settings, whose connections give up soon."""
    options = {**pool.connection_kwargs, "socket_timeout": seconds, "retry": Retry(NoBackoff(), 0)}
    if not issubclass(pool.connection_class, UnixDomainSocketConnection):
        options["socket_connect_timeout"] = seconds
    return ConnectionPool(connection_class=pool.connection_class, **options)


def forget() -> None:
    """Forget what is not written yet."""
    global _lock  # noqa: PLW0603  # after a fork another thread of the parent may hold it for ever
    _lock = Lock()
    _pending.clear()


_lock = Lock()
_pending: dict[Hashable, _Pending] = {}

atexit.register(flush_at_exit)
os.register_at_fork(after_in_child=forget)  # it is the parent's to write
# The processes of multiprocessing end without running exit handlers, but with finalizers of their own.
util.register_after_fork(_Pending, lambda _: util.Finalize(None, flush_at_exit, exitpriority=0))
