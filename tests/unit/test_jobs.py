"""A job in memory: what it is made of, what it shows before and after its call, and what it refuses."""

from __future__ import annotations

import gc
import re
import weakref
import zlib
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import queue_samples
import sample_app
from rq.exceptions import DeserializationError
from rq.serializers import DefaultSerializer

from slimjobs import ConfigurationError, Job, Ref, Serializer, UnsupportedTypeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis


class Caller:
    """What can be called, and has nothing else."""

    def __call__(self) -> None:
        pass

    @staticmethod
    def static() -> str:
        return "static"


def inside() -> Callable[[], None]:
    def inner() -> None: ...

    return inner


@pytest.fixture(autouse=True)
def rows() -> None:
    sample_app.reset()


@pytest.fixture
def make(fake_redis: Redis) -> Callable[..., Job]:
    """Make a job, which is not written anywhere."""

    def create(func: Any, *args: Any, **kwargs: Any) -> Job:
        job = Job.create(func, args, kwargs, connection=fake_redis)
        assert isinstance(job, Job)
        return job

    return create


def stored(job: Job) -> Job:
    job.save()
    again = Job.fetch(job.id, connection=job.connection)
    assert isinstance(again, Job)
    return again


@pytest.mark.parametrize(
    ("func", "func_name", "task"),
    [
        (sample_app.record, "sample_app.record", "sample_app.record"),
        ("sample_app.record", "sample_app.record", "sample_app.record"),
        (len, "builtins.len", "builtins.len"),
        (sample_app.Email.tidy, "sample_app.Email.tidy", "sample_app.Email.tidy"),
        (sample_app.Email(1).send, "send", "sample_app.Email.send"),
        (queue_samples.Empty(1, "").shout, "shout", "queue_samples.Empty.shout"),
        (Ref("sample_app.Email", 1).load, "load", "sample_app.Email.load"),
        (queue_samples.Parcel(1, 2).grams, "grams", "queue_samples.Parcel.grams"),
    ],
)
def test_the_task_is_the_import_path_of_what_is_called(
    make: Callable[..., Job], func: Any, func_name: str, task: str
) -> None:
    job = make(func)
    assert (job.func_name, job.task) == (func_name, task)
    assert (stored(job).func_name, stored(job).task) == (func_name, task)
    assert str(job.description).startswith(f"{task}(")


def test_the_task_of_a_method_is_the_same_where_its_class_has_a_name_of_its_own(make: Callable[..., Job]) -> None:
    job = make(queue_samples.Stamp(1, "").shout)

    assert stored(job).task == job.task


def test_a_static_method_is_found_by_its_path(make: Callable[..., Job]) -> None:
    job = make(Caller.static)
    assert job.func_name == f"{__name__}.Caller.static"
    assert job.instance is None


@pytest.mark.parametrize("func", [lambda: None, Caller(), inside()])
def test_what_no_worker_could_import_is_refused(make: Callable[..., Job], func: Any) -> None:
    with pytest.raises(UnsupportedTypeError):
        make(func)


@pytest.mark.parametrize("func", [5, None, Caller])
def test_what_cannot_be_called_is_refused_as_rq_does(make: Callable[..., Job], func: Any) -> None:
    with pytest.raises(TypeError):
        make(func)


@pytest.mark.parametrize(("args", "kwargs"), [("abc", {}), ({1}, {}), (5, {}), ((), [("a", 1)])])
def test_arguments_of_the_wrong_kind_are_refused(fake_redis: Redis, args: Any, kwargs: Any) -> None:
    with pytest.raises(ConfigurationError, match="takes a list or a tuple"):
        Job.create(sample_app.record, args, kwargs, connection=fake_redis)


def test_arguments_are_refs_before_the_call_and_after_it(make: Callable[..., Job]) -> None:
    email = sample_app.EMAILS[1]
    job = make(sample_app.give_back, [email])
    assert job.args == ([Ref("sample_app.Email", 1)],)

    assert job.perform() == [email]
    assert job.args == ([Ref("sample_app.Email", 1)],)


def test_arguments_are_refs_again_after_a_call_that_failed(make: Callable[..., Job]) -> None:
    job = make(sample_app.fail, sample_app.EMAILS[1])
    with pytest.raises(RuntimeError, match="the task failed"):
        job.perform()
    assert job.args == (Ref("sample_app.Email", 1),)


def test_what_a_running_job_was_told_anew_is_shown_with_refs_and_the_rest_as_it_was(make: Callable[..., Job]) -> None:
    def tell() -> None:
        job.kwargs["b"] = sample_app.EMAILS[2]
        job.kwargs = job.kwargs
        sample_app.EMAILS[1].id = None  # what was loaded cannot become a ref any more

    job = make(sample_app.call_back, sample_app.EMAILS[1])
    sample_app.CALL_BACK.append(tell)
    job.perform()

    assert job.args == (Ref("sample_app.Email", 1),)
    assert job.kwargs == {"b": Ref("sample_app.Email", 2)}
    assert stored(job).kwargs == job.kwargs


TOO_LARGE, UNSUPPORTED = "x" * 100_000, object()


@pytest.mark.parametrize(
    ("part", "problem"),
    [(TOO_LARGE, r"payload is at least .* largest is args\[1\]"), (UNSUPPORTED, r"args\[1\]: a object cannot travel")],
    ids=["too large", "unsupported"],
)
def test_what_a_running_job_is_told_and_cannot_travel_leaves_it_as_it_was(
    make: Callable[..., Job], caplog: pytest.LogCaptureFixture, part: Any, problem: str
) -> None:
    def tell() -> None:
        job.args = (sample_app.EMAILS[1], part)

    job = make(sample_app.call_back, sample_app.EMAILS[1])
    sample_app.CALL_BACK.append(tell)
    job.perform()

    [record] = caplog.records
    assert record.levelname == "ERROR"
    assert re.match(rf"sample_app\.call_back: job {job.id} set arguments .* finished: {problem}", record.message)
    assert job.args == (Ref("sample_app.Email", 1),)
    assert stored(job).args == job.args


def test_what_a_job_was_told_does_not_hide_what_its_call_raises(
    make: Callable[..., Job], caplog: pytest.LogCaptureFixture
) -> None:
    def tell() -> None:
        job.args = (UNSUPPORTED,)
        raise ConnectionError("the real error")

    job = make(sample_app.call_back, sample_app.EMAILS[1])
    sample_app.CALL_BACK.append(tell)
    with pytest.raises(ConnectionError, match="the real error"):
        job.perform()

    assert "a retry has those of this run: args[0]: a object cannot travel" in caplog.text
    assert job.args == (Ref("sample_app.Email", 1),)


def test_a_call_always_gets_its_arguments_through_the_encoded_form(make: Callable[..., Job]) -> None:
    given = [1, [2, 3]]
    result: Any = make(sample_app.give_back, given).perform()

    assert result == given
    assert result is not given
    assert result[1] is not given[1]


def test_the_function_of_an_unloaded_method_says_how_to_get_the_model(make: Callable[..., Job]) -> None:
    with pytest.raises(AttributeError, match=r"<Ref Email 1>\.load\(\)"):
        _ = make(sample_app.EMAILS[1].send).func


@pytest.mark.parametrize(("name", "value"), [("args", (5,)), ("kwargs", {"b": 5}), ("func_name", "builtins.len")])
def test_a_field_that_is_set_leaves_the_others(make: Callable[..., Job], name: str, value: Any) -> None:
    expected = {"func_name": "sample_app.record", "instance": None, "args": (1,), "kwargs": {"a": 2}, name: value}
    for job in (make(sample_app.record, 1, a=2), stored(make(sample_app.record, 1, a=2))):
        setattr(job, name, value)
        again = stored(job)
        assert {field: getattr(again, field) for field in expected} == expected


@pytest.mark.parametrize("length", [1, 10_000])
def test_a_save_writes_the_same_bytes_as_the_one_before(make: Callable[..., Job], length: int) -> None:
    job = make(sample_app.record, "x" * length)
    first = job.to_dict()["data"]
    again = stored(job)

    assert again.to_dict()["data"] == first
    assert again.data == job.data
    assert first == (job.data if length == 1 else zlib.compress(job.data))


@pytest.mark.parametrize("data", [b"", b"\xc1\x01\x94", b"hello", Serializer.dumps([1]), Serializer.dumps("text")])
def test_every_look_at_damaged_data_raises_what_rq_expects(make: Callable[..., Job], data: bytes) -> None:
    job = make(sample_app.record, 1)
    job.save()
    job.connection.hset(job.key, "data", data)
    damaged = Job.fetch(job.id, connection=job.connection)

    for name in ("args", "kwargs", "func_name", "instance", "args"):
        with pytest.raises(
            DeserializationError, match=rf"job {job.id} \(sample_app.record, by its description\): its pay"
        ):
            getattr(damaged, name)
    assert damaged.data == data


def test_a_job_that_cannot_be_read_is_let_go_of_at_once(make: Callable[..., Job]) -> None:
    job = make(sample_app.record, 1)
    job.save()
    job.connection.hset(job.key, "data", b"\xc1\x01\x94")
    damaged = Job.fetch(job.id, connection=job.connection)
    seen = weakref.ref(damaged)

    gc.disable()  # or it might come by, and no worker waits for it
    try:
        with suppress(DeserializationError):
            _ = damaged.args
        del damaged
        assert seen() is None
    finally:
        gc.enable()


def test_a_call_in_the_wrong_shape_is_damaged_data_too(make: Callable[..., Job]) -> None:
    job = make(sample_app.record)
    job.save()
    job.connection.hset(job.key, "data", DefaultSerializer.dumps(("sample_app.record", None, 1, 2)))
    damaged = Job.fetch(job.id, connection=job.connection, serializer=DefaultSerializer)

    for _ in range(2):
        with pytest.raises(DeserializationError, match="it is no call"):
            _ = damaged.args


def test_the_serializer_is_ours_unless_it_is_named(fake_redis: Redis) -> None:
    class PickleJob(Job):
        default_serializer: ClassVar[Any] = DefaultSerializer

    assert Job(connection=fake_redis).serializer is Serializer
    assert Job(connection=fake_redis, serializer="rq.serializers.JSONSerializer").serializer is not Serializer
    assert PickleJob(connection=fake_redis).serializer is DefaultSerializer
    assert PickleJob.create(sample_app.record, connection=fake_redis).data[:1] == b"\x80"


def test_rqs_other_options_are_kept(fake_redis: Redis) -> None:
    job = Job.create(
        sample_app.record, connection=fake_redis, id="named", timeout=5, result_ttl=6, ttl=7, meta={"a": timedelta(1)}
    )

    again = stored(job)
    assert (again.id, again.timeout, again.result_ttl, again.ttl, again.meta) == ("named", 5, 6, 7, {"a": timedelta(1)})
