"""The `Ref` value, which stands for a model instance in a payload."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable


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
        return _loaders[0](self)

    def __repr__(self) -> str:
        return f"<Ref {self.label}>"

    @property
    def label(self) -> str:
        """The class and the pk, short: "Email 1"."""
        pk = self.pk if type(self.pk) in (int, str) else str(self.pk)
        text = str(pk)
        return f"{self.name.rpartition('.')[2]} {text if len(text) <= 40 else text[:37] + '...'}"

    def __getattr__(self, attribute: str) -> NoReturn:
        # Only reached for what a Ref does not have: somebody took it for the model.
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        raise AttributeError(
            f"{self!r} stands for a model and has no attribute {attribute!r}. Use {self!r}.load() to get the model; "
            "a function gets models when it has @slimjobs.job or runs in a slimjobs.Worker"
        )


def install_loader(load: Callable[[Ref], Any]) -> None:
    """Let `Ref.load` use this function; `hydration` brings it, since this room is below it."""
    _loaders[:] = [load]


_loaders: list[Callable[[Ref], Any]] = []
