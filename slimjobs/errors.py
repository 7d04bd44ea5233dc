"""The error tree: what went wrong, where, both numbers, and the next step; never a value.

Facts are attributes, and every message is built from them when it is read, so that an outer layer
can add what it knows (the task, the path) to an error from below. All errors can be pickled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from slimjobs.sizes import format_pair, format_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slimjobs.refs import Ref

# A part of a call: its path, such as `args[0]['body']`, and its encoded bytes.
Part = tuple[str, int]


class SlimjobsError(Exception):
    """Base of all errors that slimjobs raises.

    Attributes:
        problem: What is wrong, in one clause; empty where the class builds it from its facts.
        hint: The next step, in one sentence.
        task: The import path of the task, or None where it is not known.
        path: The path to the part to blame, such as `kwargs['rows'][3].owner`, or None.
        size_bytes: The size that was measured, in bytes, or None.
        limit_bytes: The limit that it was held against, in bytes, or None.
        parts: The largest parts as (path, bytes), largest first.
        refs: The refs that the error speaks of.
    """

    hint = ""

    def __init__(
        self,
        problem: str = "",
        *,
        hint: str = "",
        task: str | None = None,
        path: str | None = None,
        size_bytes: int | None = None,
        limit_bytes: int | None = None,
        parts: Sequence[Part] = (),
        refs: Sequence[Ref] = (),
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        if hint:
            self.hint = hint
        self.task = task
        self.path = path
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes
        self.parts = tuple(parts)
        self.refs = tuple(refs)

    @property
    def ref(self) -> Ref | None:
        """The first ref that the error speaks of, or None."""
        return self.refs[0] if self.refs else None

    def describe(self) -> str:
        """Return the problem in one clause, without the task, the path and the hint."""
        return self.problem

    def __str__(self) -> str:
        where = ": ".join(part for part in (self.task, self.path) if part)
        text = f"{where}: {self.describe()}" if where else self.describe()
        return f"{text}.\n{self.hint}" if self.hint else text


class ConfigurationError(SlimjobsError, ValueError):
    """An option or a registration that cannot be right."""


class PayloadTooLargeError(SlimjobsError, ValueError):
    """A payload over its limit; nothing of it was written to Redis.

    Attributes:
        at_least: True where measuring stopped early: the true size is `size_bytes` or more.
    """

    hint = "Pass an id, register the class with slimjobs.register(), or set max_bytes= on this job."
    at_least = False

    def describe(self) -> str:
        """Return both numbers, and the largest parts by path."""
        size_bytes, about = self.size_bytes or 0, "at least " if self.at_least else ""
        if self.at_least and self.parts and self.parts[0][1] > size_bytes:  # by a sample of it
            size_bytes, about = self.parts[0][1], "about "
        size, limit = format_pair(size_bytes, self.limit_bytes or 0)
        text = f"payload is {about}{size}, limit is {limit}"
        return f"{text}; {describe_parts(self.parts)}" if self.parts else text


class BatchTooLargeError(SlimjobsError, ValueError):
    """One `enqueue_many` whose payloads together are over the limit; nothing of it was written.

    Attributes:
        jobs: How many jobs had been added up when the limit was passed.
    """

    hint = "Enqueue it in smaller batches, make its payloads smaller, or set max_batch_bytes=."
    jobs = 0

    def describe(self) -> str:
        """Return both numbers, and how many jobs had been added up."""
        size, limit = format_pair(self.size_bytes or 0, self.limit_bytes or 0)
        return f"the first {self.jobs} payloads of this enqueue_many are {size}, limit is {limit}"


class UnsupportedTypeError(SlimjobsError, TypeError):
    """A value that cannot travel in a payload and come out equal."""


class UnsavedModelError(SlimjobsError, ValueError):
    """A model instance without a primary key, which no worker could load."""

    hint = "Save it before it is enqueued."


class PayloadDecodeError(SlimjobsError, ValueError):
    """Bytes that are not a payload, or one that this process cannot read."""


class RecordNotFoundError(SlimjobsError, LookupError):
    """Rows that are gone: the database answered, and did not have them."""

    hint = "Set on_missing= to say what such a job should do, or wait_for_row= if the row may come later."

    def describe(self) -> str:
        """Return the first of the refs without a row."""
        shown = ", ".join(map(repr, self.refs[:5]))
        more = f" and {len(self.refs) - 5} more" if len(self.refs) > 5 else ""
        return f"no row for {shown}{more}"


class RecordUnavailableError(SlimjobsError, ConnectionError):
    """Rows that could not be asked for: the database cannot be reached. RQ's Retry may help."""

    hint = "The rows may well exist; let RQ retry the job (retry=Retry(...))."


def describe_parts(parts: Sequence[Part]) -> str:
    """Return the largest parts as text: "largest is args[0]['body'] (4.7 MiB)"."""
    listed = ", ".join(f"{path} ({format_size(size_bytes)})" for path, size_bytes in parts)
    return f"largest {'is' if len(parts) == 1 else 'are'} {listed}"
