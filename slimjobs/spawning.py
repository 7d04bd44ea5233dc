"""Starts the processes of a SpawnWorker: of its own class, and told in their environment what they need.

RQ tells them in an argument, a password of Redis too. Before 3.0 it starts `rq.Worker` in them, which reads no
payloads but its own serializer's, loads no models and knows no limits.
"""

from __future__ import annotations

import base64
import os
import pickle
import sys
from typing import TYPE_CHECKING, Any

from redis import ConnectionPool
from rq.connections import parse_connection
from rq.executions import Execution
from rq.serializers import resolve_serializer
from rq.worker import SpawnWorker as RQSpawnWorker

if TYPE_CHECKING:
    from rq.job import Job as RQJob
    from rq.queue import Queue as RQQueue

# What the new process is told. Not an argument, which other users of the machine could read: a password is in it.
_VARIABLE = "SLIMJOBS_WORK_HORSE"

_ATTRIBUTES = (
    "job_class",
    "queue_class",
    "death_penalty_class",
    "default_result_ttl",
    "job_monitoring_interval",
    "log_job_description",
    "log_result_lifespan",
    "disable_default_exception_handler",
    "_exc_handlers",
)

# RQ sets them for its own retries; they are objects that a new process makes for itself.
_OF_THIS_PROCESS = ("retry", "driver_info")


class SpawningWorker(RQSpawnWorker):
    """RQ's worker that spawns a process of its own class for each job; see `rq.SpawnWorker`."""

    def bootstrap(self, *args: Any, **options: Any) -> None:
        """Begin to work, see `rq.Worker.bootstrap`; what cannot be handed to a process raises before a job is taken."""
        if not hasattr(RQSpawnWorker, "_dump_worker_config"):  # which RQ calls here since 3.0
            self._dump_worker_config()
        super().bootstrap(*args, **options)

    def _dump_worker_config(self) -> bytes:
        return pickle.dumps(self._told())

    def fork_work_horse(self, job: RQJob, queue: RQQueue) -> None:
        """Start the process that runs a job; see `rq.SpawnWorker.fork_work_horse`."""
        execution: Any = self.execution
        environment = {**os.environ, "RQ_WORKER_ID": self.name, "RQ_JOB_ID": job.id, "RQ_EXECUTION_ID": execution.id}
        told = pickle.dumps((self._told(), job.id, queue.name, execution.id))
        environment[_VARIABLE] = base64.b64encode(told).decode()
        source = f"import sys; sys.path[:] = {sys.path!r}; from slimjobs.spawning import run; run()"
        # In a process group of its own, by which the worker stops it.
        self._horse_pid = os.posix_spawn(sys.executable, [sys.executable, "-c", source], environment, setpgroup=0)
        self.procline(f"Spawned {self._horse_pid}")  # type: ignore[no-untyped-call]

    def _told(self) -> Any:
        attributes = {name: getattr(self, name) for name in _ATTRIBUTES}
        # RQ keeps its name since 3.0; nothing where the class has it by itself.
        serializer = vars(self).get("_serializer_arg", self.serializer)
        return type(self), self.key, attributes, serializer, _connection_facts(self.connection)


def run() -> None:  # pragma: no cover  # in the new process
    """Run the job that this process was spawned for, and end the process."""
    told = pickle.loads(base64.b64decode(os.environ.pop(_VARIABLE)))  # noqa: S301  # from the worker, its parent
    (worker_class, key, attributes, serializer, connection_facts), job_id, queue_name, execution_id = told
    client_class, connection_class, options = connection_facts
    connection = client_class(connection_pool=ConnectionPool(connection_class=connection_class, **options))
    worker: Any = worker_class.find_by_key(
        key, connection, job_class=attributes["job_class"], queue_class=attributes["queue_class"]
    )
    if worker is None:
        sys.exit(1)
    vars(worker).update(attributes)
    if serializer is not None:
        worker.serializer = resolve_serializer(serializer)
    kinds = {"serializer": worker.serializer, "connection": worker.connection}
    job = worker.job_class.fetch(job_id, **kinds)
    queue = worker.queue_class(
        queue_name, job_class=worker.job_class, death_penalty_class=worker.death_penalty_class, **kinds
    )
    worker.execution = Execution.fetch(execution_id, job.id, connection=worker.connection)
    worker.execution._job = job  # noqa: SLF001  # as RQ does; it would fetch it as one of its own class
    worker.main_work_horse(job, queue)


def _connection_facts(connection: Any) -> tuple[Any, Any, dict[str, Any]]:
    """Return what makes the same connection in another process: its classes, and the options of its pool."""
    client_class, connection_class, options = parse_connection(connection)
    # redis-py knows options that are not given by a bare object, which is another one elsewhere.
    return (
        client_class,
        connection_class,
        {name: value for name, value in options.items() if name not in _OF_THIS_PROCESS and type(value) is not object},
    )
