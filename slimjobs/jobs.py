"""RQ's Job: dehydrates on the way in, hydrates for the call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slimjobs import entries
from slimjobs.called import CalledJob
from slimjobs.calls import call_of
from slimjobs.limits import for_task
from slimjobs.payload import Payload, build
from slimjobs.results import storable_result
from slimjobs.serializer import format_of, writing_values

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis
    from redis.client import Pipeline
    from rq.job import Job as RQJob
    from rq.serializers import Serializer as RQSerializer


class Job(CalledJob):
    """A job whose models travel as refs; see `rq.job.Job`.

    Its `args`, `kwargs` and `instance` show refs before and after its call, and models during it. A job that cannot be
    read in whole or in part can be fetched, requeued, cancelled and deleted all the same.

    Args:
        id: The job's id, or None for a new one.
        connection: The Redis.
        serializer: What the payload is written and read with. Default: slimjobs' own.

    Attributes:
        unreadable: The fields of the job's hash that cannot be read, and why.
        payload: The checked payload of a job that was made in this process, else None.
        uncounted: What the ledger is to count of a job that is not written yet, else None.
        queue_limits: The limits of the queue that the job runs for, where they are known.
    """

    def __init__(
        self,
        id: str | None = None,  # noqa: A002  # RQ's name
        connection: Redis | None = None,
        serializer: RQSerializer | str | None = None,
    ) -> None:
        super().__init__(id, connection, serializer)
        self._counted: entries.Entry | None = None
        # Nothing can be left of an earlier job of this id, whose fields would have to be emptied.
        self._omits_empty_fields = False

    @classmethod
    def create(  # type: ignore[override]  # RQ's other options are handed on as they are
        cls,
        func: Callable[..., Any] | str | Payload,
        args: list[Any] | tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
        connection: Redis | None = None,
        **options: Any,
    ) -> Job:
        """Return a new job, its payload made and checked.

        Args:
            func: What to call: a function, a bound method, an import path, or a payload that a
                queue has made already.
            args: Positional arguments.
            kwargs: Keyword arguments.
            connection: The Redis connection.
            **options: RQ's, see `rq.job.Job.create`.

        Raises:
            PayloadTooLargeError: The payload is over its limit.
            UnsupportedTypeError: Something in it cannot travel.
            UnsavedModelError: A model in it has no primary key.
        """
        if isinstance(func, Payload):
            payload = func
        else:
            serializer = cls(connection=connection, serializer=options.get("serializer")).serializer
            call = call_of(func, args, kwargs, options.get("meta"))
            limits = for_task(call.task)
            payload = build(call, limits, format_of(serializer), options.get("origin", ""))
            payload.queue = ""  # none has checked it
        options["meta"] = payload.meta
        options["description"] = options.get("description") or payload.description
        job = super().create(payload.function, (), {}, connection, **options)
        assert isinstance(job, Job)
        job.take(payload, is_new_id=options.get("id") is None, is_counted=payload.is_counted)
        return job

    def take(self, payload: Payload, *, is_new_id: bool, is_counted: bool = False) -> None:
        """Carry a payload that was made and checked.

        Args:
            payload: The payload.
            is_new_id: Whether nothing can be in Redis under the job's id.
            is_counted: Whether the ledger knows of the job already.
        """
        self.data = payload.data
        if payload.kept is not None:
            self._func_name, self._instance = payload.function, payload.kept.instance
            self._args, self._kwargs = payload.kept.args, payload.kept.kwargs
        self.payload = payload
        self._stored = payload.data, payload.stored_data
        self._omits_empty_fields = is_new_id and payload.kept is None
        self.uncounted = None if is_counted else entries.Entry.of_payload(self.origin, payload)

    def settle(self, *, is_written: bool) -> entries.Entry | None:
        """Return what is still to be counted of the job, and forget it.

        Args:
            is_written: Whether the job is in Redis, not only in a caller's pipeline.
        """
        entry, self.uncounted = self.uncounted, None
        if is_written:
            self._counted = None
        return entry

    def to_dict(self, include_meta: bool = True, include_result: bool = True) -> dict[str, Any]:
        """Return what is written to Redis."""
        mapping = super().to_dict(include_meta, include_result)
        if self._omits_empty_fields:
            return {name: value for name, value in mapping.items() if value or type(value) is not str}
        return mapping

    def save(self, pipeline: Pipeline | None = None, include_meta: bool = True, include_result: bool = True) -> None:
        """Write the job to Redis and, the first time, what the ledger counts of it."""
        entry = self.uncounted
        if entry is None:
            super().save(pipeline, include_meta=include_meta, include_result=include_result)
        elif pipeline is None:
            with self.connection.pipeline() as own:
                self.save(own, include_meta=include_meta, include_result=include_result)
                own.execute()
        else:
            super().save(pipeline, include_meta=include_meta, include_result=include_result)
            entry.queue = entry.queue or self.origin  # which rq-scheduler says only after the job is made
            entries.record(pipeline, [entry])
            self.uncounted, self._counted = None, entry
        self._omits_empty_fields = False

    def fetch_dependencies(self, watch: bool = False, pipeline: Pipeline | None = None) -> list[RQJob]:
        """Return the jobs that this one depends on; see `rq.job.Job.fetch_dependencies`."""
        # With this call Queue.setup_dependencies begins a transaction, and begins it anew where a
        # dependency has changed meanwhile: what was buffered before, the count included, is gone.
        if watch and self._counted is not None:
            self.uncounted, self._counted = self._counted, None
        return super().fetch_dependencies(watch=watch, pipeline=pipeline)

    def _handle_success(self, *args: Any, **kwargs: Any) -> None:
        result = self._result
        limits = for_task(self.task, self.queue_limits)
        self._result = storable_result(result, self.task, self.id, limits, format_of(self.serializer))
        try:
            with writing_values(self):
                super()._handle_success(*args, **kwargs)
        finally:
            self._result = result
