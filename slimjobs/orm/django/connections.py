"""What a forked process leaves to its parent: the connections that were open, and the pools."""

from __future__ import annotations

import os
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connections


def _forget_connections() -> None:
    """Leave open connections to the process that this one was forked from; new ones are opened when they are needed."""
    if not settings.configured:
        return
    try:
        opened: list[Any] = connections.all(initialized_only=True)
    except ImproperlyConfigured:  # there can be none
        return
    for connection in opened:
        # A test's transaction goes on, and a database in memory is all in its connection.
        if connection.in_atomic_block or (connection.vendor == "sqlite" and connection.is_in_memory_db()):
            continue
        # Kept, since a driver may say goodbye to the server when its connection is collected.
        _inherited.append(connection.connection)
        connection.connection = None
        # Those of all aliases of its backend; a pool's threads are not there after a fork.
        pools = getattr(connection, "_connection_pools", {})
        _inherited.extend(pools.values())
        pools.clear()


_inherited: list[Any] = []
os.register_at_fork(after_in_child=_forget_connections)
