"""Looks for arguments whose payload grows with what they hold."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from slimjobs.calls import Call, call_of
from slimjobs.codec import NO_LIMIT, Refused
from slimjobs.errors import ConfigurationError, SlimjobsError, describe_parts
from slimjobs.payload import locate
from slimjobs.registry import is_registered
from slimjobs.serializer import SLIM, format_of
from slimjobs.sizes import format_pair, format_size, parse_size
from slimjobs.weights import children

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypothesis.strategies import SearchStrategy
    from rq.serializers import Serializer as RQSerializer

    from slimjobs.payload import Format

_MOST_CHARACTERS = 200
# Hypothesis itself would look for something smaller for up to five minutes.
_SHRINKING_SECONDS = 3.0
# Hypothesis gives up on an example for which it has drawn this much (BUFFER_SIZE in its engine).
_DRAWN_BYTES = 8 * 2**10


@dataclass(frozen=True)
class PayloadBound:
    """How large the payloads of a task were, for all arguments that were tried.

    Attributes:
        task: The task's import path.
        smallest_bytes: The smallest payload.
        largest_bytes: The largest payload.
        limit_bytes: What none of them exceeded.
        examples: How many arguments were tried.
        only_refs: Whether nothing but refs travels, so that no model can make a payload larger.
    """

    task: str
    smallest_bytes: int
    largest_bytes: int
    limit_bytes: int
    examples: int
    only_refs: bool

    def __str__(self) -> str:
        sizes = f"{self.task}: {self.smallest_bytes} to {self.largest_bytes} bytes in {self.examples} examples"
        if self.only_refs:
            return f"{sizes}; only refs travel, so that it does not matter what their models hold"
        text = f"{sizes}, limit is {format_size(self.limit_bytes)}"
        if self.limit_bytes > _DRAWN_BYTES and self.largest_bytes > self.smallest_bytes:
            text += (
                f"; Hypothesis draws at most {format_size(_DRAWN_BYTES)}, so that a lower max_bytes= would prove more"
            )
        return text


@dataclass(frozen=True)
class _Found:
    """Arguments that are too large."""

    call: Call
    shown: str
    size_bytes: int


class _TooLargeError(Exception):
    """An example is too large: Hypothesis shrinks what raises."""


class _EnoughError(BaseException):
    """The search is over: Hypothesis lets no other kind of exception through."""


class _Probe:
    """Tries arguments, and remembers how large their payloads were.

    Attributes:
        sizes: The payload bytes of all that were tried.
        only_refs: Whether nothing but refs travels.
        task: The task's import path.
        found: The smallest arguments that are too large, or None.
        error: What said that the arguments cannot travel, or None.
    """

    def __init__(self, func: Callable[..., Any] | str, limit_bytes: int, form: Format) -> None:
        self._func = func
        self._limit_bytes = limit_bytes
        self._form = form
        self._ends_at = 0.0
        self.sizes: list[int] = []
        self.only_refs = True
        self.task = ""
        self.found: _Found | None = None
        self.error: SlimjobsError | None = None

    def try_out(self, example: _Example) -> None:
        """Measure an example.

        Raises:
            _TooLargeError: It is over the limit.
            _EnoughError: Nothing more is to be found: it cannot travel, or it is small enough to be shown.
        """
        args, kwargs = _arguments(example.value)
        call = call_of(self._func, args, kwargs, None)
        self.task = str(call.task)
        try:
            data = self._form.dump_call(call, NO_LIMIT, [])
        except Refused as refused:
            self.error = locate(refused, call.task, call.parts())
            raise _EnoughError from None
        size_bytes = len(data or b"")
        self.sizes.append(size_bytes)
        self.only_refs = self.only_refs and self._form is SLIM and _holds_only_models(call.parts())
        if size_bytes > self._limit_bytes:
            self._keep(_Found(call, repr(example.value), size_bytes))
            raise _TooLargeError

    def explain(self) -> str:
        """Return why the assertion fails, with the smallest arguments that were found."""
        assert self.found is not None
        size, limit = format_pair(self.found.size_bytes, self._limit_bytes)
        _, largest = self._form.measure(self.found.call)
        blamed = f"; {describe_parts(largest[:1])}" if largest else ""
        shown = self.found.shown
        if len(shown) > _MOST_CHARACTERS:
            shown = f"{shown[:_MOST_CHARACTERS]}... ({len(shown)} characters)"
        return (
            f"{self.task}: the payload grows with its arguments, and {size} is over {limit}{blamed}.\n"
            f"The smallest that was found: {shown}\n"
            "Pass an ID, register the class with slimjobs.register(), or set max_bytes= as large as it may become."
        )

    def _keep(self, found: _Found) -> None:
        if self.found is None:
            self._ends_at = time.monotonic() + _SHRINKING_SECONDS
        if self.found is None or found.size_bytes <= self.found.size_bytes:  # of several, the simplest comes last
            self.found = found
        if time.monotonic() > self._ends_at:
            raise _EnoughError


class _Example:
    """An example, which Hypothesis does not try to print."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "<example>"


def assert_payload_bounded(
    func: Callable[..., Any] | str,
    strategy: SearchStrategy[Any],
    *,
    max_bytes: int | str = "1 KiB",
    serializer: RQSerializer | None = None,
    max_examples: int = 200,
) -> PayloadBound:
    """Assert that no arguments make a task's payload larger than a limit: Hypothesis looks for some that do.

    It looks for large ones, and shrinks what it finds. Nothing is enqueued, and the function is not called.

    Args:
        func: The task: a function or its import path.
        strategy: Its arguments: a tuple of positional ones, a dict of keyword ones, or the only one.
        max_bytes: The largest payload that passes. 1 KiB holds some fifteen refs, and is well below the 8 KiB
            that Hypothesis draws at most for an example.
        serializer: The serializer of the task's queue. Default: slimjobs' own.
        max_examples: How many arguments are tried, half of them large.

    Raises:
        AssertionError: Some payload is larger; the message shows the smallest that was found.
        ConfigurationError: `max_bytes` cannot be read.
        UnsupportedTypeError: Something in the arguments cannot travel.
        UnsavedModelError: A model in them has no primary key.

    Returns:
        What was found, as text too; it is also printed.
    """
    hypothesis: Any = import_module("hypothesis")  # which only tests have
    large: Any = import_module("slimjobs.testing.large_examples")
    try:
        limit_bytes = parse_size(max_bytes)
    except ValueError as error:
        raise ConfigurationError(f"max_bytes: {error}") from None
    probe = _Probe(func, limit_bytes, SLIM if serializer is None else format_of(serializer))

    # Small examples first, which are Hypothesis' own choice, then large ones.
    with large.large_examples() as backend:
        for name in ("hypothesis", backend):
            settings = hypothesis.settings(
                max_examples=max_examples // 2,
                backend=name,
                deadline=None,
                database=None,
                print_blob=False,
                report_multiple_bugs=False,
                suppress_health_check=[*hypothesis.HealthCheck],
                phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
            )

            def look_for_large_ones(example: _Example) -> None:
                probe.try_out(example)

            search: Callable[[], None] = settings(hypothesis.given(strategy.map(_Example))(look_for_large_ones))
            with suppress(_TooLargeError, _EnoughError):
                search()
            if probe.error is not None:
                raise probe.error
            if probe.found is not None:
                raise AssertionError(probe.explain())
    bound = PayloadBound(probe.task, min(probe.sizes), max(probe.sizes), limit_bytes, len(probe.sizes), probe.only_refs)
    print(bound)
    return bound


def _arguments(example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(example, tuple):
        return example, {}
    if isinstance(example, dict) and all(isinstance(name, str) for name in example):
        return (), example
    return (example,), {}


def _holds_only_models(among: dict[str, Any]) -> bool:
    pending = [*among.values()]
    while pending:
        value = pending.pop()
        if not (value is None or is_registered(value)):
            if not isinstance(value, (list, tuple, set, frozenset)):
                return False
            pending.extend(child for _, child in children(value))
    return True
