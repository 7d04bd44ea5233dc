"""Django's models: which become refs, how they are loaded again, and which transaction they wait for."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import unittest
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import slimjobs
from slimjobs import (
    ConfigurationError,
    PayloadTooLargeError,
    RecordNotFoundError,
    RecordUnavailableError,
    Ref,
    Serializer,
    UnsavedModelError,
    UnsupportedTypeError,
    registry,
)
from slimjobs.fetches import Fetches
from slimjobs.hydration import hydrate
from slimjobs.loading import load_one, load_refs
from slimjobs.policies import Policy
from slimjobs.registry import dehydrate, transactions_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from slimjobs.locators import Transaction

ALIASES = ("default", "archive")


def refs_of(value: Any) -> Any:
    return Serializer.loads(Serializer.dumps(value))


def trip(value: Any) -> Any:
    return hydrate(refs_of(value)).values[0]


def load(fetch: Any, *values: Any) -> Any:
    """Return a call's arguments after the trip, fetched as the task `lambda first, second: ...` says."""

    def task(first: Any, second: Any = None) -> None:
        """Be a task."""

    _, instance, args, kwargs = refs_of(("app.task", None, values, {}))
    return hydrate(instance, args, kwargs, fetches=Fetches(fetch, task)).values[1]


@contextmanager
def queries(*aliases: str) -> Iterator[list[str]]:
    """Gather the SQL of what is asked on these aliases, or on all."""
    from django.db import connections
    from django.test.utils import CaptureQueriesContext

    captured = [CaptureQueriesContext(connections[alias]) for alias in aliases or ALIASES]
    asked: list[str] = []
    for each in captured:
        each.__enter__()
    try:
        yield asked
    finally:
        for each in captured:
            each.__exit__(None, None, None)
            asked.extend(query["sql"] for query in each.captured_queries)


def make_emails(shop: Any, count: int, alias: str = "default", **fields: Any) -> list[Any]:
    newsletter = shop.Newsletter.objects.using(alias).create(title="Weekly")
    emails = [
        shop.Email(subject=f"Issue {number}", html="<p>", newsletter=newsletter, **fields) for number in range(count)
    ]
    return shop.Email.everything.using(alias).bulk_create(emails)  # type: ignore[no-any-return]


def make_deliveries(shop: Any, count: int, alias: str = "default") -> list[Any]:
    [email] = make_emails(shop, 1, alias)
    rows = [shop.Delivery(email=email, number=number) for number in range(count)]
    return shop.Delivery.objects.using(alias).bulk_create(rows)  # type: ignore[no-any-return]


def make_subscribers(shop: Any, count: int, alias: str = "default") -> list[Any]:
    rows = [shop.Subscriber(address=f"{number}@example.org") for number in range(count)]
    return shop.Subscriber.objects.using(alias).bulk_create(rows)  # type: ignore[no-any-return]


# Instances to refs


def test_each_kind_of_model_travels_and_comes_back(shop: Any) -> None:
    from django.contrib.auth.models import User

    [email] = make_emails(shop, 1)
    [subscriber] = make_subscribers(shop, 1)
    paid = shop.PaidCampaign.objects.create(title="Sale", budget=5, sponsor="ACME")
    expected = [
        (email, Ref("shop.Email", email.pk, "default")),
        (subscriber, Ref("shop.Subscriber", subscriber.pk, "default")),
        (shop.Draft.objects.get(), Ref("shop.Draft", email.pk, "default")),
        (paid, Ref("shop.PaidCampaign", paid.pk, "default")),
        (shop.Campaign.objects.get(), Ref("shop.Campaign", paid.pk, "default")),
        (shop.Profile.objects.create(subscriber=subscriber), Ref("shop.Profile", subscriber.pk, "default")),
        (shop.Delivery.objects.create(email=email, number=7), Ref("shop.Delivery", (email.pk, 7), "default")),
        (User.objects.create_user("ann"), Ref("auth.User", 1, "default")),
    ]
    for model, ref in expected:
        assert refs_of(model) == ref
        [loaded] = trip([model])
        assert type(loaded) is type(model)
        assert loaded == model
        assert loaded is not model
    assert trip(paid).budget == 5


def test_a_lazy_user_is_the_user(shop: Any) -> None:
    from django.contrib.auth.models import AnonymousUser, User
    from django.utils.functional import SimpleLazyObject

    user = User.objects.create_user("ann")
    assert trip(SimpleLazyObject(lambda: user)) == user
    with pytest.raises(UnsupportedTypeError, match=r"a django\.contrib\.auth\.models\.AnonymousUser cannot travel"):
        Serializer.dumps(SimpleLazyObject(AnonymousUser))


def test_a_lazy_text_is_refused_with_a_hint(shop: Any) -> None:
    from django.utils.translation import gettext_lazy

    with pytest.raises(UnsupportedTypeError, match=r"a lazy text cannot travel\.\nPass str\(\.\.\.\)"):
        Serializer.dumps([gettext_lazy("Hello")])


def test_neither_related_objects_nor_what_was_read_travel_and_nothing_is_asked(shop: Any) -> None:
    make_emails(shop, 1, is_hidden=True)
    email = shop.Email.everything.select_related("newsletter").prefetch_related("deliveries").get()
    deferred = shop.Email.everything.only("pk").get()
    small = len(Serializer.dumps(Ref("shop.Email", email.pk, "default")))
    with queries() as asked:
        assert refs_of([email, deferred]) == [Ref("shop.Email", email.pk, "default")] * 2
        assert len(Serializer.dumps(email)) == small
        profile = shop.Profile(subscriber_id=uuid.uuid4())
        profile._state.adding = False
        assert dehydrate(profile) == Ref("shop.Profile", profile.subscriber_id)
    assert asked == []
    [loaded] = trip([email])
    assert not loaded._state.fields_cache


def test_a_key_is_what_the_database_would_give_back(shop: Any) -> None:
    newsletter = shop.Newsletter(pk="5", title="Weekly")
    newsletter.save()
    email = shop.Email(pk="6", newsletter=newsletter)
    email.save()
    delivery = shop.Delivery(email_id="6", number="7")
    delivery.save()
    subscriber = shop.Subscriber(pk="6a0e5cbd-43de-4d79-a3cd-9b3c4b1f0bd2")
    subscriber.save()
    profile = shop.Profile(subscriber_id=str(subscriber.pk))
    profile.save()
    pks = [dehydrate(row).pk for row in (newsletter, delivery, subscriber, profile)]  # type: ignore[union-attr]
    assert pks == [5, (6, 7), uuid.UUID(subscriber.pk), uuid.UUID(subscriber.pk)]


def test_what_has_no_row_is_refused(shop: Any) -> None:
    [deleted, kept] = make_emails(shop, 2)
    deleted.delete()
    delivery = shop.Delivery.objects.create(email=kept, number=1)
    delivery.email_id = None
    for row in (
        deleted,
        delivery,
        shop.Email(),
        shop.Email(pk=kept.pk),
        shop.Subscriber(),
        shop.Delivery(email_id=1, number=2),
        shop.Campaign(newsletter_ptr_id=1),
    ):
        with pytest.raises(UnsavedModelError, match=r"value\[0\]: this \w+ has no row\.\nSave it") as caught:
            Serializer.dumps([row])
        assert caught.value.path == "value[0]"


def test_classes_that_are_no_models_of_an_app_are_none(shop: Any) -> None:
    from django.db import models
    from django.db.migrations.state import ProjectState

    find = registry.of_class
    assert find(models.Model) is None
    assert find(type(models.Model)) is None
    assert (
        find(type("Mixin", (models.Model,), {"Meta": type("Meta", (), {"abstract": True}), "__module__": "m"})) is None
    )
    historical = ProjectState.from_apps(shop.Email._meta.apps).apps.get_model("shop", "Email")
    assert historical._meta.label == "shop.Email"
    assert find(historical) is None
    assert find(shop.Email) is find(shop.Email)
    with pytest.raises(UnsupportedTypeError, match="a QuerySet of a Email that is in no installed app"):
        Serializer.dumps([historical.objects.all()])


def test_a_model_may_be_registered_by_hand(shop: Any) -> None:
    emails = make_emails(shop, 2)

    def fetch(subjects: list[str]) -> Any:
        return shop.Email.everything.filter(subject__in=subjects)

    slimjobs.register(shop.Email, name="mail", id="subject", load_many=fetch)
    assert refs_of(emails[0]) == Ref("mail", "Issue 0")
    assert trip(shop.Email.objects.order_by("-pk")) == emails[::-1]


# Refs to instances


def test_a_default_manager_that_hides_rows_hides_none(shop: Any) -> None:
    [email] = make_emails(shop, 1, is_hidden=True)
    assert not shop.Email.objects.exists()
    assert trip(email) == email


def test_the_base_manager_may_be_named(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    [email] = make_emails(shop, 1, is_hidden=True)
    options = shop.Email._meta
    monkeypatch.setattr(options, "base_manager_name", "objects")
    vars(options).pop("base_manager", None)  # Django keeps what it found
    try:
        with pytest.raises(RecordNotFoundError):
            trip(email)
    finally:
        del vars(options)["base_manager"]


def test_the_alias_is_kept_and_none_is_where_the_model_is_read(shop: Any) -> None:
    [here] = make_emails(shop, 1)
    [there] = make_emails(shop, 1, "archive")
    assert here.pk == there.pk
    assert refs_of(there) == Ref("shop.Email", there.pk, "archive")
    loaded = trip([here, there, Ref("shop.Email", here.pk), Ref("shop.Email", here.pk, "default")])
    assert [each._state.db for each in loaded] == ["default", "archive", "default", "default"]
    assert loaded[0] is loaded[2]
    assert loaded[0] is loaded[3]
    with queries() as asked:
        trip([here, Ref("shop.Email", here.pk)])
    assert len(asked) == 1


def test_routers_say_where_a_model_is_read(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db import router

    class Router:
        def db_for_read(self, model: Any, **hints: Any) -> str | None:
            return "archive" if model is shop.Email else None

    [there] = make_emails(shop, 1, "archive")
    monkeypatch.setitem(vars(router), "routers", [Router()])
    assert load_one(Ref("shop.Email", there.pk))._state.db == "archive"
    assert refs_of(shop.Email.objects.all()) == [Ref("shop.Email", there.pk, "archive")]


def test_an_alias_that_this_process_does_not_know(shop: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"no database 'shard7' .* shop\.Email .*\n.*DATABASES"):
        load_one(Ref("shop.Email", 1, "shard7"))


def test_refs_that_were_made_by_hand(shop: Any) -> None:
    [email] = make_emails(shop, 1)
    [subscriber] = make_subscribers(shop, 1)
    shop.Delivery.objects.create(email=email, number=7)
    refs = [
        Ref("shop.Email", str(email.pk)),
        Ref("shop.Email", email.pk),
        Ref("shop.Subscriber", str(subscriber.pk)),
        Ref("shop.Delivery", (str(email.pk), "7")),
        Ref("shop.Email", "99"),
    ]
    with queries() as asked:
        found = load_refs(refs)
    assert list(found) == refs[:4]
    assert found[refs[0]] is found[refs[1]]
    assert found[refs[2]] == subscriber
    assert len(asked) == 3


@pytest.mark.parametrize(
    "ref",
    [
        Ref("shop.Email", "five@example.org"),
        Ref("shop.Email", (5, 1)),
        Ref("shop.Subscriber", "five@example.org"),
        Ref("shop.Delivery", 5),
        Ref("shop.Delivery", (5, 1, 5)),
        Ref("shop.Delivery", (5, "five@example.org")),
    ],
)
def test_a_key_that_cannot_be_one(shop: Any, ref: Ref) -> None:
    with pytest.raises(ConfigurationError, match=f"for the primary key of {ref.name} cannot be one") as caught:
        load_one(ref)
    assert "five" not in str(caught.value)
    assert caught.value.__context__ is None


def test_rows_that_are_gone(shop: Any) -> None:
    emails = make_emails(shop, 3)
    refs = refs_of(emails)
    emails[1].delete()
    with pytest.raises(RecordNotFoundError) as caught:
        hydrate(refs)
    assert caught.value.refs == (refs[1],)


def test_a_row_is_there_whatever_the_database_makes_of_its_key(shop: Any) -> None:
    ann, bob = refs_of([shop.Account.objects.create(address=address) for address in ("Ann@Example.org", "bob")])
    stored, gone = Ref("shop.Account", "ann@example.org", "default"), Ref("shop.Account", "zoe", "default")
    hydrated = hydrate([ann, bob, gone, stored], policy=Policy(on_missing="none"))
    assert hydrated.missing == (gone,)
    first, second, third, fourth = hydrated.values[0]
    assert (first.pk, second.pk, third) == ("ann@example.org", "bob", None)
    assert fourth is first
    assert load_one(ann) == first
    with queries() as asked:
        hydrate([stored, bob])
    assert len(asked) == 1


def test_order_and_duplicates_are_kept_and_a_row_is_one_object(shop: Any) -> None:
    first, second = make_emails(shop, 2)
    loaded = trip({"a": [second, first, second], "b": (first,)})
    assert loaded == {"a": [second, first, second], "b": (first,)}
    assert loaded["a"][0] is loaded["a"][2]
    assert loaded["a"][1] is loaded["b"][0]


@pytest.mark.parametrize("count", [1, 100, pytest.param(10_000, marks=pytest.mark.slow)])
def test_one_query_a_class_and_database_until_its_parameters_run_out(shop: Any, count: int) -> None:
    from django.db import connections

    # With Django 5.2 SQLite takes 999 and compares no tuples, with 6.1 it takes what it was compiled for and does.
    features = connections["default"].features
    most = features.max_query_params
    most_tuples = min(most // 2, 2000 if features.supports_tuple_lookups else 500)
    expected = 2 * (2 * -(-count // most) + -(-count // most_tuples))
    assert expected == 6 or count == 10_000
    rows: list[Any] = []
    for alias in ALIASES:
        rows += make_subscribers(shop, count, alias)
        rows += make_deliveries(shop, count, alias)
        rows += make_emails(shop, count, alias)
    refs = refs_of(rows)
    assert {ref.db for ref in refs} == set(ALIASES)
    with queries() as asked:
        loaded = hydrate({"nested": [refs[::2], refs[1::2]]}).values[0]["nested"]
    assert loaded == [rows[::2], rows[1::2]]
    assert len(asked) == expected


def test_a_label_is_known_to_a_process_that_imported_nothing_of_django(shop: Any) -> None:
    [email] = make_emails(shop, 1)
    code = (
        "import sys, slimjobs\n"
        f"data = {Serializer.dumps(email)!r}\n"
        "ref = slimjobs.Serializer.loads(data)\n"
        "assert 'django' not in sys.modules, 'to decode imports nothing'\n"
        f"assert ref.load().subject == {email.subject!r}\n"
        "assert slimjobs.Ref('shop.Email', ref.pk).load() == ref.load()\n"
        "for name in ('shop.Nothing', 'nothing.Email', 'shop', '.', 'a.b.c', 'shop.', '.Email'):\n"
        "    try: slimjobs.Ref(name, 1).load()\n"
        "    except slimjobs.ConfigurationError: continue\n"
        "    raise AssertionError(name)\n"
    )
    run_code(code)


def test_a_model_asked_for_while_apps_are_loading_is_not_known_yet(shop: Any, tmp_path: Path) -> None:
    (tmp_path / "early").mkdir()
    (tmp_path / "early" / "__init__.py").write_text(
        "import django.db.models, slimjobs\n"
        "try: slimjobs.Ref('shop.Email', 1).load()\n"
        "except slimjobs.ConfigurationError as error: print(error)\n"
    )
    code = (
        "import sys, shop.settings\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "shop.settings.INSTALLED_APPS.insert(0, 'early')\n"
        "import django; django.setup()\n"
    )
    assert "no class is registered under the name 'shop.Email'" in run_code(code)


def test_without_settings_no_label_is_known_and_django_is_not_set_up() -> None:
    code = (
        "import django.db.models, slimjobs\n"
        "try: slimjobs.Ref('shop.Email', 1).load()\n"
        "except slimjobs.ConfigurationError as error: print(error)\n"
    )
    assert "no class is registered under the name 'shop.Email'" in run_code(code)


def run_code(code: str) -> str:
    support = str(Path(__file__).parents[1] / "support")
    code = f"import sys; sys.path.insert(0, {support!r})\n{code}"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


# load=


def test_a_queryset_says_how_rows_are_fetched(shop: Any) -> None:
    emails = make_emails(shop, 20)
    how = shop.Email.everything.select_related("newsletter").defer("html").prefetch_related("deliveries")
    with queries() as asked:
        [loaded] = load({"first": how}, emails)
        assert {email.newsletter.title for email in loaded} == {"Weekly"}
        assert [list(email.deliveries.all()) for email in loaded] == [[]] * 20
    assert loaded == emails
    assert len(asked) == 2
    assert loaded[0].get_deferred_fields() == {"html"}
    assert how._result_cache is None


def test_a_queryset_is_asked_on_the_refs_alias_and_may_leave_rows_out(shop: Any) -> None:
    [shown] = make_emails(shop, 1, "archive")
    [hidden] = make_emails(shop, 1, "archive", is_hidden=True)
    for how in (shop.Email.objects, shop.Email.objects.all(), shop.Email.objects.using("default")):
        [loaded] = load({shop.Email: how}, shown)
        assert loaded == shown
        assert loaded._state.db == "archive"
        with pytest.raises(RecordNotFoundError):
            load({shop.Email: how}, hidden)
    with pytest.raises(RecordNotFoundError):
        load({shop.Email: shop.Email.objects.none()}, shown)


def test_the_parameters_of_a_queryset_count_too(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db import connections

    emails = make_emails(shop, 1000)
    how = shop.Email.everything.filter(subject__in=[email.subject for email in emails[:500]])
    counts: list[int] = []

    def count(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        counts.append(len(params))
        return execute(sql, params, many, context)

    monkeypatch.setattr(type(connections["default"].features), "max_query_params", 999)
    with connections["default"].execute_wrapper(count):
        [loaded] = load({"first": how}, emails[:500])
    assert loaded == emails[:500]
    assert counts == [500 + 499, 500 + 1]


@pytest.mark.parametrize("as_mapping", [True, False])
def test_a_function_says_how_rows_are_fetched(shop: Any, as_mapping: bool) -> None:
    emails = make_emails(shop, 3)
    asked: list[Any] = []

    def fetch(pks: list[Any]) -> Any:
        asked.append(pks)
        found = shop.Email.everything.in_bulk(pks)
        return found if as_mapping else [*found.values(), None][::-1]

    [loaded, text] = load({"first": fetch}, emails, Ref("shop.Email", str(emails[0].pk)))
    assert loaded == emails
    assert text == emails[0]
    assert asked == [[email.pk for email in emails]]


def test_the_queryset_of_a_function_is_asked_on_the_refs_alias(shop: Any) -> None:
    [here], [there] = make_emails(shop, 1), make_emails(shop, 1, "archive")
    [first, second] = load({"first": lambda pks: shop.Email.everything.filter(pk__in=pks)}, there, here)
    assert [first._state.db, second._state.db] == ["archive", "default"]


@pytest.mark.parametrize(
    "fetch",
    [
        lambda rows, pks: rows.using("default").filter(pk__in=pks),
        lambda rows, pks: list(rows.filter(pk__in=pks)),
        lambda rows, pks: rows.in_bulk(pks),
    ],
)
def test_a_function_that_fetches_from_another_database_is_refused(
    shop: Any, monkeypatch: pytest.MonkeyPatch, fetch: Any
) -> None:
    from django.db import router

    class Replicas:
        def allow_relation(self, *rows: Any) -> bool:
            return {row._state.db for row in rows} == set(ALIASES)

    make_emails(shop, 1)
    [there] = make_emails(shop, 1, "archive")
    load_it = {"first": lambda pks: fetch(shop.Email.everything, pks)}
    with pytest.raises(
        ConfigurationError,
        match=r"a row of shop\.Email from the database 'default', and the ref is of 'archive'\.\nGive a QuerySet",
    ):
        load(load_it, there)
    monkeypatch.setitem(vars(router), "routers", [Replicas()])
    assert load(load_it, there)[0]._state.db == "default"


def test_what_is_no_way_to_fetch(shop: Any) -> None:
    [email] = make_emails(shop, 1)
    for how in (shop.Email, shop.Newsletter.objects.all(), shop.Draft.objects, "newsletter", 5):
        with pytest.raises(ConfigurationError, match=r"load: .* cannot fetch Email"):
            load({"first": how}, email)
    rows = shop.Email.objects
    for how in (rows.all()[:5], rows.values(), rows.values_list("pk"), rows.all().union(rows.all())):
        with queries() as asked, pytest.raises(ConfigurationError, match=r"shop\.Email cannot .* QuerySet\.?.*\nGive"):
            load({"first": how}, email)
        assert asked == []


# Databases that cannot be reached


def test_a_file_that_cannot_be_opened_is_unavailable_and_found_again(
    shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django.db import connections

    [email] = make_emails(shop, 1, "archive")
    ref = refs_of(email)
    connections["archive"].close()
    with monkeypatch.context() as patch:
        patch.setitem(connections["archive"].settings_dict, "NAME", "/no/such/directory/shop.sqlite3")
        with pytest.raises(RecordUnavailableError, match="Email could not be asked for") as caught:
            load_one(ref)
    assert caught.value.refs == (ref,)
    assert load_one(ref) == email


def test_a_locked_database_is_unavailable(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db import connections

    [email] = make_emails(shop, 1)
    connection = connections["default"]
    connection.close()
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "timeout", 0)
    other = sqlite3.connect(connection.settings_dict["NAME"])
    other.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(RecordUnavailableError):
            load_one(refs_of(email))
    finally:
        other.close()
    assert load_one(refs_of(email)) == email


def test_a_missing_table_or_column_is_a_defect(shop: Any) -> None:
    from django.db import OperationalError, connections

    [email] = make_emails(shop, 1)
    with pytest.raises(OperationalError, match="no such column"):
        load({"first": shop.Email.everything.extra(where=["no_such_column = 1"])}, email)
    with connections["default"].cursor() as cursor:
        cursor.execute("ALTER TABLE shop_profile RENAME TO gone")
        try:
            with pytest.raises(OperationalError, match="no such table"):
                load_one(Ref("shop.Profile", uuid.uuid4()))
        finally:
            cursor.execute("ALTER TABLE gone RENAME TO shop_profile")


def test_errors_of_a_function_are_told_apart_too(shop: Any) -> None:
    from django.db import InterfaceError, OperationalError

    [email] = make_emails(shop, 1)
    for error in (OperationalError("server closed the connection"), InterfaceError(), ConnectionRefusedError()):

        def raising(pks: Any, error: Exception = error) -> Any:
            raise error

        with pytest.raises(RecordUnavailableError) as caught:
            load({"first": raising}, email)
        assert caught.value.__cause__ is error
    with pytest.raises(ZeroDivisionError):
        load({"first": lambda pks: 1 / 0}, email)


# Forks


def in_a_fork(check: Callable[[], bool]) -> bool:
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if check() else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_fork_does_not_use_its_parents_connections(shop: Any) -> None:
    from django.db import connections

    from slimjobs.orm.django.connections import _inherited

    [email], [archived] = make_emails(shop, 1), make_emails(shop, 1, "archive")
    open_before = [connections[alias].connection for alias in ALIASES]
    assert None not in open_before

    def check() -> bool:
        are_kept = all(any(each is kept for kept in _inherited) for each in open_before)
        is_fresh = all(connections[alias].connection is None for alias in ALIASES)
        return are_kept and is_fresh and trip([email, archived]) == [email, archived]

    assert in_a_fork(check)
    assert [connections[alias].connection for alias in ALIASES] == open_before
    assert _inherited == []


def test_in_a_fork_the_transaction_of_a_test_goes_on(shop: Any) -> None:
    from django.db import connections, transaction

    with transaction.atomic():
        [email] = make_emails(shop, 1)
        before = connections["default"].connection
        assert in_a_fork(lambda: connections["default"].connection is before and trip(email) == email)


FORKING = """
import os, slimjobs
slimjobs.Worker
import django.db.models
from django.conf import settings
def fork():
    child = os.fork()
    if child == 0:
        return True
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


IN_MEMORY = """
settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}})
django.setup()
def execute(sql):
    return django.db.connection.cursor().execute(sql).fetchall()
execute("CREATE TABLE kept (number)")
if fork(): os._exit(0 if execute("SELECT * FROM kept") == [] else 1)
"""
NO_DEFAULT = """
settings.configure(DATABASES={"other": {}})
if fork(): os._exit(0)
"""


@pytest.mark.parametrize("code", ["if fork(): os._exit(0 if not settings.configured else 1)", NO_DEFAULT, IN_MEMORY])
def test_a_fork_leaves_alone_what_cannot_be_shared(code: str) -> None:
    environ = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run(
        [sys.executable, "-c", FORKING + code], env=environ, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


# QuerySets


@pytest.mark.parametrize(
    "select",
    [
        lambda shop, rows: rows.order_by("-subject"),
        lambda shop, rows: rows.order_by("subject")[1:3],
        lambda shop, rows: rows.none(),
        lambda shop, rows: rows.filter(subject="Issue 1") | rows.filter(subject="Issue 2"),
        lambda shop, rows: rows.filter(pk__lt=3).union(rows.filter(pk__gt=3)),
        lambda shop, rows: rows.filter(pk__lt=3).union(rows.filter(pk__gt=3), all=True).order_by("-subject"),
        lambda shop, rows: rows.select_related("newsletter").prefetch_related("deliveries").order_by("pk"),
        lambda shop, rows: rows.only("subject").order_by("pk"),
        lambda shop, rows: shop.Newsletter.objects.get().emails.all(),
        # Joined, a row comes for each of the others: with duplicates, without, and told apart by an annotation.
        lambda shop, rows: shop.Newsletter.objects.filter(emails__pk__gt=1),
        lambda shop, rows: shop.Newsletter.objects.filter(emails__pk__gt=1).distinct(),
        lambda shop, rows: annotated(shop.Newsletter.objects).distinct().order_by("-issue"),
        lambda shop, rows: annotated(shop.Newsletter.objects).distinct().order_by("pk"),
        lambda shop, rows: annotated(shop.Newsletter.objects).union(annotated(shop.Newsletter.objects)),
        lambda shop, rows: shop.Delivery.objects.order_by("-number"),
        lambda shop, rows: shop.Subscriber.objects.order_by("address"),
        lambda shop, rows: shop.Draft.objects.order_by("pk"),
        lambda shop, rows: shop.Email.everything.raw("SELECT * FROM shop_email ORDER BY id DESC"),
        lambda shop, rows: shop.Email.everything.raw("SELECT id FROM shop_email ORDER BY id"),
    ],
)
def test_a_queryset_travels_as_its_rows_in_order(shop: Any, select: Any) -> None:
    make_emails(shop, 5)
    make_subscribers(shop, 3)
    shop.Delivery.objects.bulk_create([shop.Delivery(email_id=1, number=number) for number in range(3)])
    queryset = select(shop, shop.Email.everything)
    expected = list(queryset.all() if hasattr(queryset, "all") else queryset.iterator())
    assert queryset._result_cache is None
    with queries() as asked:
        refs = refs_of([queryset])
    assert [ref.pk for ref in refs[0]] == [row.pk for row in expected]
    assert len(asked) <= 1
    assert trip([queryset]) == [expected]


def annotated(queryset: Any) -> Any:
    from django.db.models import F

    return queryset.annotate(issue=F("emails__subject"))


def test_a_queryset_is_asked_for_keys_alone_and_not_again_once_it_was_read(shop: Any) -> None:
    emails = make_emails(shop, 3, "archive")
    queryset = shop.Email.everything.using("archive").order_by("-pk")
    with queries("archive") as asked:
        refs = refs_of(queryset)
    assert refs == [Ref("shop.Email", email.pk, "archive") for email in reversed(emails)]
    assert len(asked) == 1
    assert "html" not in asked[0]
    read = [*queryset]
    with queries() as asked:
        assert refs_of(queryset) == refs
    assert asked == []
    read[0].delete()
    with pytest.raises(UnsavedModelError, match="value: this Email"):
        Serializer.dumps(queryset)


def test_rows_of_other_classes_keep_their_class(shop: Any) -> None:
    from django.db.models.query import ModelIterable

    class Children(ModelIterable):
        def __iter__(self) -> Any:
            for row in super().__iter__():
                yield row.campaign if hasattr(row, "campaign") else row

    shop.Newsletter.objects.create(title="Weekly")
    shop.Campaign.objects.create(title="Sale")
    queryset = shop.Newsletter.objects.order_by("pk")
    queryset._iterable_class = Children
    assert [type(row) for row in trip(queryset)] == [shop.Newsletter, shop.Campaign]


def test_rows_that_are_no_models_are_refused_with_a_hint(shop: Any) -> None:
    from django.contrib.auth.models import User

    [email] = make_emails(shop, 1)
    rows = shop.Email.objects
    for value, message in (
        (rows.values(), r"a QuerySet of values of Email cannot travel\.\nPass list"),
        (rows.values_list("pk", flat=True), "a QuerySet of values of Email"),
        (rows.values_list("pk", named=True), "a QuerySet of values of Email"),
        (User.objects.dates("date_joined", "day"), "a QuerySet of values of User"),
        (rows.values("subject").distinct(), "a QuerySet of values of Email"),
        (rows, r"a manager of Email cannot travel\.\nPass \.all"),
        (email.newsletter.emails, r"a manager of Email cannot travel"),
        (rows.iterator(), "generator cannot travel"),
    ):
        with queries() as asked, pytest.raises(UnsupportedTypeError, match=message) as caught:
            Serializer.dumps({"rows": value})
        assert caught.value.path == "value['rows']"
        assert asked == []
    with pytest.raises(UnsupportedTypeError, match=r"^value\['rows'\]"):
        Serializer.dumps({"rows": rows.values()})


def test_a_queryset_over_the_limit_is_refused_and_not_read_to_its_end(shop: Any, fake_redis: Any) -> None:
    make_emails(shop, 500)
    queue = slimjobs.Queue("mail", connection=fake_redis, limits=slimjobs.Limits(max_bytes=1000))
    queryset = shop.Email.objects.all()
    with queries() as asked, pytest.raises(PayloadTooLargeError, match="at least") as caught:
        queue.enqueue("shop.jobs.primary_keys", queryset)
    assert caught.value.path == "args[0]"
    assert len(asked) == 1
    assert " LIMIT 59" in asked[0]
    assert queryset._result_cache is None
    assert queue.enqueue("shop.jobs.primary_keys", queryset[:10]).description == (
        "shop.jobs.primary_keys(QuerySet[Email])"
    )


def test_a_queryset_that_cannot_be_read_raises_at_the_call(shop: Any) -> None:
    from django.db import OperationalError

    queryset = shop.Email.everything.extra(where=["no_such_column = 1"])
    with pytest.raises(OperationalError, match="no such column"):
        Serializer.dumps([queryset])


# Ways into the whole


def test_jobs_get_their_models(shop: Any, fake_redis: Any) -> None:
    from shop import jobs

    [email] = make_emails(shop, 1, is_hidden=True)
    queue = slimjobs.Queue("shop", connection=fake_redis, is_async=False)
    for job, expected in (
        (queue.enqueue(jobs.subject, email), "Issue 0"),
        (queue.enqueue(jobs.subject_later, email), "Issue 0"),
        (queue.enqueue(email.send, "ann", "bob"), "Issue 0 to 2"),
        (queue.enqueue(jobs.send_email, email, ["ann"]), "Issue 0 to 1"),
        (queue.enqueue(jobs.primary_keys, shop.Email.everything.all()), [email.pk]),
    ):
        assert job.return_value() == expected


# Transactions


def transaction_of(model: Any) -> Transaction:
    [found] = transactions_of([model])
    return found


def roll_back(waits: Transaction, callback: Callable[[], None]) -> None:
    """Give a callback to a block that is rolled back."""
    from django.db import transaction

    with suppress(KeyError), transaction.atomic():
        waits.on_commit(callback)
        raise KeyError


def test_a_model_waits_for_the_transaction_of_its_alias(shop: Any) -> None:
    from django.db import transaction

    [here] = make_emails(shop, 1)
    [there] = make_emails(shop, 1, "archive")
    waits = transaction_of(here)
    assert not waits.is_open()
    with transaction.atomic():
        assert waits.is_open()
        assert transaction_of(Ref("shop.Email", here.pk)).is_open()
        assert not transaction_of(there).is_open()
        with transaction.atomic(using="archive"):
            assert transaction_of(there).is_open()
            assert len(transactions_of([here, there, here, *refs_of(shop.Email.objects.all())])) == 2
    assert not waits.is_open()
    assert waits == transaction_of(refs_of(here))
    assert waits != transaction_of(there)
    assert not transaction_of(Ref("shop.Email", 1, "shard7")).is_open()


def test_another_threads_transaction_is_not_waited_for(shop: Any) -> None:
    from django.db import transaction

    [email] = make_emails(shop, 1)
    answers: list[bool] = []
    with transaction.atomic():
        thread = threading.Thread(target=lambda: answers.append(transaction_of(email).is_open()))
        thread.start()
        thread.join()
    assert answers == [False]


def test_a_transaction_that_is_managed_by_hand_is_not_waited_for(shop: Any) -> None:
    from django.db import transaction

    [email] = make_emails(shop, 1)
    transaction.set_autocommit(False)
    try:
        assert not transaction_of(email).is_open()
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)


def test_callbacks_come_after_the_commit_and_not_after_a_rollback(shop: Any) -> None:
    from django.db import transaction

    [email] = make_emails(shop, 1)
    waits = transaction_of(email)
    called: list[str] = []
    with transaction.atomic():
        waits.on_commit(lambda: called.append("outer"))
        roll_back(waits, lambda: called.append("rolled back to a savepoint"))
        with transaction.atomic():
            waits.on_commit(lambda: called.append("inner"))
        assert called == []
    assert called == ["outer", "inner"]
    roll_back(waits, lambda: called.append("rolled back"))
    assert called == ["outer", "inner"]


# Django's TestCase


def run_case(*tests: Callable[[Any], None], base: str = "TestCase", **attributes: Any) -> None:
    """Run functions as the tests of one of Django's test cases, with both databases."""
    import django.test

    members = {"databases": set(ALIASES), **attributes}
    members.update((f"test_{index}", test) for index, test in enumerate(tests))
    case = type("Case", (getattr(django.test, base),), members)
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
    assert result.testsRun == len(tests)
    assert not result.errors + result.failures, "\n".join(text for _, text in result.errors + result.failures)


def once(called: list[str], name: str) -> Callable[[], None]:
    """Return a callback as the queue's: more than the first call does nothing."""
    return lambda: None if name in called else called.append(name)


def test_the_transaction_of_a_test_case_does_not_count(shop: Any) -> None:
    def test(case: Any) -> None:
        from django.db import connection, transaction

        for alias in ALIASES:
            [email] = make_emails(shop, 1, alias)
            waits = transaction_of(email)
            assert not waits.is_open()
            with transaction.atomic(using=alias):
                assert waits.is_open()
                with transaction.atomic(using=alias, savepoint=False):
                    assert waits.is_open()
            assert not waits.is_open()
            with transaction.atomic(using=alias, savepoint=False):
                assert not waits.is_open()
            with transaction.atomic(using=alias, durable=True):
                assert waits.is_open()
        assert connection.in_atomic_block

    def set_up_test_data(cls: Any) -> None:
        from django.db import transaction

        [email] = make_emails(shop, 1)
        assert not transaction_of(email).is_open()
        called: list[str] = []
        with transaction.atomic():
            assert transaction_of(email).is_open()
            transaction_of(email).on_commit(lambda: called.append("class"))
        assert called == ["class"]

    run_case(test, test, setUpTestData=classmethod(set_up_test_data))
    assert not shop.Email.everything.exists()


def test_in_a_test_case_callbacks_come_where_the_applications_outermost_block_ends(shop: Any) -> None:
    def test(case: Any) -> None:
        from django.db import connections, transaction

        [email] = make_emails(shop, 1)
        [there] = make_emails(shop, 1, "archive")
        waits = transaction_of(email)
        called: list[str] = []
        with case.assertNumQueries(8), transaction.atomic():
            waits.on_commit(lambda: called.append(f"outer {shop.Email.objects.count()}"))
            roll_back(waits, lambda: called.append("rolled back to a savepoint"))
            with transaction.atomic():
                waits.on_commit(lambda: called.append("inner"))
            assert called == []
        assert called == ["outer 1", "inner"]
        roll_back(waits, lambda: called.append("rolled back"))
        with transaction.atomic(), transaction.atomic(using="archive"):
            transaction_of(there).on_commit(lambda: called.append("there"))
            waits.on_commit(lambda: called.append("here"))
        assert called == ["outer 1", "inner", "there", "here"]
        assert [connections[alias].execute_wrappers for alias in ALIASES] == [[], []]

    run_case(test, test)


def test_in_a_test_case_the_callbacks_of_each_block_come_once(shop: Any) -> None:
    def test(case: Any) -> None:
        from django.db import transaction

        [email] = make_emails(shop, 1)
        called: list[str] = []
        for name in ("first", "second"):
            with transaction.atomic():
                transaction_of(email).on_commit(lambda name=name: called.append(name))  # type: ignore[misc]
        assert called == ["first", "second"]

    run_case(test)


def test_in_a_test_case_wrappers_of_the_application_stay_as_they_are(shop: Any) -> None:
    def test(case: Any) -> None:
        from django.db import connection, transaction

        [email] = make_emails(shop, 1)
        called: list[str] = []
        seen: list[str] = []

        def spy(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
            seen.append(sql.split()[0])
            return execute(sql, params, many, context)

        with transaction.atomic():
            with connection.execute_wrapper(spy):
                transaction_of(email).on_commit(lambda: called.append("x"))
            assert spy not in connection.execute_wrappers
        assert called == ["x"]
        with connection.execute_wrapper(spy), transaction.atomic():
            transaction_of(email).on_commit(lambda: called.append("y"))
        assert called == ["x", "y"]
        assert seen == ["SAVEPOINT", "RELEASE"]
        assert connection.execute_wrappers == []

    run_case(test)


def test_callbacks_can_be_captured(shop: Any) -> None:
    def test(case: Any) -> None:
        from django.db import transaction

        [email] = make_emails(shop, 1)
        called: list[str] = []
        with case.captureOnCommitCallbacks(execute=True) as callbacks, transaction.atomic():
            transaction_of(email).on_commit(once(called, "kept"))
            roll_back(transaction_of(email), once(called, "dropped"))
        assert len(callbacks) == 1
        assert called == ["kept"]
        with case.captureOnCommitCallbacks() as callbacks, transaction.atomic():
            transaction_of(email).on_commit(once(called, "captured"))
        assert called == ["kept", "captured"]
        assert len(callbacks) == 1

    run_case(test)


def test_a_transaction_test_case_is_like_production(shop: Any) -> None:
    def test(case: Any) -> None:
        from django.db import transaction

        [email] = make_emails(shop, 1)
        called: list[str] = []
        assert not transaction_of(email).is_open()
        with transaction.atomic():
            with transaction.atomic():
                transaction_of(email).on_commit(lambda: called.append("x"))
            assert called == []
        assert called == ["x"]

    run_case(test, base="TransactionTestCase")
