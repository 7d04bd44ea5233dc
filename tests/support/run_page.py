"""Runs the blocks of one page in order, in the folder that it is started in: `python run_page.py PAGE SKIPPED...`."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from pages import Block, blocks_of, missing_lines
from rq.worker import BaseWorker

SETUPS = Path(__file__).parents[1] / "docs" / "setups"
MOST_SECONDS = 300
# A file that collects what commands print, for whoever writes a page; nothing is held against the page then.
SHOWN_IN = os.environ.get("PAGE_SHOWS")


class Page:
    """A page's blocks, and the module that those share which name no file."""

    def __init__(self, name: str, server: str) -> None:
        self.name = name
        self._server = server  # host and port
        self._module = ModuleType("page")
        sys.modules["page"] = self._module
        sys.path.insert(0, str(Path.cwd()))
        for setup in (SETUPS / "common.py", SETUPS / f"{re.sub('[^a-z]', '_', name.lower())}.py"):
            if setup.exists():
                exec(compile(setup.read_text(), str(setup), "exec"), vars(self._module))

    def run(self, block: Block) -> None:
        text = block.text.replace("localhost:6379", self._server)
        before = getattr(self._module, "before", None)
        if before is not None:
            before(block.text)
        if block.language == "sh":
            self._run_shell(block, text)
        elif block.file:
            self._write(block.file, text)
        elif block.language == "python":
            exec(compile("\n" * (block.line - 1) + text, f"{block.page}.md", "exec"), vars(self._module))

    def _write(self, name: str, text: str) -> None:
        path = Path(name)
        is_new = not path.exists() or path.read_text() != text
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if path.suffix == ".py" and not getattr(self._module, "WRITTEN_ONLY", False):
            importlib.invalidate_caches()
            module = ".".join(path.with_suffix("").parts)
            loaded: Any = sys.modules.get(module)
            loaded = importlib.reload(loaded) if loaded and is_new else importlib.import_module(module)
            # The next block of the page goes on with these names, as its reader does.
            vars(self._module).update({key: value for key, value in vars(loaded).items() if not key.startswith("__")})

    def _run_shell(self, block: Block, text: str) -> None:
        statuses: dict[str, int] = getattr(self._module, "STATUSES", {})
        expected = next((status for command, status in statuses.items() if command in text), 0)
        done = subprocess.run(
            ["bash", "-eu", "-o", "pipefail", "-c", text],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=MOST_SECONDS,
            check=False,
        )
        if done.returncode != expected:
            raise AssertionError(f"exit status {done.returncode}:\n{text}\n{done.stdout}")
        missing = missing_lines(block.output, done.stdout)
        if SHOWN_IN:
            with Path(SHOWN_IN).open("a") as shown:
                shown.write(f"$ {block.text}{done.stdout}\n")
        elif missing:
            raise AssertionError("not printed: " + "\n".join([*missing, "-- but:", done.stdout]))


def let_workers_end() -> None:
    """Let the workers of a page end when their queues are empty."""
    work = BaseWorker.work

    def work_in_a_burst(self: BaseWorker, *args: Any, **options: Any) -> bool:
        return work(self, *args, **{**options, "burst": True})

    BaseWorker.work = work_in_a_burst  # type: ignore[method-assign]


def main() -> int:
    name, server, *skipped = sys.argv[1:]
    let_workers_end()
    page = Page(name, server)
    try:
        for block in blocks_of(name):
            if str(block.line) not in skipped:
                try:
                    page.run(block)
                except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever a page raises
                    if not isinstance(error, SystemExit) or error.code:
                        sys.stderr.write(f"{block.place} failed\n")
                        traceback.print_exc()
                        return 1
    finally:
        after = getattr(page._module, "after", None)
        if after is not None:
            after()
    return 0


if __name__ == "__main__":
    sys.exit(main())
