"""Instance to ref, refs to instances, and the list of classes that may."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import Mock

import pytest
import sample_app
from sample_app import Email, Subscriber

import slimjobs
from slimjobs import ConfigurationError, RecordNotFoundError, RecordUnavailableError, Ref, UnsavedModelError, register
from slimjobs.loading import load_one, load_refs
from slimjobs.registry import dehydrate, is_registered

if TYPE_CHECKING:
    from pathlib import Path


class Row:
    number: int
    house: Row

    def __init__(self, id: Any = None, **attributes: Any) -> None:
        self.id = id
        vars(self).update(attributes)


class SubRow(Row):
    pass


@pytest.fixture(autouse=True)
def _usual_rows() -> None:
    sample_app.reset()


def nothing(_: Any) -> None:
    return None


def test_instances_become_refs() -> None:
    assert dehydrate(Email(5)) == Ref("sample_app.Email", 5)
    assert dehydrate(Subscriber("ann", "")) == Ref("people.subscriber", "ann")
    assert dehydrate(5) is None
    assert dehydrate(Email) is None
    assert dehydrate(Row(1)) is None


def test_register_returns_the_class_and_names_it_by_where_it_is() -> None:
    assert register(Row, load=nothing) is Row
    ref = dehydrate(Row(1))
    assert ref == Ref(f"{Row.__module__}.Row", 1)


@pytest.mark.parametrize("pk", [0, "", False, -1, (), "x"])
def test_a_primary_key_may_be_false(pk: Any) -> None:
    register(Row, load=Row, name="app.Row")
    ref = dehydrate(Row(pk))
    assert ref == Ref("app.Row", pk)
    assert load_one(Ref("app.Row", pk)).id == pk


def test_a_row_may_be_false() -> None:
    class Basket(Row):
        def __bool__(self) -> bool:
            return False

        def __len__(self) -> int:
            return 0

    baskets = {1: Basket(1)}
    register(Basket, load_many=lambda pks: [baskets[pk] for pk in pks], name="app.Basket")
    assert load_one(Ref("app.Basket", 1)) is baskets[1]


def test_the_primary_key_is_read_from_an_attribute_a_path_of_them_or_by_a_function() -> None:
    register(Row, load=nothing, name="a.Row", id="number")
    register(SubRow, load=nothing, name="a.SubRow", id=lambda row: (row.house.id, row.number))
    assert dehydrate(Row(1, number=7)) == Ref("a.Row", 7)
    assert dehydrate(SubRow(1, number=7, house=Row(3))) == Ref("a.SubRow", (3, 7))


def test_an_attribute_that_is_not_there_is_named() -> None:
    register(Row, load=nothing, id="nubmer")
    with pytest.raises(ConfigurationError, match="Row has no attribute 'nubmer'") as caught:
        dehydrate(Row(1))
    assert "id=" in str(caught.value)


def test_an_unsaved_instance_is_refused() -> None:
    with pytest.raises(UnsavedModelError, match=r"Email has no primary key yet\.\nSave it before"):
        dehydrate(Email(None))


def test_a_subclass_is_a_class_of_its_own() -> None:
    register(Row, load=nothing, name="a.Row")
    assert dehydrate(SubRow(1)) is None
    assert not is_registered(SubRow(1))
    register(SubRow, load=nothing, name="a.SubRow")
    assert dehydrate(SubRow(1)) == Ref("a.SubRow", 1)


def test_a_lazy_object_is_what_it_says_it_is() -> None:
    class Lazy:
        def __init__(self, make: Any) -> None:
            self.__dict__["made"] = make()

        @property  # type: ignore[misc]
        def __class__(self) -> Any:
            return type(self.__dict__["made"])

        def __getattr__(self, name: str) -> Any:
            return getattr(self.__dict__["made"], name)

    assert dehydrate(Lazy(lambda: Email(3))) == Ref("sample_app.Email", 3)
    assert is_registered(Lazy(lambda: Email(3)))
    mock = Mock(spec=Email)
    mock.id = 4
    assert dehydrate(mock) == Ref("sample_app.Email", 4)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: register(Row), "needs either load= or load_many="),
        (lambda: register(Row, load=nothing, load_many=nothing), "needs either load= or load_many="),  # type: ignore[arg-type]
        (lambda: register(cast("Any", Row()), load=nothing), "takes a class, not Row"),
        (lambda: register(Row, load=cast("Any", "people.find")), "load= takes a function, not str"),
        (lambda: register(Row, load_many=cast("Any", {})), "load_many= takes a function, not dict"),
        (
            lambda: register(Row, load=cast("Any", lambda: None)),
            "load= takes a function of one argument, one primary key",
        ),
        (lambda: register(Row, load_many=cast("Any", lambda a, b: [])), "of one argument, a list of primary keys"),
        (lambda: register(Row, load=nothing, aliases="old.Row"), "aliases= takes a list of names"),
        (lambda: register(Email, load=nothing), r"Email is registered already, as 'sample_app\.Email'"),
        (lambda: register(Row, load=nothing, name="people.subscriber"), "'people.subscriber' is taken by Subscriber"),
        (lambda: register(Row, load=nothing, name="old.Subscriber"), "'old.Subscriber' is taken by Subscriber"),
        (lambda: register(Row, load=nothing, aliases=["x", "old.Subscriber"]), "'old.Subscriber' is taken"),
        (lambda: register(str, load=nothing), "str"),
        (lambda: register(dict, load=nothing), "dict"),
        (lambda: register(sample_app.Money, load=nothing), "Money"),
    ],
)
def test_what_cannot_be_registered(act: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        act()


def test_a_refused_registration_leaves_nothing_behind() -> None:
    with pytest.raises(ConfigurationError):
        register(Row, load=nothing, name="a.Row", aliases=["old.Row", "old.Subscriber"])
    assert not is_registered(Row(1))
    register(SubRow, load=SubRow, name="a.Row", aliases=["old.Row"])
    assert type(load_one(Ref("old.Row", 1))) is SubRow


@pytest.mark.parametrize(
    "answer",
    [
        lambda rows: rows,
        lambda rows: rows[::-1],
        lambda rows: [*rows, None],
        tuple,
        iter,
        lambda rows: {row.id: row for row in rows},
        lambda rows: {row.id: row for row in rows} | {99: None, 98: Row(98)},
    ],
)
def test_load_many_may_answer_in_any_order_or_by_primary_key(answer: Any) -> None:
    rows = [Row(1), Row(2), Row(3)]
    asked: list[Any] = []

    def load_many(pks: list[Any]) -> Any:
        asked.append(pks)
        return answer([row for row in rows if row.id in pks])

    register(Row, load_many=load_many, name="a.Row")
    refs = [Ref("a.Row", pk) for pk in (3, 1, 3, 99, 2, 1)]
    assert load_refs(refs) == {Ref("a.Row", row.id): row for row in rows}
    assert asked == [[3, 1, 99, 2]]
    assert type(asked[0]) is list


def test_one_call_for_each_class() -> None:
    refs = [Ref("sample_app.Email", 1), Ref("people.subscriber", "ann"), Ref("people.subscriber", "bob")]
    assert list(load_refs(refs)) == refs
    assert sample_app.LOADS == [("Email", [1]), ("Subscriber", ["ann", "bob"])]


def test_one_call_for_a_class_under_its_new_and_its_old_name() -> None:
    found = load_refs([Ref("people.subscriber", "ann"), Ref("old.Subscriber", "ann"), Ref("old.Subscriber", "bob")])
    assert found[Ref("people.subscriber", "ann")] is found[Ref("old.Subscriber", "ann")]
    assert found[Ref("old.Subscriber", "bob")].address == "bob@example.org"
    assert sample_app.LOADS == [("Subscriber", ["ann", "bob"])]


def test_missing_rows_are_left_out() -> None:
    assert load_refs([Ref("sample_app.Email", 99), Ref("people.subscriber", "zoe")]) == {}
    with pytest.raises(RecordNotFoundError):
        load_one(Ref("people.subscriber", "zoe"))


@pytest.mark.parametrize(
    "error", [ConnectionError("down"), ConnectionRefusedError(), TimeoutError(), BrokenPipeError()]
)
@pytest.mark.parametrize("option", ["load", "load_many"])
def test_a_database_that_cannot_be_reached_is_no_missing_row(option: str, error: Exception) -> None:
    def raising(_: Any) -> Any:
        raise error

    register(Row, name="a.Row", **{option: raising})  # type: ignore[arg-type]
    with pytest.raises(RecordUnavailableError, match="Row could not be asked for") as caught:
        load_refs([Ref("a.Row", 1), Ref("a.Row", 2), Ref("a.Row", 1)])
    assert caught.value.refs == (Ref("a.Row", 1), Ref("a.Row", 2))
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    "error", [KeyError("x"), ValueError("x"), OSError("disk"), RecordNotFoundError(), SystemExit(1)]
)
@pytest.mark.parametrize("option", ["load", "load_many"])
def test_any_other_error_of_a_loader_passes_as_it_is(option: str, error: BaseException) -> None:
    def raising(_: Any) -> Any:
        raise error

    register(Row, name="a.Row", **{option: raising})  # type: ignore[arg-type]
    with pytest.raises(type(error)) as caught:
        load_refs([Ref("a.Row", 1)])
    assert caught.value is error


def test_a_name_that_nobody_registered_is_a_configuration_error() -> None:
    refs = [Ref("no.such.Class", 1), Ref("no.such.Class", 2)]
    with pytest.raises(ConfigurationError, match=r"'no\.such\.Class'") as caught:
        load_refs(refs)
    assert caught.value.refs == tuple(refs)
    assert "slimjobs.register()" in str(caught.value)


def test_the_module_that_a_name_begins_with_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "shop_for_locators.py").write_text(
        "import slimjobs\n"
        "class Outer:\n    class Cart:\n        id = 1\n"
        "slimjobs.register(Outer.Cart, load=lambda pk: Outer.Cart())\n"
    )
    assert type(load_one(Ref("shop_for_locators.Outer.Cart", 1))).__qualname__ == "Outer.Cart"
    monkeypatch.delitem(sys.modules, "shop_for_locators")


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("import a_dependency_that_is_missing", "a_dependency_that_is_missing"),
        ("from json import nothing_of_that_name", "nothing_of_that_name"),
        ("int('no number')", "no number"),
        ("len(4711)", "has no len"),
        ("1 / 0", "division by zero"),
    ],
)
def test_an_error_while_that_module_is_imported_is_not_hidden(
    source: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "broken_for_locators.py").write_text(f"{source}\n")
    importlib.invalidate_caches()
    with pytest.raises(Exception, match=r".") as caught:
        load_one(Ref("broken_for_locators.Cart", 1))
    errors: list[BaseException | None] = [caught.value, caught.value.__cause__]
    assert any(told in str(error) for error in errors)


def test_refs_themselves_count_as_registered() -> None:
    assert is_registered(Ref("a.Row", 1))
    assert not is_registered(Ref)
    assert not is_registered(slimjobs)
