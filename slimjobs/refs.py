"""The `Ref` value, which stands for a model instance in a payload, and `Rows`, a query's."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_CHARACTERS = 40


@dataclass(frozen=True, repr=False)
class Ref:
    """A model instance by name and primary key.

    Args:
        name: The name that its class is registered under, such as "app.models.Email".
        pk: Its primary key.
        db: The alias of its database, or None where there is only one.
    """

    name: str
    pk: Any
    db: str | None = None

    def load(self) -> Any:
        """Return the instance, loaded now.

        Raises:
            RecordNotFoundError: The row is gone.
            RecordUnavailableError: The database cannot be reached.
            ConfigurationError: No class is registered under the name.
        """
        return import_module("slimjobs.loading").load_one(self)  # it is far above, and seldom asked for

    def __repr__(self) -> str:
        return f"<Ref {self.label}>"

    @property
    def label(self) -> str:
        """The class and the pk, short: "Email 1"."""
        return f"{self.name.rpartition('.')[2][:_MOST_CHARACTERS]} {_describe_pk(self.pk)}"

    def __getattr__(self, attribute: str) -> NoReturn:
        # Only reached for what a Ref does not have: somebody took it for the model.
        if attribute.startswith("__") or attribute in ("name", "pk", "db", "label"):
            raise AttributeError(attribute)
        raise AttributeError(
            f"{self!r} stands for a model and has no attribute {attribute!r}. Use {self!r}.load() to get the model; "
            "a function gets models when it has @slimjobs.job or runs in a slimjobs.Worker"
        )


@dataclass(frozen=True)
class Rows:
    """The rows of a query, which travel as a list of refs.

    Attributes:
        label: What it is called in descriptions: "QuerySet[Email]".
        name: The name of the class in its refs.
        read: Returns the refs in order, no more than so many.
    """

    label: str
    name: str
    read: Callable[[int], list[Ref]]


def _describe_pk(pk: Any) -> str:
    if type(pk) is str or type(pk) is UUID or (type(pk) is int and pk.bit_length() < 3 * _MOST_CHARACTERS):
        text = str(pk)
        return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 3]}..."
    if type(pk) is tuple and len(pk) <= 4 and tuple not in map(type, pk):
        return f"({', '.join(repr(each) if type(each) is str else _describe_pk(each) for each in pk)})"
    return type(pk).__name__
