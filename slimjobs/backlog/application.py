"""The application that a command was told of, in this process."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_STDOUT, _STDERR = 1, 2


def prepare() -> None:
    """Let modules be imported from the current folder, as RQ does, and set Django up where its settings are named."""
    folder = os.getcwd()  # noqa: PTH109  # text, as sys.path has it
    if folder not in sys.path:
        sys.path.insert(0, folder)
    if os.environ.get("DJANGO_SETTINGS_MODULE"):
        import_module("django").setup()


@contextmanager
def printing_to_stderr() -> Iterator[None]:
    """Send what the application and its children print to standard error: standard output is the command's own."""
    sys.stdout.flush()
    kept = os.dup(_STDOUT)
    try:
        os.dup2(_STDERR, _STDOUT)
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, _STDOUT)
        os.close(kept)


def import_error(module: str) -> str:
    """Import a module, and return what it raised as text; "" where it raised nothing."""
    try:
        import_module(module)
    except (Exception, SystemExit) as error:  # noqa: BLE001  # an application raises what it likes
        return f"{type(error).__name__}: {error}"
    return ""
