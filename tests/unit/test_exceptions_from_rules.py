"""Each exception from a rule of the linter, of pyright or of the coverage says its reason, where it is made."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for folder in (".ci", "slimjobs", "tests") for path in (ROOT / folder).rglob("*.py"))

EXCEPTION = re.compile(r"# (?:noqa|pyright: ignore|pragma: no)\b(?P<rest>.*)")
IN_CONFIGURATION = re.compile(r'^    "[A-Z]+[0-9]*",(?! ")(?P<rest>.*)')


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_exceptions_in_the_sources_say_why(path: Path) -> None:
    assert without_reason(path, EXCEPTION) == []


def test_exceptions_in_the_configuration_say_why() -> None:
    assert without_reason(ROOT / "pyproject.toml", IN_CONFIGURATION) == []


def test_an_exception_without_a_reason_is_found(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text("import a  # noqa: F401\nimport b  # noqa: F401  # it registers itself\n")

    assert without_reason(path, EXCEPTION) == path.read_text().splitlines()[:1]


def without_reason(path: Path, exception: re.Pattern[str]) -> list[str]:
    """Return the lines with an exception that no reason follows."""
    found = [(line, exception.search(line)) for line in path.read_text().splitlines()]
    return [line for line, match in found if match and "# " not in match["rest"]]
