"""Run RQ's own test suite with slimjobs' classes in the place of RQ's.

    python tests/rq_suite/run.py                 with RQ's pickle, and with slimjobs' serializer
    python tests/rq_suite/run.py slim -k retry   one of them, with arguments for pytest
    python tests/rq_suite/run.py stock           RQ as it is, to compare

The suite is in the source distribution of the installed RQ, which pip fetches. Tests that cannot pass are in
`fails_with_pickle.txt` and `fails_with_slim.txt`, each under its reason. The exit status is 0 when these fail and all
others pass, 1 when not.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from mirakuru import TCPExecutor
from port_for import get_port

from slimjobs.demo.redis_server import find_redis_server

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE = Path(__file__).parent
KINDS = ("pickle", "slim")
START_SECONDS = 20
MOST_SECONDS = 900
# RQ's tests look for an empty one of 17 databases.
DATABASES = 17


def fetch_suite(folder: Path) -> Path:
    """Return the folder of the unpacked source distribution of the installed RQ."""
    wanted = f"rq=={version('rq')}"
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", "-d", folder, wanted],
        check=True,
    )
    (archive,) = folder.glob("rq-*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data") if hasattr(tarfile, "data_filter") else tar.extractall(folder)
    return folder / archive.name.removesuffix(".tar.gz")


def start(
    kind: str, suite: Path, folder: Path, arguments: Sequence[str]
) -> tuple[TCPExecutor, subprocess.Popen[bytes]]:
    """Start a Redis and the suite; its output goes to a file of the kind's name."""
    own = folder / kind
    own.mkdir()
    shutil.copytree(suite / "tests", own / "tests")  # without its `rq`: the installed one is tested
    shutil.copy(suite / "pyproject.toml", own)
    port = get_port(None)
    assert port is not None
    command = [find_redis_server() or "redis-server", "--port", str(port), "--databases", str(DATABASES), "--save", ""]
    redis = TCPExecutor(command, host="127.0.0.1", port=port, timeout=START_SECONDS, cwd=own).start()
    listed = HERE / f"fails_with_{kind}.txt"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SLIMJOBS_", "RQ_"))}
    environment = {
        **inherited,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),  # the suite runs `rqworker`
        "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "SLIMJOBS_RQ_SUITE": kind,
        "SLIMJOBS_RQ_SUITE_PORT": str(port),
        "SLIMJOBS_RQ_SUITE_LIST": str(listed if listed.exists() else os.devnull),
    }
    pytest = [sys.executable, "-m", "pytest", "-q", "-p", "listed", "-p", "no:cacheprovider", "-W", "ignore", "tests"]
    with (folder / f"{kind}.txt").open("wb") as output:
        process = subprocess.Popen(
            [*pytest, *arguments],
            cwd=own,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    return redis, process


def finish(process: subprocess.Popen[bytes]) -> bool:
    """Wait for the suite, and return whether it passed; workers that a failed test left behind may hold it up."""
    try:
        return process.wait(MOST_SECONDS) == 0
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return False


def main(argv: Sequence[str]) -> int:
    """Run the suite, all kinds at once, and print what each said."""
    named = [word for word in argv if word in {*KINDS, "stock"}]
    arguments = [word for word in argv if word not in named]
    status = 0
    with tempfile.TemporaryDirectory(prefix="slimjobs-rq-suite-") as name:
        folder = Path(name)
        suite = fetch_suite(folder)
        started = {kind: start(kind, suite, folder, arguments) for kind in named or KINDS}
        for kind, (redis, process) in started.items():
            status = status if finish(process) else 1
            redis.stop()
            print(f"-- {suite.name}'s own tests, with {kind}:")
            print((folder / f"{kind}.txt").read_text(errors="replace"))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
