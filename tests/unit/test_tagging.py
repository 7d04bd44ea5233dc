"""Models in the payloads of serializers that are not ours: refs, or tagged dicts where they know only JSON."""

from __future__ import annotations

import base64
import json
import pickle
from typing import Any
from uuid import UUID

import pytest
import sample_app
from codec_samples import canonical, nested
from hypothesis import given, settings
from hypothesis import strategies as st
from rq.serializers import DefaultSerializer, JSONSerializer
from sample_app import Email, Subscriber

from slimjobs import PayloadDecodeError, Ref, Serializer, SlimjobsError, UnsavedModelError, UnsupportedTypeError
from slimjobs.codec import Refused
from slimjobs.tagging import TAG, dehydrate, revive

EMAIL, REF = Email(1, body="secret"), Ref("sample_app.Email", 1)


class Odd:
    """A serializer as an instance that cannot be hashed."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return self is other

    def dumps(self, value: Any) -> bytes:
        return json.dumps(value).encode()

    def loads(self, data: bytes) -> Any:
        return json.loads(data)


def through(serializer: Any, value: Any) -> Any:
    return revive(serializer.loads(serializer.dumps(dehydrate(value, serializer))))


def refusal(value: Any, serializer: Any = JSONSerializer) -> SlimjobsError:
    with pytest.raises(Refused) as caught:
        dehydrate(value, serializer)
    return caught.value.error


@pytest.mark.parametrize(
    "serializer", [JSONSerializer, DefaultSerializer, Serializer, Odd()], ids=["json", "pickle", "slim", "odd"]
)
def test_models_come_back_as_refs_at_any_depth(serializer: Any) -> None:
    value = [EMAIL, {"a": [{"b": EMAIL}, Subscriber("ann", "")]}, REF, 1, "x", None]
    expected = [REF, {"a": [{"b": REF}, Ref("people.subscriber", "ann")]}, REF, 1, "x", None]
    assert canonical(through(serializer, value)) == canonical(expected)


def test_where_refs_can_be_written_all_containers_and_keys_are_looked_into() -> None:
    value = [(EMAIL,), {EMAIL}, frozenset([EMAIL]), {EMAIL: {(1, EMAIL): 1}}]
    expected = [(REF,), {REF}, frozenset([REF]), {REF: {(1, REF): 1}}]
    assert canonical(through(DefaultSerializer, value)) == canonical(expected)


def test_the_model_itself_is_nowhere_in_the_bytes() -> None:
    for serializer in (JSONSerializer, DefaultSerializer):
        assert b"secret" not in serializer.dumps(dehydrate([EMAIL], serializer))


@pytest.mark.parametrize("pk", [1, "ä", (1, "a"), UUID(int=1), 2**100, b"\xff"])
def test_a_tag_keeps_the_type_of_the_primary_key_and_the_database(pk: Any) -> None:
    for ref in (Ref("app.Email", pk), Ref("app.Email", pk, "replica")):
        assert canonical(through(JSONSerializer, [ref])) == canonical([ref])


def test_what_is_not_a_model_is_left_as_it_is() -> None:
    value = {"a": [1, (2,), {"b": None}], "c": object()}
    assert dehydrate(value, DefaultSerializer) == value


def test_a_dict_that_looks_like_a_tag_is_refused() -> None:
    for value in ({TAG: "x"}, [{"a": {TAG: 1, "b": 2}}]):
        for serializer in (JSONSerializer, DefaultSerializer):
            error = refusal(value, serializer)
            assert isinstance(error, UnsupportedTypeError)
            assert TAG in str(error)


def test_an_unsaved_instance_is_refused() -> None:
    with pytest.raises(Refused) as caught:
        dehydrate([{"a": EMAIL}, unsaved := Email(None)], JSONSerializer)
    assert isinstance(caught.value.error, UnsavedModelError)
    assert caught.value.culprit is unsaved


@pytest.mark.parametrize(
    "value", [{EMAIL: 1}, {EMAIL}, frozenset([EMAIL]), {(EMAIL,): 1}], ids=["key", "set", "frozenset", "tuple"]
)
def test_a_model_where_json_can_hold_none_is_refused(value: Any) -> None:
    assert isinstance(refusal([value]), UnsupportedTypeError)


def test_what_is_shared_stays_shared_and_is_written_once() -> None:
    rows = [{"name": "abc", "email": EMAIL} for _ in range(20)]
    shared = [rows] * 200
    replaced = dehydrate(shared, DefaultSerializer)
    assert replaced == [[{"name": "abc", "email": REF}] * 20] * 200
    assert len(pickle.dumps(replaced)) < len(pickle.dumps(shared)) + 1000

    pairs: Any = [EMAIL]
    for _ in range(200):
        pairs = [pairs, pairs]
    top, other = dehydrate(pairs, DefaultSerializer)
    assert top is other

    rows.clear()  # a job that waits for a commit is written later
    assert len(replaced[0]) == 20


def test_what_is_shared_counts_as_deep_as_it_is_found_last() -> None:
    inner = nested(200, EMAIL)
    assert through(DefaultSerializer, [inner, nested(50, inner)])
    assert isinstance(refusal([inner, nested(60, inner)]), UnsupportedTypeError)


def test_what_contains_itself_is_refused() -> None:
    items: list[Any] = [EMAIL]
    items.append(items)
    assert isinstance(refusal(items), UnsupportedTypeError)
    assert isinstance(refusal(nested(5000, EMAIL)), UnsupportedTypeError)


@pytest.mark.parametrize(
    "tag",
    [
        5,
        None,
        "",
        "x",
        "ä",
        "AAAA",
        base64.b64encode(Serializer.dumps([1])).decode(),
        base64.b64encode(Serializer.dumps(("f", None, (), {}))).decode(),
        base64.b64encode(Serializer.dumps(REF)[:-1]).decode(),
        base64.b64encode(pickle.dumps(REF)).decode(),
        " " + base64.b64encode(Serializer.dumps(REF)).decode(),
        [],
    ],
)
def test_a_damaged_tag_is_refused(tag: Any) -> None:
    with pytest.raises(PayloadDecodeError, match="tag of a ref is damaged"):
        revive([{"a": {TAG: tag}}])


def test_a_tag_with_company_is_refused() -> None:
    tagged = dehydrate(EMAIL, JSONSerializer)
    assert revive(tagged) == REF
    with pytest.raises(PayloadDecodeError):
        revive({**tagged, "more": 1})


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just(TAG), inner),
    max_leaves=15,
)


@settings(max_examples=100, deadline=None)
@given(_json)
def test_no_value_of_the_user_comes_back_as_a_ref(value: Any) -> None:
    sample_app.reset()
    try:
        written = dehydrate(value, JSONSerializer)
    except Refused:
        return
    assert canonical(revive(json.loads(json.dumps(written)))) == canonical(value)
