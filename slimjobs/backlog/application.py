"""The application that a command was told of, in this process."""

from __future__ import annotations

import os
import sys
from importlib import import_module


def prepare() -> None:
    """Let modules be imported from the current folder, as RQ does, and set Django up where its settings are named."""
    folder = os.getcwd()  # noqa: PTH109  # text, as sys.path has it
    if folder not in sys.path:
        sys.path.insert(0, folder)
    if os.environ.get("DJANGO_SETTINGS_MODULE"):
        import_module("django").setup()


def import_error(module: str) -> str:
    """Import a module, and return what it raised as text; "" where it raised nothing."""
    try:
        import_module(module)
    except Exception as error:  # noqa: BLE001  # an application raises what it likes
        return f"{type(error).__name__}: {error}"
    return ""
