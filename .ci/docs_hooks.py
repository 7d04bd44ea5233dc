"""What mkdocs cannot do by itself: the help of every command, the changelog as a page, links out of docs/.

The functions that begin with `on_` are called by mkdocs, the others by `tests/unit/test_docs_site.py` too, which has no
mkdocs.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).parent.parent
HELP_MARK = "<!-- the help of each command stands here in the site -->"
HELP_COLUMNS = "96"


def on_files(files: Any, config: Any) -> Any:
    """Add the changelog, which lies beside docs/."""
    from mkdocs.structure.files import File  # noqa: PLC0415  # the tests have no mkdocs

    files.append(File.generated(config, "changelog.md", content=changelog()))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Let links to the changelog lead to its page, and put the help of the commands where it is asked for."""
    markdown = markdown.replace("(../CHANGELOG.md", "(changelog.md")
    return markdown.replace(HELP_MARK, "\n".join(help_sections())) if HELP_MARK in markdown else markdown


def changelog() -> str:
    """Return CHANGELOG.md, with its links to docs/ as they are from there."""
    return re.sub(r"\]\(docs/", "](", (ROOT / "CHANGELOG.md").read_text())


def help_sections() -> Iterable[str]:
    """Yield a section for each command, with what its `--help` prints."""
    main = import_module("slimjobs.cli.main")
    yield f"## slimjobs\n\n```text\n{help_of(main)}```\n"
    for command in main.COMMANDS:
        name = command.__name__.rpartition(".")[2]
        yield f"## slimjobs {name}\n\n```text\n{help_of(main, name)}```\n"


def help_of(main: Any, *arguments: str) -> str:
    """Return what `slimjobs ARGUMENTS --help` prints, of one width and without colours."""
    printed = io.StringIO()
    environment = {"COLUMNS": HELP_COLUMNS, "NO_COLOR": "1"}
    with mock.patch.dict(os.environ, environment), contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        main.main([*arguments, "--help"])
    return printed.getvalue()
