"""`slimjobs health` on what RQ's own processes leave in Redis: what is dead is told, what is well is not."""

from __future__ import annotations

import http.server
import json
import os
import resource
import signal
import socketserver
import stat
import subprocess
import sys
import threading
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import backlog_samples
import pytest
import queue_samples
import rq
from rq.scheduler import RQScheduler
from rq.suspension import suspend
from rq.utils import utcformat
from rq_versions import RQ

from slimjobs.backlog.growth import Growth
from slimjobs.backlog.stalls import look_again, look_at
from slimjobs.backlog.waiting import measure_waiting
from slimjobs.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from redis import Redis
    from rq.job import Job

    Look = Callable[..., dict[str, str]]


@pytest.fixture
def queue(redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> rq.Queue:
    monkeypatch.setenv(queue_samples.URL_VARIABLE, redis_url)
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return rq.Queue("mail", connection=redis)


@pytest.fixture
def look(capsys: pytest.CaptureFixture[str]) -> Look:
    """Run the command; return the lines by what they are about."""

    def run(*arguments: str, status: int) -> dict[str, str]:
        assert main(["health", *arguments]) == status
        lines = capsys.readouterr().out.splitlines()
        return {line[9:].partition(":")[0]: line for line in lines}

    return run


def lock(queue: rq.Queue) -> None:
    """Take the lock of a queue, as every scheduler does when it starts."""
    RQScheduler([queue], connection=queue.connection).acquire_locks()  # type: ignore[no-untyped-call]


def birth(queue: rq.Queue) -> rq.SimpleWorker:
    """Return a worker that has told RQ of itself, as every worker does when it starts."""
    worker = rq.SimpleWorker([queue], connection=queue.connection)
    worker.register_birth()  # type: ignore[no-untyped-call]
    return worker


def test_all_is_well(redis: Redis, queue: rq.Queue, look: Look) -> None:
    queue.enqueue(backlog_samples.give_text, 1)
    rq.SimpleWorker([queue], connection=redis).work(burst=True, logging_level="CRITICAL")
    queue.enqueue_in(timedelta(hours=5), backlog_samples.give_text, 1)
    birth(queue)
    lock(queue)
    lines = look(status=0)
    assert {line[:9] for line in lines.values()} == {"OK       "}
    assert lines["workers mail"] == "OK       workers mail: 1, and 0 jobs wait"
    assert "jobs are scheduled" in lines["scheduler mail"]
    assert "the next job is due in 5.0 h" in lines["late mail"]
    assert "the last job ended" in lines["finished mail"]


def test_jobs_without_a_worker_are_critical(queue: rq.Queue, look: Look) -> None:
    queue.enqueue(backlog_samples.give_text, 1)
    assert look(status=2)["workers mail"].startswith("CRITICAL workers mail: none, and 1 jobs wait")


def test_a_queue_without_jobs_and_workers_is_a_warning(queue: rq.Queue, look: Look) -> None:
    queue.enqueue(backlog_samples.give_text, 1).delete()
    assert look(status=1)["workers mail"].startswith("WARNING")


def test_suspended_workers_are_critical(redis: Redis, queue: rq.Queue, look: Look) -> None:
    birth(queue)
    suspend(redis)
    assert "`rq resume`" in look("--queue", "mail", status=2)["workers"]


def test_scheduled_jobs_without_a_scheduler_are_critical(queue: rq.Queue, look: Look) -> None:
    queue.enqueue_in(timedelta(hours=5), backlog_samples.give_text, 1)
    birth(queue)
    lines = look(status=2)
    assert lines["scheduler mail"].startswith("CRITICAL scheduler mail: none has the lock, and 1 jobs are scheduled")


def test_a_scheduler_is_told_of_before_anything_is_scheduled(queue: rq.Queue, look: Look) -> None:
    queue.enqueue(backlog_samples.give_text, 1).delete()
    birth(queue)
    assert "scheduler mail" not in look(status=0)  # it needs none
    lock(queue)
    assert look(status=0)["scheduler mail"].endswith("has the lock, and 0 jobs are scheduled")


@pytest.mark.parametrize("interval", [1, 60])
def test_a_scheduler_that_was_killed_is_told_by_its_heartbeat(
    interval: int, redis: Redis, queue: rq.Queue, look: Look
) -> None:
    queue.enqueue_in(timedelta(hours=5), backlog_samples.give_text, 1)
    birth(queue)
    scheduler = RQScheduler([queue], connection=redis, interval=interval)
    scheduler.acquire_locks()  # type: ignore[no-untyped-call]
    scheduler.heartbeat()  # type: ignore[no-untyped-call]
    key = RQScheduler.get_locking_key("mail")
    full = redis.pttl(key)
    redis.pexpire(key, full - interval * 1000)  # as it is just before the next heartbeat
    assert "has the lock, and 1 jobs" in look(status=0)["scheduler mail"]
    redis.pexpire(key, full - (interval + 25) * 1000)
    assert look(status=1)["scheduler mail"].startswith("WARNING")
    assert "its heartbeat is 25 s overdue" in look(status=1)["scheduler mail"]


@pytest.mark.parametrize(("seconds", "status"), [(20, 0), (120, 1), (600, 2)])
def test_a_scheduler_that_lives_and_moves_nothing_is_told_by_its_late_jobs(
    seconds: int, status: int, redis: Redis, queue: rq.Queue, look: Look
) -> None:
    queue.enqueue_at(datetime.now(timezone.utc) - timedelta(seconds=seconds), backlog_samples.give_text, 1)
    lock(queue)
    birth(queue)
    assert "the oldest due job is" in look(status=status)["late mail"]


def test_how_late_is_too_late_can_be_said(redis: Redis, queue: rq.Queue, look: Look) -> None:
    queue.enqueue_at(datetime.now(timezone.utc) - timedelta(minutes=10), backlog_samples.give_text, 1)
    lock(queue)
    birth(queue)
    assert look("--max-late", "2h", status=0)["late mail"].startswith("OK")


def ago(**units: float) -> datetime:
    return datetime.now(timezone.utc) - timedelta(**units)


def enqueue_before(queue: rq.Queue, minutes: float, **options: Any) -> Job:
    """Return a job that has waited for so long."""
    job = queue.enqueue(backlog_samples.give_text, 1, **options)
    queue.connection.hset(job.key, "enqueued_at", utcformat(ago(minutes=minutes)))
    return job


def run_before(queue: rq.Queue, minutes: float, function: Any = backlog_samples.give_text, **options: Any) -> None:
    """Run a job that has ended so long ago."""
    job = queue.enqueue(function, 1, **options)
    rq.SimpleWorker([queue], connection=queue.connection).work(burst=True, logging_level="CRITICAL")
    times = {"started_at": utcformat(ago(minutes=minutes)), "ended_at": utcformat(ago(minutes=minutes))}
    queue.connection.hset(job.key, mapping=times)  # type: ignore[arg-type]  # redis wants bytes among the keys


def test_workers_that_take_nothing_while_jobs_wait_are_critical(queue: rq.Queue, look: Look) -> None:
    run_before(queue, 30)
    birth(queue)
    assert "the last job ended 30 min ago" in look(status=0)["finished mail"]
    enqueue_before(queue, 20)
    queue.enqueue(backlog_samples.give_text, 1)
    line = look(status=2)["finished mail"]
    assert line == (
        "CRITICAL finished mail: 2 jobs wait, the first for 20 min, and 0 run; the last one was taken, or ended, "
        "30 min ago"
    )
    assert look("--max-late", "30m", status=1)["finished mail"].startswith("WARNING")
    assert look("--max-late", "2h", status=1)["finished mail"].startswith("OK")  # the warning is of growth


def test_a_worker_that_hangs_is_critical_though_no_result_is_kept(
    redis: Redis, redis_url: str, queue: rq.Queue, look: Look
) -> None:
    hung = queue.enqueue(queue_samples.hang, queue_samples.Letter(1, "dear"), job_timeout=-1)
    command = [sys.executable, "-m", "rq.cli", "worker", "mail", "--quiet", "--url", redis_url]
    path = os.pathsep.join([str(queue_samples.SUPPORT_FOLDER), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}) as worker:
        assert redis.blpop(["horse"], timeout=queue_samples.DEADLINE_SECONDS)
        enqueue_before(queue, 20)
        assert "the last one was taken, or ended" in look(status=0)["finished mail"]  # it may just be a long job
        redis.hset(hung.key, "started_at", utcformat(ago(minutes=25)))
        assert "the first for 20 min, and 1 run" in look(status=2)["finished mail"]
        redis.rpush("go", "go")
        worker.send_signal(signal.SIGTERM)
        worker.wait(queue_samples.DEADLINE_SECONDS)


def test_a_job_that_was_enqueued_now_is_no_fault_of_a_quiet_queue(queue: rq.Queue, look: Look) -> None:
    run_before(queue, 60 * 24, backlog_samples.fail)
    birth(queue)
    queue.enqueue(backlog_samples.give_text, 1)
    assert "the last one was taken, or ended, 24.0 h ago" in look(status=0)["finished mail"]


@pytest.mark.parametrize("kept_seconds", [None, 20, 60])
def test_jobs_that_end_are_seen_beside_results_that_are_kept_for_longer(
    kept_seconds: int | None, queue: rq.Queue, look: Look
) -> None:
    for _ in range(6):
        run_before(queue, 60, result_ttl=7 * 86400)
        run_before(queue, 60, result_ttl=30)
    run_before(queue, 0, result_ttl=kept_seconds)
    birth(queue)
    enqueue_before(queue, 30)
    assert "the last one was taken, or ended, " in look(status=0)["finished mail"]


def test_a_job_at_the_front_does_not_hide_those_that_wait_behind_it(queue: rq.Queue, look: Look) -> None:
    birth(queue)
    enqueue_before(queue, 20)
    for _ in range(30):
        queue.enqueue(backlog_samples.give_text, 1, at_front=True)
    line = look(status=2)["finished mail"]
    assert "31 jobs wait, the first for 20 min, and 0 run; none is known to have been taken" in line


def test_jobs_that_are_gone_wait_too(redis: Redis, queue: rq.Queue, look: Look) -> None:
    birth(queue)
    gone = queue.enqueue(backlog_samples.give_text, 1)
    redis.delete(gone.key)
    assert "1 jobs wait, and the first are gone from Redis" in look(status=1)["finished mail"]
    enqueue_before(queue, 20)
    assert "2 jobs wait, the first for 20 min" in look(status=2)["finished mail"]


@pytest.mark.parametrize("state", ["queued", "started", "finished"])
def test_a_key_of_another_program_among_jobs_hides_nothing(
    state: str, redis: Redis, queue: rq.Queue, look: Look
) -> None:
    birth(queue)
    jobs = [enqueue_before(queue, 20) for _ in range(3)]
    redis.set("rq:job:other", "what")
    if state == "queued":
        redis.linsert("rq:queue:mail", "BEFORE", jobs[1].id, "other")
    else:
        redis.zadd(
            "rq:finished:mail" if state == "finished" else "rq:wip:mail", {"other:execution": 2**31, "other": 2**31}
        )
    assert "jobs wait, the first for 20 min" in look(status=2)["finished mail"]


def test_a_worker_between_two_jobs_is_seen_at_work(redis: Redis, queue: rq.Queue) -> None:
    for _ in range(3):
        enqueue_before(queue, 20, result_ttl=0)
    before = look_at(redis, "mail")
    assert before.still_seconds == pytest.approx(20 * 60, abs=60)
    rq.SimpleWorker([queue], connection=redis).work(burst=True, max_jobs=1, logging_level="CRITICAL")
    assert look_again(redis, "mail", before).still_seconds == 0


@pytest.mark.skipif(RQ < (3, 0), reason="cron jobs are known to Redis since RQ 3.0")
@pytest.mark.parametrize(("minutes", "status"), [(1, 0), (10, 2)])
def test_the_silence_of_cron(minutes: int, status: int, redis: Redis, queue: rq.Queue, look: Look) -> None:
    from rq import cron_scheduler_registry
    from rq.cron import CronScheduler

    birth(queue)
    scheduler = CronScheduler(connection=redis, name="cron")
    scheduler.register(backlog_samples.give_text, "mail", args=(1,), interval=60)
    cron_scheduler_registry.register(scheduler)
    scheduler.enqueue_jobs()
    jobs: Any = redis.zrange("rq:cron_jobs", 0, -1, withscores=True)
    redis.zadd("rq:cron_jobs", {name: score - 60 * minutes for name, score in jobs})
    lines = look("--max-silence", "5m", status=status)
    assert "cron" in lines


def test_cron_that_was_never_there_is_silent_where_it_is_asked_for(queue: rq.Queue, look: Look) -> None:
    birth(queue)
    assert "cron" not in look("--queue", "mail", status=0)
    assert (
        "no cron job is known to have been enqueued" in look("--queue", "mail", "--max-silence", "5m", status=2)["cron"]
    )


@pytest.mark.parametrize(("limit", "status"), [("1 MB", 0), ("2200", 1), ("1 KB", 2)])
def test_the_bytes_that_wait(limit: str, status: int, queue: rq.Queue, look: Look) -> None:
    birth(queue)
    queue.enqueue(backlog_samples.give_text, "".join(f"{number:04}" for number in range(1000)))
    queue.enqueue(backlog_samples.give_text, 2, depends_on=queue.enqueue(backlog_samples.give_text, 1))
    assert "backlog" in look("--max-backlog", limit, status=status)


@pytest.mark.slow
def test_the_bytes_of_a_long_queue_are_of_a_sample(redis: Redis, queue: rq.Queue) -> None:
    small, large = ("x", "".join(f"{number:04}" for number in range(250)))
    texts = [large if number % 2 else small for number in range(6000)]
    queue.enqueue_many([rq.Queue.prepare_data(backlog_samples.give_text, [text]) for text in texts])
    jobs: list[Any] = [redis.hmget(key, ["data", "meta", "description"]) for key in redis.scan_iter("rq:job:*")]
    exact = sum(len(value or b"") for fields in jobs for value in fields)
    queued = measure_waiting(redis, "mail")["queued"]
    assert (queued.jobs, queued.is_exact) == (6000, False)
    assert queued.stored_bytes == pytest.approx(exact, rel=0.02)


def test_a_backlog_that_grows_is_a_warning_in_the_next_run(redis: Redis, queue: rq.Queue, look: Look) -> None:
    birth(queue)
    queue.enqueue(backlog_samples.give_text, 1)
    queue.empty()  # type: ignore[no-untyped-call]
    assert "growth" not in look(status=0)
    queue.enqueue(backlog_samples.give_text, 1)
    assert "growth" not in look(status=0)  # one look may come between a call and its worker
    assert "1 jobs wait, 0 did" in look(status=1)["growth"]
    assert "most of them on mail" in look(status=1)["growth"]
    queue.empty()  # type: ignore[no-untyped-call]
    assert look(status=0)["growth"].startswith("OK")
    # From here on it has been empty within the ten minutes, as a queue is that keeps up.
    queue.enqueue(backlog_samples.give_text, 1)
    assert look(status=0)["growth"].startswith("OK")


def test_looks_are_held_against_those_of_ten_minutes(tmp_path: Path) -> None:
    path = tmp_path / "state" / "looks.json"
    now = datetime.now(timezone.utc).timestamp()

    def check(*looks: tuple[float, int]) -> str:
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps([[now - ago, {"mail": jobs}] for ago, jobs in looks]))
        found = Growth(path).check({"mail": 100})
        return found.text if found and found.level else "OK"

    assert "100 jobs wait, 20 did 9 min ago" in check((540, 20), (300, 90), (60, 70))
    assert check((540, 20), (300, 10), (60, 70)) == "OK"
    assert check((5000, 20), (540, 100), (60, 120)) == "OK"
    assert "20 did 2.5 h ago" in check((20000, 5), (9000, 20), (5000, 90))
    assert check((60, 20)) == "OK"
    assert check((100_000, 20)) == "OK"
    assert check((-50, 20)) == "OK"  # the clock was set back
    for damaged in ("", "{", "[]", "[1]", '{"a": 2}', '[["x", {}]]'):
        path.write_text(damaged)
        assert Growth(path).check({"mail": 100}) is None
    assert json.loads(path.read_text())[0][1] == {"mail": 100}
    assert Growth(tmp_path / "state" / "looks.json" / "below").check({"mail": 1}) is None


def test_a_redis_that_cannot_be_reached_is_critical(look: Look) -> None:
    assert look("--redis-url", "redis://localhost:1", status=2)["redis"].startswith("CRITICAL redis: ConnectionError")


@contextmanager
def monitor() -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200 if self.path == "/well" else 500)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.HTTPServer(("localhost", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_port}", asked
        server.shutdown()


def test_a_heartbeat_monitor_is_told_when_all_is_well_and_only_then(queue: rq.Queue, look: Look) -> None:
    with monitor() as (url, asked):
        queue.enqueue(backlog_samples.give_text, 1)
        look("--ping", f"{url}/well", status=2)
        assert asked == []
        birth(queue)
        look("--ping", f"{url}/well", status=0)
        assert asked == ["/well"]
        assert "HTTP Error 500" in look("--ping", f"{url}/ill", status=1)["ping"]
    assert "ping" in look("--ping", "file:///etc/hosts", status=1)


@pytest.mark.parametrize(
    "url", ["http://localhost:x/", "http://localhost/a b", "http://[bad/", "http://localhost/\xfc"]
)
def test_a_url_that_is_none_is_a_warning_beside_what_was_found(queue: rq.Queue, look: Look, url: str) -> None:
    queue.enqueue(backlog_samples.give_text, 1)
    birth(queue)
    found = look("--ping", url, status=1)

    assert found["ping"].startswith("WARNING  ping: the monitor could not be told (")
    assert "workers" in " ".join(found)


def test_a_monitor_that_answers_no_http_is_a_warning(queue: rq.Queue, look: Look) -> None:
    queue.enqueue(backlog_samples.give_text, 1)
    birth(queue)

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.rfile.readline()
            self.wfile.write(b"no such thing\r\n")

    with socketserver.TCPServer(("localhost", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found = look("--ping", f"http://localhost:{server.server_address[1]}/", status=1)
        server.shutdown()

    assert "BadStatusLine" in found["ping"]


def test_it_goes_on_through_what_is_wrong(redis_url: str, queue: rq.Queue) -> None:
    birth(queue)
    queue.enqueue(backlog_samples.give_text, 1)
    command = [sys.executable, "-m", "slimjobs.cli", "health", "--watch", "0.05", "--json", "--redis-url", redis_url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        looks = [json.loads(process.stdout.readline()) for _ in range(3)]
        process.kill()
    assert [look["level"] for look in looks] == ["OK"] * 3
    assert [[check["name"] for check in look["checks"]].count("growth") for look in looks] == [0, 0, 1]


def test_times_that_are_none_are_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["health", "--max-late", "soon"])
    assert "'soon' is no length of time" in capsys.readouterr().err


def test_times_beyond_all_clocks_are_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["quarantine", "--older-than", "1000000d"], ["health", "--watch", "999999999d"]):
        with pytest.raises(SystemExit, match="2"):
            main(arguments)
        assert "is too long; the most is 36500d" in capsys.readouterr().err


def test_names_command_no_terminal(queue: rq.Queue, look: Look) -> None:
    rq.Queue("ev\x1b[41mil", connection=queue.connection).enqueue(backlog_samples.give_text, 1)
    assert r"workers ev\x1b[41mil" in look(status=2)


def test_characters_that_a_pipe_cannot_print_are_escaped(redis_url: str, queue: rq.Queue) -> None:
    rq.Queue("gr\xf6\xdfe", connection=queue.connection).enqueue(backlog_samples.give_text, 1)
    for command in ("health", "audit", "top --count 1", "quarantine --state queued"):
        run = subprocess.run(
            [sys.executable, "-m", "slimjobs.cli", *command.split(), "--redis-url", redis_url],
            env={**os.environ, "PYTHONIOENCODING": "ascii"},
            capture_output=True,
            check=False,
        )
        assert (run.stderr, rb"gr\xf6\xdfe" in run.stdout) == (b"", True)


def test_what_nobody_thought_of_is_critical(redis_url: str) -> None:
    # redis-py takes the text for a policy of retries, and fails when it asks it for one.
    command = [sys.executable, "-m", "slimjobs.cli", "health", "--redis-url", f"{redis_url}?retry=1"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "'str' object has no attribute" in run.stderr


def test_a_folder_is_no_file_for_looks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "looks"
    folder.mkdir()
    with pytest.raises(SystemExit, match="2"):
        main(["health", "--state", str(folder)])
    assert "is a folder; name a file" in capsys.readouterr().err
    assert Growth(folder).check({"mail": 1}) is None
    assert list(tmp_path.iterdir()) == [folder]


def test_what_is_no_file_keeps_no_looks_and_stays_what_it_is(tmp_path: Path, queue: rq.Queue, look: Look) -> None:
    birth(queue)
    path = tmp_path / "pipe"
    os.mkfifo(path)
    for _ in range(3):
        assert "growth" not in look("--queue", "mail", "--state", str(path), status=0)
    assert stat.S_ISFIFO(path.stat().st_mode)


def test_a_full_disk_keeps_the_looks_that_are_there_and_nothing_beside_them(tmp_path: Path) -> None:
    path = tmp_path / "looks.json"
    Growth(path).check({"mail": 1})
    kept = path.read_text()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        Growth(path).check({f"queue-{number}": 1 for number in range(1000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (path.read_text(), list(tmp_path.iterdir())) == (kept, [path])
