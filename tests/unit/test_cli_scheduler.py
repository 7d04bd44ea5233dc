"""`slimjobs scheduler`: its arguments."""

from __future__ import annotations

import pytest

from slimjobs.cli.main import main


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "QUEUE"),
        (["a", "--interval", "0"], "'0' is not a number of seconds; write 1 or more"),
        (["a", "--interval", "soon"], "'soon' is not a number of seconds; write 1 or more"),
        (["a", "-q", "-v"], "not allowed with"),
        (["a", "-u", "localhost:6379"], "--redis-url: Redis URL must specify"),
    ],
)
def test_wrong_arguments_are_told_of(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["scheduler", *arguments])

    assert words in capsys.readouterr().err
