"""Make text fit for a terminal: names and ids are whatever somebody enqueued, and could command it."""

from __future__ import annotations

import re

# C0, DEL and C1: among them ESC, and those that begin a command without it.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def visible(text: str) -> str:
    r"""Return a line of text with an escape, such as \x1b, in the place of each control character."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
