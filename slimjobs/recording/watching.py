"""Tells of the jobs that this process enqueues: RQ's classes are watched once something imports them.

RQ itself is not imported here: a test run without RQ pays nothing.
"""

from __future__ import annotations

import functools
import sys
from contextlib import suppress
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.util import find_spec
from threading import RLock
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from slimjobs import listeners

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from slimjobs.errors import SlimjobsError
    from slimjobs.recording.jobs import RecordedJob

# An attribute of jobs that were told of, or that were read from Redis.
_KNOWN = "_slimjobs_known"


class Watcher:
    """Records the jobs that are enqueued while it watches; there may be several.

    Args:
        add: Takes each job that is enqueued or refused, once.
    """

    def __init__(self, add: Callable[[RecordedJob], None]) -> None:
        self.add = add

    def start(self) -> None:
        """Begin to watch."""
        with _lock:
            if not _watchers:
                _install()
            _watchers.append(self)

    def stop(self) -> None:
        """End it, and leave RQ's classes as they were where nobody else watches."""
        with _lock:
            _watchers.remove(self)
            if not _watchers:
                _remove()


def forget_waiting_jobs() -> None:
    """Forget which jobs wait for a transaction: in another test another job may have the id of one that was dropped."""
    _waiting_bytes.clear()


def _tell(job: Any) -> None:
    """Tell of a job that was written, unless it is known, or no larger than it was when it began to wait."""
    told_bytes = _waiting_bytes.pop(job.id, -1)
    if job.__dict__.get(_KNOWN):
        return
    measured = _measure(job)
    if measured.size_bytes > told_bytes:
        _add(measured)


def _tell_of_waiting(job: Any) -> None:
    """Tell of a job that is written when a transaction commits: it may be another object then, of this id."""
    measured = _measure(job)
    _waiting_bytes[job.id] = measured.size_bytes
    _add(measured)


def _measure(job: Any) -> RecordedJob:
    job.__dict__[_KNOWN] = True
    measuring = import_module("slimjobs.recording.measuring")  # it imports RQ, which is there by now
    measured: RecordedJob = measuring.measure(job)
    return measured


def _add(measured: RecordedJob) -> None:
    for watcher in tuple(_watchers):
        watcher.add(measured)


def _tell_of_refusal(error: SlimjobsError) -> None:
    measuring = import_module("slimjobs.recording.measuring")
    _add(measuring.refused(error))


def _watch_jobs(module: ModuleType) -> None:
    def save(original: Callable[..., Any], job: Any, *args: Any, **kwargs: Any) -> Any:
        done = original(job, *args, **kwargs)
        _tell(job)
        return done

    def restore(original: Callable[..., Any], job: Any, *args: Any, **kwargs: Any) -> Any:
        job.__dict__[_KNOWN] = True
        return original(job, *args, **kwargs)

    _wrap(module.Job, "save", save)
    _wrap(module.Job, "restore", restore)


def _watch_queues(module: ModuleType) -> None:
    # Unique jobs are written by scripts, which raise for those that are there already.
    def write(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        done = original(*args, **kwargs)
        for value in (*args, *kwargs.values()):
            if hasattr(value, "to_dict"):
                _tell(value)
        return done

    for name in ("save_unique_job", "schedule_unique_job"):
        if hasattr(module, name):  # RQ has them since 2.7
            _wrap(module, name, write)


def _watch_django_rq(module: ModuleType) -> None:
    # It returns nothing for a call that waits for the commit, and makes a job of it then, if ever.
    queue_class = module.Queue

    def enqueue_call(original: Callable[..., Any], queue: Any, *args: Any, **kwargs: Any) -> Any:
        names = ("func", "args", "kwargs")
        # Before django-rq 4.0 the modes were a flag.
        is_immediate = getattr(queue, "_commit_mode", "auto") == "auto" and getattr(queue, "_autocommit", True)
        if is_immediate or len(args) > len(names):
            return original(queue, *args, **kwargs)
        if not kwargs.get("unique"):  # RQ refuses a unique job that was given no id
            kwargs["job_id"] = kwargs.get("job_id") or str(uuid4())
        job = original(queue, *args, **kwargs)
        if job is None:
            given = {**dict(zip(names, args, strict=False)), **kwargs}
            options = {name: given[name] for name in (*names, "meta", "job_id") if name in given}
            with suppress(Exception):  # which it will raise by itself when the transaction commits
                # Without a description RQ writes the arguments out, which reads those that are queries.
                measured = queue_class.create_job(queue, **options, description="waits")
                import_module("slimjobs.recording.unread").leave_unread(measured)
                _tell_of_waiting(measured)
        return job

    _wrap(module.DjangoRQ, "enqueue_call", enqueue_call)


_WATCHED = {"rq.job": _watch_jobs, "rq.queue": _watch_queues, "django_rq.queues": _watch_django_rq}


class _Finder(MetaPathFinder):
    """Lets modules be watched as soon as they are imported."""

    def __init__(self) -> None:
        self._looking_for: set[str] = set()

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002  # a finder's signature
        target: ModuleType | None = None,  # noqa: ARG002  # a finder's signature
    ) -> ModuleSpec | None:
        if fullname not in _WATCHED or fullname in self._looking_for:
            return None
        self._looking_for.add(fullname)
        try:
            spec = find_spec(fullname)
        finally:
            self._looking_for.discard(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(Loader):
    """Another loader, whose module is watched when it has been executed."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        with _lock:
            if _watchers:
                _WATCHED[module.__name__](module)


def _install() -> None:
    sys.meta_path.insert(0, _finder)
    listeners.of_refusals.append(_tell_of_refusal)
    listeners.of_waiting_jobs.append(_tell_of_waiting)
    for name, watch in _WATCHED.items():
        module = sys.modules.get(name)
        if module is not None and not getattr(module.__spec__, "_initializing", False):
            watch(module)


def _remove() -> None:
    sys.meta_path.remove(_finder)
    listeners.of_refusals.remove(_tell_of_refusal)
    listeners.of_waiting_jobs.remove(_tell_of_waiting)
    _waiting_bytes.clear()
    while _wrapped:
        owner, name, original, wrapper = _wrapped.pop()
        if owner.__dict__.get(name) is wrapper:  # else somebody has put something in its place meanwhile
            setattr(owner, name, original)


def _wrap(owner: Any, name: str, around: Callable[..., Any]) -> None:
    """Let `around` be called in place of a function, which it gets as its first argument."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return around(original, *args, **kwargs)

    _wrapped.append((owner, name, original, wrapper))
    setattr(owner, name, wrapper)


_lock = RLock()
_finder = _Finder()
_watchers: list[Watcher] = []
_wrapped: list[tuple[Any, str, Any, Any]] = []
_waiting_bytes: dict[str, int] = {}
