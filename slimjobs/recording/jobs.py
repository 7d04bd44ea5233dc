"""The jobs that were enqueued while somebody recorded them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from slimjobs.sizes import format_size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slimjobs.errors import Part, SlimjobsError


class Place(NamedTuple):
    """A line of the application.

    Attributes:
        file: The file's path.
        line: The line's number, from 1.
        function: The function's name.
    """

    file: str
    line: int
    function: str


class RecordedJob(NamedTuple):
    """A job that was enqueued, or refused.

    Attributes:
        task: The import path of the task.
        size_bytes: Its payload bytes: the call and its meta as serialized, before compression.
        limit_bytes: The limit that holds for it, in payload bytes.
        warn_bytes: The size from which it is warned about.
        id: The job's id; "" of one that was refused.
        queue: The queue's name, or "" where it is not known.
        place: The application's line that enqueued it, or None.
        parts: Of a payload over its limit, the largest parts as (path, bytes), largest first.
        models: The models that travel as a whole, as (path, class), instead of as refs.
        problem: Why a worker could not read the job back, or "".
        is_importable: Whether a worker could import the function, which is no lambda and not inside another.
        refusal: The error of a job that was refused, else None.
    """

    task: str
    size_bytes: int
    limit_bytes: int
    warn_bytes: int
    id: str = ""
    queue: str = ""
    place: Place | None = None
    parts: tuple[Part, ...] = ()
    models: tuple[tuple[str, str], ...] = ()
    problem: str = ""
    is_importable: bool = True
    refusal: SlimjobsError | None = None

    @property
    def is_too_large(self) -> bool:
        """Whether the payload is over its limit; at the limit it is inside it."""
        return self.size_bytes > self.limit_bytes

    def __repr__(self) -> str:
        return f"<{'refused' if self.refusal else 'enqueued'} {self.task}, {format_size(self.size_bytes)}>"


class Recording:
    """Jobs that were enqueued, in their order.

    Attributes:
        jobs: What was enqueued.
        refused: What slimjobs refused; nothing of it was written.
    """

    def __init__(self, jobs: list[RecordedJob] | None = None, refused: list[RecordedJob] | None = None) -> None:
        self.jobs = [] if jobs is None else jobs
        self.refused = [] if refused is None else refused

    @property
    def largest(self) -> RecordedJob | None:
        """The job with the largest payload, the first of them, or None where nothing was enqueued."""
        return max(self.jobs, key=lambda job: job.size_bytes, default=None)

    @property
    def total_bytes(self) -> int:
        """The payload bytes of all jobs together."""
        return sum(job.size_bytes for job in self.jobs)

    @property
    def by_task(self) -> Mapping[str, Recording]:
        """The jobs of each task by its import path; of a task without jobs, an empty recording."""
        found = _ByTask()
        for job in self.jobs:
            found.setdefault(job.task, Recording()).jobs.append(job)
        for job in self.refused:
            found.setdefault(job.task, Recording()).refused.append(job)
        return found

    def add(self, job: RecordedJob) -> None:
        """Add a job to those that were enqueued, or refused."""
        (self.refused if job.refusal is not None else self.jobs).append(job)

    def clear(self) -> None:
        """Forget all jobs so far."""
        self.jobs.clear()
        self.refused.clear()

    def __len__(self) -> int:
        return len(self.jobs)

    def __repr__(self) -> str:
        return f"<{len(self.jobs)} jobs, {format_size(self.total_bytes)}>"


class _ByTask(dict[str, Recording]):
    def __missing__(self, task: str) -> Recording:
        return Recording()
