"""pytest's hooks: an oversized job fails the test that enqueued it.

pytest loads this in every run, so that it imports next to nothing; RQ is watched once a test has imported it.
"""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

from slimjobs.pytest_plugin import imports as _imports  # noqa: F401  # before the others, for which it is there
from slimjobs.pytest_plugin.options import add_options, read_options, register_marker

if TYPE_CHECKING:
    from slimjobs.testing import Recorder


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Read the options, and begin to watch."""
    register_marker(config)
    if "wrapper" not in inspect.signature(pytest.hookimpl.__call__).parameters:
        warning = "slimjobs' plugin checks nothing: it needs pytest 7.4 and pluggy 1.2"
        config.issue_config_time_warning(pytest.PytestConfigWarning(warning), stacklevel=2)
        return
    session = import_module("slimjobs.pytest_plugin.session").Session(config, read_options(config))
    config.pluginmanager.register(session, "slimjobs-session")
    session.start()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave RQ's classes as they were."""
    session = config.pluginmanager.get_plugin("slimjobs-session")
    if session is not None:
        session.stop()


@pytest.fixture
def slimjobs(request: pytest.FixtureRequest) -> Recorder:
    """What the test has enqueued so far: `jobs`, `largest`, `total_bytes`, `by_task`; and `round_trip(func, *args)`."""
    session: Any = request.config.pluginmanager.get_plugin("slimjobs-session")
    # It imports RQ, of which the rest of the plugin keeps clear.
    recorder: Recorder = import_module("slimjobs.testing").Recorder(session.jobs, session.refused)
    return recorder
