"""The public types, as mypy sees them: tasks keep their parameters, and wrong calls are errors."""

from __future__ import annotations

from pathlib import Path

import pytest

mypy_api = pytest.importorskip("mypy.api")

FOLDER = Path(__file__).parent


@pytest.mark.parametrize("name", ["good_calls.py", "wrong_calls.py"])
def test_right_calls_pass_and_wrong_calls_do_not(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    cache = tmp_path_factory.getbasetemp() / "mypy"
    output, problems, _ = mypy_api.run(["--strict", "--cache-dir", str(cache), str(FOLDER / name)])

    assert not problems
    assert output.startswith("Success"), output
