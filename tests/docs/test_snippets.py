"""Every block of Python and of shell commands in the README and in docs/ runs, page by page, in order."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pages
import pytest
from pages import PAGES, Block, blocks_of, missing_lines
from rq_versions import RQ

from slimjobs.cli.main import COMMANDS as COMMANDS_OF_OURS

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

    RunPage = Callable[[str], subprocess.CompletedProcess[str]]

SUPPORT = Path(pages.__file__).parent
COMMANDS = ("pip", "python", "rq", "slimjobs", "pytest")
MOST_SECONDS = 400

# Blocks that are not run here, by how they begin, and why.
EXCEPTIONS = {
    (
        "README",
        'python3 -m venv .venv && .venv/bin/pip install --quiet ".[demo]"',
    ): "run by tests/integration/test_demo.py",
    (
        "README",
        "python3 -m venv .venv && .venv/bin/pip install --quiet --editable",
    ): "run by the gate: it is this suite",
    ("contributing", "python3 -m venv .venv"): "run by the gate: it is this suite",
    ("contributing", ".venv/bin/mkdocs"): "the second is run by the gate; the first serves until it is told to stop",
    ("quickstart", "python3 -m venv .venv"): "installs, which the tests have done",
    ("quickstart", "redis-server"): "starts a server, which the tests have done",
    ("quickstart", "redis-cli"): "ends the server",
    ("versions", "PATH=/opt/redis-7/bin"): "the whole suite once more, with servers of that machine",
    ("tools", "python -m venv exporter"): "run by the gate, in an environment of its own",
}
# Languages that are shown, not run, unless their first comment names a file.
SHOWN = {"text", "json", "ini", "yaml"}

# `Redis()` is the Redis of the tests in all processes of a page.
SITE = """
import redis

def connect(self, host={host!r}, port={port}, db={db}, *args, _init=redis.Redis.__init__, **options):
    _init(self, host, port, db, *args, **options)

redis.Redis.__init__ = connect
"""

needs_rq_3 = pytest.mark.skipif(RQ < (3, 0), reason="the pages show RQ 3.0")


def is_exception(block: Block) -> bool:
    return any(page == block.page and block.text.startswith(start) for page, start in EXCEPTIONS)


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the path, with the commands that pages use."""
    folder = tmp_path_factory.mktemp("commands")
    for name in COMMANDS:
        path = folder / name
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{SUPPORT / "page_commands.py"}" {name} "$@"\n')
        path.chmod(0o755)
    return folder


@pytest.fixture
def run_page(redis: Redis, redis_url: str, tmp_path: Path, commands: Path) -> RunPage:
    """Run a page in a folder of its own, with a Redis for it alone."""
    return partial(_run_page, tmp_path, redis_url, commands)


def _run_page(folder: Path, redis_url: str, commands: Path, page: str) -> subprocess.CompletedProcess[str]:
    found = urlsplit(redis_url)
    server = f"{found.hostname}:{found.port}"
    (folder / "sitecustomize.py").write_text(SITE.format(host=found.hostname, port=found.port, db=found.path[1:] or 0))
    path = [str(folder), str(SUPPORT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        "PATH": os.pathsep.join([str(commands), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join(path),
        "REDIS_URL": redis_url,
        "RQ_REDIS_URL": redis_url,
        "COLUMNS": "160",
    }
    skipped = [str(block.line) for block in blocks_of(page) if is_exception(block)]
    command = [sys.executable, str(SUPPORT / "run_page.py"), page, server, *skipped]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=MOST_SECONDS)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what a page has started and not ended
    return subprocess.CompletedProcess(command, process.returncode, output)


RUN = [page for page in PAGES if any(block.language in {"python", "sh"} for block in blocks_of(page))]


@needs_rq_3
@pytest.mark.parametrize("page", RUN)
def test_all_blocks_of_a_page_run(page: str, run_page: RunPage) -> None:
    done = run_page(page)
    assert done.returncode == 0, done.stdout


def test_every_block_says_what_it_is() -> None:
    languages = {block.language for page in PAGES for block in blocks_of(page)}
    assert languages <= {"python", "sh", *SHOWN}


def test_commands_and_code_stand_in_blocks_that_are_run() -> None:
    """Indented code is shown and not run: errors and outputs, no commands."""
    commands = "|".join(command.__name__.rpartition(".")[2] for command in COMMANDS_OF_OURS)
    start = rf"@|\$ |pip |slimjobs ({commands})|rq \w+|python |pytest |from \w+ import|import \w"
    code = re.compile(rf"^    ({start})", re.MULTILINE)
    found = {}
    for page, path in PAGES.items():
        outside = re.sub(r"^( *)```.*?^\1```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
        if code.search(outside):
            found[page] = code.findall(outside)
    assert found == {}


def test_no_exception_is_left_over() -> None:
    used = {(page, start) for page, start in EXCEPTIONS for block in blocks_of(page) if block.text.startswith(start)}
    assert used == set(EXCEPTIONS)


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        ("```python\nimport slimjobs\nslimjobs.no_such_name\n```", "no_such_name"),
        ("```python\n# app/jobs.py\nfrom nowhere import task\n```", "nowhere"),
        ("```sh\nslimjobs audit --no-such-option\n```", "--no-such-option"),
        ('```sh\npip install "slimjobs[no-such-extra]"\n```', "no-such-extra"),
        ("```sh\nslimjobs audit\n```\n\n```text\n300 jobs, 915.7 MiB\n```", "not printed: 300 jobs"),
    ],
)
def test_a_broken_block_fails_its_page(
    block: str, reason: str, run_page: RunPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "broken.md"
    page.write_text(f"# A page\n\n{block}\n")
    monkeypatch.setenv("PAGES_BESIDE", str(page))
    monkeypatch.setitem(PAGES, "broken", page)
    done = run_page("broken")
    assert done.returncode == 1
    assert "broken.md:4 failed" in done.stdout
    assert reason in done.stdout


def test_output_is_held_by_its_words_and_not_by_its_numbers() -> None:
    shown = "300 jobs, 915.7 MiB\n\n  id   bytes\n  d5d0db6d-2177-4886-a8b0-427a027afad5  3.1 MiB\n  ...\n"
    printed = "1 jobs, 2 bytes\n  id                 bytes\n  00000000-2177-4886-a8b0-427a027afad5  3 KiB\n"
    assert missing_lines(shown, printed) == []
    assert missing_lines(shown, printed.replace("jobs", "things")) == ["300 jobs, 915.7 MiB"]
    assert missing_lines("b\na", "a\nb") == ["a"]
    assert missing_lines("at 2026-11-24T18:39:20", "at 2027-01-01T00:00:00") == []
