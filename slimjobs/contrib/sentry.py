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
    parts: Any = event
    job = parts.get("extra", {}).get("rq-job", {})
    for name in ("args", "kwargs"):
        job.pop(name, None)  # its description shows them by their types
    for frame in _frames(parts):
        frame.pop("vars", None)
    for crumb in _listed(parts.get("breadcrumbs")):
        if crumb.get("category") == "redis":
            crumb["message"] = _first_word(crumb.get("message"))
    for span in parts.get("spans") or ():
        if str(span.get("op")).startswith("db.redis"):
            span["description"] = _first_word(span.get("description"))
            span.get("data", {}).pop("redis.commands", None)
    return event


def _frames(event: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for kind in ("exception", "threads"):
        for each in _listed(event.get(kind)):
            yield from (each.get("stacktrace") or {}).get("frames") or ()
    yield from (event.get("stacktrace") or {}).get("frames") or ()


def _listed(part: Any) -> list[dict[str, Any]]:
    return (part.get("values") if isinstance(part, dict) else part) or []


def _first_word(text: str | None) -> str:
    return (text or "").split(" ", 1)[0]
