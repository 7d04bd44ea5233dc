"""What a job can be told, and how it travels."""

from __future__ import annotations

from typing import Any

import pytest
import sample_app

import slimjobs
from slimjobs import ConfigurationError, Queue
from slimjobs.options import fold, fold_call, policy_of, split
from slimjobs.policies import Policy, set_policy


def takes_commit(email: Any, commit: bool = False) -> None:
    pass


def takes_all(email: Any, **more: Any) -> None:
    pass


def test_options_go_into_the_meta_beside_what_is_there() -> None:
    meta = {"campaign": 7}
    told = fold({"on_missing": "discard", "wait_for_row": None, "commit": None}, meta)

    assert told == {"campaign": 7, "slimjobs": {"on_missing": "discard"}}
    assert meta == {"campaign": 7}
    assert fold({"wait_for_row": 5}, told)["slimjobs"] == {"on_missing": "discard", "wait_for_row": 5}
    assert fold({"on_missing": None}, meta) == meta


@pytest.mark.parametrize("options", [{"on_missing": "retry"}, {"wait_for_row": -1}, {"commit": "later"}])
def test_an_option_that_cannot_be_read_is_refused_where_it_is_given(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        fold(options)
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        Queue.prepare_data(sample_app.record, **options)


def test_a_job_over_its_task_over_the_default() -> None:
    assert policy_of(None, "app.work") == Policy("fail", 0)
    set_policy("app.work", Policy("none", 3))
    assert policy_of({}, "app.work") == Policy("none", 3)
    assert policy_of({"slimjobs": {"on_missing": "discard"}}, "app.work") == Policy("discard", 3)
    assert policy_of({"slimjobs": "a key of the application's own"}, "app.work") == Policy("none", 3)


def test_a_job_that_was_told_nonsense_says_so() -> None:
    with pytest.raises(ConfigurationError, match="on_missing"):
        policy_of({"slimjobs": {"on_missing": ["x"]}}, "app.work")


@pytest.mark.parametrize(
    ("told", "stored"),
    [
        ({"commit": "now"}, {"campaign": 7}),
        ({"commit": "now", "on_missing": "none"}, {"campaign": 7, "slimjobs": {"on_missing": "none"}}),
    ],
)
def test_when_to_enqueue_is_not_stored(told: dict[str, Any], stored: dict[str, Any]) -> None:
    assert split({"campaign": 7, "slimjobs": told}) == (stored, "now")


@pytest.mark.parametrize("meta", [None, {}, {"campaign": 7}, {"slimjobs": 5}, {"slimjobs": {"on_missing": "none"}}])
def test_other_meta_is_left_alone(meta: Any) -> None:
    stored, commit = split(meta)
    assert stored is meta
    assert commit is None


@pytest.mark.parametrize(
    ("func", "kwargs"),
    [
        (takes_commit, {"commit": True}),
        (takes_all, {"commit": True, "on_missing": "mail me"}),
        ("app.jobs.save", {"commit": True}),
        (sample_app.subject, {"email": 5}),
    ],
)
def test_a_name_that_the_function_takes_is_the_functions(func: Any, kwargs: dict[str, Any]) -> None:
    assert fold_call(func, kwargs) == kwargs


def test_other_names_are_options_of_the_job() -> None:
    assert fold_call(sample_app.subject, {"email": 5, "on_missing": "none", "meta": {"a": 1}}) == {
        "email": 5,
        "meta": {"a": 1, "slimjobs": {"on_missing": "none"}},
    }
    assert fold_call(takes_commit, {"commit": True, "wait_for_row": 2}) == {
        "commit": True,
        "meta": {"slimjobs": {"wait_for_row": 2}},
    }
    assert fold_call("app.jobs.save", {"args": (5,), "commit": "now"}) == {
        "args": (5,),
        "meta": {"slimjobs": {"commit": "now"}},
    }


def test_each_way_in_takes_options(fake_redis: Any) -> None:
    queue = Queue("letters", connection=fake_redis)
    task = slimjobs.job(queue)(sample_app.record)
    many = [Queue.prepare_data(sample_app.record, on_missing="none"), task.options(on_missing="none").prepare(1)]

    jobs = [
        queue.enqueue(sample_app.subject, 1, on_missing="none"),
        queue.enqueue(sample_app.record, args=(1,), on_missing="none"),
        queue.enqueue_call(sample_app.record, (1,), on_missing="none", commit="now"),
        *queue.enqueue_many(many),
        task.options(on_missing="none").enqueue(1),
    ]

    for job in jobs:
        stored = slimjobs.Job.fetch(job.id, connection=fake_redis)
        assert stored.meta == job.meta == {"slimjobs": {"on_missing": "none"}}
        assert len(stored.args) <= 1


def test_queues_and_tasks_say_when_to_enqueue(fake_redis: Any) -> None:
    with pytest.raises(ConfigurationError, match="commit: 'soon' is not one of auto, now"):
        Queue("letters", connection=fake_redis, commit="soon")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="commit: 'soon'"):
        slimjobs.job("letters", commit="soon")  # type: ignore[arg-type]
