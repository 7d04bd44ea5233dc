"""RQ's Job while it is called: models in place of its refs, and what its function sets anew."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from rq.job import UNEVALUATED, Retry
from rq.job import Job as RQJob
from rq.utils import import_attribute

from slimjobs import tagging
from slimjobs.calls import Call, named_task, task_of
from slimjobs.errors import SlimjobsError
from slimjobs.execution import import_function, imported, load_call
from slimjobs.limits import for_task
from slimjobs.logs import logger
from slimjobs.payload import encode
from slimjobs.scopes import scope
from slimjobs.serializer import Serializer, format_of
from slimjobs.shown import ShownJob

if TYPE_CHECKING:
    from slimjobs import entries
    from slimjobs.limits import Limits
    from slimjobs.payload import Payload


def _editable(name: str) -> Any:
    """Return RQ's property, whose setter first reads what the payload holds.

    RQ drops the payload when one of its fields is set, and makes it anew from the other fields.
    """
    base = getattr(RQJob, name)

    def set_field(self: CalledJob, value: Any) -> None:
        if self._func_name is UNEVALUATED and self._data is not UNEVALUATED:
            self._deserialize_data()
        self.payload = self.uncounted = None
        if self._before is not None:
            self._before.refs.pop(f"_{name}", None)
        base.fset(self, value)

    return property(base.fget, set_field, doc=base.__doc__)


def _importing(name: str) -> Any:
    """Return RQ's property for a callback, which is imported by its name."""
    base = getattr(RQJob, name)
    return property(lambda self: imported(partial(base.fget, self)), doc=base.__doc__)


@dataclass
class _Before:
    """What a job goes back to after its call.

    Attributes:
        data: Its payload.
        is_task: Whether its function has `@job`.
        refs: What its fields show, by attribute; not of those that were set meanwhile.
    """

    data: bytes
    is_task: bool
    refs: dict[str, Any]


class CalledJob(ShownJob):
    """The part of our job that is called.

    Attributes:
        payload: The checked payload of a job that was made in this process, else None.
        uncounted: What the ledger is to count of a job that is not written yet, else None.
        queue_limits: The limits of the queue that the job runs for, where they are known.
    """

    args = _editable("args")  # pyright: ignore[reportIncompatibleMethodOverride]  # it is a property too
    kwargs = _editable("kwargs")  # pyright: ignore[reportIncompatibleMethodOverride]  # it is a property too
    instance = _editable("instance")  # pyright: ignore[reportIncompatibleMethodOverride]  # it is a property too
    func_name = _editable("func_name")  # pyright: ignore[reportIncompatibleMethodOverride]  # it is a property too
    success_callback = _importing("success_callback")  # pyright: ignore[reportIncompatibleMethodOverride]  # it is a property too
    failure_callback = _importing("failure_callback")  # pyright: ignore[reportIncompatibleMethodOverride]  # it is a property too
    stopped_callback = _importing("stopped_callback")  # pyright: ignore[reportIncompatibleMethodOverride]  # it is a property too

    payload: Payload | None = None
    uncounted: entries.Entry | None = None
    queue_limits: Limits | None = None
    # The name of the task that runs, which may have been enqueued by another import path.
    _own_task: str | None = None
    _before: _Before | None = None

    @property
    def task(self) -> str:
        """The import path of what the job calls, a method's with its class."""
        if self._own_task is not None:
            return self._own_task
        if self.payload is not None:
            return self.payload.task
        return task_of(self.func_name, self.instance)

    @property
    def func(self) -> Any:
        """What the job calls: the imported function, or the method of its instance."""
        if self.func_name is None:
            return None
        # RQ asks whether the instance is true, which a model may deny.
        return import_attribute(self.func_name) if self.instance is None else getattr(self.instance, self.func_name)

    @property
    def data(self) -> bytes:
        """The serialized call; one that its function sets anew is checked as at an enqueue, its models become refs."""
        if self._data is UNEVALUATED and self._before is not None:
            limits = for_task(self.task, self.queue_limits)
            self._data = encode(self._call_set_anew(), limits, format_of(self.serializer), self.origin).data
        return super().data

    @data.setter
    def data(self, value: bytes) -> None:
        RQJob.data.fset(self, value)  # type: ignore[attr-defined]  # mypy takes it for a method

    def _call_set_anew(self) -> Call:
        assert self._before is not None
        now = {**vars(self), **self._before.refs}  # rows that it has deleted have no refs any more
        instance, args, kwargs = now["_instance"], now["_args"], now["_kwargs"]
        return Call(self.task, self.func_name, instance, args, kwargs, is_task=self._before.is_task)

    def _execute(self) -> Any:
        """Load the models of the call, then let RQ make it.

        No local variable holds a value: whoever reports what the call raises would report them all.
        """
        self.ensure_readable()
        if self.serializer is not Serializer:  # @job wrote refs in the way that its serializer knows
            self._args, self._kwargs = tagging.revive(self.args), tagging.revive(self.kwargs)
        import_function(self)
        self._own_task = None if self.instance is not None else named_task(self.func)
        self._before = _Before(
            data=self.data,
            is_task=self._own_task is not None,
            refs={"_instance": self.instance, "_args": self.args, "_kwargs": self.kwargs},
        )
        try:
            with scope(self.task):
                result = super()._execute() if self._load() else None
        except BaseException:
            result = None  # the error's traceback shows this frame
            self._go_back("a retry has those of this run")
            raise
        self._go_on(result)
        return result

    def _load(self) -> bool:
        """Load what is asked of the job while it runs, where before and after it shows refs; tell whether it runs."""
        assert self._before is not None
        try:
            loaded = load_call(self, self.task, *self._before.refs.values())
        except SlimjobsError as error:
            raise error.with_traceback(None)  # noqa: B904  # its message tells all, its frames hold values
        if loaded is not None:
            self._instance, self._args, self._kwargs = loaded
        return loaded is not None

    def _go_on(self, result: Any) -> None:
        """Go back after a call that returned; no run follows by itself that would do the work of this one again.

        Raises:
            Exception: The call asks for another run, with arguments that cannot travel: the job fails for good.
        """
        is_asked_again = isinstance(result, Retry)
        no_more = f"{self.repeats_left} repeats are cancelled" if self.repeats_left else "this run is finished"
        error = self._go_back("it is not run again" if is_asked_again else no_more)
        if error is None:
            return
        # Zero, since RQ does not write None.
        if self.repeats_left:
            self.repeats_left = 0
        if is_asked_again:
            self.retries_left = 0
            raise error.with_traceback(None)  # its frames hold values

    def _go_back(self, consequence: str) -> Exception | None:
        """Show refs again; what was set anew is read again, as a worker reads it.

        Args:
            consequence: What the log says of the next run where what was set anew cannot travel.

        Returns:
            Why it cannot travel, or None. Failing the job for it would have RQ run its side effects again.
        """
        assert self._before is not None
        before = self._before
        try:
            if self.data is before.data:
                vars(self).update(before.refs)
            else:
                self.data = self._data
        except Exception as error:  # noqa: BLE001  # of many kinds, one for each serializer
            self.data = before.data
            logger.error(
                "%s: job %s set arguments for its next run that are not kept, and %s: %s",
                self.task,
                self.id,
                consequence,
                _describe(error),
                extra={"task": self.task, "job_id": self.id},
            )
            return error
        finally:
            self._before = None
        return None


def _describe(error: Exception) -> str:
    if isinstance(error, SlimjobsError):
        return ": ".join(part for part in (error.path, error.describe()) if part)
    return f"they cannot be serialized ({type(error).__name__})"
