"""The plugin's options: on the command line, in the ini file and on markers, all spelled alike.

What few runs need is imported when they do, since every run of pytest comes by here.
"""

from __future__ import annotations

from glob import glob
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from slimjobs.errors import SlimjobsError
from slimjobs.recording.verdicts import ACTIONS, Rules
from slimjobs.sizes import parse_size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slimjobs.limits import Limits

_SIZES = {
    "max_bytes": "the largest payload that passes, such as 256KiB (default: as slimjobs is configured, 64 KiB)",
    "warn_bytes": "list jobs from this payload on at the end (default: as slimjobs is configured, 16 KiB)",
}
_ACTIONS = {
    "mode": "what becomes of a test that enqueues a job with something wrong; 'off' checks nothing",
    "models": "the same for model instances that are copied into a payload",
    "unreadable": "the same for jobs that a worker could not read back",
    "growth": "the same for jobs that are larger than the baseline has them",
}
_OF_A_RUN = {
    "top": ("N", "show the N largest payloads of the run by task, 0 for all"),
    "report": ("FILE", "write what was enqueued to a JSON file"),
    "baseline": ("FILE", "let the jobs pass that this file lists, up to the bytes that it has for their task"),
}
_MARKER = (
    'slimjobs(max_bytes="256 KiB", warn_bytes="16 KiB", mode="warn", models="off", unreadable="off", growth="off", '
    "allow=True): what slimjobs' plugin lets this test enqueue"
)


class RunOptions(NamedTuple):
    """What was said for the whole run.

    Attributes:
        given: The sizes and actions that were given, by name.
        top: How many of the largest payloads are shown, 0 for all, None for no table.
        report: Where the JSON report goes, or None.
        baseline_path: The baseline's file, or None.
        baseline: The payload bytes that it has, by task.
        is_updating: Whether it is written anew.
    """

    given: Mapping[str, Any]
    top: int | None
    report: Path | None
    baseline_path: Path | None
    baseline: Mapping[str, int]
    is_updating: bool


class OptionsOfTest(NamedTuple):
    """What holds for one test.

    Attributes:
        limits: What holds above the process's own limits, or None.
        rules: What becomes of the test.
    """

    limits: Limits | None
    rules: Rules


def add_options(parser: pytest.Parser) -> None:
    """Add the options to pytest's."""
    group = parser.getgroup("slimjobs", "the payloads of RQ jobs")
    for name, text in _SIZES.items():
        _add(parser, group, name, text, metavar="SIZE")
    for name, text in _ACTIONS.items():
        _add(parser, group, name, f"{text} (default: fail)", metavar="|".join(ACTIONS))
    for name, (metavar, text) in _OF_A_RUN.items():
        _add(parser, group, name, text, metavar=metavar)
    group.addoption(
        "--slimjobs-update-baseline",
        action="store_true",
        help="write the baseline: what this run enqueues; shrunk tasks are tightened where all tests run and pass",
    )


def register_marker(config: pytest.Config) -> None:
    """Let `--markers` show the marker, and `--strict-markers` know it."""
    config.addinivalue_line("markers", _MARKER)


def read_options(config: pytest.Config) -> RunOptions:
    """Return what was said for the run, on the command line or else in the ini file.

    Raises:
        pytest.UsageError: Something cannot be read; the message shows what can be.
    """
    given: dict[str, Any] = {}
    for name in (*_SIZES, *_ACTIONS):
        text, label = _look_up(config, name)
        if text:
            given[name] = _read(name, text, label)
    top, label = _look_up(config, "top")
    if top and not top.isdecimal():
        raise pytest.UsageError(f"{label}: {top!r} is not a number of tasks; write one such as 10")
    path = _path(config, "baseline")
    is_updating = bool(config.getoption("--slimjobs-update-baseline"))
    if is_updating and path is None:
        raise pytest.UsageError("--slimjobs-update-baseline: say which; add --slimjobs-baseline=payloads.json")
    baseline: Mapping[str, int] = {}
    if path is not None and not (is_updating and not path.exists()):
        try:
            baseline = import_module("slimjobs.recording.baselines").read_baseline(path)
        except SlimjobsError as error:
            raise pytest.UsageError(f"{_look_up(config, 'baseline')[1]}: {error}") from None
    report = _path(config, "report")
    if report is not None and report.is_dir():
        raise pytest.UsageError(f"{_look_up(config, 'report')[1]}: {report} is a directory; name a file in it")
    return RunOptions(given, int(top) if top else None, report, path, baseline, is_updating)


def names_part_of_tests(config: pytest.Config) -> bool:
    """Return whether a run was told to leave tests out: by paths, by where it was started, or by an option."""
    if any(config.getoption(name, None) for name in ("lf", "ignore", "ignore_glob")):
        return True
    root = config.rootpath
    named = [Path(config.invocation_params.dir, name).resolve() for name in config.args]
    everything = [Path(root, path).resolve() for path in _testpaths(config)] or [root.resolve()]
    return not all(any(path.is_relative_to(each) for each in named) for path in everything)


def options_of(item: pytest.Item | None, run: RunOptions) -> OptionsOfTest:
    """Return what holds for a test, its nearest marker's word above the run's, or for None outside tests.

    Raises:
        pytest.UsageError: A marker cannot be read; the message shows what can be.
    """
    marked: dict[str, Any] = {}
    for marker in () if item is None else item.iter_markers("slimjobs"):
        label = "" if item is None else item.nodeid
        if marker.args:
            sample = _MARKER.partition(":")[0]
            raise pytest.UsageError(f"{label}: the marker takes everything by name; write {sample}")
        for name, value in marker.kwargs.items():
            marked.setdefault(name, _read(name, value, f"{label}: @pytest.mark.slimjobs({name}=...)"))
    is_allowed = marked.pop("allow", False)
    chosen = {**run.given, **marked}
    if run.is_updating and "mode" not in marked:  # else a baseline could not be begun before the checks are on
        chosen.pop("mode", None)
    sizes = {name: chosen[name] for name in _SIZES if name in chosen}
    actions = {name: chosen[name] for name in _ACTIONS if name in chosen}
    if is_allowed:
        actions["mode"] = "off"
    limits = import_module("slimjobs.limits").Limits(**sizes) if sizes else None
    return OptionsOfTest(limits, Rules(**actions, baseline=run.baseline, tells_large="warn_bytes" in sizes))


def _testpaths(config: pytest.Config) -> list[str]:
    """Return the paths that tests are looked for in where none is named, as pytest finds them."""
    patterns = config.getini("testpaths")
    # Path.glob takes neither "." nor an absolute path.
    return [path for each in patterns for path in glob(each, root_dir=config.rootpath, recursive=True)]  # noqa: PTH207  # see above


def _add(parser: pytest.Parser, group: Any, name: str, text: str, metavar: str) -> None:
    group.addoption(f"--slimjobs-{name.replace('_', '-')}", metavar=metavar, default=None, help=text)
    parser.addini(f"slimjobs_{name}", f"{text}; as the option --slimjobs-{name.replace('_', '-')}", default="")


def _look_up(config: pytest.Config, name: str) -> tuple[str, str]:
    """Return what was given for an option, or "", and where it stands."""
    option = f"--slimjobs-{name.replace('_', '-')}"
    value = config.getoption(option)
    if value is not None:
        return str(value), option
    file = config.inipath.name if config.inipath is not None else "the ini file"
    return str(config.getini(f"slimjobs_{name}")).strip(), f"slimjobs_{name} in {file}"


def _path(config: pytest.Config, name: str) -> Path | None:
    """Return the path that an option names: from where pytest runs, or in the ini file from beside it."""
    text, label = _look_up(config, name)
    if not text:
        return None
    base = config.invocation_params.dir if label.startswith("--") or config.inipath is None else config.inipath.parent
    return Path(base, text)


def _read(name: str, value: Any, label: str) -> Any:
    if name in _SIZES:
        try:
            size_bytes = parse_size(value)
        except ValueError as error:
            raise pytest.UsageError(f"{label}: {error}") from None
        if size_bytes == 0:
            raise pytest.UsageError(f'{label}: at least 1 byte, such as "64 KiB"; to check nothing, set mode to off')
        return size_bytes
    if name in _ACTIONS:
        if value not in ACTIONS:
            raise pytest.UsageError(f"{label}: {value!r} is not one of {', '.join(ACTIONS)}")
        return value
    if name == "allow":
        if not isinstance(value, bool):
            raise pytest.UsageError(f"{label}: {value!r} is neither True nor False")
        return value
    known = ", ".join((*_SIZES, *_ACTIONS, "allow"))
    raise pytest.UsageError(f"{label}: there is no such option on the marker; it takes {known}")
