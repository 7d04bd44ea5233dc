"""Projects of their own, in which the plugin runs."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import fakeredis
import rq

import slimjobs.pytest_plugin
import slimjobs.testing
from slimjobs import registry

if TYPE_CHECKING:
    import pytest

CONFTEST = """
import fakeredis
import pytest
import rq
import slimjobs as slim
from app import Stored

@pytest.fixture
def redis():
    return fakeredis.FakeRedis(server=fakeredis.FakeServer())

@pytest.fixture
def queue(redis):
    return rq.Queue("stock", connection=redis)

@pytest.fixture
def slim_queue(redis):
    return slim.Queue("letters", connection=redis)
"""

APP = """
import slimjobs

def send_email(*args, **kwargs):
    pass

def greet(*args, **kwargs):
    pass

class Stored:
    def __init__(self, id):
        self.id = id

slimjobs.register(Stored, load=Stored)

class Unreadable(dict):
    def __reduce__(self):
        return (Unreadable.__new__, ())

def publish(queue, size):
    return queue.enqueue(send_email, "x" * size)

def publish_and_swallow(queue, size):
    try:
        publish(queue, size)
    except Exception:
        pass
"""


class Project:
    """A project whose tests are run with the plugin, in this process or another."""

    def __init__(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pytester = pytester
        self._monkeypatch = monkeypatch
        self.path = pytester.path
        pytester.makepyfile(conftest=CONFTEST, app=APP)
        pytester.syspathinsert()

    def ini(self, *lines: str) -> None:
        self.pytester.makeini("\n".join(["[pytest]", *lines]))

    __test__ = False

    def test(self, code: str, **files: str) -> None:
        self.pytester.makepyfile(test_it=textwrap.dedent(code), **files)

    def run(self, *options: str) -> pytest.RunResult:
        """Run it in this process, which keeps nothing of what it registers."""
        for attribute in ("_by_class", "_by_name"):
            self._monkeypatch.setattr(registry, attribute, {})
        without = _without("randomly", "cacheprovider", "django", "asyncio")
        return self.pytester.runpytest_inprocess(*without, *options)

    def run_apart(self, *options: str) -> pytest.RunResult:
        """Run it in a process of its own."""
        return self.pytester.runpytest_subprocess(*_without("randomly", "cacheprovider"), *options)


def payload_bytes(size: int) -> int:
    """Return how many bytes the payload of `app.send_email` has with so many characters, pickled by a stock queue."""
    return len(rq.job.Job.create("app.send_email", ("x" * size,), connection=fakeredis.FakeRedis()).data)


def _without(*plugins: str) -> list[str]:
    return [word for plugin in plugins for word in ("-p", f"no:{plugin}")]


_LOADED: tuple[Any, ...] = (slimjobs.pytest_plugin, slimjobs.testing)  # a run forgets what it has imported itself
