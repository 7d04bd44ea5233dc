"""The helpers for tests: what a worker would pass, and whether payloads stay small; with pytest or without."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import rq
import sample_app
from hypothesis import strategies as st
from rq.serializers import DefaultSerializer, JSONSerializer

import slimjobs
from slimjobs import policies, testing
from slimjobs.testing import assert_payload_bounded, round_trip

if TYPE_CHECKING:
    from collections.abc import Iterator

    from plugin_project import Project


@pytest.fixture(autouse=True)
def rows() -> Iterator[None]:
    sample_app.reset()
    yield
    sample_app.reset()


def test_a_round_trip_gives_what_the_worker_would_pass() -> None:
    email = sample_app.EMAILS[1]
    args, kwargs = round_trip(
        sample_app.record, [email, (1, Decimal("2.5"))], to={"ann": sample_app.SUBSCRIBERS["ann"]}
    )
    (loaded, plain), to = args[0], kwargs["to"]["ann"]
    assert loaded is sample_app.EMAILS[1]
    assert (plain, type(plain)) == ((1, Decimal("2.5")), tuple)
    assert to.address == sample_app.SUBSCRIBERS["ann"].address
    assert sample_app.LOADS
    assert sample_app.CALLS == []


def test_a_round_trip_of_a_method_begins_with_its_instance() -> None:
    passed = round_trip(sample_app.EMAILS[1].send, "a@example.org")
    assert passed.args == (sample_app.EMAILS[1], "a@example.org")
    assert passed.kwargs == {}


def test_a_round_trip_refuses_what_an_enqueue_would() -> None:
    with pytest.raises(slimjobs.PayloadTooLargeError):
        round_trip(sample_app.record, "x" * 70_000)
    with pytest.raises(slimjobs.UnsupportedTypeError):
        round_trip(sample_app.record, sample_app.Unregistered())
    with pytest.raises(slimjobs.UnsavedModelError):
        round_trip(sample_app.record, sample_app.Email(None))
    gone = sample_app.Email(99)
    with pytest.raises(slimjobs.RecordNotFoundError):
        round_trip(sample_app.record, gone)


def test_a_round_trip_of_a_call_that_would_be_discarded_gives_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policies, "_policies", {"sample_app.record": policies.Policy("discard")})
    with pytest.raises(slimjobs.RecordNotFoundError, match=r"^sample_app\.record: no row for <Ref Email 99>"):
        round_trip(sample_app.record, {sample_app.Email(99), sample_app.EMAILS[1]})


def test_a_round_trip_takes_any_name_of_an_argument() -> None:
    assert round_trip(sample_app.record, func=1, self=2).kwargs == {"func": 1, "self": 2}
    with testing.record() as recorded:
        assert recorded.round_trip(sample_app.record, func=1).kwargs == {"func": 1}


@dataclass
class Letter:
    body: str


def test_a_payload_that_grows_fails_with_the_smallest_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(AssertionError) as raised:
        assert_payload_bounded(sample_app.record, st.text(), max_bytes=100)
    first, second, third = str(raised.value).splitlines()
    assert first.startswith("sample_app.record: the payload grows with its arguments, and 101 bytes is over 100 bytes")
    assert "largest is args[0] (" in first
    assert second.startswith("The smallest that was found: '")
    assert third.startswith("Pass an ID")
    assert "Falsifying" not in capsys.readouterr().out


def test_a_payload_that_grows_is_found_by_its_size_without_a_hint() -> None:
    size = st.integers(0, 200_000).map(lambda length: {"body": "x" * length})
    with pytest.raises(AssertionError, match=r"64\.0 KiB|65537 bytes") as raised:
        assert_payload_bounded(sample_app.record, size, max_bytes="64 KiB")
    assert "(65" in str(raised.value)
    assert len(str(raised.value)) < 700, "the example is not shown whole"


@pytest.mark.slow
def test_a_kibibyte_is_enough_to_find_what_grows_by_itself() -> None:
    for strategy in (st.text(), st.binary(), st.lists(st.integers()), st.dictionaries(st.text(), st.text())):
        with pytest.raises(AssertionError, match="the payload grows"):
            assert_payload_bounded(sample_app.record, st.tuples(strategy))


def test_it_is_said_when_only_refs_travel(capsys: pytest.CaptureFixture[str]) -> None:
    emails = st.builds(sample_app.Email, st.integers(1, 9), body=st.text(min_size=50))
    bound = assert_payload_bounded(sample_app.record, st.tuples(emails, st.lists(emails, max_size=3)), max_bytes=500)
    assert bound.only_refs
    assert bound.smallest_bytes < bound.largest_bytes <= 500
    assert bound.examples >= 100
    assert "only refs travel, so that it does not matter what their models hold" in str(bound)
    assert capsys.readouterr().out == f"{bound}\n"


def test_arguments_that_are_bounded_by_themselves_pass() -> None:
    bound = assert_payload_bounded(sample_app.record, st.tuples(st.integers(), st.text(max_size=20)), max_bytes=200)
    assert not bound.only_refs
    assert str(bound).endswith("examples, limit is 200 bytes")


def test_a_limit_that_no_example_can_reach_is_pointed_out() -> None:
    bound = assert_payload_bounded(sample_app.record, st.text(), max_bytes="1 MiB", max_examples=20)
    assert "Hypothesis draws at most 8.0 KiB, so that a lower max_bytes= would prove more" in str(bound)


@pytest.mark.parametrize("serializer", [DefaultSerializer, JSONSerializer])
def test_the_payloads_of_other_serializers_are_measured_too(serializer: Any) -> None:
    with pytest.raises(AssertionError, match="the payload grows"):
        assert_payload_bounded(sample_app.record, st.text(), max_bytes=200, serializer=serializer)


def test_a_model_that_is_pickled_whole_is_found() -> None:
    emails = st.builds(sample_app.Email, st.integers(1, 9), body=st.text())
    with pytest.raises(AssertionError, match=r"largest is args\[0\]\.body"):
        assert_payload_bounded(sample_app.record, emails, max_bytes=500, serializer=DefaultSerializer)
    assert assert_payload_bounded(sample_app.record, emails, max_bytes=500).only_refs


def test_what_cannot_travel_is_said_as_at_an_enqueue() -> None:
    with pytest.raises(slimjobs.UnsupportedTypeError, match=r"sample_app\.record: args\[0\]"):
        assert_payload_bounded(sample_app.record, st.builds(Letter, st.text()))
    with pytest.raises(slimjobs.ConfigurationError, match="max_bytes: '2 QB' is not a size"):
        assert_payload_bounded(sample_app.record, st.text(), max_bytes="2 QB")


def test_the_fixture_has_what_the_test_has_enqueued(project: Project) -> None:
    project.test(
        """
        import rq, slimjobs as library
        from app import Stored, greet, publish, send_email

        def test_it(slimjobs, queue, slim_queue):
            assert (slimjobs.jobs, slimjobs.largest, slimjobs.total_bytes) == ([], None, 0)
            publish(queue, 1000)
            slim_queue.enqueue(greet, Stored(7))
            assert [job.task for job in slimjobs.jobs] == ["app.send_email", "app.greet"]
            assert slimjobs.largest.task == "app.send_email"
            assert slimjobs.largest.size_bytes > 1000
            assert slimjobs.total_bytes == sum(job.size_bytes for job in slimjobs.jobs)
            assert len(slimjobs.by_task["app.greet"].jobs) == 1
            assert slimjobs.by_task["app.greet"].largest.size_bytes < 60
            args, kwargs = slimjobs.round_trip(greet, Stored(7), to=[1, (2,)])
            assert args[0].id == 7 and kwargs == {"to": [1, (2,)]}

        def test_next(slimjobs):
            assert slimjobs.jobs == []
        """
    )
    project.run().assert_outcomes(passed=2)


def test_without_pytest_it_works_as_well() -> None:
    script = (
        "import sys, fakeredis, rq, slimjobs\n"
        "queue = rq.Queue(connection=fakeredis.FakeRedis())\n"
        "with slimjobs.testing.record() as recorded:\n"
        "    queue.enqueue(print, 'x' * 70_000)\n"
        "print(recorded.largest.task, recorded.largest.is_too_large, *recorded.largest.parts[0])\n"
        "assert 'pytest' not in sys.modules and 'hypothesis' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "builtins.print True args[0] 70005\n"


def test_the_names_of_the_module_are_these() -> None:
    assert testing.__all__ == [
        "Passed",
        "PayloadBound",
        "Place",
        "RecordedJob",
        "Recorder",
        "Recording",
        "assert_payload_bounded",
        "record",
        "round_trip",
    ]
    assert rq.job.Job.save.__module__ == "rq.job"
