"""The public types, as mypy and pyright see them: tasks keep their parameters, and wrong calls are errors."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import slimjobs

CALLS = [Path(__file__).parent / name for name in ("good_calls.py", "wrong_calls.py")]
ROOT = Path(slimjobs.__file__).parents[1]

# It is mypy's error alone: pyright takes the class and what the function returns for two kinds of one, `Email | str`.
LET_PASS_BY_PYRIGHT = ['slimjobs.register(Email, load=lambda pk: "text")']


@pytest.mark.parametrize("calls", CALLS, ids=lambda path: str(path.name))
def test_mypy_lets_right_calls_pass_and_wrong_calls_not(calls: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    mypy_api = pytest.importorskip("mypy.api")
    cache = tmp_path_factory.getbasetemp() / "mypy"
    output, problems, _ = mypy_api.run(["--strict", "--cache-dir", str(cache), str(calls)])

    assert not problems
    assert output.startswith("Success"), output


@pytest.mark.skipif(find_spec("pyright") is None, reason="pyright is not installed")
def test_pyright_lets_right_calls_pass_and_wrong_calls_not(tmp_path: Path) -> None:
    told = pyright(tmp_path)

    assert told["summary"]["filesAnalyzed"] == len(CALLS)
    unnoticed = [
        Path(each["file"]).read_text().splitlines()[each["range"]["start"]["line"]].partition("  #")[0]
        for each in told["generalDiagnostics"]
        if each["rule"] == "reportUnnecessaryTypeIgnoreComment"
    ]
    assert unnoticed == LET_PASS_BY_PYRIGHT
    assert len(told["generalDiagnostics"]) == len(unnoticed), told


def pyright(folder: Path) -> dict[str, Any]:
    """Return what pyright says of all calls, and of errors that mypy sees and it does not."""
    for path in CALLS:
        shutil.copy(path, folder)
    config = {
        "extraPaths": [str(ROOT)],
        "pythonVersion": "3.10",
        "typeCheckingMode": "strict",
        "reportUnnecessaryTypeIgnoreComment": "error",
    }
    (folder / "pyrightconfig.json").write_text(json.dumps(config))
    command = [
        sys.executable,
        "-m",
        "pyright",
        "--project",
        str(folder),
        "--pythonpath",
        sys.executable,
        "--outputjson",
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    told: dict[str, Any] = json.loads(done.stdout)
    return told
