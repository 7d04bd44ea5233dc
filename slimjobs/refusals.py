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
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.connection import ConnectionPool, UnixDomainSocketConnection
from redis.retry import Retry

from slimjobs import entries
from slimjobs.entries import Entry

_KEPT_SECONDS = 10.0
# How long a process that ends waits for a connection, and then for an answer.
_EXIT_SECONDS = 1.0


class _Pending:
    """What is not written yet of the calls refused on one connection pool."""

    def __init__(self, connection: Redis) -> None:
        self.connection = connection
        self.since = time.monotonic()
        self.counts: Counter[tuple[str, str]] = Counter()


def note(connection: Redis, queue: str, task: str) -> None:
    """Remember that a call was refused."""
    pool = connection.connection_pool
    with _lock:
        pending = _pending.get(pool)
    if pending is not None and time.monotonic() - pending.since > _KEPT_SECONDS:
        flush(connection)
    with _lock:
        if pool not in _pending:
            _pending[pool] = _Pending(connection)
        _pending[pool].counts[queue, task] += 1


def take(connection: Redis) -> list[Entry]:
    """Return what is not written yet, for the caller to write."""
    if not _pending:
        return []
    with _lock:
        pending = _pending.pop(connection.connection_pool, None)
    counts = pending.counts if pending is not None else {}
    return [Entry(queue, task, {"refused": number}) for (queue, task), number in counts.items()]


def give_back(connection: Redis, taken: list[Entry]) -> None:
    """Remember again what was taken and could not be written."""
    for entry in taken:
        for _ in range(entry.counts["refused"]):
            note(connection, entry.queue, entry.task)


def flush(connection: Redis) -> None:
    """Write what is not written yet, as far as Redis can be reached."""
    waiting = take(connection)
    if waiting:
        entries.send(connection, waiting)


def flush_all() -> None:
    """Write what is not written yet on all connections, as far as Redis can be reached."""
    for pending in list(_pending.values()):
        flush(pending.connection)


def flush_at_exit() -> None:
    """Write what is not written yet, as far as Redis answers soon: a process is not to hang for a count."""
    for pending in list(_pending.values()):
        waiting = take(pending.connection)
        if waiting and entries.runs_scripts(pending.connection):
            pool = _hasty(pending.connection.connection_pool)
            entries.send(Redis(connection_pool=pool), waiting)
            pool.disconnect()


def _hasty(pool: ConnectionPool) -> ConnectionPool:
    """Return a pool of the same settings, whose connections give up soon."""
    options = {**pool.connection_kwargs, "socket_timeout": _EXIT_SECONDS, "retry": Retry(NoBackoff(), 0)}
    if not issubclass(pool.connection_class, UnixDomainSocketConnection):
        options["socket_connect_timeout"] = _EXIT_SECONDS
    return ConnectionPool(connection_class=pool.connection_class, **options)


def forget() -> None:
    """Forget what is not written yet."""
    global _lock  # noqa: PLW0603  # after a fork another thread of the parent may hold it for ever
    _lock = Lock()
    _pending.clear()


_lock = Lock()
_pending: dict[Any, _Pending] = {}

atexit.register(flush_at_exit)
os.register_at_fork(after_in_child=forget)  # it is the parent's to write
# The processes of multiprocessing end without running exit handlers, but with finalizers of their own.
util.register_after_fork(_Pending, lambda _: util.Finalize(None, flush_at_exit, exitpriority=0))
