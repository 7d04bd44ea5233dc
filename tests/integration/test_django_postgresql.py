"""Django's models on PostgreSQL: what SQLite cannot show, such as a connection that dies while it is idle.

Django is set up once in a process, so each test is a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from postgres_server import PostgresServer

pytestmark = pytest.mark.slow

PREPARED = """
import pathlib, sys
import psycopg
from shop import databases
databases.set_up(pathlib.Path(sys.argv[1]))
databases.empty()
from django.db import OperationalError, ProgrammingError, connection, transaction
from django.test.utils import CaptureQueriesContext
from shop.models import Delivery, Email, Newsletter
from slimjobs import RecordUnavailableError, Ref, Serializer
from slimjobs.hydration import hydrate
from slimjobs.policies import Policy

def trip(value):
    return hydrate(Serializer.loads(Serializer.dumps(value))).values[0]

def kill():
    "End the connection's process, as a restart of the server does."
    with psycopg.connect(sys.argv[2], autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [connection.connection.info.backend_pid])

def raised(error, call):
    try:
        call()
    except error as caught:
        return caught
    raise AssertionError(f"{error} was not raised")

email = Email.everything.create(subject="Hello")
"""


@pytest.fixture(scope="module")
def server_url(postgres: PostgresServer) -> str:
    """The URL of a PostgreSQL with the shop's databases."""
    postgres.make("shop_default", "shop_archive")
    return postgres.url


def run(code: str, server_url: str, tmp_path: Path) -> None:
    environ = {
        **os.environ,
        "SHOP_DATABASE_URL": server_url,
        "PYTHONPATH": str(Path(__file__).parents[1] / "support"),
    }
    result = subprocess.run(
        [sys.executable, "-c", PREPARED + code, str(tmp_path), server_url],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


def test_a_connection_that_died_while_it_was_idle_is_made_again(server_url: str, tmp_path: Path) -> None:
    code = """
kill()
assert trip(email) == email
# In a transaction, what was done before is lost, and nothing is repeated.
def lost():
    with transaction.atomic():
        Email.everything.update(subject="Changed")
        kill()
        trip(email)
error = raised(RecordUnavailableError, lost)
assert isinstance(error.__cause__, OperationalError), error.__cause__
assert trip(email).subject == "Hello"
transaction.set_autocommit(False)
Email.everything.update(subject="Changed")
kill()
raised(RecordUnavailableError, lambda: trip(email))
"""
    run(code, server_url, tmp_path)


def test_unreachable_and_missing_are_told_apart(server_url: str, tmp_path: Path) -> None:
    code = """
for setting, value in (("PORT", "1"), ("HOST", "/nowhere"), ("NAME", "nothing"), ("USER", "nobody")):
    right = connection.settings_dict[setting]
    connection.close()
    connection.settings_dict[setting] = value
    error = raised(RecordUnavailableError, lambda: trip(email))
    assert error.refs == (Ref("shop.Email", email.pk, "default"),)
    connection.settings_dict[setting] = right
    assert trip(email) == email
with connection.cursor() as cursor:
    cursor.execute("ALTER TABLE shop_newsletter RENAME TO gone")
raised(ProgrammingError, lambda: Ref("shop.Newsletter", 1).load())
with connection.cursor() as cursor:
    cursor.execute("ALTER TABLE gone RENAME TO shop_newsletter")
"""
    run(code, server_url, tmp_path)


def test_many_keys_and_queries(server_url: str, tmp_path: Path) -> None:
    code = """
rows = Delivery.objects.bulk_create([Delivery(email=email, number=number) for number in range(10_000)])
emails = Email.everything.bulk_create([Email(subject=str(number)) for number in range(10_000)])
for models, expected in ((rows, 5), (emails, 1)):
    with CaptureQueriesContext(connection) as asked:
        assert trip(models) == models
    assert len(asked) == expected, len(asked)
with CaptureQueriesContext(connection) as asked:
    assert hydrate([Ref("shop.Email", -number) for number in range(65_536)], policy=Policy("none")).missing
assert len(asked) == 2, len(asked)
for queryset in (
    Delivery.objects.order_by("-number")[5:9],
    Email.everything.filter(pk__lt=3).union(Email.everything.filter(pk__gt=9_990)).order_by("-subject"),
    Email.everything.order_by("subject", "-pk").distinct("subject")[:9],
    Email.everything.filter(deliveries__number__lt=3).distinct(),
):
    assert trip(queryset) == list(queryset.all())
"""
    run(code, server_url, tmp_path)


@pytest.mark.parametrize("is_pooled", [False, True])
def test_a_fork_does_not_use_its_parents_connections(is_pooled: bool, server_url: str, tmp_path: Path) -> None:
    if is_pooled:
        pytest.importorskip("psycopg_pool")
    code = """
import os
from django.db import connections
def backend():
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return cursor.fetchone()[0]
if IS_POOLED:
    connections.close_all()
    connection.settings_dict["OPTIONS"]["pool"] = {"min_size": 1, "max_size": 2, "timeout": 5}
before = backend()
reading, writing = os.pipe()
child = os.fork()
if child == 0:
    try:
        os.write(writing, f"{backend()} {trip(email) == email}".encode())
        connections.close_all()
    finally:
        os._exit(0)
os.waitpid(child, 0)
told = os.read(reading, 100).decode().split()
assert told[1:] == ["True"] and told[0] != str(before), (told, before)
assert backend() == before and trip(email) == email
if IS_POOLED:
    connections.close_all()
    connection.close_pool()
"""
    run(code.replace("IS_POOLED", str(is_pooled)), server_url, tmp_path)
