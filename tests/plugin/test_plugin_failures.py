"""The failure stands in the report of the test that enqueued, short, with the line and what to do."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from plugin_project import Project


def report_of(result: pytest.RunResult) -> list[str]:
    """Return the lines of the only failure."""
    lines = result.outlines
    first = next(number for number, line in enumerate(lines) if line.startswith("____")) + 1
    last = next(number for number, line in enumerate(lines) if line.startswith("====") and number > first)
    return lines[first:last]


def test_it_tells_the_task_both_numbers_the_part_the_line_and_what_to_do(project: Project) -> None:
    project.test(
        """
        from app import publish
        def test_it(queue):
            for _ in range(4):
                publish(queue, 80_000)
        """
    )
    result = project.run()
    result.assert_outcomes(failed=1)
    assert report_of(result) == [
        "app.send_email: payload is 78.2 KiB, limit is 64.0 KiB; largest is args[0] (78.1 KiB).",
        '  It was enqueued at app.py:20, in publish: return queue.enqueue(send_email, "x" * size)',
        "  So were 3 further jobs of this task.",
        "Pass an ID, a path or a URL, and load what it stands for in the task.",
        'If it has to be so large: @pytest.mark.slimjobs(max_bytes="97.7 KiB") on the test, or',
        "slimjobs_max_bytes in pytest.ini. To begin with all of today's jobs: --slimjobs-baseline=FILE.",
    ]


def test_it_names_what_sets_the_limit_and_no_baseline_for_what_was_refused(project: Project) -> None:
    project.test(
        """
        import slimjobs
        from app import send_email

        @slimjobs.job("letters", max_bytes="1 KiB", mode="warn")
        def small(text): ...

        def swallow(queue, *args):
            try:
                queue.enqueue(*args)
            except slimjobs.SlimjobsError:
                pass

        def test_task(queue):
            queue.enqueue(small, "x" * 3000)

        def test_queue(redis):
            swallow(slimjobs.Queue("q", connection=redis, limits={"max_bytes": 100}), send_email, "x" * 3000)

        def test_process(slim_queue):
            swallow(slim_queue, send_email, "x" * 80_000)

        def test_batch(redis):
            queue = slimjobs.Queue("q", connection=redis, limits={"max_batch_bytes": 100})
            try:
                queue.enqueue_many([slimjobs.Queue.prepare_data(send_email, ("x" * 60,)) for _ in range(3)])
            except slimjobs.SlimjobsError:
                pass
        """
    )
    advice = {}
    for name in ("task", "queue", "process", "batch"):
        lines = report_of(project.run(f"test_it.py::test_{name}"))
        advice[name] = lines[lines.index("Pass an ID, a path or a URL, and load what it stands for in the task.") + 1 :]
    assert advice == {
        "task": [
            'If it has to be so large: max_bytes="3.7 KiB" in the @job of this task.',
            "To begin with all of today's jobs: --slimjobs-baseline=FILE.",
        ],
        "queue": ['If it has to be so large: limits={"max_bytes": "3.7 KiB"} of its queue.'],
        "process": [
            'If it has to be so large: @pytest.mark.slimjobs(max_bytes="97.7 KiB") on the test, or',
            "slimjobs_max_bytes in pytest.ini.",
        ],
        "batch": ["Enqueue it in smaller batches, make its payloads smaller, or set max_batch_bytes=."],
    }


def test_the_traceback_of_a_refusal_shows_no_value(project: Project) -> None:
    project.test(
        """
        import rq, slimjobs
        from app import send_email

        SECRET = chr(33) * 20

        def test_queue(slim_queue):
            slim_queue.enqueue(send_email, SECRET * 5000)

        def test_path(slim_queue):
            slim_queue.enqueue(send_email, [SECRET, object()])

        def test_task(redis):
            slimjobs.job(rq.Queue("letters", connection=redis))(send_email).enqueue(text=SECRET * 5000)
        """
    )
    result = project.run()
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(["*call = <Call of app.send_email>*"])
    result.stdout.no_fnmatch_line("*!!!!!*")


def test_it_names_the_test_where_a_thread_calls_nothing_but_rq(project: Project) -> None:
    project.test(
        """
        import asyncio, threading
        from concurrent.futures import ThreadPoolExecutor
        from app import send_email

        def test_pool(queue):
            with ThreadPoolExecutor() as pool:
                pool.submit(queue.enqueue, send_email, "x" * 80_000).result()

        def test_to_thread(queue):
            asyncio.run(asyncio.to_thread(queue.enqueue, send_email, "x" * 80_000))

        def test_thread(queue):
            thread = threading.Thread(target=queue.enqueue, args=(send_email, "x" * 80_000))
            thread.start()
            thread.join()
        """
    )
    project.run().stdout.fnmatch_lines(
        [
            "  It was enqueued at test_it.py:5, in a thread of test_pool: def test_pool(queue):",
            "  It was enqueued at test_it.py:9, in a thread of test_to_thread: *",
            "  It was enqueued at test_it.py:12, in a thread of test_thread: *",
        ]
    )


def test_it_names_the_line_of_a_doctest(project: Project) -> None:
    project.test(
        """
        def document():
            \"\"\"
            >>> import fakeredis, rq
            >>> queue = rq.Queue(connection=fakeredis.FakeRedis())
            >>> for _ in range(2):
            ...     job = queue.enqueue("app.send_email", "x" * 80_000)
            \"\"\"
        """
    )
    words = '  It was enqueued at test_it.py:6, in test_it.document: ...     job = queue.enqueue("app.send_email", *'
    project.run("--doctest-modules", "test_it.py").stdout.fnmatch_lines([words])


def test_it_is_never_longer_than_fifteen_lines(project: Project) -> None:
    project.test(
        """
        from app import Stored, publish
        def test_it(queue):
            for number in range(40):
                queue.enqueue(f"app.task_{number}", [Stored("x" * 80_000)], {"more": Stored(1)}, Stored)
        """
    )
    result = project.run()
    lines = report_of(result)
    assert 8 <= len(lines) <= 15
    assert any(line.startswith("The same goes for app.task_") and line.endswith("and 33 more.") for line in lines)


@pytest.mark.parametrize("call", ["publish(queue, 80_000)", "publish_and_swallow(slim_queue, 80_000)"])
def test_it_stands_there_although_the_application_swallows_all_errors(call: str, project: Project) -> None:
    project.test(
        f"""
        from app import publish, publish_and_swallow
        def test_it(queue, slim_queue):
            try:
                {call}
            except Exception:
                pass
        """
    )
    result = project.run()
    result.assert_outcomes(failed=1)
    text = "\n".join(report_of(result))
    assert "app.send_email: payload is" in text
    assert "at app.py:20, in publish: return queue.enqueue" in text
    assert ("refused" in text) == ("slim_queue" in call)


@pytest.mark.parametrize(
    "test",
    [
        "def test_it(slim_queue):\n    with pytest.raises(slimjobs.PayloadTooLargeError): publish(slim_queue, 80_000)",
        "def test_it(slim_queue):\n    with pytest.raises(RuntimeError): wrapped(slim_queue)",
        "def test_it(slim_queue):\n    pytest.raises(ValueError, publish, slim_queue, 80_000)",
        """
class TestIt(unittest.TestCase):
    def test_it(self):
        queue = slimjobs.Queue(connection=fakeredis.FakeRedis())
        with self.assertRaises(slimjobs.PayloadTooLargeError):
            publish(queue, 80_000)
        with self.assertRaisesRegex(RuntimeError, "no mail"):
            wrapped(queue)
        self.assertRaises(ValueError, publish, queue, 80_000)
""",
    ],
)
def test_a_refusal_that_the_test_expects_is_no_failure(test: str, project: Project) -> None:
    project.test(
        f"""
import fakeredis, pytest, slimjobs, unittest
from app import publish

def wrapped(queue):
    try:
        publish(queue, 80_000)
    except Exception as error:
        raise RuntimeError("no mail") from error

{test}
"""
    )
    project.run().assert_outcomes(passed=1)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python has exception groups since 3.11")
def test_a_refusal_that_the_test_expects_in_a_group_is_no_failure(project: Project) -> None:
    project.test(
        """
        import asyncio, pytest, slimjobs
        from app import publish

        async def publish_all(queue):
            async def publish_one():
                publish(queue, 80_000)
            async with asyncio.TaskGroup() as outer:
                outer.create_task(publish_one())

        def test_it(slim_queue):
            with pytest.raises(ExceptionGroup):
                asyncio.run(publish_all(slim_queue))

        @pytest.mark.skipif(not hasattr(pytest, "RaisesGroup"), reason="pytest has it since 8.4")
        def test_group(slim_queue):
            with pytest.RaisesGroup(slimjobs.PayloadTooLargeError):
                asyncio.run(publish_all(slim_queue))
        """
    )
    has_both = hasattr(pytest, "RaisesGroup")
    project.run().assert_outcomes(passed=1 + has_both, skipped=1 - has_both)


def test_an_exception_that_the_test_expects_is_let_go(project: Project) -> None:
    project.test(
        """
        import gc, pytest, weakref

        class Connection:
            def query(self):
                raise ValueError("no")

        def test_it():
            connection = Connection()
            reference = weakref.ref(connection)
            with pytest.raises(ValueError):
                connection.query()
            del connection
            gc.collect()
            assert reference() is None
        """
    )
    project.run().assert_outcomes(passed=1)


def test_a_refusal_that_nobody_catches_is_shown_once(project: Project) -> None:
    project.test("from app import publish\ndef test_it(slim_queue): publish(slim_queue, 80_000)")
    result = project.run()
    result.assert_outcomes(failed=1)
    text = "\n".join(report_of(result))
    assert "PayloadTooLargeError" in text
    assert "The application went on" not in text


def test_a_test_that_fails_anyway_says_it_besides(project: Project) -> None:
    project.test(
        """
        from app import publish
        def test_it(queue):
            publish(queue, 80_000)
            assert 1 == 2
        """
    )
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E * assert 1 == 2", "*- slimjobs -*", "app.send_email: payload is 78.2 KiB, *"])


@pytest.mark.parametrize(
    ("test", "outcomes"),
    [
        ("@pytest.mark.xfail\ndef test_it(queue): publish(queue, 80_000)", {"xfailed": 1}),
        ("@pytest.mark.xfail(strict=True)\ndef test_it(queue): publish(queue, 80_000)", {"xfailed": 1}),
        ("def test_it(queue):\n    publish(queue, 80_000)\n    pytest.skip()", {"skipped": 1}),
        ("def test_it(queue):\n    publish(queue, 80_000)\n    pytest.xfail()", {"xfailed": 1}),
    ],
)
def test_skips_and_expected_failures_stay_what_they_are(test: str, outcomes: dict[str, int], project: Project) -> None:
    project.test(f"import pytest\nfrom app import publish\n{test}")
    project.run().assert_outcomes(**outcomes)


def test_what_a_fixture_enqueues_counts_for_the_test(project: Project) -> None:
    project.test(
        """
        import pytest
        from app import publish

        @pytest.fixture
        def published(queue):
            publish(queue, 80_000)

        @pytest.fixture
        def publishes_late(queue):
            yield
            publish(queue, 80_000)

        def test_before(published):
            pass

        def test_after(publishes_late):
            pass

        def test_neither():
            pass
        """
    )
    result = project.run("-v")
    result.assert_outcomes(passed=2, failed=1, errors=1)
    result.stdout.fnmatch_lines(["*test_before FAILED*", "*test_after PASSED*", "*test_after ERROR*"])


@pytest.mark.parametrize("scope", ["class", "module", "session"])
def test_what_a_wider_fixture_enqueues_counts_once_for_the_first_test(scope: str, project: Project) -> None:
    project.test(
        f"""
        import fakeredis, pytest, rq
        from app import publish

        @pytest.fixture(scope="{scope}")
        def published():
            publish(rq.Queue(connection=fakeredis.FakeRedis()), 80_000)

        class TestIt:
            def test_first(self, published): pass
            def test_second(self, published): pass
        """
    )
    result = project.run("-v", "--slimjobs-top=3")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["*test_first FAILED*", "*test_second PASSED*", "78.2 KiB     1  app.send_email  test_it.py::*"]
    )


def test_a_setup_that_fails_says_what_was_enqueued(project: Project) -> None:
    project.test(
        """
        import pytest
        from app import publish

        @pytest.fixture
        def published(queue):
            publish(queue, 80_000)
            raise ValueError("broken")

        def test_it(published): pass
        """
    )
    result = project.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["E * ValueError: broken", "app.send_email: payload is 78.2 KiB, *"])


def test_what_is_enqueued_outside_tests_is_told_at_the_end(project: Project) -> None:
    project.test(
        """
        import fakeredis, rq
        from app import publish
        publish(rq.Queue(connection=fakeredis.FakeRedis()), 80_000)
        def test_it(): pass
        """
    )
    result = project.run()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["warning: app.send_email: a job of 78.2 KiB was enqueued outside tests, at app.py:20, *"]
    )


OUTSIDE = """
import fakeredis, pytest, rq
from app import publish
publish(rq.Queue(connection=fakeredis.FakeRedis()), 80_000)

@pytest.mark.slimjobs(allow=True)
def test_it(queue): publish(queue, 90_000)
"""


@pytest.mark.parametrize(
    ("options", "is_told"),
    [
        ([], True),
        (["--slimjobs-mode=warn"], True),
        (["--slimjobs-mode=off"], False),
        (["--slimjobs-max-bytes=100 KiB"], False),
        (["--slimjobs-baseline=known.json"], False),
    ],
)
def test_what_is_enqueued_outside_tests_is_judged_by_the_options_of_the_run(
    options: list[str], is_told: bool, project: Project
) -> None:
    (project.path / "known.json").write_text('{"tasks": {"app.send_email": 90000}}')
    project.test(OUTSIDE)
    result = project.run("--slimjobs-top=5", *options)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["87.9 KiB     2  app.send_email  test_it.py::test_it"])
    told = [line for line in result.outlines if "enqueued outside tests" in line]
    assert (
        told
        == ["warning: app.send_email: a job of 78.2 KiB was enqueued outside tests, at app.py:20, in publish"][
            : int(is_told)
        ]
    )


def test_a_test_may_leave_its_directory_deleted(project: Project) -> None:
    project.test(
        """
        import os, shutil
        from app import publish

        def test_it(tmp_path, monkeypatch, queue):
            monkeypatch.chdir(tmp_path)
            publish(queue, 80_000)
            shutil.rmtree(tmp_path)

        def test_next(queue):
            publish(queue, 80_000)
        """
    )
    result = project.run()
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        ["  It was enqueued at */app.py:20, in publish: *", "  It was enqueued at app.py:20, *"]
    )


def test_jobs_of_threads_and_of_jobs_that_run_count_too(project: Project) -> None:
    project.test(
        """
        import rq, threading
        from app import publish

        def test_thread(queue):
            thread = threading.Thread(target=publish, args=(queue, 80_000))
            thread.start()
            thread.join()

        def test_job(redis):
            publish(rq.Queue(is_async=False, connection=redis), 80_000)
        """
    )
    project.run().assert_outcomes(failed=2)


def test_a_whole_model_is_shown_with_its_path_and_what_replaces_it(project: Project) -> None:
    project.test(
        """
        from app import Stored, greet
        def test_it(queue):
            queue.enqueue(greet, "x", [Stored(1)])
        """
    )
    result = project.run()
    result.assert_outcomes(failed=1)
    assert report_of(result) == [
        "app.greet: args[1][0] is a whole Stored, with every field it has: the worker gets old data.",
        '  It was enqueued at test_it.py:3, in test_it: queue.enqueue(greet, "x", [Stored(1)])',
        "Pass the ID of args[1][0], and load it in the task. Or let slimjobs do both:",
        "  import Queue and Worker from slimjobs, and not from rq: they send its ID, and load it in the worker.",
        'To let it pass: @pytest.mark.slimjobs(models="off"), or slimjobs_models = off in pytest.ini.',
    ]


def test_a_job_that_cannot_be_read_back_fails_on_a_synchronous_queue_too(project: Project) -> None:
    project.test(
        """
        import rq
        from app import Unreadable, greet
        def test_sync(redis):
            rq.Queue(is_async=False, connection=redis).enqueue(greet, Unreadable())
        """
    )
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "app.greet: a worker could not read it: TypeError: *",
            'To let it pass: @pytest.mark.slimjobs(unreadable="off"), or slimjobs_unreadable = off in pytest.ini.',
        ]
    )


@pytest.mark.parametrize("option", ["fail", "warn", "off"])
def test_a_function_that_no_worker_could_import_is_told_at_the_end(option: str, project: Project) -> None:
    project.test("def test_it(queue): queue.enqueue(lambda: 1)")
    result = project.run(f"--slimjobs-unreadable={option}")
    result.assert_outcomes(passed=1)
    words = "warning: test_it.test_it.<locals>.<lambda>: no worker could import a lambda, *"
    if option == "off":
        result.stdout.no_fnmatch_line(words)
    else:
        result.stdout.fnmatch_lines([words])


def test_many_functions_that_no_worker_could_import_are_one_line(project: Project) -> None:
    project.test("""
        def test_it(queue):
            def nested(): ...
            for function in (nested, lambda: 1, lambda: 2):
                queue.enqueue(function)
    """)
    (line,) = [line for line in project.run().outlines if "no worker could import" in line]
    assert line.startswith("warning: test_it.test_it.<locals>.nested and 1 more: no worker")
