"""Checks for `manage.py check`: do queues, jobs, workers and cron agree on classes and serializers?"""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core import checks
from django_rq.connection_utils import filter_connection_params, get_redis_connection, get_unique_connection_configs
from django_rq.cron import DjangoCronScheduler
from django_rq.jobs import get_job_class
from django_rq.queues import get_queue_class
from django_rq.workers import get_worker_class
from redis.exceptions import RedisError
from rq import cron
from rq.job import Job as RQJob
from rq.queue import Queue as RQQueue
from rq.serializers import DefaultSerializer, resolve_serializer
from rq.worker import BaseWorker as RQBaseWorker

from slimjobs import limits
from slimjobs.contrib.django_rq.queue import Queue
from slimjobs.contrib.django_rq.worker import _DjangoDefaults
from slimjobs.jobs import Job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PACKAGE = "slimjobs.contrib.django_rq"
_PICKLE = "rq.serializers.DefaultSerializer"


@checks.register("rq")
def check_settings(**_: Any) -> list[checks.CheckMessage]:
    """Return what does not agree in RQ and RQ_QUEUES; none of it where no class of slimjobs is named."""
    try:
        named = _Named()
    except _NoSuchClassError as error:
        return [checks.Error(str(error), hint="Set the import path of a class.", id="slimjobs.E001")]
    if not named.is_slim:
        return []
    return [*_check_classes(named), *_check_serializers(named), *_check_admin(named)]


@checks.register("rq")
def check_cron(**_: Any) -> list[checks.CheckMessage]:
    """Return the cron jobs that are registered in this process on queues that cannot read them."""
    registered = [(entry["queue_name"], entry["func"].__name__) for entry in cron._job_data_registry]  # noqa: SLF001  # RQ has no other way
    return list(_cron_messages(registered))


@checks.register("rq", deploy=True)
def check_running_cron(**_: Any) -> list[checks.CheckMessage]:
    """Return the cron jobs of schedulers that run now, which Redis is asked for, on queues that cannot read them."""
    running: list[tuple[str, str]] = []
    for config in get_unique_connection_configs(getattr(settings, "RQ_QUEUES", {})):
        try:
            schedulers = DjangoCronScheduler.all(get_redis_connection(config), cleanup=False)
        except RedisError:
            continue
        running += [(each.queue_name, each.func_name) for scheduler in schedulers for each in scheduler.get_jobs()]
    return list(_cron_messages(running))


class _NoSuchClassError(Exception):
    """A setting that names no class."""


class _Named:
    """The classes and serializers that the settings name."""

    def __init__(self) -> None:
        self.entries: dict[str, dict[str, Any]] = getattr(settings, "RQ_QUEUES", {})
        self.job = _find('RQ["JOB_CLASS"]', get_job_class, RQJob)
        self.worker = _find('RQ["WORKER_CLASS"]', get_worker_class, RQBaseWorker)
        self.queue = _find('RQ["QUEUE_CLASS"]', get_queue_class, RQQueue)
        self.queues = {
            name: _find(f'QUEUE_CLASS of RQ_QUEUES["{name}"]', partial(get_queue_class, entry), RQQueue)
            for name, entry in self.entries.items()
        }
        self.serializers = {name: self._serializer(name) for name in self.entries}

    @property
    def is_slim(self) -> bool:
        """Whether any class of slimjobs is named."""
        classes = (self.job, self.worker, *self.queues.values())
        return any(cls.__module__.startswith("slimjobs.") or issubclass(cls, (Queue, Job)) for cls in classes)

    def _serializer(self, name: str) -> Any:
        given = self.entries[name].get("SERIALIZER") or getattr(self.queues[name], "default_serializer", None)
        return _find(f'SERIALIZER of RQ_QUEUES["{name}"]', lambda: resolve_serializer(given), object)


def _find(where: str, find: Callable[[], Any], base: type) -> Any:
    try:
        found = find()
    except (AttributeError, ImportError, NotImplementedError, ValueError):
        found = None
    if found is None or (base is not object and not (isinstance(found, type) and issubclass(found, base))):
        raise _NoSuchClassError(f"{where} names no {base.__name__.lower()} class, or cannot be imported")
    return found


def _check_classes(named: _Named) -> Iterator[checks.CheckMessage]:
    ours = [name for name, cls in named.queues.items() if issubclass(cls, Queue)]
    others = [name for name in named.queues if name not in ours]
    if ours and not issubclass(named.job, Job):
        yield checks.Warning(
            f"{_listed(ours)} of slimjobs with a JOB_CLASS that is not: get_queue() raises.",
            hint=f'Set RQ = {{"JOB_CLASS": "{_PACKAGE}.Job"}}.',
            id="slimjobs.W001",
        )
    if others:
        yield checks.Warning(
            f"{_listed(others)} not of slimjobs, but JOB_CLASS, WORKER_CLASS or another queue is: "
            "its payloads are pickled, whole models in them, and no limit holds.",
            hint=f'Set RQ = {{"QUEUE_CLASS": "{_PACKAGE}.Queue"}}.',
            id="slimjobs.W002",
        )
    if ours and not issubclass(named.worker, _DjangoDefaults):
        yield checks.Warning(
            f"{_listed(ours)} of slimjobs, but WORKER_CLASS is not: what a job leaves for the end of a request would "
            "never be enqueued, and `slimjobs doctor` not know what rqworker reads.",
            hint=f'Set RQ = {{"WORKER_CLASS": "{_PACKAGE}.Worker"}}.',
            id="slimjobs.W003",
        )


def _check_serializers(named: _Named) -> Iterator[checks.CheckMessage]:
    by_connection: defaultdict[str, list[str]] = defaultdict(list)
    for name, entry in named.entries.items():
        by_connection[repr(sorted(filter_connection_params(entry).items()))].append(name)
    for names in by_connection.values():
        first = named.serializers[names[0]]
        others = [name for name in names if named.serializers[name] is not first]
        if others:
            yield checks.Warning(
                f"The queues {_quoted(names)} of one Redis have different serializers, and a worker has one.",
                hint='Leave "SERIALIZER" out of RQ_QUEUES, or set it alike: "slimjobs.Serializer".',
                id="slimjobs.W004",
            )


def _check_admin(named: _Named) -> Iterator[checks.CheckMessage]:
    # The admin's pages see RQ["QUEUE_CLASS"] and SERIALIZER of an entry, but not QUEUE_CLASS of an entry.
    for name, serializer in named.serializers.items():
        given = named.entries[name].get("SERIALIZER")
        seen = resolve_serializer(given or getattr(named.queue, "default_serializer", None))
        if seen is not serializer:
            yield checks.Warning(
                f"The admin's pages read the queue {name!r} with another serializer than its jobs are written with: "
                "they do not see the QUEUE_CLASS of an entry of RQ_QUEUES.",
                hint=f'Set RQ = {{"QUEUE_CLASS": "{_PACKAGE}.Queue"}}, or "SERIALIZER": "slimjobs.Serializer" there.',
                id="slimjobs.W005",
            )


def _cron_messages(jobs: list[tuple[str, str]]) -> Iterator[checks.CheckMessage]:
    if not jobs or limits.settings().read_pickle:
        return
    try:
        named = _Named()
    except _NoSuchClassError:  # said already
        return
    tasks_of: defaultdict[str, list[str]] = defaultdict(list)
    for queue, task in jobs:
        if named.serializers.get(queue, DefaultSerializer) is not DefaultSerializer:
            tasks_of[queue].append(task)
    for queue, tasks in tasks_of.items():
        yield checks.Warning(
            f"rq.cron enqueues {', '.join(dict.fromkeys(tasks))} on the queue {queue!r} as pickles, whatever its "
            "serializer is: its workers fail these jobs.",
            hint=f'Let cron have a queue with "SERIALIZER": "{_PICKLE}" on a Redis (or "DB") of its own, '
            "or call slimjobs.configure(read_pickle=True).",
            id="slimjobs.W006",
        )


def _listed(names: list[str]) -> str:
    return f"The queue {_quoted(names)} is" if len(names) == 1 else f"The queues {_quoted(names)} are"


def _quoted(names: list[str]) -> str:
    return ", ".join(map(repr, names))
