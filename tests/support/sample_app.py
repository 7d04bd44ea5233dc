"""An application that enqueues jobs, importable by workers: models in a dict, and tasks."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import slimjobs

if TYPE_CHECKING:
    from collections.abc import Callable

CALLS: list[tuple[Any, ...]] = []


class Email:
    """A model with a large body."""

    def __init__(self, id: int | None, body: str = "", subject: str = "") -> None:
        self.id = id
        self.body = body
        self.subject = subject

    def send(self, *recipients: str) -> int:
        CALLS.append(("send", self, recipients))
        return len(recipients)

    @classmethod
    def tidy(cls, days: int) -> str:
        return f"{cls.__name__} {days}"


class Subscriber:
    """A model loaded in batches, by a UUID or a text."""

    def __init__(self, key: Any, address: str) -> None:
        self.key = key
        self.address = address

    @slimjobs.job("letters", on_missing="discard", max_bytes=300, load={"other": lambda pks: [EMAILS[pks[0]]]})
    def greet(self, text: str, other: Any = None) -> list[Any]:
        return [self.address, text, other and other.subject]


class Unregistered:
    """A class that nobody registered."""


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Priority(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Channel(enum.Flag):
    MAIL = 1
    SMS = 2
    PUSH = 4


@dataclass(frozen=True)
class Money:
    amount: int
    currency: str = "EUR"


@dataclass
class Order:
    email: Any
    lines: list[Money] = field(default_factory=list)


EMAILS: dict[Any, Email] = {}
SUBSCRIBERS: dict[Any, Subscriber] = {}
LOADS: list[tuple[str, list[Any]]] = []
CALL_BACK: list[Callable[[], None]] = []


def load_email(pk: Any) -> Email | None:
    LOADS.append(("Email", [pk]))
    return EMAILS.get(pk)


def load_subscribers(pks: list[Any]) -> list[Subscriber]:
    LOADS.append(("Subscriber", list(pks)))
    return [SUBSCRIBERS[pk] for pk in reversed(pks) if pk in SUBSCRIBERS]


slimjobs.register(Email, load=load_email)
slimjobs.register(
    Subscriber, load_many=load_subscribers, id="key", name="people.subscriber", aliases=["old.Subscriber"]
)
slimjobs.register_type(Money)
slimjobs.register_type(Order)


def reset() -> None:
    """Forget rows and calls, and bring the usual rows back."""
    CALLS.clear()
    LOADS.clear()
    EMAILS.clear()
    SUBSCRIBERS.clear()
    for pk in (1, 2, 3):
        EMAILS[pk] = Email(pk, body=f"body {pk} " * 1000, subject=f"subject {pk}")
    for key in ("ann", "bob"):
        SUBSCRIBERS[key] = Subscriber(key, f"{key}@example.org")


def record(*args: Any, **kwargs: Any) -> Any:
    """A task that says what it was given, in a form that travels."""
    CALLS.append((args, kwargs))
    return {"args": list(args), "kwargs": kwargs}


def subject(email: Email) -> str:
    return email.subject


async def subject_later(email: Email) -> str:
    return email.subject


def fail(*_: Any, **__: Any) -> None:
    raise RuntimeError("the task failed")


def call_back(*_: Any, **__: Any) -> None:
    """Do what a test has left to be done while a job runs."""
    CALL_BACK.pop()()


def give_back(value: Any) -> Any:
    return value


def give_text(length: int) -> str:
    return "x" * length


def give_call(length: int) -> Any:
    """Return what RQ writes of a call, as far as its shape tells."""
    return "ann@example.org", True, ["x" * 100] * length, {}


def give_unregistered() -> Any:
    return Unregistered()
