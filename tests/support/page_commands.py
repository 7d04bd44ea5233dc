"""Stands in for commands on the path of a page's shell blocks, so that what never ends does, and nothing is installed.

`pip` looks whether what it is to install is there. A worker ends when its queues are empty. Other processes that run
until they are told to stop are told so once they have begun.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from importlib.metadata import metadata
from pathlib import Path

FOREVER = {"scheduler", "cron", "exporter"}
MODULES = {"slimjobs": "slimjobs.cli", "rq": "rq.cli", "pytest": "pytest"}
SECONDS = float(os.environ.get("PAGE_SECONDS", "4"))


def install(packages: list[str]) -> int:
    """Look whether packages are installed, with the extras that are named."""
    for package in packages:
        found = re.fullmatch(r"([\w-]+)(?:\[([\w,-]+)\])?(?:[<>=]=?.*)?", package)
        assert found, package
        known = set(metadata(found[1]).get_all("Provides-Extra") or ())
        unknown = set(filter(None, (found[2] or "").split(","))) - known
        assert not unknown, f"{found[1]} has no extra {unknown}"
    return 0


def run_for_a_moment(command: list[str]) -> int:
    """Run what ends when it is told to, and tell it."""
    with subprocess.Popen(command) as process:
        try:
            return process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            status = process.wait(60)
            return 0 if status == -signal.SIGTERM else status


def main() -> int:
    name, arguments = Path(sys.argv[1]).name, sys.argv[2:]
    if name == "pip":
        assert arguments[0] == "install", arguments
        return install([each for each in arguments[1:] if not each.startswith("-")])
    if name == "python":
        command = [sys.executable, *arguments]
        if "slimjobs.contrib.rq_dashboard" in arguments:
            return run_for_a_moment([*command, "--port", "0"])
        return os.execv(command[0], command)
    command = [sys.executable, "-m", MODULES[name], *arguments]
    if name == "rq" and arguments[0] in ("worker", "worker-pool"):
        command.append("--burst")
        if "PAGE_FORKS_NOT" in os.environ:  # hundreds of processes, which import the application each
            command = [word.replace("slimjobs.Worker", "slimjobs.SimpleWorker") for word in command]
    if "exporter" in arguments and "--port" in arguments:  # the page's may be taken
        command[command.index("--port") + 1] = "0"
    if (arguments and arguments[0] in FOREVER and "--burst" not in arguments) or "--watch" in arguments:
        return run_for_a_moment(command)
    return os.execv(command[0], command)


if __name__ == "__main__":
    sys.exit(main())
