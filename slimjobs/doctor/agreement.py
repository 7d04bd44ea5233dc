"""Whether what writes the jobs of a queue, what is in flight and what reads them agree."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from slimjobs.backlog.formats import OTHER, REQUEUEABLE
from slimjobs.doctor.findings import CRITICAL, OK, WARNING, Finding
from slimjobs.marks import PICKLE, SLIM
from slimjobs.queue import Queue

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from slimjobs.backlog.formats import Formats
    from slimjobs.backlog.processes import CronTask, Process
    from slimjobs.doctor.writers import Writer

_MOST_NAMES = 3


class Fleet(NamedTuple):
    """What takes part.

    Attributes:
        writers: What the application enqueues with.
        workers: The workers.
        schedulers: The scheduler of each queue that has one.
        crons: The schedulers of cron jobs, with what they enqueue.
        formats: In which format the payloads are that will be run.
    """

    writers: Sequence[Writer]
    workers: Sequence[Process]
    schedulers: Sequence[Process]
    crons: Sequence[tuple[Process, Sequence[CronTask]]]
    formats: Formats

    @property
    def uses_slimjobs(self) -> bool:
        """Whether any part of it is of slimjobs."""
        marked = [*self.workers, *self.schedulers, *(process for process, _ in self.crons)]
        return any(process.mark for process in marked) or any(each.format == SLIM for each in self.writers)


def check_queue(queue: str, fleet: Fleet) -> Iterator[Finding]:
    """Yield what is found of one queue: all that does not agree, or that it does.

    Args:
        queue: The name of the queue.
        fleet: What takes part.
    """
    subject = f"queue {queue}"
    writers = [writer for writer in fleet.writers if writer.queue.name == queue]
    workers = [worker for worker in fleet.workers if queue in worker.queues]
    written = _written(queue, writers, fleet)
    problems = [
        *_check_writers(subject, writers),
        *_check_workers(subject, queue, workers, written),
        *_check_waiting(subject, queue, workers, written, fleet.formats),
        *_check_leftovers(subject, queue, workers, written, fleet.formats),
        *_check_scheduler(subject, queue, fleet),
    ]
    if problems:
        yield from problems
        return
    formats = ", ".join(sorted(written)) or "nothing"
    words = f"it is read by {_listed([worker.name for worker in workers])}" if workers else "no worker is there"
    yield Finding(subject, OK, f"{formats} is written or in flight, and {words}")


def check_processes(fleet: Fleet) -> Iterator[Finding]:
    """Yield what is found of the processes beside each other."""
    marks = {worker.name: worker.mark for worker in fleet.workers if worker.mark is not None}
    versions = sorted({mark.version for mark in marks.values()})
    if len(versions) > 1:
        words = f"they run slimjobs {' and '.join(versions)}"
        yield Finding("workers", WARNING, words, "Restart those of the old release once the new one is out.")
    if not fleet.uses_slimjobs:
        counts = any(isinstance(writer.queue, Queue) for writer in fleet.writers)
        words = (
            "slimjobs counts, and writes nothing slim yet"
            if counts
            else "no queue, worker or job of slimjobs is seen here yet"
        )
        yield Finding("application", OK, f"{words}; docs/rollout.md has the steps")


def _written(queue: str, writers: Sequence[Writer], fleet: Fleet) -> dict[str, list[str]]:
    """Return who writes each format to a queue, in words; what is in flight is written by somebody too."""
    written: dict[str, list[str]] = {}
    for writer in writers:
        where = writer.where if writer.task else f"the queue {writer.where}"
        written.setdefault(writer.format, []).append(where)
    for process, tasks in fleet.crons:
        if any(task.queue == queue for task in tasks):
            kind = SLIM if process.mark else PICKLE
            written.setdefault(kind, []).append(f"cron scheduler {process.name}")
    for kind, jobs in fleet.formats.on(queue).items():
        if kind != OTHER:
            written.setdefault(kind, []).insert(0, f"{jobs:,} {'job' if jobs == 1 else 'jobs'} in flight")
    return written


def _check_writers(subject: str, writers: Sequence[Writer]) -> Iterator[Finding]:
    by_format: dict[str, list[str]] = {}
    for writer in writers:
        by_format.setdefault(writer.format, []).append(writer.where)
    if len(by_format) > 1:
        words = "; ".join(f"{kind} by {_listed(places)}" for kind, places in sorted(by_format.items()))
        yield Finding(
            subject,
            WARNING,
            f"its jobs are written in several formats: {words}",
            "Make it a slimjobs.Queue everywhere.",
        )


def _check_workers(
    subject: str, queue: str, workers: Sequence[Process], written: dict[str, list[str]]
) -> Iterator[Finding]:
    for worker in workers:
        if worker.mark is None:
            if SLIM in written:
                words = (
                    f"worker {worker.name} is of RQ's own classes and fails slim jobs ({_listed(written[SLIM])}), "
                    "unless it was started with --serializer slimjobs.Serializer and the tasks have @slimjobs.job"
                )
                fix = f"Start `rq worker --worker-class slimjobs.Worker {queue}` in its place."
                yield Finding(subject, WARNING, words, fix)
            continue
        reads = {worker.mark.format}
        if worker.mark.reads_pickle and SLIM in reads:
            reads.add(PICKLE)
        for kind, sources in sorted(written.items()):
            if kind not in reads:
                words = f"worker {worker.name} does not read {kind}: {_listed(sources)}"
                yield Finding(subject, CRITICAL, words, _fix(kind, reads))


def _check_waiting(
    subject: str, queue: str, workers: Sequence[Process], written: dict[str, list[str]], formats: Formats
) -> Iterator[Finding]:
    waiting = formats.on(queue, ["queued"]).total()
    if waiting and not workers:
        words = "1 job waits" if waiting == 1 else f"{waiting:,} jobs wait"
        fix = "Start a worker, with the queue's serializer."
        if SLIM in written:
            environment = "SLIMJOBS_READ_PICKLE=1 " if PICKLE in written else ""
            fix = f"Start `{environment}rq worker --worker-class slimjobs.Worker {queue}`."
        elif PICKLE in written:
            fix = f"Start `rq worker {queue}`."
        yield Finding(subject, WARNING, f"{words}, and no worker is there", fix)


def _fix(kind: str, reads: set[str]) -> str:
    if kind == PICKLE and SLIM in reads:
        rewrites = "`slimjobs repack` rewrites those that carry models"
        return f"Start it with SLIMJOBS_READ_PICKLE=1 while there are pickled jobs; {rewrites}."
    if kind == SLIM:
        return "Start it without --serializer, or with --serializer slimjobs.Serializer."
    return f"Give the queue and its workers one serializer; what is {kind} needs a worker that reads it meanwhile."


def _check_leftovers(
    subject: str, queue: str, workers: Sequence[Process], written: dict[str, list[str]], formats: Formats
) -> Iterator[Finding]:
    failed = formats.on(queue, REQUEUEABLE)[PICKLE]
    readers = [worker.name for worker in workers if worker.mark is not None and worker.mark.reads_pickle]
    slim = [worker for worker in workers if worker.mark and worker.mark.format == SLIM]
    if readers and PICKLE not in written and not failed and not formats.not_looked_at(queue):
        words = f"no pickled job is left, and {_listed(readers)} would run one"
        yield Finding(subject, WARNING, words, "Switch SLIMJOBS_READ_PICKLE, or read_pickle=True, off.")
    if failed and slim and not readers:
        jobs = "job is" if failed == 1 else "jobs are"
        words = f"{failed:,} failed {jobs} pickled, and no worker reads such a job when it is requeued"
        fix = "Start a worker with SLIMJOBS_READ_PICKLE=1 before requeueing them, or use `slimjobs repack`."
        yield Finding(subject, WARNING, words, fix)


def _check_scheduler(subject: str, queue: str, fleet: Fleet) -> Iterator[Finding]:
    for scheduler in fleet.schedulers:
        if queue in scheduler.queues and scheduler.mark is None and scheduler.is_told:
            words = f"its scheduler, {scheduler.name}, is RQ's own and reads whole payloads, 1,000 at once"
            yield Finding(subject, WARNING, words, f"Start `slimjobs scheduler {queue}` in its place.")
    for process, tasks in fleet.crons:
        named = Counter(task.task for task in tasks if task.queue == queue)
        if named and process.mark is None and fleet.uses_slimjobs:
            words = f"cron scheduler {process.name} is RQ's own and pickles {_listed(list(named))}, with no limit"
            yield Finding(subject, WARNING, words, "Start `slimjobs cron` with its configuration in its place.")


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MOST_NAMES])
    return shown if len(names) <= _MOST_NAMES else f"{shown} and {len(names) - _MOST_NAMES} more"
