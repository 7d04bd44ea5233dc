"""sentry-sdk's RQ integration reports a failing slim job without the values of its arguments."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import queue_samples
from queue_samples import Letter, run_python

from slimjobs import Queue
from slimjobs.contrib.sentry import strip_values

if TYPE_CHECKING:
    from redis import Redis

pytest.importorskip("sentry_sdk")

pytestmark = pytest.mark.slow

SECRET = "ann@example.org"
WORKER = """
import json, sys
import sentry_sdk
from sentry_sdk.integrations.rq import RqIntegration
from sentry_sdk.transport import Transport
import slimjobs
from slimjobs.contrib.sentry import strip_values

class Printing(Transport):
    def capture_envelope(self, envelope):
        for item in envelope.items:
            redis.rpush("events", json.dumps(item.payload.json))

options = json.loads(os.environ["SENTRY_OPTIONS"])
if options.pop("strips", False):
    options |= dict(before_send=strip_values, before_send_transaction=strip_values)
sentry_sdk.init(
    dsn="http://key@localhost/1", transport=Printing, integrations=[RqIntegration()], traces_sample_rate=1.0, **options
)
worker_class = getattr(slimjobs, os.environ["WORKER_CLASS"])
worker_class(["letters"], connection=redis).work(burst=True, logging_level="CRITICAL")
"""


@pytest.fixture(autouse=True)
def rows(redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(queue_samples.URL_VARIABLE, redis_url)
    Letter(1, SECRET).save()


def events_of_a_failure(redis: Redis, redis_url: str, worker_class: str = "Worker", **options: Any) -> list[Any]:
    """Return what Sentry is sent when a job fails that has just enqueued another."""
    queue = Queue("letters", connection=redis)
    queue.enqueue(queue_samples.fail_after_enqueueing, Letter(1, SECRET), SECRET, named=[SECRET])
    run_python(WORKER, redis_url, SENTRY_OPTIONS=json.dumps(options), WORKER_CLASS=worker_class)
    return [json.loads(event) for event in redis.lrange("events", 0, -1)]


def error_of(events: list[Any]) -> Any:
    (error,) = [event for event in events if "exception" in event]
    return error


@pytest.mark.parametrize("worker_class", ["Worker", "SimpleWorker"])
def test_no_value_is_reported(redis: Redis, redis_url: str, worker_class: str) -> None:
    events = events_of_a_failure(redis, redis_url, worker_class, include_local_variables=False)
    error = error_of(events)

    assert SECRET not in json.dumps(events)
    assert error["exception"]["values"][-1]["type"] == "RuntimeError"
    job = error["extra"]["rq-job"]
    assert job["func"] == "queue_samples.fail_after_enqueueing"
    assert job["description"] == f"{job['func']}(<Letter 1>, str[{len(SECRET)}], named=list[1])"


def without_variables(events: list[Any], of_module: str) -> str:
    """Return events as text, without the local variables of one module's frames."""
    for error in events:
        for exception in error.get("exception", {}).get("values", ()):
            for frame in exception["stacktrace"]["frames"]:
                if frame["module"].startswith(of_module):
                    frame.pop("vars", None)
    return json.dumps(events)


def test_by_default_values_are_in_the_tasks_own_variables_alone(redis: Redis, redis_url: str) -> None:
    events = events_of_a_failure(redis, redis_url)

    assert SECRET not in without_variables(events, "queue_samples")


def test_a_payload_that_is_cut_off_is_in_no_variable(redis: Redis, redis_url: str) -> None:
    queue = Queue("letters", connection=redis)
    job = queue.enqueue(queue_samples.give, SECRET, named=[SECRET])
    redis.hset(job.key, "data", job.data[:-1])
    run_python(WORKER, redis_url, SENTRY_OPTIONS="{}", WORKER_CLASS="Worker")
    events = [json.loads(event) for event in redis.lrange("events", 0, -1)]

    assert "cut off" in json.dumps(error_of(events))
    assert SECRET not in json.dumps(events)


def test_with_all_that_sentry_can_tell_models_are_refs(redis: Redis, redis_url: str) -> None:
    error = error_of(events_of_a_failure(redis, redis_url, send_default_pii=True, include_local_variables=False))

    assert error["extra"]["rq-job"]["args"] == ["<Ref Letter 1>", SECRET]


@pytest.mark.parametrize("worker_class", ["Worker", "SimpleWorker", "SpawnWorker"])
def test_strip_values_takes_out_whatever_sentry_was_told_to_add(
    redis: Redis, redis_url: str, worker_class: str
) -> None:
    events = events_of_a_failure(
        redis, redis_url, worker_class, strips=True, send_default_pii=True, include_local_variables=True
    )

    assert SECRET not in json.dumps(events)
    if worker_class != "SpawnWorker":  # whose processes begin without Sentry
        error = error_of(events)
        assert error["extra"]["rq-job"]["description"].startswith("queue_samples.fail_after_enqueueing(<Letter 1>")
        assert error["exception"]["values"][-1]["stacktrace"]["frames"][-1]["function"] == "fail_after_enqueueing"


@pytest.mark.parametrize("odd", [None, 1, "text", [None], {"values": [None, "text"]}, {"values": None}])
def test_strip_values_keeps_an_event_whatever_is_in_it(odd: Any) -> None:
    """Sentry loses what its `before_send` raises over."""
    names = ("extra", "exception", "threads", "breadcrumbs", "spans", "stacktrace")
    events = [
        dict.fromkeys(names, odd),
        {"extra": {"rq-job": odd}, "stacktrace": {"frames": odd}, "exception": {"values": [{"stacktrace": odd}]}},
        {"spans": [{"op": "db.redis", "description": odd, "data": odd}]},
        {"breadcrumbs": {"values": [{"category": "redis", "message": odd}]}},
    ]
    for event in events:
        assert strip_values(event) is event
