"""RQ's CronJob: enqueued to a slim queue, and shown to monitoring without its arguments' values."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, ClassVar

from rq import cron as rq_cron
from rq import cron_job_registry

from slimjobs.commit import refuse_as_rq
from slimjobs.descriptions import describe_arguments
from slimjobs.enqueuer import options_of
from slimjobs.errors import ConfigurationError
from slimjobs.limits import settings
from slimjobs.queue import Queue

if TYPE_CHECKING:
    from redis import Redis
    from redis.client import Pipeline
    from rq.job import Job as RQJob
    from rq.queue import Queue as RQQueue

# How long a meta may be, in characters of JSON, to be shown in the scheduler's own hash.
_MOST_META_CHARACTERS = 1024
# What RQ's module has imported, and may be replaced there.
_rq: Any = rq_cron


class CronJob(rq_cron.CronJob):
    """A call that is enqueued again and again; see `rq.cron.CronJob`.

    The options of a decorated task hold where the cron job has none of its own.

    Attributes:
        queue_class: The class of the queue that it is enqueued to.
    """

    queue_class: ClassVar[type[RQQueue]] = Queue

    def check(self, connection: Redis) -> None:
        """Make a job, hold it against its limits, and drop it: what could not be enqueued is told before it is due.

        Raises:
            PayloadTooLargeError: The payload is over its limit.
            UnsupportedTypeError: Something in it cannot travel.
            UnsavedModelError: A model in it has no row.
            ValueError: RQ knows no such combination of options.
        """
        self._make(self.queue_class(self.queue_name, connection=connection))

    def enqueue(self, connection: Redis) -> RQJob:
        """Enqueue the job and record it in the history, in one round trip if RQ can; raises as `check`."""
        if not self.func:
            return super().enqueue(connection)  # which says what is wrong
        queue = self.queue_class(self.queue_name, connection=connection)
        options = self._options()
        with connection.pipeline() as pipeline:
            if options.get("rate_limit"):  # which RQ does not take with a pipeline
                job, at_front = self._make(queue)
                # Before it is enqueued: cut off in between, a job would be enqueued again.
                self._record(job, pipeline)
                pipeline.execute()
                queue.enqueue_job(job, at_front=at_front)
            else:
                job = queue.enqueue(self.func, args=self.args, kwargs=self.kwargs, pipeline=pipeline, **options)
                self._record(job, pipeline)
                pipeline.execute()
        logging.getLogger(rq_cron.__name__).info("Enqueued job %s to queue %s", self.func_name, self.queue_name)
        return job

    def to_dict(self) -> dict[str, Any]:
        """Return what monitoring shows of it: its arguments as descriptions do, in types and refs."""
        args, kwargs, job_options = self.args, self.kwargs, self.job_options
        self.args, self.kwargs = (), {}  # RQ would write them out in full
        self.job_options = {name: value for name, value in job_options.items() if name != "meta"}
        try:
            mapping: dict[str, Any] = super().to_dict()
        finally:
            self.args, self.kwargs, self.job_options = args, kwargs, job_options
        with_values = settings().describe == "values"
        shown, named = describe_arguments(args, kwargs, with_values=with_values)
        mapping["args"] = json.dumps(shown) if shown else None
        mapping["kwargs"] = json.dumps(named) if named else None
        if "meta" in job_options:
            meta = _rq.safe_json_dumps(job_options["meta"])
            mapping["meta"] = meta if len(meta) <= _MOST_META_CHARACTERS else _rq.NOT_JSON_SERIALIZABLE
        return mapping

    def _make(self, queue: RQQueue) -> tuple[RQJob, bool]:
        """Return a job that is checked and not written, and whether it goes to the front."""
        func: Any = self.func
        options = queue.parse_args(func, args=self.args, kwargs=self.kwargs, **self._options())._asdict()
        at_front, unique, _ = (options.pop(name) for name in ("at_front", "unique", "pipeline"))
        job = queue.create_job(**options)
        if unique and not options["job_id"]:
            raise ConfigurationError(
                "unique=True needs an id by which RQ knows the job again",
                task=self.func_name,
                hint="Give the task a job_id=, or leave out unique=.",
            )
        refuse_as_rq(queue, job, unique)
        return job, at_front

    def _record(self, job: RQJob, pipeline: Pipeline) -> None:
        # A job that waits, for others or its rate, is enqueued later.
        moment = (job.enqueued_at or _rq.now()).timestamp()
        pipeline.zadd(self.job_history_key, {job.id: moment})
        pipeline.zremrangebyrank(self.job_history_key, 0, -(_rq.DEFAULT_CRON_JOB_HISTORY_LIMIT + 1))
        pipeline.expire(self.job_history_key, _rq.DEFAULT_CRON_JOB_HISTORY_TTL)
        cron_job_registry.add(self.name, pipeline, enqueue_timestamp=moment)

    def _options(self) -> dict[str, Any]:
        own = self.job_options
        of_task = options_of(self.func)
        if own.get("result_ttl") == _rq.DEFAULT_RESULT_TTL and "result_ttl" in of_task:
            # RQ sets its default where none is given.
            own = {name: value for name, value in own.items() if name != "result_ttl"}
        return {**of_task, **own}
