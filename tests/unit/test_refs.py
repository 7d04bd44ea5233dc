"""The `Ref` value, which stands for a model instance in a payload."""

from __future__ import annotations

import copy
import pickle
from typing import Any
from uuid import UUID

import pytest
import sample_app

from slimjobs import ConfigurationError, RecordNotFoundError, RecordUnavailableError, Ref, register

REF = Ref("sample_app.Email", 1)


@pytest.fixture(autouse=True)
def _usual_rows() -> None:
    sample_app.reset()


@pytest.mark.parametrize(
    ("ref", "shown"),
    [
        (REF, "<Ref Email 1>"),
        (Ref("Email", "a"), "<Ref Email a>"),
        (Ref("app.models.Line", (1, "a")), "<Ref Line (1, 'a')>"),
        (Ref("app.Key", UUID(int=1)), "<Ref Key 00000000-0000-0000-0000-000000000001>"),
    ],
)
def test_the_repr_is_short(ref: Ref, shown: str) -> None:
    assert repr(ref) == shown
    assert str(ref) == shown


@pytest.mark.parametrize("pk", ["x" * 1000, (1,) * 1000, 10**3000, b"x" * 1000])
def test_the_repr_stays_short(pk: Any) -> None:
    assert len(repr(Ref("app.Email", pk))) < 70


def test_an_attribute_of_the_model_says_how_to_get_the_model() -> None:
    with pytest.raises(AttributeError) as caught:
        _ = REF.subject
    text = str(caught.value)
    assert "<Ref Email 1>" in text
    assert "'subject'" in text
    assert "<Ref Email 1>.load()" in text
    assert "@slimjobs.job" in text
    assert getattr(REF, "subject", None) is None
    assert not hasattr(REF, "__len__")
    assert not hasattr(REF, "_repr_html_")


def test_it_cannot_be_changed() -> None:
    for name in ("pk", "subject"):
        with pytest.raises(AttributeError):
            setattr(REF, name, 2)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_is_pickled(protocol: int) -> None:
    ref = Ref("app.Line", (1, "a"), "replica")
    again = pickle.loads(pickle.dumps(ref, protocol))
    assert again == ref
    assert (again.name, again.pk, again.db) == ("app.Line", (1, "a"), "replica")


def test_it_is_copied_compared_and_hashed() -> None:
    for again in (copy.copy(REF), copy.deepcopy(REF), Ref("sample_app.Email", 1)):
        assert again == REF
        assert hash(again) == hash(REF)
        assert {again: 1}[REF] == 1
    for other in (Ref("sample_app.Email", 2), Ref("b", 1), Ref("sample_app.Email", 1, "replica"), 1, None):
        assert other != REF


def test_one_that_is_not_complete_can_be_looked_at() -> None:
    # As a debugger or a failing unpickler does.
    with pytest.raises(AttributeError):
        _ = object.__new__(Ref).pk


def test_load_returns_the_instance() -> None:
    assert REF.load() is sample_app.EMAILS[1]
    assert Ref("people.subscriber", "ann").load() is sample_app.SUBSCRIBERS["ann"]
    assert Ref("old.Subscriber", "ann").load() is sample_app.SUBSCRIBERS["ann"]


def test_load_says_what_went_wrong() -> None:
    with pytest.raises(RecordNotFoundError, match="<Ref Email 99>") as missing:
        Ref("sample_app.Email", 99).load()
    assert missing.value.ref == Ref("sample_app.Email", 99)
    with pytest.raises(ConfigurationError, match=r"no class is registered under the name 'no\.such\.Class'") as unknown:
        Ref("no.such.Class", 1).load()
    assert unknown.value.ref == Ref("no.such.Class", 1)

    class Far:
        id = 1

    def load(_: Any) -> Far:
        raise TimeoutError("host 10.0.0.1")

    register(Far, load=load, name="app.Far")
    with pytest.raises(RecordUnavailableError) as unavailable:
        Ref("app.Far", 1).load()
    assert unavailable.value.ref == Ref("app.Far", 1)
    assert isinstance(unavailable.value.__cause__, TimeoutError)
