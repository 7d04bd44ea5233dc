"""slimjobs' classes in the place of RQ's, wherever RQ and its own test suite name them.

`SLIMJOBS_RQ_SUITE` says with which serializer, "pickle" or "slim"; "stock" leaves RQ as it is.
`SLIMJOBS_RQ_SUITE_PORT` is the port of the Redis that stands in for the one at 6379.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import pkgutil
from typing import TYPE_CHECKING, Any, ClassVar

import rq
import rq.serializers
from redis.connection import Connection
from rq.cron import CronJob as RQCronJob
from rq.cron import CronScheduler as RQCronScheduler
from rq.job import Job as RQJob
from rq.queue import Queue as RQQueue
from rq.scheduler import RQScheduler
from rq.worker import SimpleWorker as RQSimpleWorker
from rq.worker import SpawnWorker as RQSpawnWorker
from rq.worker import Worker as RQWorker

import slimjobs
import slimjobs.cron

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FunctionType, ModuleType

KIND = os.environ["SLIMJOBS_RQ_SUITE"]
PORT = int(os.environ["SLIMJOBS_RQ_SUITE_PORT"])
STOCK_PORT = 6379
PICKLE = rq.serializers.DefaultSerializer
SERIALIZER: Any = slimjobs.Serializer if KIND == "slim" else PICKLE


class Job(slimjobs.Job):
    default_serializer = SERIALIZER


class Queue(slimjobs.Queue):
    default_serializer = SERIALIZER
    job_class = Job


class Scheduler(slimjobs.Scheduler):
    pass


class _OfWorkers:
    default_serializer: ClassVar[Any] = SERIALIZER
    queue_class = Queue
    job_class: type[RQJob] = Job
    scheduler_class: ClassVar[type[slimjobs.Scheduler]] = Scheduler


class Worker(_OfWorkers, slimjobs.Worker):
    pass


class SimpleWorker(_OfWorkers, slimjobs.SimpleWorker):
    pass


class SpawnWorker(_OfWorkers, slimjobs.SpawnWorker):
    pass


class CronJob(slimjobs.cron.CronJob):
    queue_class = Queue


class CronScheduler(slimjobs.cron.CronScheduler):
    cron_job_class = CronJob


STAND_INS: dict[Any, type] = {
    RQJob: Job,
    RQQueue: Queue,
    RQWorker: Worker,
    RQSimpleWorker: SimpleWorker,
    RQSpawnWorker: SpawnWorker,
    RQScheduler: Scheduler,
    RQCronJob: CronJob,
    RQCronScheduler: CronScheduler,
}


def put_in_place() -> None:
    """Replace RQ's classes, and the port of its Redis."""
    _move_port()
    if KIND == "stock":
        return
    if KIND == "slim":
        STAND_INS[PICKLE] = slimjobs.Serializer  # what RQ takes where none is given
    for module in _modules_of_rq():
        for name, value in list(vars(module).items()):
            if _is_replaced(value):
                setattr(module, name, STAND_INS[value])
            elif inspect.isclass(value) and value.__module__ == module.__name__:
                _replace_in_class(value)
            elif inspect.isfunction(value):
                _replace_in_defaults(value)


def _modules_of_rq() -> Iterator[ModuleType]:
    yield rq
    for found in pkgutil.walk_packages(rq.__path__, "rq."):
        if found.name not in {"rq.__main__", "rq.cli.__main__", "rq.contrib.sentry"}:
            yield importlib.import_module(found.name)


def _replace_in_class(cls: type) -> None:
    if cls in STAND_INS:
        return
    for name, value in list(vars(cls).items()):
        if _is_replaced(value):
            setattr(cls, name, STAND_INS[value])
        elif inspect.isfunction(value):
            _replace_in_defaults(value)


def _replace_in_defaults(function: FunctionType) -> None:
    if function.__defaults__:
        function.__defaults__ = tuple(STAND_INS[each] if _is_replaced(each) else each for each in function.__defaults__)


def _is_replaced(value: Any) -> bool:
    return inspect.isclass(value) and value in STAND_INS


def _move_port() -> None:
    original = Connection.__init__

    @functools.wraps(original)
    def begin(self: Connection, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)  # type: ignore[no-untyped-call]
        if self.port == STOCK_PORT:
            self.port = PORT

    Connection.__init__ = begin  # type: ignore[method-assign]
