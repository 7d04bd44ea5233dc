"""The rooms: imports point downwards, and none is too large to be read at once."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import slimjobs

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(slimjobs.__file__).parent

# From the ground up; what stands on one line are floors of one room. Each imports only from before it.
ROOMS = [
    ["sizes"],
    ["errors"],
    ["versions"],
    ["limits", "listeners"],
    ["refs"],
    ["homes"],
    ["codec"],
    ["locators"],
    ["registry"],
    ["registration"],
    ["scopes", "logs"],
    ["orm"],
    ["weights"],
    ["parts", "compression", "fields"],
    ["descriptions"],
    ["policies", "fetches"],
    ["options"],
    ["calls"],
    ["payload"],
    ["tagging"],
    ["loading"],
    ["hydration"],
    ["serializer"],
    ["results"],
    ["addresses", "entries", "refusals", "ledger"],
    ["execution"],
    ["presence", "stored", "shown", "called", "jobs"],
    ["unique"],
    ["commit"],
    ["batches", "checks", "choices", "holdings", "writing"],
    ["queue"],
    ["stock"],
    ["places", "enqueuer", "decorator"],
    ["marks"],
    ["schedule", "scheduler"],
    ["cron"],
    ["spawning"],
    ["worker"],
    ["backlog"],
    ["contrib"],
    ["doctor"],
    ["__init__"],
    ["recording", "testing"],
    ["pytest_plugin"],
    ["demo"],
    ["cli"],
]
ORDER = [name for room in ROOMS for name in room]
MOST_LINES = 250


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def imported_rooms(path: Path) -> Iterator[str]:
    """Yield the rooms that a module imports when it runs; types alone bind nothing."""
    pending: list[ast.AST] = [ast.parse(path.read_text())]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            module = node.module or ""
            names = [f"{module}.{alias.name}" for alias in node.names] if module == "slimjobs" else [module]
        else:
            names = []
        yield from (name.split(".")[1] for name in names if name.startswith("slimjobs."))
        pending.extend(ast.iter_child_nodes(node))


def test_every_module_has_its_room() -> None:
    assert sorted(ORDER) == sorted({room_of(path) for path in modules()})


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downwards(path: Path) -> None:
    room = room_of(path)
    # "slimjobs.<name>" that is no module is one of the public names.
    rooms = {name if name in ORDER else "__init__" for name in imported_rooms(path)} - {room}
    upwards = sorted(name for name in rooms if ORDER.index(name) > ORDER.index(room))

    assert not upwards, f"{path.name} imports from above: {', '.join(upwards)}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_can_be_read_at_once(path: Path) -> None:
    source = path.read_text()

    assert source.count("\n") <= MOST_LINES
    docstring = ast.get_docstring(ast.parse(source))
    assert docstring, "what is its one responsibility?"
    assert docstring.splitlines()[0].endswith((".", "?", "`"))
