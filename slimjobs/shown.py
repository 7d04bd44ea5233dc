"""What a job shows to dashboards, webhooks and callers where something of it cannot be read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from rq.exceptions import DeserializationError
from rq.job import UNEVALUATED

from slimjobs.results import StoredResult, Unreadable
from slimjobs.stored import StoredJob

if TYPE_CHECKING:
    from rq.job import JobStatus
    from rq.results import Result


class ShownJob(StoredJob):
    """The part of our job that is asked what it calls and how it ended."""

    def get_call_string(self) -> str | None:
        """Return the call as text, or in angle brackets why it cannot be read."""
        try:
            return super().get_call_string()
        except DeserializationError as error:
            return f"<{str(error).splitlines()[0]}>"
        except RecursionError:  # a forged payload can be nested deeper than Python shows
            return f"<job {self.id}: its call is nested too deeply to be shown>"

    def return_value(self, refresh: bool = False) -> Any:
        """Return what the job's function returned; see `rq.job.Job.return_value`.

        Raises:
            DeserializationError: It cannot be read.
        """
        value = super().return_value(refresh)
        if isinstance(value, Unreadable):
            raise self.error(f"its result cannot be read: {value.problem}")
        return value

    def results(self) -> list[Result]:
        """Return all results; one that cannot be read is an `Unreadable`."""
        results: list[Result] = StoredResult.all(self, serializer=self.serializer)
        return results

    def latest_result(self, timeout: int = 0) -> Result | None:
        """Return the latest result; one that cannot be read is an `Unreadable`."""
        return StoredResult.fetch_latest(self, serializer=self.serializer, timeout=timeout)

    def send_webhooks(self, status: str | JobStatus, *, exc_string: str | None = None) -> None:
        """Send the webhooks for a status; see `rq.job.Job.send_webhooks`."""
        try:
            _ = self.func_name
        except DeserializationError:  # RQ would not send what names the function
            self._func_name = cast("str", self.guess_task())  # or None, which RQ copes with
            try:
                super().send_webhooks(status, exc_string=exc_string)
            finally:
                self._func_name = UNEVALUATED
        else:
            super().send_webhooks(status, exc_string=exc_string)
