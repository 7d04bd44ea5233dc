"""Adapters are imported once their ORM is, by one thread, while the others wait."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from slimjobs import orm

if TYPE_CHECKING:
    from pathlib import Path

ADAPTER = """
import sys
gates = sys.modules["gates_of_adapter"]
gates.begun.set()
assert gates.opened.wait(30)
is_ready = True
"""


@pytest.fixture
def gates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An adapter whose import takes until its gate is opened, for an ORM that is imported."""
    (tmp_path / "slow_adapter.py").write_text(ADAPTER)
    monkeypatch.syspath_prepend(str(tmp_path))
    gates: Any = type(sys)("gates_of_adapter")
    gates.begun, gates.opened = threading.Event(), threading.Event()
    monkeypatch.setitem(sys.modules, "gates_of_adapter", gates)
    monkeypatch.setattr(orm, "_PENDING", {"json": "slow_adapter", "an_orm_that_nobody_has": "no_adapter"})
    yield gates
    sys.modules.pop("slow_adapter", None)


def test_whoever_meets_a_model_waits_until_its_adapter_is_there(gates: Any) -> None:
    seen: list[bool] = []

    def discover() -> None:
        orm.discover(False)
        seen.append(getattr(sys.modules["slow_adapter"], "is_ready", False))

    first = threading.Thread(target=discover)
    first.start()
    assert gates.begun.wait(30)
    second = threading.Thread(target=discover)
    second.start()
    second.join(0.2)  # it would return at once if it did not wait
    gates.opened.set()
    first.join(30)
    second.join(30)

    assert seen == [True, True]


def test_an_adapter_is_imported_once_and_only_where_its_orm_is(gates: Any) -> None:
    gates.opened.set()
    orm.discover(False)
    orm.discover(False)

    assert orm._PENDING == {"an_orm_that_nobody_has": "no_adapter"}
    assert "no_adapter" not in sys.modules
