"""Show long work to whoever watches: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from contextlib import suppress

from slimjobs.cli.lines import Lines


def watch(name: str) -> Lines:
    """Return bars where standard output is a terminal and rich is installed, else lines."""
    if sys.stdout.isatty():
        with suppress(ImportError):
            # rich comes with an extra, and only a terminal needs it.
            from slimjobs.cli.bars import Bars

            return Bars(name)
    return Lines(name)
