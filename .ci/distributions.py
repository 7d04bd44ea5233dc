"""Holds what the source distribution and the wheel have in them: `python .ci/distributions.py SDIST WHEEL`."""

from __future__ import annotations

import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import slimjobs

ROOT = Path(__file__).parents[1]
NAME = f"slimjobs-{slimjobs.__version__}"
METADATA = f"{NAME}.dist-info/METADATA"
DIST_INFO = {METADATA, *(f"{NAME}.dist-info/{name}" for name in ("RECORD", "WHEEL", "entry_points.txt"))}
LICENSE = f"{NAME}.dist-info/licenses/LICENSE"
# What applications are told to install; there are others for who works on slimjobs.
EXTRAS = {"cli", "demo", "django", "django-rq", "peewee", "prometheus", "rq-dashboard", "sqlalchemy"}
ENTRY_POINTS = "[console_scripts]\nslimjobs = slimjobs.cli.main:main\n\n[pytest11]\nslimjobs = slimjobs.pytest_plugin\n"


def main(sdist: str, wheel: str) -> None:
    """End with a message where something is missing or too much."""
    sources = files_of("slimjobs")
    with zipfile.ZipFile(wheel) as archive:
        hold("the wheel", {*archive.namelist()}, {*sources, *DIST_INFO, LICENSE})
        metadata = Parser().parsestr(archive.read(METADATA).decode())
        entry_points = archive.read(f"{NAME}.dist-info/entry_points.txt").decode()
    facts = [metadata[field] for field in ("Name", "Version", "License-Expression", "License-File", "Requires-Python")]
    hold("its metadata", {*facts}, {"slimjobs", slimjobs.__version__, "MIT", "LICENSE", ">=3.10"})
    hold("its extras", EXTRAS & {*metadata.get_all("Provides-Extra", [])}, EXTRAS)
    hold("its entry points", {entry_points.strip()}, {ENTRY_POINTS.strip()})
    with tarfile.open(sdist) as archive:
        packed = {member.name.removeprefix(f"{NAME}/") for member in archive.getmembers() if member.isfile()}
    beside = {name for name in packed if "/" not in name} - {".gitignore"}
    hold("the source distribution", packed & sources, sources)
    hold("its tests", {name for name in packed if name.startswith("tests/")}, files_of("tests"))
    hold("its other files", beside, {"CHANGELOG.md", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml"})


def files_of(folder: str) -> set[str]:
    """Return the files of a folder that are no traces of having been run."""
    found = (path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(ROOT).as_posix() for path in found}


def hold(what: str, found: set[str], wanted: set[str]) -> None:
    """End where two sets are not the same."""
    if found != wanted:
        sys.exit(f"{what}: missing {sorted(wanted - found)}, too much {sorted(found - wanted)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
