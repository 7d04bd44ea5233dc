"""The demo's own error."""

from __future__ import annotations

from slimjobs.errors import SlimjobsError


class DemoError(SlimjobsError, RuntimeError):
    """The demo could not be run to its end; this says nothing about either side."""
