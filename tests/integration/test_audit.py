"""`slimjobs audit` on a backlog that RQ wrote: all states are seen, sizes are right, and no payload leaves Redis."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import backlog_samples
import pytest
import rq
from rq.registry import CanceledJobRegistry

from slimjobs import Queue
from slimjobs.backlog.due import most_due
from slimjobs.backlog.orphans import Orphans
from slimjobs.backlog.rows import UNNAMED
from slimjobs.backlog.scan import Scan
from slimjobs.cli.main import main
from slimjobs.sizes import format_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

    Run = Callable[..., Any]


@pytest.fixture
def audit(capsys: pytest.CaptureFixture[str], queue: rq.Queue) -> Run:
    def run(*arguments: str, status: int = 0) -> Any:
        assert main(["audit", *arguments]) == status
        output = capsys.readouterr().out
        return json.loads(output) if "--json" in arguments else output

    return run


def states_of(found: Any) -> dict[str, int]:
    states: dict[str, int] = {}
    for group in found["groups"]:
        states[group["state"]] = states.get(group["state"], 0) + group["jobs"]
    return states


def test_every_state_is_counted_with_the_bytes_of_its_jobs(redis: Redis, queue: rq.Queue, audit: Run) -> None:
    jobs = backlog_samples.fill(redis, queue)
    found = audit("--json", "--top", "100")
    assert set(states_of(found)) == set(jobs)
    assert found["jobs"] == sum(states_of(found).values()) == len(list(redis.scan_iter("rq:job:*", _type="hash")))
    sizes = {row["id"]: row for row in found["largest"]}
    for state, job in jobs.items():
        stored: Any = redis.hgetall(job.key)
        assert sizes[job.id]["state"] == state
        assert sizes[job.id]["data_bytes"] == len(stored[b"data"])
        fields = sum(len(stored.get(name, b"")) for name in (b"data", b"meta", b"description", b"exc_info", b"result"))
        results: Any = redis.memory_usage(f"rq:results:{job.id}") or 0
        assert sizes[job.id]["stored_bytes"] == fields + results
    groups = {group["state"]: group for group in found["groups"] if group["task"] != "backlog_samples.look_around"}
    assert groups["finished"]["result_bytes"] > 2000
    assert groups["failed"]["error_bytes"] > 3000
    assert groups["queued"]["result_bytes"] == groups["queued"]["error_bytes"] == 0
    assert {group["task"] for group in found["groups"]} == {"backlog_samples.fail", "backlog_samples.give_text"}
    # RQ lists all of these but one.
    assert set(found["in_no_registry"]) == {"created"}


def test_a_running_job_is_seen_and_listed(redis: Redis, queue: rq.Queue) -> None:
    job = queue.enqueue(backlog_samples.look_around)
    rq.SimpleWorker([queue], connection=redis).work(burst=True, logging_level="CRITICAL")
    seen: Any = redis.get("seen")
    assert json.loads(seen)[job.id] == ["started", True]


def test_no_payload_leaves_redis(redis: Redis, queue: rq.Queue, audit: Run) -> None:
    queue.enqueue_many(
        rq.Queue.prepare_data(backlog_samples.give_text, [number.to_bytes(2, "big").hex() * 500_000])
        for number in range(20)
    )
    redis.hset(redis.keys("rq:job:*")[0], "description", "a text of its own")
    redis.config_resetstat()
    before = redis.info("stats")["total_net_output_bytes"]
    found = audit("--json", "--orphans")
    assert "cmdstat_keys" not in redis.info("commandstats")
    assert redis.info("stats")["total_net_output_bytes"] - before < 50_000
    assert found["jobs"] == 20


def test_the_largest_come_first(redis: Redis, queue: rq.Queue, audit: Run) -> None:
    for size in (100, 5000, 900):
        queue.enqueue(backlog_samples.give_text, bytes(range(256)).hex() * (size // 100), job_id=f"of-{size}")
    found = audit("--json", "--top", "2")
    assert [row["id"] for row in found["largest"]] == ["of-5000", "of-900"]
    assert "Largest jobs\n  id" in audit("--top", "2")


@pytest.mark.parametrize(("limit", "status"), [("1 byte", 1), ("64KiB", 0)])
def test_a_job_that_is_larger_makes_the_exit_status_1(
    limit: str, status: int, redis: Redis, queue: rq.Queue, audit: Run
) -> None:
    queue.enqueue(backlog_samples.give_text, 1)
    assert ("1 job is larger than 1 byte" in audit("--larger-than", limit, status=status)) == bool(status)


def test_one_queue_of_several(redis: Redis, queue: rq.Queue, audit: Run) -> None:
    queue.enqueue(backlog_samples.give_text, 1)
    rq.Queue("other", connection=redis).enqueue(backlog_samples.give_text, 1)
    found = audit("--json", "--queue", "mail")
    assert [group["queue"] for group in found["groups"]] == ["mail"]
    assert [row["queue"] for row in found["largest"]] == ["mail"]
    assert "there are no jobs of nobody" in audit("--queue", "nobody")


def test_tasks_that_a_description_does_not_tell_are_read_from_the_payload(
    redis: Redis, queue: rq.Queue, audit: Run
) -> None:
    queue.enqueue(backlog_samples.give_text, 1, description="Send the mail (weekly)")
    Queue("slim", connection=redis).enqueue(backlog_samples.give_text, 1, description="no bracket")
    queue.enqueue(backlog_samples.give_text, bytes(range(256)).hex() * 5000, job_id="big", description="large")
    redis.hset("rq:job:big", "data", "x" * 20_000)
    tasks = {(group["queue"], group["task"]) for group in audit("--json")["groups"]}
    assert tasks == {("mail", "backlog_samples.give_text"), ("slim", "backlog_samples.give_text"), ("mail", UNNAMED)}


def jobs_by_task(found: Any) -> dict[str, int]:
    return {group["task"]: group["jobs"] for group in found["groups"]}


def test_a_description_that_only_looks_like_a_call_is_not_believed(redis: Redis, queue: rq.Queue, audit: Run) -> None:
    for number in range(300):
        queue.enqueue(backlog_samples.give_text, number, description=f"Invoice.pdf({number})")
        queue.enqueue(backlog_samples.fail, number, description=f"Invoice.pdf({number})")
    slim = Queue("mail", connection=redis)
    slim.enqueue(backlog_samples.look_around, 1, description="Report(2026)")
    slim.enqueue(backlog_samples.look_around, 1)
    queue.enqueue("app.unknown", bytes(range(256)).hex() * 5000, job_id="big", description="Invoice.pdf(1)")
    redis.hset("rq:job:big", "data", "x" * 20_000)
    assert jobs_by_task(audit("--json")) == {
        "backlog_samples.give_text": 300,
        "backlog_samples.fail": 300,
        "backlog_samples.look_around": 2,
        UNNAMED: 1,
    }


def test_however_many_descriptions_only_look_like_calls(redis: Redis, queue: rq.Queue, audit: Run) -> None:
    for number in range(300):
        queue.enqueue(backlog_samples.give_text, number, description=f"invoice{number}.pdf()")
    for text in ("small", "x" * 20_000):
        queue.enqueue("app.known", text, job_id=text[:5])
    redis.hset("rq:job:xxxxx", "data", "x" * 20_000)  # nothing tells more of it than its description
    assert jobs_by_task(audit("--json")) == {"backlog_samples.give_text": 300, "app.known": 2}


def test_jobs_in_no_registry_and_those_that_stay_for_ever(redis: Redis, queue: rq.Queue, audit: Run) -> None:
    jobs = backlog_samples.fill(redis, queue)
    redis.zrem("rq:failed:mail", jobs["failed"].id)
    redis.persist(jobs["failed"].key)
    found = audit("--json")
    assert found["in_no_registry"]["failed"]["jobs"] == 1
    assert found["in_no_registry_for_ever"]["jobs"] >= 1
    is_lasting = redis.ttl(jobs["canceled"].key) == -1
    assert found["canceled_for_ever"]["jobs"] == is_lasting
    assert jobs["canceled"].id in CanceledJobRegistry("mail", connection=redis).get_job_ids()


@pytest.mark.parametrize("state", ["queued", "scheduled", "deferred"])
def test_a_full_check_finds_jobs_that_no_list_has(state: str, redis: Redis, queue: rq.Queue, audit: Run) -> None:
    jobs = backlog_samples.fill(redis, queue)
    assert audit("--json", "--orphans")["orphans"] == []
    job_id = jobs[state].id
    redis.lrem(queue.key, 0, job_id)
    for key in ("rq:scheduled:mail", "rq:deferred:mail"):
        redis.zrem(key, job_id)
    assert audit("--json", "--orphans")["orphans"] == [job_id]
    assert f"1 job is in no list of its state: {job_id} ({state} on mail)" in audit("--orphans")


def test_a_job_that_is_enqueued_during_a_full_check_is_no_orphan(redis: Redis, queue: rq.Queue) -> None:
    check = Orphans(redis)
    queue.enqueue(backlog_samples.give_text, 1)
    check.look_at([row for step in Scan(redis, more_than=-1) for row in step.rows])
    check.finish()
    assert check.found == []


def test_keys_of_other_kinds_and_damaged_jobs_do_not_stop_it(redis: Redis, queue: rq.Queue, audit: Run) -> None:
    job = queue.enqueue(backlog_samples.give_text, 1)
    queue.enqueue(backlog_samples.give_text, 1, depends_on=job)
    redis.set("rq:job:text", "x")
    redis.rpush("rq:job:list", "x")
    redis.hset("rq:job:empty", "nothing", "x")
    redis.hset(
        "rq:job:strange", mapping={"status": b"\xff\xfe", "origin": b"\xff", "description": b"\xff(", "data": b"\x80"}
    )
    redis.set("rq:results:strange", "not a stream")
    found = audit("--json")
    assert (found["jobs"], states_of(found)["queued"]) == (4, 1)


def test_it_goes_on_where_redis_forgets_its_scripts(redis: Redis, queue: rq.Queue, audit: Run) -> None:
    queue.enqueue(backlog_samples.give_text, 1)
    audit()
    redis.script_flush()
    assert audit("--json")["jobs"] == 1


def test_what_the_scheduler_would_hold_is_told_against_the_memory(redis: Redis, queue: rq.Queue, audit: Run) -> None:
    now = datetime.now(timezone.utc)
    text = bytes(range(256)).hex()
    for minutes in (-5, 30, 300):
        queue.enqueue_at(now + timedelta(minutes=minutes), backlog_samples.give_text, text)
    found = audit("--json")["due"]
    (first, *_) = queue.scheduled_job_registry.get_job_ids()
    stored: Any = redis.hgetall(f"rq:job:{first}")
    stored_bytes = len(stored[b"data"]) + len(stored.get(b"meta", b"")) + len(stored[b"description"])
    assert (found["now"]["jobs"], found["now"]["stored_bytes"]) == (1, stored_bytes)
    assert found["hour"]["jobs"] == 2
    assert "more than 1 KB, for the 2 jobs due within the hour on mail" in audit("--memory", "1 KB")
    assert most_due(redis, time.time() - 3600, ["mail"]) is None


def test_what_compression_hides_counts_as_held(redis: Redis, queue: rq.Queue) -> None:
    now = datetime.now(timezone.utc)
    payload_bytes = 0
    for number in range(20):
        job = queue.enqueue_at(now, backlog_samples.give_text, f"{number} " * 100_000)
        payload_bytes += len(job.data)
    found = most_due(redis, time.time() + 1, ["mail"])
    assert found is not None
    assert found.is_sampled
    assert found.stored_bytes < payload_bytes / 50
    assert found.payload_bytes == pytest.approx(payload_bytes, rel=0.1)
    assert found.held_bytes > payload_bytes
    large = rq.Queue("large", connection=redis)
    large.enqueue_at(now, backlog_samples.give_text, random.Random(1).randbytes(2**20))
    found = most_due(redis, time.time() + 1, ["large"])
    assert found is not None
    assert (found.is_sampled, found.payload_bytes) == (False, found.stored_bytes)


def test_what_payloads_are_before_compression_is_told_of_tasks_that_were_counted(
    redis: Redis, queue: rq.Queue, audit: Run
) -> None:
    slim = Queue("mail", connection=redis)
    job = slim.enqueue(backlog_samples.give_text, "x" * 50_000)
    assert f"~{format_size(len(job.data))}" in next(line for line in audit().splitlines() if "give_text" in line)
    groups = audit("--json")["groups"]
    assert [group["payload_bytes"] for group in groups] == [pytest.approx(len(job.data), abs=len(job.data) / 50)]
    queue.enqueue(backlog_samples.fail, "x" * 50_000)
    groups = {group["task"]: group["payload_bytes"] for group in audit("--json")["groups"]}
    assert groups["backlog_samples.fail"] is None
    assert next(line for line in audit().splitlines() if "  mail   queued" in line).endswith(" -")


@pytest.mark.parametrize("command", ["audit", "doctor --app json"])
def test_what_reads_for_long_takes_only_time_that_nobody_wants(queue: rq.Queue, command: str) -> None:
    queue.enqueue("time.time")
    code = f"""
import os
from slimjobs.cli import main, manners
manners._BRISK_SECONDS = -1  # at once
main.main({command.split()})
print("policy", getattr(os, "sched_getscheduler", lambda _: 5)(0))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "policy 5"  # SCHED_IDLE


def test_wrong_sizes_are_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["audit", "--larger-than", "big"])
    assert ended.value.code == 2
    assert "'big' is not a size" in capsys.readouterr().err
