"""A code base with many large jobs can start today: those that are known pass, new and grown ones fail."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from plugin_project import payload_bytes

if TYPE_CHECKING:
    from plugin_project import Project

TWO = """
from app import Stored, greet, publish

def test_large(queue):
    publish(queue, {size})

def test_model(queue):
    queue.enqueue(greet, Stored("{text}"))

def test_small(queue):
    queue.enqueue("app.small", 1)
"""


def write_baseline(project: Project, **tasks: Any) -> None:
    (project.path / "known.json").write_text(json.dumps({"tasks": {f"app.{task}": tasks[task] for task in tasks}}))


def read_baseline(project: Project) -> Any:
    return json.loads((project.path / "known.json").read_text())["tasks"]


@pytest.mark.parametrize("way", ["command line", "ini"])
@pytest.mark.parametrize(("known_bytes", "passes"), [(-1, False), (0, True), (1, True)])
def test_what_is_known_passes_and_a_byte_more_does_not(
    known_bytes: int, passes: bool, way: str, project: Project
) -> None:
    write_baseline(project, send_email=payload_bytes(80_000) + known_bytes, gone=100)
    options = ["--slimjobs-baseline=known.json"]
    if way == "ini":
        project.ini("slimjobs_baseline = known.json")
        options = []
    project.test("from app import publish\ndef test_it(queue): publish(queue, 80_000)")
    result = project.run(*options)
    result.assert_outcomes(passed=int(passes), failed=int(not passes))
    if not passes:
        words = f"app.send_email: payload is {payload_bytes(80_000)} bytes, its baseline is *; largest is args?0? *"
        result.stdout.fnmatch_lines([words])


def test_a_path_in_the_ini_file_is_beside_it_and_one_of_the_command_line_where_pytest_runs(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_baseline(project, send_email="1 MiB")
    project.ini("slimjobs_baseline = known.json")
    project.test("from app import publish\ndef test_it(queue): publish(queue, 80_000)")
    below = project.path / "below"
    below.mkdir()
    monkeypatch.chdir(below)
    project.run("..", "--slimjobs-report=report.json").assert_outcomes(passed=1)
    assert (below / "report.json").exists()


def test_a_task_within_its_limit_may_grow_over_what_it_had(project: Project) -> None:
    write_baseline(project, send_email=100)
    project.test("from app import publish\ndef test_it(queue): publish(queue, 5_000)")
    project.run("--slimjobs-baseline=known.json").assert_outcomes(passed=1)


def test_a_new_one_fails(project: Project) -> None:
    write_baseline(project, other="5 MiB")
    project.test("from app import publish\ndef test_it(queue): publish(queue, 80_000)")
    result = project.run("--slimjobs-baseline=known.json")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["app.send_email: payload is 78.2 KiB, limit is 64.0 KiB*"])


def test_it_is_begun_tightened_and_kept_where_it_did_not_run(project: Project) -> None:
    known = "--slimjobs-baseline=known.json"
    project.test(TWO.format(size=90_000, text="long"))
    result = project.run(known, "--slimjobs-update-baseline")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["known.json lists 2 tasks now, and 0 before."])
    first = read_baseline(project)
    assert first["app.send_email"] == payload_bytes(90_000)
    assert [*first] == ["app.greet", "app.send_email"]
    project.run(known).assert_outcomes(passed=3)

    project.test(TWO.format(size=80_000, text="much longer"))
    result = project.run(known)
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        ["app.greet: payload is 75 bytes, its baseline is 68 bytes.", "*--slimjobs-update-baseline*"]
    )
    project.run(known, "--slimjobs-update-baseline", "-k", "large").assert_outcomes(passed=1, deselected=2)
    assert read_baseline(project) == {**first, "app.send_email": payload_bytes(80_000)}

    project.test(TWO.format(size=1_000, text=""))
    project.run(known, "--slimjobs-update-baseline")
    assert [*read_baseline(project)] == ["app.greet"]


@pytest.mark.slow
def test_it_is_written_once_for_all_workers_of_xdist(project: Project) -> None:
    project.test(TWO.format(size=90_000, text="long"))
    result = project.run_apart("-n", "2", "--slimjobs-baseline=known.json", "--slimjobs-update-baseline")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["known.json lists 2 tasks now, and 0 before."])
    assert read_baseline(project)["app.send_email"] == payload_bytes(90_000)


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", '{"tasks": []}', '{"tasks": {"a": "big"}}', '{"tasks": {"a": -1}}', "\xff"]
)
def test_a_file_that_is_no_baseline_is_a_usage_error_that_shows_one(content: str, project: Project) -> None:
    (project.path / "known.json").write_bytes(content.encode("latin-1"))
    project.test("def test_it(): pass")
    result = project.run("--slimjobs-baseline=known.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(['ERROR: --slimjobs-baseline: *known.json is no baseline (*); write {"tasks": {"app.*'])


def test_an_update_needs_a_file(project: Project) -> None:
    project.test("def test_it(): pass")
    result = project.run("--slimjobs-update-baseline")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --slimjobs-update-baseline: *--slimjobs-baseline=payloads.json"])


@pytest.mark.parametrize("name", ["report", "top"])
def test_the_report_and_the_table_can_be_asked_for_in_the_ini_file(name: str, project: Project) -> None:
    project.ini({"report": "slimjobs_report = build/report.json", "top": "slimjobs_top = 1"}[name])
    project.test(TWO.format(size=1_000, text=""))
    result = project.run("-k", "not model")
    result.assert_outcomes(passed=2, deselected=1)
    if name == "report":
        report = json.loads((project.path / "build" / "report.json").read_text())
        assert report["tasks"]["app.small"] == {
            "jobs": 1,
            "payload_bytes": report["tasks"]["app.small"]["largest_bytes"],
            "largest_bytes": report["tasks"]["app.small"]["largest_bytes"],
            "place": "test_it.py:10, in test_small",
            "test": "test_it.py::test_small",
            "large": 0,
            "unimportable": 0,
            "refused": 0,
            "failures": [],
            "warnings": [],
        }
    else:
        result.stdout.fnmatch_lines(["*jobs: 2, tasks: 2, 1 of them shown"])


def test_a_run_without_jobs_says_so_where_the_table_is_asked_for(project: Project) -> None:
    project.test("def test_it(): pass")
    project.run("--slimjobs-top=5").stdout.fnmatch_lines(["no RQ job was enqueued"])
    project.run().stdout.no_fnmatch_line("*slimjobs: payloads*")
