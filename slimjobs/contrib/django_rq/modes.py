"""django-rq's commit modes, as what a job waits for."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.core.exceptions import ImproperlyConfigured
from django.core.signals import got_request_exception, request_finished
from django.db import DEFAULT_DB_ALIAS
from django_rq import thread_queue
from django_rq.queues import VALID_COMMIT_MODES, get_commit_mode

from slimjobs.orm.django.transactions import AliasTransaction

if TYPE_CHECKING:
    from collections.abc import Callable

    from slimjobs.locators import Transaction


@dataclass(frozen=True)
class RequestEnd:
    """The end of the request in this thread: django-rq's signal handlers commit what waits for it, or drop it."""

    def is_open(self) -> bool:
        """Return True: nothing tells whether there is a request."""
        return True

    def on_commit(self, callback: Callable[[], None]) -> None:
        """Call this at the end of the request, and never if it raised."""
        thread_queue.get_queue().append((_Call(callback), (), {}))  # type: ignore[no-untyped-call]


class _Call:
    """What django-rq takes for a queue."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback = callback

    def original_enqueue_call(self) -> None:
        self._callback()


def mode_of(commit_mode: str | None, autocommit: bool | None) -> str:
    """Return the mode of a queue: as it was told, or as the settings say.

    Raises:
        ImproperlyConfigured: There is no such mode.
    """
    if commit_mode:
        if commit_mode not in VALID_COMMIT_MODES:
            raise ImproperlyConfigured(f"commit_mode must be one of {', '.join(VALID_COMMIT_MODES)}")
        return commit_mode
    if autocommit is not None:
        message = 'The "autocommit" argument is deprecated; use "commit_mode" instead.'
        warnings.warn(message, DeprecationWarning, stacklevel=4)
        return "auto" if autocommit else "request_finished"
    return str(get_commit_mode())


def end_of(mode: str) -> Transaction | None:
    """Return what a job waits for in a mode, whatever its rows are part of; None where it waits for nothing."""
    if mode == "on_db_commit":
        return AliasTransaction(DEFAULT_DB_ALIAS)
    if mode == "request_finished":
        # django-rq listens only where the settings name this mode, and not for one queue that does.
        request_finished.connect(thread_queue.commit)
        got_request_exception.connect(thread_queue.clear)
        return RequestEnd()
    return None
