"""One summary whatever else runs the tests: pytest-xdist, reruns, random order, coverage, unittest, Django, async."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from plugin_project import Project

pytestmark = pytest.mark.slow

MANY = """
import pytest
from app import greet, publish

@pytest.mark.parametrize("number", range(6))
def test_it(number, queue):
    publish(queue, 1000 + number)
    queue.enqueue(greet, number)

def test_large(queue):
    publish(queue, 80_000)
"""


def read_report(project: Project) -> Any:
    return json.loads((project.path / "report.json").read_text())


def check_many(result: pytest.RunResult, project: Project) -> None:
    result.assert_outcomes(passed=6, failed=1)
    result.stdout.fnmatch_lines(
        [
            "app.send_email: payload is 78.2 KiB, limit is 64.0 KiB*",
            "*= slimjobs: payloads of RQ jobs =*",
            " largest  jobs  task, and the test of the largest",
            "78.2 KiB     7  app.send_email  test_it.py::test_large",
            "?? bytes     6  app.greet  test_it.py::test_it?0?",
            "* KiB in all; jobs: 13, tasks: 2",
        ]
    )
    assert result.stdout.str().count("slimjobs: payloads") == 1
    report = read_report(project)
    assert (report["jobs"], report["refused"]) == (13, 0)
    task = report["tasks"]["app.send_email"]
    assert (task["jobs"], task["test"], len(task["failures"])) == (7, "test_it.py::test_large", 1)
    assert task["place"] == "app.py:20, in publish"


@pytest.mark.parametrize("options", [("-n", "2"), ("-n", "0")])
def test_xdist_has_one_summary_of_all_workers(options: tuple[str, ...], project: Project) -> None:
    project.test(MANY)
    check_many(project.run_apart("--slimjobs-top=5", "--slimjobs-report=report.json", *options), project)


def test_what_is_enqueued_outside_tests_counts_once_for_all_workers_of_xdist(project: Project) -> None:
    project.test(
        """
        import fakeredis, pytest, rq
        from app import publish
        publish(rq.Queue(connection=fakeredis.FakeRedis()), 80_000)

        @pytest.mark.parametrize("number", range(4))
        def test_it(number): pass
        """
    )
    result = project.run_apart("-n", "2", "--slimjobs-report=report.json")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(
        ["warning: app.send_email: a job of 78.2 KiB was enqueued outside tests, at app.py:20, *"]
    )
    assert read_report(project)["jobs"] == 1


def test_random_order_changes_nothing(project: Project) -> None:
    project.test(MANY)
    options = ("--slimjobs-top=5", "--slimjobs-report=report.json", "-p", "no:cacheprovider", "-p", "no:django")
    result = project.pytester.runpytest_subprocess(*options, "-p", "randomly", "-p", "no:asyncio")
    result.stdout.fnmatch_lines(["Using --randomly-seed=*"])
    result.assert_outcomes(passed=6, failed=1)
    assert read_report(project)["jobs"] == 13


def test_coverage_is_measured_as_ever(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COVERAGE_FILE", "COVERAGE_PROCESS_START"):
        monkeypatch.delenv(name, raising=False)  # it would erase what our own processes have measured
    project.test(MANY)
    result = project.run_apart("--cov=app", "--slimjobs-top=5", "--slimjobs-report=report.json")
    check_many(result, project)
    result.stdout.fnmatch_lines(["app.py *"])


def test_a_worker_of_xdist_that_dies_takes_only_its_tests_along(project: Project) -> None:
    project.test(
        """
        import os
        from app import publish
        def test_first(queue): publish(queue, 100)
        def test_second(queue): os._exit(1)
        def test_third(queue): publish(queue, 200)
        """
    )
    result = project.run_apart("-n", "1", "--slimjobs-report=report.json")
    result.assert_outcomes(passed=2, failed=1)
    assert read_report(project)["jobs"] == 2


def test_a_test_that_runs_again_counts_once(project: Project) -> None:
    project.test(
        """
        import pytest
        from app import publish
        runs = []

        def test_it(queue):
            runs.append(1)
            publish(queue, 80_000 if len(runs) < 3 else 500)

        def test_always(queue):
            publish(queue, 80_000)
        """
    )
    result = project.run("--reruns=2", "--slimjobs-report=report.json")
    result.assert_outcomes(passed=1, failed=1)
    assert read_report(project)["jobs"] == 2


def test_what_a_wider_fixture_has_enqueued_fails_each_run_of_the_test(project: Project) -> None:
    project.test(
        """
        import fakeredis, pytest, rq
        from app import publish

        @pytest.fixture(scope="module")
        def published():
            publish(rq.Queue(connection=fakeredis.FakeRedis()), 80_000)

        def test_first(published): pass
        def test_second(published): pass
        """
    )
    result = project.run("--reruns=2", "--slimjobs-report=report.json")
    result.assert_outcomes(passed=1, failed=1)
    assert read_report(project)["jobs"] == 1


def test_a_refusal_that_a_wider_fixture_has_expected_fails_no_run_of_the_test(project: Project) -> None:
    project.test(
        """
        import fakeredis, pytest, slimjobs
        from app import publish
        runs = []

        @pytest.fixture(scope="module")
        def refused():
            with pytest.raises(slimjobs.PayloadTooLargeError):
                publish(slimjobs.Queue(connection=fakeredis.FakeRedis()), 80_000)

        def test_it(refused):
            runs.append(1)
            assert len(runs) == 2
        """
    )
    assert project.run("--reruns=2").parseoutcomes() == {"passed": 1, "rerun": 1}


def test_unittest_and_its_fixtures(project: Project) -> None:
    project.test(
        """
        import fakeredis, rq, unittest
        from app import publish

        class TestIt(unittest.TestCase):
            @classmethod
            def setUpClass(cls):
                cls.queue = rq.Queue(connection=fakeredis.FakeRedis())

            def test_large(self):
                publish(self.queue, 80_000)

            def test_small(self):
                publish(self.queue, 80)

            def test_wrong(self):
                publish(self.queue, 90_000)
                self.assertEqual(1, 2)

        class TestSetUp(unittest.TestCase):
            def setUp(self):
                publish(rq.Queue(connection=fakeredis.FakeRedis()), 80_000)

            def test_it(self): pass

        class TestAsync(unittest.IsolatedAsyncioTestCase):
            async def test_it(self):
                publish(rq.Queue(connection=fakeredis.FakeRedis()), 80_000)
        """
    )
    result = project.run("-v")
    result.assert_outcomes(passed=1, failed=4)
    result.stdout.fnmatch_lines(["*AssertionError: 1 != 2", "*- slimjobs -*", "app.send_email: payload is 87.* KiB*"])


def test_subtests_count_for_their_test(project: Project) -> None:
    project.test(
        """
        import fakeredis, rq, unittest
        from app import publish

        class TestIt(unittest.TestCase):
            def test_it(self):
                for size in (500, 80_000):
                    with self.subTest(size=size):
                        publish(rq.Queue(connection=fakeredis.FakeRedis()), size)
        """
    )
    result = project.run("--slimjobs-report=report.json")
    assert result.parseoutcomes()["failed"] == 1
    assert read_report(project)["jobs"] == 2


@pytest.mark.skipif(pytest.version_tuple < (9,), reason="pytest has subtests of its own since 9.0")
def test_subtests_of_pytest_count_for_their_test(project: Project) -> None:
    project.test(
        """
        from app import publish

        def test_it(queue, subtests):
            for size in (500, 80_000):
                with subtests.test(size=size):
                    publish(queue, size)
        """
    )
    result = project.run("--slimjobs-report=report.json")
    assert result.parseoutcomes()["failed"] == 1
    assert read_report(project)["jobs"] == 2


def test_async_tests(project: Project) -> None:
    project.ini("asyncio_default_fixture_loop_scope = function")
    project.test(
        """
        import asyncio, pytest
        from app import publish

        @pytest.mark.asyncio
        async def test_large(queue):
            await asyncio.sleep(0)
            publish(queue, 80_000)
        """
    )
    result = project.run_apart()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["app.send_email: payload is 78.2 KiB*", "*at app.py:20, in publish*"])


SETTINGS = """
SECRET_KEY = "x"
INSTALLED_APPS = ["shop", "django_rq"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
RQ_QUEUES = {"default": {"URL": "redis://localhost:1/0"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
"""

SHOP = {
    "shop/__init__": "",
    "shop/models": """
from django.db import models

class Email(models.Model):
    subject = models.CharField(max_length=200)
    body = models.TextField()
""",
    "shop/jobs": """
def send_email(email, recipients):
    pass
""",
    "shop/views": """
import django_rq
from shop.jobs import send_email

def publish(email, recipients):
    queue = django_rq.get_queue("default")
    for number, chunk in enumerate(recipients):
        queue.enqueue(send_email, email, chunk, job_id=f"chunk-{number}")
""",
}

SHOP_TEST = """
import fakeredis, pytest
from django.test import TestCase, TransactionTestCase
from shop.models import Email
from shop.views import publish

@pytest.fixture(autouse=True)
def fake(monkeypatch):
    connection = fakeredis.FakeRedis()
    monkeypatch.setattr("django_rq.queues.get_connection", lambda *_, **__: connection)

@pytest.mark.django_db
def test_function():
    publish(Email.objects.create(subject="s", body="b" * 100_000), [["a"], ["b"], ["c"]])

class TestInTransaction(TestCase):
    def test_method(self):
        publish(Email.objects.create(subject="s", body="b" * 100_000), [["a"], ["b"], ["c"]])

    def test_committed(self):
        with self.captureOnCommitCallbacks(execute=True):
            publish(Email.objects.create(subject="s", body="b" * 100_000), [["a"], ["b"], ["c"]])

class TestWithout(TransactionTestCase):
    def test_method(self):
        publish(Email.objects.create(subject="s", body="b" * 100_000), [["a"], ["b"], ["c"]])
"""

SLIM_SETTINGS = """
RQ = {"QUEUE_CLASS": "slimjobs.contrib.django_rq.Queue", "JOB_CLASS": "slimjobs.contrib.django_rq.Job",
      "WORKER_CLASS": "slimjobs.contrib.django_rq.Worker"}  # in settings.py
"""


@pytest.fixture
def shop(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A small application written the naive way: a pickled Django model, stock django-rq."""
    for name, text in {**SHOP, "shop_settings": SETTINGS, "test_it": SHOP_TEST}.items():
        file = project.path / f"{name}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    (project.path / "conftest.py").unlink()
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "shop_settings")
    monkeypatch.setenv("PYTHONPATH", str(project.path), prepend=os.pathsep)
    return project


def test_a_naive_django_application_is_told_how_to_be_repaired(shop: Project) -> None:
    result = shop.run_apart("--slimjobs-report=report.json")
    result.assert_outcomes(failed=4)
    result.stdout.fnmatch_lines(
        [
            # 97.9 KiB; with Django 6, whose pickles are longer, 98.0.
            "shop.jobs.send_email: payload is 9?.? KiB, limit is 64.0 KiB; largest is args?0?.body (97.7 KiB).",
            "  And args?0? is a whole Email, with every field it has: the worker gets old data.",
            "  It was enqueued at shop/views.py:8, in publish: queue.enqueue(send_email, email, chunk, job_id=*",
            "  So were 2 further jobs of this task.",
            "Pass the ID of args?0?, and load it in the task. Or let slimjobs do both:",
            "  RQ = {*",
            "        *}  # in settings.py",
        ]
    )
    assert read_report(shop)["jobs"] == 12
    shown = result.stdout.str()
    words = shown[shown.index("  RQ = {") : shown.index("# in settings.py")]
    settings = shop.path / "shop_settings.py"
    settings.write_text(f"{SETTINGS}\n{words.strip()}\n")

    repaired = shop.run_apart("--slimjobs-report=report.json", "--slimjobs-top=3")
    repaired.assert_outcomes(passed=4)
    assert read_report(shop)["jobs"] == 12
    assert read_report(shop)["tasks"]["shop.jobs.send_email"]["largest_bytes"] < 100


@pytest.mark.parametrize("mode", ["auto", "on_db_commit", "request_finished"])
def test_each_commit_mode_of_django_rq_is_seen_at_the_call(mode: str, shop: Project) -> None:
    (shop.path / "shop_settings.py").write_text(f'{SETTINGS}\nRQ = {{"COMMIT_MODE": "{mode}"}}\n')
    result = shop.run_apart("--slimjobs-report=report.json", "-k", "test_method or test_function")
    result.assert_outcomes(failed=3, deselected=1)
    assert read_report(shop)["jobs"] == 9


def test_a_naive_application_with_small_models_is_told_too(shop: Project) -> None:
    test = shop.path / "test_it.py"
    test.write_text(SHOP_TEST.replace("100_000", "10"))
    result = shop.run_apart()
    result.assert_outcomes(failed=4)
    result.stdout.fnmatch_lines(["shop.jobs.send_email: args?0? is a whole Email, *"])


def test_without_the_plugin_nothing_is_there(project: Project) -> None:
    project.test(MANY)
    result = project.run("-p", "no:slimjobs")
    result.assert_outcomes(passed=7)
    result.stdout.no_fnmatch_line("*payload*")
    project.test("def test_it(slimjobs): pass")
    project.run("-p", "no:slimjobs").stdout.fnmatch_lines(["*fixture 'slimjobs' not found"])
    refused = project.run("-p", "no:slimjobs", "--slimjobs-top=3")
    assert refused.ret != 0
    assert "unrecognized arguments: --slimjobs-top=3" in refused.stderr.str()


def test_what_another_process_enqueues_is_not_seen(project: Project) -> None:
    project.test(
        """
        import os
        from app import publish

        def test_it(queue):
            child = os.fork()
            if child == 0:
                publish(queue, 80_000)
                os._exit(0)
            os.waitpid(child, 0)
        """
    )
    project.run("--slimjobs-report=report.json").assert_outcomes(passed=1)
    assert read_report(project)["jobs"] == 0


def test_a_run_without_rq_does_not_import_it(project: Project) -> None:
    (project.path / "conftest.py").unlink()
    project.test(
        """
        import sys
        def test_it():
            names = {"rq", "redis", "msgpack", "hypothesis", "slimjobs.testing", "slimjobs.queue"}
            assert not {*sys.modules} & names
        """
    )
    result = project.run_apart("-p", "no:pytest_redis", "-p", "no:hypothesispytest")
    result.assert_outcomes(passed=1)


def test_what_takes_jobs_apart_is_imported_for_large_ones_alone_and_as_it_is(project: Project) -> None:
    # pytest marks the modules beside an installed plugin so.
    (project.path / "conftest.py").write_text("import pytest\npytest.register_assert_rewrite('slimjobs.recording')\n")
    project.test(
        """
        import sys
        from importlib.machinery import SourceFileLoader
        import fakeredis, pytest, rq

        HEAVY = {"slimjobs.codec", "slimjobs.recording.dissecting", "pickletools"}

        def test_it():
            queue = rq.Queue(connection=fakeredis.FakeRedis())
            queue.enqueue(print, 1, [{"to": ["a@example.org"]}])
            assert not {*sys.modules} & HEAVY
            queue.enqueue(print, "x" * 80_000)
            assert {*sys.modules} >= HEAVY
            for name in ("measuring", "dissecting"):
                assert type(sys.modules[f"slimjobs.recording.{name}"].__loader__) is SourceFileLoader
        """
    )
    result = project.run_apart("-p", "no:pytest_redis", "-p", "no:hypothesispytest", "--slimjobs-mode=warn")
    result.assert_outcomes(passed=1)


def test_a_run_under_strict_options_and_errors_for_warnings(project: Project) -> None:
    project.test(MANY)
    result = project.run("--strict-markers", "--strict-config", "-W", "error", "--slimjobs-warn-bytes=500")
    result.assert_outcomes(passed=6, failed=1)
    result.stdout.fnmatch_lines(["warning: app.send_email: 6 payloads over what is warned from*"])


def test_the_results_of_junit_name_the_task(project: Project) -> None:
    project.test(MANY)
    project.run("--junitxml=junit.xml")
    assert "app.send_email: payload is 78.2 KiB" in (project.path / "junit.xml").read_text()


def test_a_run_inside_a_run_leaves_rqs_classes_as_they_were() -> None:
    code = (
        "import pytest, rq\n"
        "before = rq.job.Job.save, pytest.ExceptionInfo.fill_unfilled\n"
        "pytest.main(['-q', '--co', '-p', 'no:cacheprovider', '/nowhere'])\n"
        "assert (rq.job.Job.save, pytest.ExceptionInfo.fill_unfilled) == before\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
