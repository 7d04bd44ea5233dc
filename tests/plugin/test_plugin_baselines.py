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
    project.run(known, "--slimjobs-update-baseline").assert_outcomes(passed=3)
    assert read_baseline(project) == {"app.greet": 75, "app.send_email": payload_bytes(80_000)}

    project.test(TWO.format(size=1_000, text=""))
    project.run(known, "--slimjobs-update-baseline")
    assert [*read_baseline(project)] == ["app.greet"]


@pytest.mark.parametrize(
    "options",
    [["-k", "small"], ["-x"], ["test_it.py"], ["test_it.py::test_small"], ["--deselect=test_it.py::test_model"]],
)
def test_a_run_of_less_than_all_tests_tightens_and_drops_nothing(options: list[str], project: Project) -> None:
    write_baseline(project, send_email=90_000, greet=100)
    project.test(
        """
        from app import Stored, greet, publish
        def test_small(queue):
            publish(queue, 10)
            queue.enqueue(greet, Stored("x" * 80_000))
        def test_fails(): assert 1 == 2
        def test_model(queue): queue.enqueue(greet, Stored(1))
        def test_large(queue): publish(queue, 80_000)
        """
    )
    result = project.run("--slimjobs-baseline=known.json", "--slimjobs-update-baseline", *options)
    result.stdout.fnmatch_lines(
        ["known.json lists 2 tasks now, and 2 before.", "None of them is tightened or dropped*"]
    )
    baseline = read_baseline(project)
    assert baseline["app.send_email"] == 90_000
    assert baseline["app.greet"] > 80_000


def make_two_folders(project: Project) -> None:
    for folder, size in (("unit", 10), ("integration", 80_000)):
        (project.path / folder).mkdir()
        code = f"from app import publish\ndef test_it(queue): publish(queue, {size})\n"
        (project.path / folder / f"test_{folder}.py").write_text(code)
    write_baseline(project, send_email=90_000)


UPDATE = ("--slimjobs-baseline=known.json", "--slimjobs-update-baseline")


@pytest.mark.parametrize(
    "options",
    [["unit"], ["--ignore=integration/test_integration.py"], ["--ignore-glob=*_integration.py"], ["--pyargs", "unit"]],
    ids=" ".join,
)
@pytest.mark.parametrize("ini", ["", "testpaths = unit integration"])
def test_a_run_of_some_folders_tightens_nothing(options: list[str], ini: str, project: Project) -> None:
    project.ini(ini)
    make_two_folders(project)
    result = project.run(*UPDATE, *options)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["None of them is tightened or dropped: *"])
    assert read_baseline(project) == {"app.send_email": 90_000}


def test_a_run_that_is_started_in_a_folder_tightens_nothing(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.ini("slimjobs_baseline = known.json")
    make_two_folders(project)
    monkeypatch.chdir(project.path / "unit")
    project.run("--slimjobs-update-baseline").assert_outcomes(passed=1)
    assert read_baseline(project) == {"app.send_email": 90_000}


@pytest.mark.parametrize(
    ("ini", "options"),
    [
        ("", []),
        ("", ["."]),
        ("testpaths = unit integration", []),
        ("testpaths = unit integration", ["integration/", "unit"]),
        ("testpaths = unit integration", ["."]),
        ("testpaths = u*t *tegration", ["unit", "integration"]),
        ("testpaths = .", []),
    ],
)
def test_a_run_of_all_folders_tightens(ini: str, options: list[str], project: Project) -> None:
    project.ini(ini)
    make_two_folders(project)
    project.run(*UPDATE, *options).assert_outcomes(passed=2)
    assert read_baseline(project) == {"app.send_email": payload_bytes(80_000)}


SKIPPING = {
    "marked": "import pytest\n@pytest.mark.skipif(True, reason='')\ndef test_large(queue): ...",
    "by a fixture": """
        import pytest
        @pytest.fixture
        def database(): pytest.skip("there is none")
        def test_large(queue, database): ...
        """,
    "by the test": "import pytest\ndef test_large(queue): pytest.skip('not today')",
    "a module": "import pytest\npytest.importorskip('no_such_module')\ndef test_large(queue): ...",
    "unittest": "import unittest\nclass TestLarge(unittest.TestCase):\n    def test_it(self): self.skipTest('')",
}


@pytest.mark.parametrize("code", SKIPPING.values(), ids=list(SKIPPING))
def test_a_run_in_which_a_test_is_skipped_tightens_nothing(code: str, project: Project) -> None:
    write_baseline(project, send_email=90_000)
    project.test(code, test_small="from app import publish\ndef test_small(queue): publish(queue, 10)")
    result = project.run(*UPDATE)
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["None of them is tightened or dropped: *"])
    assert read_baseline(project) == {"app.send_email": 90_000}


def test_a_test_that_fails_as_expected_has_run(project: Project) -> None:
    write_baseline(project, send_email=90_000)
    project.test(
        """
        import pytest
        from app import publish
        @pytest.mark.xfail
        def test_large(queue):
            publish(queue, 80_000)
            assert 1 == 2
        """
    )
    project.run(*UPDATE).assert_outcomes(xfailed=1)
    assert read_baseline(project) == {"app.send_email": payload_bytes(80_000)}


def test_a_run_that_is_interrupted_leaves_it_as_it_was(project: Project) -> None:
    write_baseline(project, send_email=90_000)
    project.test(
        """
        from app import publish
        def test_small(queue): publish(queue, 95_000)
        def test_interrupted(): raise KeyboardInterrupt
        """
    )
    result = project.run_apart("--slimjobs-baseline=known.json", "--slimjobs-update-baseline")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["known.json is as it was: the run did not come to its end."])
    assert read_baseline(project) == {"app.send_email": 90_000}


@pytest.mark.parametrize("marker", ["allow=True", 'mode="off"', 'max_bytes="10 MiB"'])
def test_what_a_tests_own_marker_lets_pass_is_not_listed(marker: str, project: Project) -> None:
    project.test(
        f"""
        import pytest
        from app import publish
        @pytest.mark.slimjobs({marker})
        def test_huge(queue): publish(queue, 5_000_000)
        def test_large(queue): publish(queue, 80_000)
        """
    )
    project.run("--slimjobs-baseline=known.json", "--slimjobs-update-baseline").assert_outcomes(passed=2)
    assert read_baseline(project) == {"app.send_email": payload_bytes(80_000)}


def test_it_can_be_begun_while_the_checks_are_off(project: Project) -> None:
    project.ini("slimjobs_mode = off", "slimjobs_models = off")
    project.test(TWO.format(size=90_000, text="long"))
    project.run("--slimjobs-baseline=known.json", "--slimjobs-update-baseline").assert_outcomes(passed=3)
    assert read_baseline(project) == {"app.send_email": payload_bytes(90_000)}


@pytest.mark.parametrize(
    ("option", "argument"), [("models", "Stored('much longer')"), ("unreadable", "Unreadable(one=1)")]
)
def test_a_check_that_is_off_fails_no_test_that_has_a_baseline(option: str, argument: str, project: Project) -> None:
    write_baseline(project, greet=10)
    project.test(f"from app import Stored, Unreadable, greet\ndef test_it(queue): queue.enqueue(greet, {argument})")
    project.run("--slimjobs-baseline=known.json").assert_outcomes(failed=1)
    project.run("--slimjobs-baseline=known.json", f"--slimjobs-{option}=off").assert_outcomes(passed=1)


@pytest.mark.parametrize("option", ["--collect-only", "--setup-plan", "--fixtures"])
def test_a_run_that_only_shows_tests_writes_nothing(option: str, project: Project) -> None:
    write_baseline(project, send_email=90_000)
    project.test(TWO.format(size=80_000, text="long"))
    options = ("--slimjobs-baseline=known.json", "--slimjobs-update-baseline", "--slimjobs-report=report.json")
    assert project.run(option, *options).ret == 0
    assert read_baseline(project) == {"app.send_email": 90_000}
    assert not (project.path / "report.json").exists()


@pytest.mark.parametrize("kind", ["report", "baseline"])
def test_a_file_that_cannot_be_written_costs_no_results(kind: str, project: Project) -> None:
    (project.path / "taken").write_text("a file, where a directory would have to be")
    update = ["--slimjobs-update-baseline"] if kind == "baseline" else []
    project.test("def test_fails(): assert 1 == 2\ndef test_passes(): pass")
    result = project.run(f"--slimjobs-{kind}=taken/file.json", *update)
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["E * assert 1 == 2", "error: file.json is not written (*Error: *"])
    project.test("def test_passes(): pass")
    assert project.run(f"--slimjobs-{kind}=taken/file.json", *update).ret == pytest.ExitCode.TESTS_FAILED


@pytest.mark.parametrize("kind", ["report", "baseline"])
def test_a_directory_is_refused_before_any_test_runs(kind: str, project: Project) -> None:
    (project.path / "build").mkdir()
    project.test("def test_it(): pass")
    result = project.run(f"--slimjobs-{kind}=build")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: --slimjobs-{kind}: *build*directory*"])


@pytest.mark.slow
def test_it_is_not_tightened_where_tests_are_left_out_under_xdist(project: Project) -> None:
    write_baseline(project, send_email=90_000)
    project.test(TWO.format(size=80_000, text="long"))
    options = ("-n", "1", "--slimjobs-baseline=known.json", "--slimjobs-update-baseline")
    project.run_apart(*options, "-k", "large")
    assert read_baseline(project)["app.send_email"] == 90_000
    for code in (SKIPPING["marked"], SKIPPING["a module"]):
        project.pytester.makepyfile(test_skipped=code)
        project.run_apart(*options)
        assert read_baseline(project)["app.send_email"] == 90_000
    (project.path / "test_skipped.py").unlink()
    project.run_apart(*options)
    assert read_baseline(project)["app.send_email"] == payload_bytes(80_000)


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
