"""QuerySets, whose rows travel as refs in order."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from django.db.models import QuerySet
from django.db.models.manager import BaseManager
from django.db.models.query import ModelIterable, RawQuerySet
from django.utils.functional import Promise

from slimjobs import registry
from slimjobs.errors import UnsupportedTypeError
from slimjobs.orm.django.locator import ModelLocator
from slimjobs.refs import Ref, Rows

if TYPE_CHECKING:
    from slimjobs.locators import Locator

# Whole rows may be large, and only their keys are kept.
_ROWS_AT_ONCE = 100


def rows_of(value: Any) -> Rows | None:
    """Return the rows of a QuerySet of models, or None for what is none.

    Raises:
        UnsupportedTypeError: It is a QuerySet of values, or something else of Django's that is
            taken for rows or for text.
    """
    if not isinstance(value, (QuerySet, RawQuerySet, BaseManager, Promise)):
        return None
    if isinstance(value, Promise):
        raise UnsupportedTypeError("a lazy text cannot travel", hint="Pass str(...) of it.")
    model: Any = value.model
    kind = "RawQuerySet" if isinstance(value, RawQuerySet) else "QuerySet"
    if isinstance(value, BaseManager):
        raise UnsupportedTypeError(f"a manager of {model.__name__} cannot travel", hint="Pass .all() of it.")
    if isinstance(value, QuerySet) and not issubclass(value._iterable_class, ModelIterable):
        hint = "Pass list(...) of it, or the QuerySet of models."
        raise UnsupportedTypeError(f"a QuerySet of values of {model.__name__} cannot travel", hint=hint)
    locator = registry.of_class(model)
    if locator is None:
        raise UnsupportedTypeError(f"a QuerySet of a {model.__name__} that is in no installed app cannot travel")
    return Rows(f"{kind}[{model.__name__}]", locator.name, lambda most: _read(value, locator, most))


def _read(queryset: Any, locator: Locator, most: int) -> list[Ref]:
    """Return the refs of the first so many rows; a QuerySet that was not read yet is asked for its keys alone."""
    if queryset._result_cache is not None:
        return [_ref_of(row) for row in queryset._result_cache[:most]]
    if isinstance(queryset, RawQuerySet):
        return [_ref_of(row) for row in islice(queryset.iterator(), most)]
    # Subclasses of ModelIterable may make other rows of it, such as instances of the model's children.
    is_plain = queryset._iterable_class is ModelIterable and type(locator) is ModelLocator
    # Where queries are combined, the rows are told apart and ordered by what is selected.
    if not is_plain or queryset.query.combinator:
        return [_ref_of(row) for row in queryset[:most].iterator(chunk_size=_ROWS_AT_ONCE)]
    if queryset.query.distinct:
        # The same: an annotation can make two rows of one.
        annotations = [*queryset.query.annotation_select]
        keys = [row[0] for row in queryset.values_list("pk", *annotations)[:most]]
    else:
        keys = queryset.values_list("pk", flat=True)[:most]
    return [Ref(locator.name, key, queryset.db) for key in keys]


def _ref_of(row: Any) -> Ref:
    locator = registry.find(row)
    if locator is None:
        raise UnsupportedTypeError(f"a {type(row).__name__} in a QuerySet cannot travel")
    return locator.ref(row)
