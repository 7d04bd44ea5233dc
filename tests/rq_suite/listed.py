"""A pytest plugin: the tests of RQ's suite that are listed fail, each for its reason, and all others pass."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

SUBTESTS = frozenset({"tests/test_decorator.py::TestDecorator::test_decorator_enqueue_overrides_at_front"})


def read_list(path: Path) -> dict[str, str]:
    """Return the reason of each test, which stands in the comment above."""
    reasons: dict[str, str] = {}
    reason = ""
    for line in path.read_text().splitlines():
        if line.startswith("#"):
            reason = line.removeprefix("#").strip()
        elif line.strip():
            reasons[line.strip()] = reason
    return reasons


@pytest.hookimpl(tryfirst=True)  # before some are deselected
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    reasons = read_list(Path(os.environ["SLIMJOBS_RQ_SUITE_LIST"]))
    for item in items:
        reason = reasons.pop(item.nodeid, None)
        if reason is not None:
            # pytest 9 lets a test pass whose subtests fail as they should.
            item.add_marker(pytest.mark.xfail(reason=reason, strict=item.nodeid not in SUBTESTS))
    if reasons and not config.option.keyword:
        raise pytest.UsageError(f"the list names tests that RQ's suite does not have: {', '.join(sorted(reasons))}")


def pytest_unconfigure() -> None:
    """Kill workers that a failed test left behind: Python would wait for them."""
    for process in multiprocessing.active_children():
        process.kill()
