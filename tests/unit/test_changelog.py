"""CHANGELOG.md: in the form of Keep a Changelog, and its newest version is the package's."""

from __future__ import annotations

import re
from pathlib import Path

import slimjobs

TEXT = (Path(__file__).parents[2] / "CHANGELOG.md").read_text()
HEADINGS = re.findall(r"^## (.*)", TEXT, re.MULTILINE)
VERSIONS = [heading for heading in HEADINGS if heading != "[Unreleased]"]
# Keep a Changelog's kinds of change; bytes in Redis outlive a version, and have a heading of their own.
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security", "Wire format"}


def test_the_newest_version_is_the_packages() -> None:
    assert VERSIONS[0].startswith(f"[{slimjobs.__version__}] - ")


def test_each_version_has_its_date_and_newer_ones_come_first() -> None:
    found = [re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - (\d{4}-\d{2}-\d{2})", heading) for heading in VERSIONS]
    assert all(found), VERSIONS
    numbers = [tuple(map(int, match[1].split("."))) for match in found if match]
    dates = [match[2] for match in found if match]
    assert numbers == sorted(numbers, reverse=True)
    assert dates == sorted(dates, reverse=True)


def test_what_is_not_released_comes_before_what_is() -> None:
    assert HEADINGS[0] == "[Unreleased]"
    assert HEADINGS.count("[Unreleased]") == 1


def test_changes_are_of_known_kinds_each_once_in_a_version() -> None:
    for part in re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]:
        kinds = re.findall(r"^### (.*)", part, re.MULTILINE)
        assert set(kinds) <= KINDS
        assert len(kinds) == len(set(kinds)), part.splitlines()[0]
