"""`slimjobs doctor` on applications, processes and jobs that are real: what does not agree is told, with its fix."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any

import backlog_samples
import pytest
import queue_samples
import rq
from rq.scheduler import RQScheduler
from rq.serializers import JSONSerializer
from rq_versions import RQ

import slimjobs
from slimjobs.backlog.formats import FormatScan
from slimjobs.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import ModuleType

    from redis import Redis

    Doctor = Callable[..., dict[str, list[dict[str, Any]]]]

APP = """
import os
import rq
import slimjobs
from redis import Redis
from rq.decorators import job as rq_job

redis = Redis.from_url(os.environ["REDIS_URL"])
QUEUES

@slimjobs.job("mail", connection=redis, max_bytes="32 KiB")
def send(number):
    return number

@rq_job("news", connection=redis)
def announce(number):
    return number

def plain(value):
    return value
"""
SETTINGS = """
import os
SECRET_KEY = "x"
INSTALLED_APPS = ["django_rq", "slimjobs.contrib.django_rq"]
DATABASES = {}
RQ_QUEUES = {"mail": {"URL": os.environ["REDIS_URL"]}}
RQ = {"QUEUE_CLASS": "slimjobs.contrib.django_rq.Queue", "JOB_CLASS": "slimjobs.contrib.django_rq.Job"}
"""
LARGE = random.Random(1).randbytes(2**20).hex()


@pytest.fixture
def make_app(tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ModuleType]]:
    """Return what makes an application's module, which all names that begin with `doctored` are."""
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)

    def make(queues: str = "") -> ModuleType:
        (tmp_path / "doctored.py").write_text(APP.replace("QUEUES", queues))
        return import_module("doctored")

    yield make
    sys.modules.pop("doctored", None)


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str]) -> Doctor:
    def run(*arguments: str, status: int) -> dict[str, list[dict[str, Any]]]:
        assert main(["doctor", "--app", "doctored", "--json", *arguments]) == status
        found: dict[str, list[dict[str, Any]]] = json.loads(capsys.readouterr().out)
        return found

    return run


def texts(report: dict[str, list[dict[str, Any]]], level: str) -> str:
    found = [finding for finding in report["findings"] if finding["level"] == level]
    assert all(bool(finding["fix"]) == (level != "OK") for finding in found)
    return "\n".join(f"{finding['subject']}: {finding['text']} -> {finding['fix']}" for finding in found)


def birth(worker: Any) -> Any:
    worker.register_birth()
    return worker


def test_what_agrees_is_said_to(redis: Redis, make_app: Callable[..., ModuleType], doctor: Doctor) -> None:
    app = make_app("mail = slimjobs.Queue('mail', connection=redis)")
    del app.announce
    app.send.enqueue(1)
    app.mail.enqueue_in(timedelta(hours=1), app.plain, 1)
    worker = birth(slimjobs.Worker(["mail"], connection=redis))
    slimjobs.Scheduler(["mail"], connection=redis).work_once()
    report = doctor(status=0)
    assert f"queue mail: slim is written or in flight, and it is read by {worker.name}" in texts(report, "OK")
    assert {row["format"] for row in report["payloads"]} == {"slim"}


def test_a_worker_that_refuses_what_is_in_flight(
    redis: Redis, make_app: Callable[..., ModuleType], doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app("mail = slimjobs.Queue('mail', connection=redis)")
    del app.announce
    rq.Queue("mail", connection=redis).enqueue(app.plain, 1)
    worker = birth(slimjobs.Worker(["mail"], connection=redis))
    critical = texts(doctor(status=1), "CRITICAL")
    assert f"worker {worker.name} does not read pickle: 1 job in flight" in critical
    assert "SLIMJOBS_READ_PICKLE=1" in critical
    # The fix that it names is one: the worker is started with it, and runs the job.
    worker.register_death()
    monkeypatch.setenv("SLIMJOBS_READ_PICKLE", "1")
    slimjobs.limits.reset()
    worker = birth(slimjobs.SimpleWorker(["mail"], connection=redis))
    assert "does not read" not in texts(doctor(status=0), "OK")
    worker.register_death()
    slimjobs.SimpleWorker(["mail"], connection=redis).work(burst=True, logging_level="CRITICAL")
    assert not rq.registry.FailedJobRegistry("mail", connection=redis).get_job_ids()
    # And when nothing is left to be read so, it says that too.
    birth(slimjobs.SimpleWorker(["mail"], connection=redis))
    assert "no pickled job is left" in texts(doctor(status=1), "WARNING")


def test_stock_workers_schedulers_and_writers(
    redis: Redis, make_app: Callable[..., ModuleType], doctor: Doctor
) -> None:
    app = make_app("mail = slimjobs.Queue('mail', connection=redis)\nother = rq.Queue('mail', connection=redis)")
    app.send.enqueue(1)
    stock = birth(rq.Worker(["mail"], connection=redis))
    scheduler = RQScheduler(["mail"], connection=redis)
    scheduler.acquire_locks()  # type: ignore[no-untyped-call]
    if RQ >= (2, 11):
        scheduler.register_birth()
    warned = texts(doctor(status=1), "WARNING")
    assert "several formats: pickle by doctored.other; slim by doctored.mail, doctored.send" in warned
    assert f"worker {stock.name} is of RQ's own classes and fails slim jobs" in warned
    assert ("is RQ's own and reads whole payloads" in warned) == (RQ >= (2, 11))
    slimjobs.Worker(["news"], connection=redis).register_birth()
    critical = texts(doctor("--queue", "news", status=1), "CRITICAL")
    assert "does not read pickle: doctored.announce" in critical
    assert "queue mail" not in critical


@pytest.mark.skipif(RQ < (3, 0), reason="RQ has cron schedulers like these since 3.0")
def test_cron_schedulers(redis: Redis, make_app: Callable[..., ModuleType], doctor: Doctor) -> None:
    from rq.cron import CronScheduler

    app = make_app()
    birth(slimjobs.Worker(["mail"], connection=redis))
    cron: Any = CronScheduler(connection=redis)
    cron.register(app.plain, "mail", args=(1,), interval=60)
    cron.register_birth()
    report = doctor(status=1)
    assert f"does not read pickle: cron scheduler {cron.name}" in texts(report, "CRITICAL")
    assert "pickles doctored.plain, with no limit -> Start `slimjobs cron`" in texts(report, "WARNING")
    cron.register_death()
    from slimjobs.cron import CronScheduler as SlimCron

    slim: Any = SlimCron(connection=redis)
    slim.register(app.plain, "mail", args=(1,), interval=60)
    slim.register_birth()
    report = doctor("--queue", "mail", status=0)
    assert "queue mail: slim is written" in texts(report, "OK")


def test_tasks_that_cannot_be_imported(redis: Redis, make_app: Callable[..., ModuleType], doctor: Doctor) -> None:
    make_app()
    queue = rq.Queue("news", connection=redis)
    queue.enqueue("doctored.gone", 1)
    queue.enqueue("no_such_package.tasks.run", 1)
    queue.enqueue(queue_samples.Letter(1, "x").shout)  # a method has no path of its own
    critical = texts(doctor(status=1), "CRITICAL")
    assert "task doctored.gone: 1 job needs it, and it cannot be imported here: ValueError" in critical
    assert "ModuleNotFoundError: No module named 'no_such_package'" in critical
    assert "quarantine --task 'doctored.gone'" in critical
    assert "shout" not in critical


def test_limits_and_where_they_come_from(
    redis: Redis, make_app: Callable[..., ModuleType], doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    birth(slimjobs.Worker(["mail"], connection=redis))
    monkeypatch.setenv("SLIMJOBS_MAX_RESULT_BYTES", "1 MiB")
    slimjobs.limits.reset()
    make_app(
        "slimjobs.configure(warn_bytes='8 KiB')\n"
        "mail = slimjobs.Queue('mail', connection=redis, limits={'max_bytes': '1 MiB'})"
    )
    report = doctor(status=1)
    limits = {place["where"]: place for place in report["limits"]}
    assert limits["process"]["sources"] == {
        "max_bytes": "default",
        "warn_bytes": "configure()",
        "max_batch_bytes": "default",
        "max_result_bytes": "SLIMJOBS_MAX_RESULT_BYTES",
        "mode": "default",
    }
    assert limits["process"]["values"]["max_result_bytes"] == 2**20
    assert limits["queue mail"]["values"]["max_bytes"] == 2**20
    assert limits["task doctored.send"]["sources"]["max_bytes"] == "task"
    assert limits["task doctored.send"]["values"] == {**limits["process"]["values"], "max_bytes": 32 * 2**10}
    warned = texts(report, "WARNING")
    assert "it has other limits: warn_bytes 16.0 KiB (here 8.0 KiB), max_result_bytes 64.0 KiB (here 1.0 MiB)" in warned


def test_another_redis_and_one_that_is_gone(
    redis: Redis, redis_url: str, make_app: Callable[..., ModuleType], doctor: Doctor
) -> None:
    make_app(
        "far = slimjobs.Queue('far', connection=Redis.from_url(os.environ['REDIS_URL'].rpartition('/')[0] + '/5'))\n"
        "lost = slimjobs.Queue('lost', connection=Redis(port=1))"
    )
    report = doctor(status=1)
    assert "queue far: doctored.far enqueues into another Redis, or database" in texts(report, "WARNING")
    assert "queue lost: doctored.lost cannot reach its Redis" in texts(report, "CRITICAL")
    report = doctor("--redis-url", "redis://localhost:1", status=1)
    assert "redis: ConnectionError" in texts(report, "CRITICAL")
    assert "-> Name it with --redis-url or REDIS_URL; the application alone" in texts(report, "CRITICAL")
    assert report["limits"]


def test_jobs_that_wait_and_have_no_worker(redis: Redis, make_app: Callable[..., ModuleType], doctor: Doctor) -> None:
    app = make_app("mail = slimjobs.Queue('mail', connection=redis)")
    assert "queue mail: slim is written or in flight, and no worker is there" in texts(doctor(status=0), "OK")
    app.send.enqueue(1)
    for number in range(2):
        app.announce.delay(number)
    warned = texts(doctor(status=1), "WARNING")
    assert "queue mail: 1 job waits, and no worker is there -> Start `rq worker --worker-class slimjobs.Wo" in warned
    assert "queue news: 2 jobs wait, and no worker is there -> Start `rq worker news`." in warned
    rq.Queue("mail", connection=redis).enqueue(app.plain, 1)
    assert (
        "queue mail: 2 jobs wait, and no worker is there -> "
        "Start `SLIMJOBS_READ_PICKLE=1 rq worker --worker-class slimjobs.Worker mail`."
    ) in texts(doctor(status=1), "WARNING")
    birth(slimjobs.Worker(["mail", "news"], connection=redis))
    assert "no worker is there" not in json.dumps(doctor(status=1))


def test_lazy_objects_of_an_application_stay_so(redis: Redis, make_app: Any, doctor: Doctor) -> None:
    app = make_app(
        "from django.utils.functional import SimpleLazyObject, empty\n"
        "broken = SimpleLazyObject(lambda: 1 / 0)\nlazy = SimpleLazyObject(lambda: rq.Queue('lazy', connection=redis))"
    )
    assert "lazy" not in texts(doctor(status=0), "OK")
    assert app.lazy._wrapped is app.empty


def test_an_application_that_cannot_be_imported(redis: Redis, make_app: Any, doctor: Doctor, tmp_path: Path) -> None:
    (tmp_path / "doctored.py").write_text("import no_such_thing")
    assert "doctored cannot be imported: ModuleNotFoundError" in texts(doctor(status=1), "CRITICAL")
    with pytest.raises(SystemExit) as wrong:
        main(["doctor"])
    assert wrong.value.code == 2


def test_each_payload_is_told_by_its_beginning(redis: Redis, make_app: Any) -> None:
    stock = rq.Queue("mail", connection=redis)
    backlog_samples.fill(redis, stock)
    written_as_json = rq.Queue("mail", connection=redis, serializer=JSONSerializer)
    for queue in (slimjobs.Queue("mail", connection=redis), written_as_json):
        queue.enqueue(backlog_samples.give_text, 1)
        queue.enqueue_in(timedelta(hours=1), backlog_samples.give_text, "y" * 1000)
    for _ in range(10):
        stock.enqueue("doctored.large", LARGE)
    # Their zlib data begins with large tables.
    letters = [chr(code) for code in range(32, 1000)]
    for size in (1_000, 20_000, 60_000):
        stock.enqueue("doctored.tables", "".join(random.Random(size).choices(letters, range(1, 969), k=size)))
    damaged = stock.enqueue("doctored.damaged")
    redis.hset(damaged.key, "data", b"\x00\x01")
    scan = FormatScan(redis, ["mail"])
    for _ in scan:
        pass
    found = scan.formats
    assert found.on("mail", ["scheduled"]) == {"slim": 1, "JSON": 1, "pickle": 1}
    assert found.on("mail", ["failed", "stopped"]) == {"pickle": 2}
    assert {name.task: counts for name, counts in found.by_name.items() if "doctored" in name.task} == {
        "doctored.large": {"pickle": 10},
        "doctored.tables": {"pickle": 3},
        "doctored.damaged": {"unknown": 1},
    }
    assert found.likely.total() == 7
    assert not found.on("news")
    states = {name.state for name in found.by_name}
    assert {"queued", "scheduled", "deferred", "failed"} <= states
    assert not {"finished", "canceled", "created"} & states


def test_what_was_not_looked_at_is_said_to_be_likely(
    redis: Redis,
    make_app: Callable[..., ModuleType],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = make_app("mail = slimjobs.Queue('mail', connection=redis)")
    monkeypatch.setenv("SLIMJOBS_READ_PICKLE", "1")
    slimjobs.limits.reset()
    birth(slimjobs.Worker(["mail"], connection=redis))
    large = slimjobs.Queue("mail", connection=redis, limits=slimjobs.Limits(max_bytes="8 MiB"))
    for _ in range(5):
        large.enqueue(app.plain, LARGE)
    main(["doctor", "--app", "doctored"])
    output = capsys.readouterr().out
    rows = [line.split()[3:] for line in output.splitlines() if "doctored.plain" in line]
    assert rows == [["slim", "3"], ["slim,", "likely", "2"]]
    assert "no pickled job is left" not in output  # one of the others may be
    redis.delete(*(f"rq:job:{job_id}" for job_id in large.job_ids[1:]))
    main(["doctor", "--app", "doctored"])
    output = capsys.readouterr().out
    assert "likely" not in output
    assert "no pickled job is left" in output


def test_plain_text_and_its_order(make_app: Callable[..., ModuleType], capsys: pytest.CaptureFixture[str]) -> None:
    make_app(
        "mail = slimjobs.Queue('mail', connection=redis)\nother = rq.Queue('mail', connection=redis)"
    ).send.enqueue(1)
    assert main(["doctor", "--app", "doctored"]) == 1
    lines = capsys.readouterr().out.splitlines()
    levels = [line.split()[0] for line in lines[: lines.index("")] if not line.startswith(" ")]
    assert levels == sorted(levels, key=["CRITICAL", "WARNING", "OK"].index)
    assert lines[1].startswith("         fix: ")
    assert "Limits, and where they come from" in lines


def doctor_of_settings(folder: Path, redis_url: str, text: str, *arguments: str) -> dict[str, list[dict[str, Any]]]:
    """Run the command with these settings in a process of its own, for Django is set up once in each."""
    (folder / "doctored_settings.py").write_text(text)
    path = os.pathsep.join(filter(None, [os.path.dirname(queue_samples.__file__), os.environ.get("PYTHONPATH")]))  # noqa: PTH120  # the text of it
    own = {"DJANGO_SETTINGS_MODULE": "doctored_settings", "PYTHONPATH": path, "REDIS_URL": redis_url}
    finished = subprocess.run(
        [sys.executable, "-m", "slimjobs.cli", "doctor", "--json", *arguments],
        cwd=folder,
        env={**os.environ, **own},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 1, finished.stderr
    found: dict[str, list[dict[str, Any]]] = json.loads(finished.stdout)
    return found


def test_what_the_settings_of_django_name(redis: Redis, redis_url: str, tmp_path: Path) -> None:
    slimjobs.Queue("mail", connection=redis).enqueue(backlog_samples.give_text, 1)
    rq.Worker(["mail"], connection=redis).register_birth()  # type: ignore[no-untyped-call]
    warned = texts(doctor_of_settings(tmp_path, redis_url, SETTINGS), "WARNING")
    assert "settings doctored_settings: The queue 'mail' is of slimjobs, but WORKER_CLASS is not" in warned
    assert 'Set RQ = {"WORKER_CLASS": "slimjobs.contrib.django_rq.Worker"}' in warned
    assert 'fails slim jobs (1 job in flight, the queue RQ_QUEUES["mail"])' in warned


def test_the_url_of_redis_is_not_that_of_the_settings(redis: Redis, redis_url: str, tmp_path: Path) -> None:
    settings = SETTINGS.replace('os.environ["REDIS_URL"]', repr(redis_url))
    critical = texts(doctor_of_settings(tmp_path, "redis://localhost:1", settings), "CRITICAL")
    assert "-> Name it with --redis-url or REDIS_URL (RQ_QUEUES is not asked for it);" in critical


def test_settings_that_cannot_be_set_up(redis: Redis, redis_url: str, tmp_path: Path) -> None:
    rq.Queue("news", connection=redis).enqueue("doctored.nothing")
    report = doctor_of_settings(tmp_path, redis_url, "raise ValueError('no key')", "--app", "json")
    critical = texts(report, "CRITICAL")
    assert "settings doctored_settings: Django cannot be set up: ValueError: no key -> Run it where" in critical
    assert "doctored.nothing" in critical  # Redis was looked at all the same


def test_what_an_application_prints_is_not_in_the_report(redis: Redis, redis_url: str, tmp_path: Path) -> None:
    prints = "import os, subprocess\nprint('loading')\nsubprocess.run(['echo', 'its child'])\n"
    (tmp_path / "talkative.py").write_text(prints)
    (tmp_path / "gossip.py").write_text(prints)
    rq.Queue("news", connection=redis).enqueue("gossip.nothing")
    report = doctor_of_settings(tmp_path, redis_url, prints + SETTINGS, "--app", "talkative")
    assert "gossip.nothing" in texts(report, "CRITICAL")


def test_an_application_that_ends_the_process(redis: Redis, redis_url: str, tmp_path: Path) -> None:
    (tmp_path / "leaving.py").write_text("import sys\nsys.exit(3)\n")
    rq.Queue("news", connection=redis).enqueue("leaving.task")
    report = doctor_of_settings(tmp_path, redis_url, SETTINGS, "--app", "leaving")
    critical = texts(report, "CRITICAL")
    assert "leaving cannot be imported: SystemExit: 3" in critical
    assert "task leaving.task: 1 job needs it, and it cannot be imported here: SystemExit: 3" in critical


@pytest.mark.parametrize("characters", [10, 30_000, 100_000])
def test_a_description_that_looks_like_a_call_is_no_task(characters: int, redis: Redis) -> None:
    noise = "".join(random.Random(characters).choices([chr(code) for code in range(32, 1000)], k=characters))
    for _ in range(5):
        rq.Queue("mail", connection=redis).enqueue(backlog_samples.give_text, noise, description="Invoice.pdf(4711)")
    scan = FormatScan(redis)
    for _ in scan:
        pass
    assert scan.formats.tasks() == {"backlog_samples.give_text": 5}
