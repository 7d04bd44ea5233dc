"""The error tree: facts as attributes, messages with both numbers and a next step, never a value."""

from __future__ import annotations

import copy
import logging
import pickle
import traceback
from typing import Any

import pytest
import sample_app
from codec_samples import NOWHERE, TASK, Box, Node, create

import slimjobs
from slimjobs import (
    BatchTooLargeError,
    ConfigurationError,
    Job,
    PayloadDecodeError,
    PayloadTooLargeError,
    RecordNotFoundError,
    RecordUnavailableError,
    Ref,
    Serializer,
    SlimjobsError,
    UnsavedModelError,
    UnsupportedTypeError,
)

ERRORS: list[tuple[type[SlimjobsError], type[Exception]]] = [
    (BatchTooLargeError, ValueError),
    (ConfigurationError, ValueError),
    (PayloadDecodeError, ValueError),
    (PayloadTooLargeError, ValueError),
    (RecordNotFoundError, LookupError),
    (RecordUnavailableError, ConnectionError),
    (UnsavedModelError, ValueError),
    (UnsupportedTypeError, TypeError),
]
SECRET = "Xyzzy-4711"


@pytest.mark.parametrize(("error_class", "builtin"), ERRORS)
def test_each_error_is_also_the_nearest_builtin(error_class: type[SlimjobsError], builtin: type[Exception]) -> None:
    assert issubclass(error_class, SlimjobsError)
    with pytest.raises(builtin):
        raise error_class("a problem")


def test_there_is_no_other_error() -> None:
    public = {getattr(slimjobs, name) for name in slimjobs.__all__ if name.endswith("Error")}
    assert public == {SlimjobsError, *(error_class for error_class, _ in ERRORS)}


def full(error_class: type[SlimjobsError]) -> SlimjobsError:
    error = error_class(
        "a problem",
        hint="A step.",
        task=TASK,
        path="args[0].body",
        size_bytes=5_000_000,
        limit_bytes=65_536,
        parts=[("args[0].body", 4_900_000)],
        refs=[Ref("app.Email", 1), Ref("app.Email", 2)],
    )
    if isinstance(error, PayloadTooLargeError):
        error.at_least = True
    if isinstance(error, BatchTooLargeError):
        error.jobs = 7
    return error


@pytest.mark.parametrize("error_class", [SlimjobsError, *(error_class for error_class, _ in ERRORS)])
@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_errors_are_pickled_and_copied_with_all_they_know(error_class: type[SlimjobsError], again: Any) -> None:
    for error in (full(error_class), error_class(), error_class("a problem")):
        copied = again(error)
        assert type(copied) is error_class
        assert vars(copied) == vars(error)
        assert copied.args == error.args
        assert str(copied) == str(error)
        assert copied.hint == error.hint
        assert copied.ref == error.ref


@pytest.mark.parametrize("error_class", [error_class for error_class, _ in ERRORS])
def test_the_message_begins_with_task_and_path_and_ends_with_the_next_step(error_class: type[SlimjobsError]) -> None:
    text = str(full(error_class))
    assert text.startswith(f"{TASK}: args[0].body: ")
    assert text.endswith(".\nA step.")


def test_what_is_learned_later_is_in_the_message() -> None:
    error = UnsupportedTypeError("a generator cannot travel")
    assert str(error) == "a generator cannot travel"
    error.task, error.path = TASK, "args[1]"
    assert str(error) == f"{TASK}: args[1]: a generator cannot travel"


def test_a_payload_that_is_too_large_names_both_numbers_and_the_part_to_blame() -> None:
    error = PayloadTooLargeError(
        task="app.jobs.send_email", size_bytes=5_000_000, limit_bytes=65_536, parts=[("args[0].body", 4_900_000)]
    )
    assert str(error) == (
        "app.jobs.send_email: payload is 4.8 MiB, limit is 64.0 KiB; largest is args[0].body (4.7 MiB).\n"
        "Pass an id, register the class with slimjobs.register(), or set max_bytes= on this job."
    )
    error.at_least = True
    error.parts = (("args[0]", 3000), ("args[1]", 2000))
    assert "payload is at least 4.8 MiB" in str(error)
    assert "largest are args[0] (2.9 KiB), args[1] (2.0 KiB)." in str(error)


def test_one_byte_too_many_is_shown_as_such() -> None:
    assert "payload is 65537 bytes, limit is 65536 bytes" in str(
        PayloadTooLargeError(size_bytes=65_537, limit_bytes=65_536)
    )


def test_a_batch_names_how_many_jobs_were_too_much() -> None:
    error = BatchTooLargeError(size_bytes=17 * 2**20, limit_bytes=16 * 2**20)
    error.jobs = 300
    assert "first 300 payloads" in str(error)
    assert "17.0 MiB, limit is 16.0 MiB" in str(error)
    assert "max_batch_bytes" in str(error)


def test_missing_rows_are_listed_up_to_five() -> None:
    refs = [Ref("app.models.Email", number) for number in range(8)]
    assert str(RecordNotFoundError(refs=refs[:1])).startswith("no row for <Ref Email 0>.\n")
    text = str(RecordNotFoundError(task=TASK, refs=refs))
    assert "<Ref Email 4> and 3 more" in text
    assert "<Ref Email 5>" not in text
    assert RecordNotFoundError(refs=refs).ref == refs[0]
    assert RecordNotFoundError().ref is None


def provoke_too_large(secret: str) -> None:
    create([secret] * 10_000, body=Box({"text": secret * 10_000}))


def provoke_slightly_too_large(secret: str) -> None:
    slimjobs.configure(max_bytes=60)
    create(secret, email=secret.encode(), rows=[secret])


def provoke_unsupported(secret: str) -> None:
    create({"rows": [secret, ValueError(secret)]})


def provoke_unsupported_in_a_value_type(secret: str) -> None:
    create(Node(secret, [Box((secret, bytearray(secret.encode())))]))


def provoke_unsaved(secret: str) -> None:
    create(sample_app.Email(None, body=secret, subject=secret), secret)


def provoke_too_deep(secret: str) -> None:
    items: list[Any] = [secret]
    items.append(items)
    create(items, name=secret)


def provoke_unsupported_beside_text_in_a_dict_of_addresses(secret: str) -> None:
    create({secret: object(), f"{secret}@example.org": 1})


def provoke_too_large_in_a_dict_of_addresses(secret: str) -> None:
    create({f"{secret}@example.org": "x" * 100_000})


def provoke_too_large_meta(secret: str) -> None:
    Job.create(TASK, args=(secret,), meta={"note": secret * 10_000}, connection=NOWHERE)


@pytest.mark.parametrize(
    "provoke",
    [
        provoke_too_large,
        provoke_slightly_too_large,
        provoke_unsupported,
        provoke_unsupported_in_a_value_type,
        provoke_unsaved,
        provoke_too_deep,
        provoke_unsupported_beside_text_in_a_dict_of_addresses,
        provoke_too_large_in_a_dict_of_addresses,
        provoke_too_large_meta,
    ],
)
def test_no_error_shows_a_value(provoke: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises(SlimjobsError) as caught:
        provoke(SECRET)
    error = caught.value
    shown = [str(error), repr(error), repr(vars(error)), *traceback.format_exception_only(error)]
    shown += [repr(vars(record)) + record.getMessage() for record in caplog.records]
    assert not [text for text in shown if SECRET in text]
    assert SECRET.encode() not in pickle.dumps(error)


def test_no_warning_and_no_description_shows_a_value(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        job = create(SECRET * 2000, {SECRET: [SECRET]}, email=sample_app.Email(1, body=SECRET), box=Box(SECRET))
    assert caplog.records
    assert SECRET not in (job.description or "")
    assert not [record for record in caplog.records if SECRET in repr(vars(record)) + record.getMessage()]


def test_what_is_wrong_with_bytes_shows_none_of_them() -> None:
    for data in (
        SECRET.encode(),
        b"\xc1\x01" + SECRET.encode(),
        Serializer.dumps(SECRET)[:-1],
        b"\x80" + SECRET.encode(),
    ):
        with pytest.raises(PayloadDecodeError) as caught:
            Serializer.loads(data)
        assert SECRET not in str(caught.value) + repr(vars(caught.value))
