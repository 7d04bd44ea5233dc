"""Whether the tasks that jobs name can be imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rq.utils import import_attribute

from slimjobs.backlog.application import import_error
from slimjobs.doctor.findings import CRITICAL, Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def check_tasks(jobs: Mapping[str, int]) -> Iterator[Finding]:
    """Yield the tasks that cannot be imported here, as a worker would.

    Args:
        jobs: How many jobs each task has, by its import path. What has no dot is the method of a model that the
            payload holds, and is passed over.
    """
    for task, count in sorted(jobs.items()):
        problem = _problem_of(task) if "." in task and " " not in task else ""
        if problem:
            needed = f"{count:,} {'job needs' if count == 1 else 'jobs need'} it, and it cannot be imported here"
            fix = (
                "Keep the old path as another name of the function until these jobs have run, or set them aside: "
                f"slimjobs quarantine --task '{task}' --to FILE --apply"
            )
            yield Finding(f"task {task}", CRITICAL, f"{needed}: {problem}", fix)


def _problem_of(task: str) -> str:
    try:
        import_attribute(task)
    except (Exception, SystemExit) as error:  # noqa: BLE001  # a module raises what it likes
        # RQ says of a module that is there and cannot be imported that the name is not valid.
        return import_error(task.rpartition(".")[0]) or f"{type(error).__name__}: {error}"
    return ""
