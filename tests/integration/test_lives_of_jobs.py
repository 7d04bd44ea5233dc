"""Whatever becomes of a job: refs travel, the limit holds, it counts once and loads its models once for each run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import queue_samples
from lives import Life, Stage, each_life
from processes import Processes
from queue_samples import Letter, count, snapshot
from rq.exceptions import NoSuchJobError

from slimjobs import Job, PayloadTooLargeError, Queue, Ref

if TYPE_CHECKING:
    from redis import Redis

pytestmark = pytest.mark.slow

LETTER = Ref("queue_samples.Letter", 1)


@pytest.fixture
def stage(redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setenv(queue_samples.URL_VARIABLE, redis_url)
    Letter(1, "dear").save()
    return Stage(Queue("letters", connection=redis), Processes("letters", redis, redis_url, "lives"), redis_url)


@each_life
def test_a_job_carries_refs_counts_once_and_loads_once_for_each_run(life: Life, stage: Stage) -> None:
    task = f"lives.{life.task.__name__}"
    job = life.enqueue(stage, Letter(1, "x" * 1_000_000))

    stored = Job.fetch(job.id, connection=stage.redis)
    assert stored.args == (LETTER,)
    row = count(stage.redis, task, "letters")
    assert (row.jobs, row.payload_bytes) == (1, len(stored.data))

    life.happen(stage, job)

    assert stage.redis.lrange("runs", 0, -1) == [b"dear"] * life.runs
    assert stage.redis.lrange("loads", 0, -1) == [b"1"] * life.runs
    assert count(stage.redis, task, "letters") == row
    if life.status is None:
        with pytest.raises(NoSuchJobError):
            Job.fetch(job.id, connection=stage.redis)
    else:
        last = Job.fetch(job.id, connection=stage.redis)
        assert last.get_status() == life.status
        assert last.args == (LETTER,)
        assert last.data == stored.data


@each_life
def test_a_job_over_the_limit_is_refused_before_anything_is_written(life: Life, stage: Stage) -> None:
    task = f"lives.{life.task.__name__}"
    options = life.options(stage)
    before = snapshot(stage.redis)
    again = replace(life, options=lambda _: options)

    with pytest.raises(PayloadTooLargeError, match=r"args\[0\]"):
        again.enqueue(stage, "x" * 70_000)

    assert snapshot(stage.redis) == before
    assert (count(stage.redis, task).jobs, count(stage.redis, task).refused) == (0, 1)
