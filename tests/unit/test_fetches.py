"""How a task wants its models fetched."""

from __future__ import annotations

from typing import Any

import pytest
import sample_app
from sample_app import Email, Subscriber

import slimjobs
from slimjobs import ConfigurationError, Queue, Ref
from slimjobs.fetches import Fetches
from slimjobs.hydration import hydrate

ONE, TWO = Ref("sample_app.Email", 1), Ref("sample_app.Email", 2)
ANN = Ref("people.subscriber", "ann")
ASKED: list[tuple[str, list[Any]]] = []


@pytest.fixture(autouse=True)
def _usual_rows() -> None:
    sample_app.reset()
    ASKED.clear()


def fetch(name: str) -> Any:
    def load_many(pks: list[Any]) -> list[Any]:
        ASKED.append((name, pks))
        return [sample_app.EMAILS[pk] for pk in pks]

    return load_many


def task(email: Any, others: Any = (), *more: Any, key: Any = None, **rest: Any) -> None:
    pass


def load(fetches: dict[Any, Any], *args: Any, **kwargs: Any) -> tuple[Any, ...]:
    return hydrate(None, args, kwargs, fetches=Fetches(fetches, task)).values[1:]


def test_what_a_parameter_holds_is_fetched_as_the_task_says() -> None:
    args, kwargs = load({"others": fetch("others")}, ONE, [TWO, {"again": TWO}], key=ANN)

    assert ASKED == [("others", [2])]
    assert sample_app.LOADS == [("Email", [1]), ("Subscriber", ["ann"])]
    assert args == (sample_app.EMAILS[1], [sample_app.EMAILS[2], {"again": sample_app.EMAILS[2]}])
    assert kwargs["key"] is sample_app.SUBSCRIBERS["ann"]


def test_parameters_are_found_however_they_are_passed() -> None:
    load({"more": fetch("more"), "rest": fetch("rest"), "key": fetch("key")}, 1, 2, ONE, TWO)
    load({"more": fetch("more"), "rest": fetch("rest"), "key": fetch("key")}, 1, x=ONE, key=TWO)

    assert ASKED == [("more", [1, 2]), ("rest", [1]), ("key", [2])]


def test_a_class_is_fetched_so_in_every_parameter() -> None:
    load({Email: fetch("Email")}, ONE, [TWO], key=ANN)

    assert ASKED == [("Email", [1, 2])]
    assert sample_app.LOADS == [("Subscriber", ["ann"])]


def test_a_parameter_is_more_than_a_class_and_the_first_more_than_the_next() -> None:
    args, _ = load({Email: fetch("Email"), "key": fetch("key"), "email": fetch("email")}, ONE, [ONE, TWO], key=[ONE])

    assert ASKED == [("email", [1]), ("Email", [2])]
    assert args[0] is args[1][0]


def test_a_way_that_fits_some_of_what_a_parameter_holds_is_used_for_those() -> None:
    class Picky:
        pass

    def no_emails(pks: list[Any]) -> list[Any]:
        return [sample_app.SUBSCRIBERS[pk] for pk in pks]

    args, _ = load({"others": no_emails}, 1, [ANN])
    assert args[1] == [sample_app.SUBSCRIBERS["ann"]]
    with pytest.raises(ConfigurationError, match=r"load: what is given for 'others' \(a Picky\) cannot fetch Email"):
        load({"others": Picky()}, ONE, [TWO])
    with pytest.raises(ConfigurationError, match=r"given for Email \(a Picky\) cannot fetch Email"):
        load({Email: Picky()}, ONE)


@pytest.mark.parametrize(("key", "shown"), [("emial", "'emial'"), (5, "a int")])
def test_a_key_that_names_nothing_is_refused_where_it_is_given(key: Any, shown: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"load: {shown} is neither a parameter of task\(\) nor a class"):
        slimjobs.job("letters", load={key: fetch("x")})(task)


def test_a_call_that_does_not_fit_the_function_is_left_to_fail_by_itself() -> None:
    args, kwargs = load({"email": fetch("email")}, ONE, email=TWO)

    assert args == (sample_app.EMAILS[1],)
    assert kwargs == {"email": sample_app.EMAILS[2]}


def test_a_job_of_a_decorated_task_fetches_as_it_was_told(fake_redis: Any) -> None:
    queue = Queue("letters", connection=fake_redis, is_async=False)
    subject = slimjobs.job(queue, load={"email": fetch("email")})(sample_app.subject)
    assert subject.enqueue(Email(2)).return_value() == "subject 2"
    assert ASKED == [("email", [2])]
    assert sample_app.LOADS == []


def test_subscribers_are_found_without_a_word() -> None:
    assert load({}, ANN)[0] == (sample_app.SUBSCRIBERS["ann"],)
    assert isinstance(sample_app.SUBSCRIBERS["ann"], Subscriber)
