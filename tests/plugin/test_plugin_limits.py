"""At its limit a payload passes, one byte over it fails; wherever the limit was set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from plugin_project import payload_bytes

if TYPE_CHECKING:
    from plugin_project import Project

LIMIT = 10_000


@pytest.mark.parametrize("way", ["command line", "ini", "marker", "class", "module", "configure", "environment"])
@pytest.mark.parametrize("over", [-1, 0, 1])
def test_the_limit_is_inside_and_one_byte_over_it_is_not(
    way: str, over: int, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = LIMIT + over - (payload_bytes(5000) - 5000)
    assert payload_bytes(size) == LIMIT + over
    mark = f"@pytest.mark.slimjobs(max_bytes={LIMIT})"
    if way == "ini":
        project.ini(f"slimjobs_max_bytes = {LIMIT}")
    if way == "environment":
        monkeypatch.setenv("SLIMJOBS_MAX_BYTES", str(LIMIT))
    project.test(
        f"""
        import pytest, slimjobs
        from app import publish
        {f"pytestmark = pytest.mark.slimjobs(max_bytes={LIMIT})" if way == "module" else ""}
        {f"slimjobs.configure(max_bytes={LIMIT})" if way == "configure" else ""}
        {mark if way == "class" else ""}
        class TestIt:
            {mark if way == "marker" else ""}
            def test_it(self, queue):
                publish(queue, {size})
        """
    )
    options = [f"--slimjobs-max-bytes={LIMIT}"] if way == "command line" else []
    result = project.run(*options)
    result.assert_outcomes(passed=int(over <= 0), failed=int(over > 0))
    if over > 0:
        result.stdout.fnmatch_lines(
            ["*app.send_email: payload is 10001 bytes, limit is 10000 bytes; largest is args?0? *"]
        )


@pytest.mark.parametrize(
    ("marker", "option", "ini", "configured", "passes"),
    [
        (20_000, 100, 100, 100, True),
        (100, 20_000, 20_000, 20_000, False),
        (None, 20_000, 100, 100, True),
        (None, 100, 20_000, 20_000, False),
        (None, None, 20_000, 100, True),
        (None, None, 100, 20_000, False),
        (None, None, None, 20_000, True),
        (None, None, None, 100, False),
        (None, None, None, None, True),
    ],
)
def test_a_marker_goes_before_the_command_line_the_ini_file_and_configure(
    *, marker: int | None, option: int | None, ini: int | None, configured: int | None, passes: bool, project: Project
) -> None:
    if ini:
        project.ini(f"slimjobs_max_bytes = {ini}")
    project.test(
        f"""
        import pytest, slimjobs
        from app import publish
        {f"slimjobs.configure(max_bytes={configured})" if configured else ""}
        {f"@pytest.mark.slimjobs(max_bytes={marker})" if marker else ""}
        def test_it(queue):
            publish(queue, 10_000)
        """
    )
    result = project.run(*([f"--slimjobs-max-bytes={option}"] if option else []))
    result.assert_outcomes(passed=int(passes), failed=int(not passes))


def test_the_nearest_marker_counts(project: Project) -> None:
    project.test(
        """
        import pytest
        from app import publish
        pytestmark = pytest.mark.slimjobs(max_bytes=100)

        @pytest.mark.slimjobs(max_bytes="20 KiB")
        class TestIt:
            def test_passes(self, queue):
                publish(queue, 10_000)

            @pytest.mark.slimjobs(max_bytes="5 KiB", warn_bytes=10)
            def test_fails(self, queue):
                publish(queue, 10_000)

        def test_fails_too(queue):
            publish(queue, 10_000)
        """
    )
    project.run().assert_outcomes(passed=1, failed=2)


def test_a_tasks_own_limit_and_its_queues_hold_as_in_the_library(project: Project) -> None:
    project.test(
        """
        import slimjobs

        @slimjobs.job("letters", max_bytes="100 KiB")
        def large(text): ...

        def test_task(slim_queue, queue):
            slim_queue.enqueue(large, "x" * 80_000)
            queue.enqueue(large, "x" * 80_000)

        def test_queue(redis):
            slimjobs.Queue("q", connection=redis, limits={"max_bytes": "100 KiB"}).enqueue("app.greet", "x" * 80_000)

        def test_neither(queue):
            queue.enqueue("app.greet", "x" * 80_000)
        """
    )
    project.run().assert_outcomes(passed=2, failed=1)


def test_a_marker_lets_a_queue_of_ours_take_more_in_this_test_alone(project: Project) -> None:
    project.test(
        """
        import pytest, slimjobs
        from app import publish

        @pytest.mark.slimjobs(max_bytes="100 KiB")
        def test_more(slim_queue):
            publish(slim_queue, 80_000)

        def test_no_more(slim_queue):
            with pytest.raises(slimjobs.PayloadTooLargeError):
                publish(slim_queue, 80_000)
        """
    )
    project.run().assert_outcomes(passed=2)


@pytest.mark.parametrize("way", ["command line", "ini", "marker"])
@pytest.mark.parametrize("mode", ["fail", "warn", "off"])
@pytest.mark.parametrize(
    ("option", "call", "words"),
    [
        ("mode", "publish(queue, 80_000)", "app.send_email: payload is 78.2 KiB, limit is 64.0 KiB"),
        ("models", "queue.enqueue(greet, Stored(1))", "app.greet: args?0? is a whole Stored"),
        ("unreadable", "queue.enqueue(greet, Unreadable())", "app.greet: a worker could not read it: TypeError"),
        ("growth", "publish(queue, 80_000)", "app.send_email: payload is 78.2 KiB, its baseline is 68.4 KiB"),
    ],
)
def test_each_check_fails_warns_or_is_off(
    *, option: str, call: str, words: str, mode: str, way: str, project: Project
) -> None:
    (project.path / "known.json").write_text('{"tasks": {"app.send_email": 70000}}')
    options = ["--slimjobs-baseline=known.json"] if option == "growth" else []
    if way == "ini":
        project.ini(f"slimjobs_{option} = {mode}")
    elif way == "command line":
        options.append(f"--slimjobs-{option}={mode}")
    project.test(
        f"""
        import pytest
        from app import Stored, Unreadable, greet, publish
        {f'@pytest.mark.slimjobs({option}="{mode}")' if way == "marker" else ""}
        def test_it(queue):
            {call}
        """
    )
    result = project.run(*options)
    result.assert_outcomes(**{"failed" if mode == "fail" else "passed": 1})
    shown = {"fail": [f"{words}*"], "warn": [f"warning: {words}*"], "off": []}[mode]
    result.stdout.fnmatch_lines(shown)
    if mode == "off":
        result.stdout.no_fnmatch_line("*app.*")


def test_a_test_may_be_allowed_everything(project: Project) -> None:
    project.test(
        """
        import pytest
        from app import Stored, Unreadable, greet, publish, publish_and_swallow

        @pytest.mark.slimjobs(allow=True)
        def test_it(queue, slim_queue):
            publish(queue, 80_000)
            queue.enqueue(greet, Stored(1))
            queue.enqueue(greet, Unreadable())
            publish_and_swallow(slim_queue, 80_000)
        """
    )
    project.run().assert_outcomes(passed=1)


@pytest.mark.parametrize("way", ["command line", "ini", "marker"])
def test_what_is_warned_from_is_listed_at_the_end(way: str, project: Project) -> None:
    if way == "ini":
        project.ini("slimjobs_warn_bytes = 9KB")
    project.test(
        f"""
        import pytest
        from app import publish
        {'@pytest.mark.slimjobs(warn_bytes="9 KB")' if way == "marker" else ""}
        def test_it(queue):
            publish(queue, 9_500)
            publish(queue, 9_600)
            publish(queue, 500)
        """
    )
    result = project.run(*(["--slimjobs-warn-bytes=9KB"] if way == "command line" else []))
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["warning: app.send_email: 2 payloads over what is warned from, the largest 9.4 KiB at app.py:*"]
    )


@pytest.mark.parametrize(
    ("name", "value", "sample"),
    [
        ("max_bytes", "64 QiB", '"64 KiB"'),
        ("max_bytes", "0", '"64 KiB"'),
        ("warn_bytes", "-1", '"64 KiB"'),
        ("mode", "fial", "fail, warn, off"),
        ("models", "yes", "fail, warn, off"),
        ("unreadable", "x", "fail, warn, off"),
        ("growth", "x", "fail, warn, off"),
        ("top", "ten", "such as 10"),
        ("baseline", "nothing.json", "--slimjobs-update-baseline"),
    ],
)
def test_a_value_that_cannot_be_read_is_a_usage_error_that_shows_a_good_one(
    name: str, value: str, sample: str, project: Project
) -> None:
    option = f"--slimjobs-{name.replace('_', '-')}"
    project.test("def test_it(): pass")
    result = project.run(f"{option}={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {option}: *"])
    assert sample in result.stderr.str()

    project.ini(f"slimjobs_{name} = {value}")
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: slimjobs_{name} in tox.ini: *"])
    assert sample in result.stderr.str()


@pytest.mark.parametrize(
    ("marker", "words"),
    [
        ('max_bytes="64 QiB"', '*"64 KiB"*'),
        ('mode="fial"', "*fail, warn, off*"),
        ("allow=1", "*neither True nor False*"),
        ("limit=3", "*it takes max_bytes, warn_bytes, mode, models, unreadable, growth, allow*"),
        ("100", '*by name; write slimjobs(max_bytes="256 KiB",*'),
    ],
)
def test_a_marker_that_cannot_be_read_is_a_usage_error(marker: str, words: str, project: Project) -> None:
    project.test(f"import pytest\n@pytest.mark.slimjobs({marker})\ndef test_it(): pass")
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: test_it.py::test_it: {words}"])


def test_a_marker_of_a_fixture_that_cannot_be_read_fails_the_test(project: Project) -> None:
    project.test(
        """
        import pytest
        from app import publish

        @pytest.fixture
        def roomy(request):
            request.applymarker(pytest.mark.slimjobs(max_byte="1 MiB"))

        def test_it(roomy, queue): publish(queue, 80)
        def test_next(): pass
        """
    )
    result = project.run()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["test_it.py::test_it: @pytest.mark.slimjobs(max_byte=...): there is no such option*"])


@pytest.mark.slow
def test_a_marker_that_cannot_be_read_fails_the_test_under_xdist(project: Project) -> None:
    project.test(
        """
        import pytest

        @pytest.mark.slimjobs(max_byte="1 MiB")
        def test_it(): pass
        def test_next(): pass
        """
    )
    result = project.run_apart("-n", "1")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.no_fnmatch_line("*another exception*")
    result.stdout.fnmatch_lines(["test_it.py::test_it: @pytest.mark.slimjobs(max_byte=...): there is no such option*"])


def test_the_options_and_the_marker_are_documented_by_pytest(project: Project) -> None:
    help_text = project.run("--help").stdout.str()
    names = "max-bytes warn-bytes mode models unreadable growth top report baseline update-baseline"
    for name in names.split():
        assert f"--slimjobs-{name}" in help_text
        assert name == "update-baseline" or f"slimjobs_{name.replace('-', '_')} " in help_text
    project.run("--markers").stdout.fnmatch_lines(["@pytest.mark.slimjobs(max_bytes=*"])
