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
MOST_ATTEMPTS = 3
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


class Suite:
    """RQ's tests in a folder of their own, with one kind of serializer and a Redis of their own.

    Args:
        kind: "pickle", "slim" or "stock".
        source: The unpacked source distribution.
        folder: Where to work.
    """

    def __init__(self, kind: str, source: Path, folder: Path) -> None:
        self.kind = kind
        self._folder = folder / kind
        self._folder.mkdir()
        shutil.copytree(source / "tests", self._folder / "tests")  # without its `rq`: the installed one is tested
        shutil.copy(source / "pyproject.toml", self._folder)
        self._port = get_port(None) or 0
        server = find_redis_server() or "redis-server"
        command = [server, "--port", str(self._port), "--databases", str(DATABASES), "--save", ""]
        self._redis = TCPExecutor(
            command, host="127.0.0.1", port=self._port, timeout=START_SECONDS, cwd=self._folder
        ).start()

    def start(self, *arguments: str) -> None:
        """Start pytest; its output goes to a file."""
        pytest = [sys.executable, "-m", "pytest", "-q", "-p", "listed", "-W", "ignore", "tests", *arguments]
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                pytest,
                cwd=self._folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def ends_well(self) -> bool:
        """Wait for the end, print the output, and return whether all passed."""
        try:
            status = self._process.wait(MOST_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            status = self._process.wait()
        print(f"-- RQ's own tests, with {self.kind}:")
        print(self._output.read_text(errors="replace"), flush=True)
        return status == 0

    def stop(self) -> None:
        """Stop Redis."""
        self._redis.stop()

    @property
    def _output(self) -> Path:
        return self._folder / "output.txt"

    def _environment(self) -> dict[str, str]:
        listed = HERE / f"fails_with_{self.kind}.txt"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SLIMJOBS_", "RQ_"))}
        return {
            **inherited,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),  # it runs `rqworker`
            "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # they are here for our tests; one would mix up the order of RQ's
            "SLIMJOBS_RQ_SUITE": self.kind,
            "SLIMJOBS_RQ_SUITE_PORT": str(self._port),
            "SLIMJOBS_RQ_SUITE_LIST": str(listed if listed.exists() else os.devnull),
        }


def main(argv: Sequence[str]) -> int:
    """Run the suite, all kinds at once, and print what each said.

    Some of RQ's tests expect processes to start and end within half a second. What fails beside others is run again
    by itself, up to three times, which is printed too: look there for what fails now and then.
    """
    kinds = [word for word in argv if word in {*KINDS, "stock"}]
    arguments = [word for word in argv if word not in kinds]
    with tempfile.TemporaryDirectory(prefix="slimjobs-rq-suite-") as name:
        folder = Path(name)
        source = fetch_suite(folder)
        suites = [Suite(kind, source, folder) for kind in kinds or KINDS]
        for suite in suites:
            suite.start(*arguments)
        failed = [suite for suite in suites if not suite.ends_well()]
        for attempt in range(1, MOST_ATTEMPTS + 1):
            still_failed = []
            for suite in failed:
                print(f"-- with {suite.kind}, what failed, by itself, attempt {attempt} of {MOST_ATTEMPTS}", flush=True)
                suite.start("--last-failed", "--last-failed-no-failures=none", *arguments)
                if not suite.ends_well():
                    still_failed.append(suite)
            failed = still_failed
        for suite in suites:
            suite.stop()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
