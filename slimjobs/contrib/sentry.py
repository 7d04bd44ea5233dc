"""Sentry's events without values: `sentry_sdk.init(before_send=strip_values, before_send_transaction=strip_values)`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

E = TypeVar("E")


def strip_values(event: E, hint: Any = None) -> E:  # noqa: ARG001  # Sentry gives it
    """Take the values of arguments, local variables and Redis commands out of an event; types and refs stay.

    They are in there where `send_default_pii` or `include_local_variables` is on.

    Args:
        event: An error or a transaction.
        hint: What Sentry knows of it besides.

    Returns:
        The event.
    """
    job = _fields(_fields(_fields(event).get("extra")).get("rq-job"))
    for name in ("args", "kwargs"):
        job.pop(name, None)  # its description shows them by their types
    for frame in _frames(_fields(event)):
        frame.pop("vars", None)
    for crumb in _listed(_fields(event).get("breadcrumbs")):
        if crumb.get("category") == "redis":
            crumb["message"] = _first_word(crumb.get("message"))
    for span in _listed(_fields(event).get("spans")):
        if str(span.get("op")).startswith("db.redis"):
            span["description"] = _first_word(span.get("description"))
            _fields(span.get("data")).pop("redis.commands", None)
    return event


def _frames(event: dict[str, Any]) -> Iterator[dict[str, Any]]:
    traces = [each.get("stacktrace") for kind in ("exception", "threads") for each in _listed(event.get(kind))]
    for trace in (*traces, event.get("stacktrace")):
        yield from _listed(_fields(trace).get("frames"))


# Sentry loses an event whose `before_send` raises, and integrations leave in it what they like.


def _fields(part: Any) -> dict[str, Any]:
    return part if isinstance(part, dict) else {}


def _listed(part: Any) -> list[dict[str, Any]]:
    values = part.get("values") if isinstance(part, dict) else part
    return [each for each in values if isinstance(each, dict)] if isinstance(values, (list, tuple)) else []


def _first_word(text: Any) -> str:
    return str(text or "").split(" ", 1)[0]
