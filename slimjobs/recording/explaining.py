"""What is wrong with the jobs of a test, in a few lines that tell what to do."""

from __future__ import annotations

import sys
from linecache import getline
from os.path import relpath
from typing import TYPE_CHECKING

from slimjobs.errors import BatchTooLargeError, describe_parts
from slimjobs.limits import own_limits, settings
from slimjobs.sizes import format_pair, format_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from slimjobs.recording.jobs import Place, RecordedJob
    from slimjobs.recording.verdicts import Finding, Kind

MOST_LINES = 15
_MOST_CHARACTERS = 160
_MOST_TASKS = 2
_MOST_NAMES = 5

_REPLACEMENTS = {
    False: ["  import Queue and Worker from slimjobs, and not from rq: they send its ID, and load it in the worker."],
    True: [
        '  RQ = {"QUEUE_CLASS": "slimjobs.contrib.django_rq.Queue", "JOB_CLASS": "slimjobs.contrib.django_rq.Job",',
        '        "WORKER_CLASS": "slimjobs.contrib.django_rq.Worker"}  # in settings.py',
    ],
}


def explain(findings: Sequence[Finding]) -> str:
    """Return what is wrong, at most 15 lines: the worst job of each task, where it was enqueued, and what to do.

    Args:
        findings: What `judge` returned, at least one.
    """
    tasks: dict[str, list[Finding]] = {}
    for finding in findings:
        tasks.setdefault(finding.job.task, []).append(finding)
    worst_first = sorted(tasks.values(), key=lambda of_task: -_worst(of_task).size_bytes)
    lines = [line for of_task in worst_first[:_MOST_TASKS] for line in _explain_task(of_task)]
    others = [of_task[0].job.task for of_task in worst_first[_MOST_TASKS:]]
    if others:
        more = f", and {len(others) - _MOST_NAMES} more" if len(others) > _MOST_NAMES else ""
        lines.append(f"The same goes for {', '.join(others[:_MOST_NAMES])}{more}.")
    return "\n".join([*lines, *_advise(findings)][:MOST_LINES])


def summarize(finding: Finding) -> str:
    """Return a finding in one line."""
    return f"{finding.job.task}: {'; '.join(_problems([finding], finding.job))}"


def describe_place(place: Place | None) -> str:
    """Return where a job was enqueued as text: "app/views.py:42, in publish"."""
    return "an unknown line" if place is None else f"{_relative(place.file)}:{place.line}, in {place.function}"


def _worst(findings: Sequence[Finding]) -> RecordedJob:
    return max((finding.job for finding in findings), key=lambda job: job.size_bytes)


def _explain_task(findings: Sequence[Finding]) -> Iterator[str]:
    job = _worst(findings)
    first, *others = _problems([finding for finding in findings if finding.job is job], job)
    yield f"{job.task}: {first}."
    for problem in others:
        yield f"  And {problem}."
    word = "enqueued" if job.refusal is None else "refused"
    yield f"  It was {word} at {describe_place(job.place)}{_source(job.place)}"
    if job.refusal is not None:
        yield "  The application went on; if it is right to do so: @pytest.mark.slimjobs(allow=True) on the test."
    further = len({id(finding.job) for finding in findings}) - 1
    if further:
        yield f"  So {'was 1 further job' if further == 1 else f'were {further} further jobs'} of this task."


def _problems(findings: Sequence[Finding], job: RecordedJob) -> Iterator[str]:
    kinds: dict[Kind, Finding] = {finding.kind: finding for finding in findings}
    if isinstance(job.refusal, BatchTooLargeError):
        yield job.refusal.describe()
    elif "size" in kinds or "growth" in kinds:
        grown = kinds.get("growth")
        limit_bytes = job.limit_bytes if grown is None or grown.known_bytes is None else grown.known_bytes
        size, limit = format_pair(job.size_bytes, limit_bytes)
        largest = f"; {describe_parts(job.parts)}" if job.parts else ""
        least = "at least " if getattr(job.refusal, "at_least", False) else ""
        yield f"payload is {least}{size}, {'limit' if grown is None else 'its baseline'} is {limit}{largest}"
    if "models" in kinds:
        paths = [f"{path} is a whole {name}" for path, name in job.models]
        yield f"{', '.join(paths)}, with every field it has: the worker gets old data"
    if "unreadable" in kinds:
        yield f"a worker could not read it: {job.problem}"


def _source(place: Place | None) -> str:
    source = "" if place is None else getline(place.file, place.line).strip()
    return f": {source[:_MOST_CHARACTERS]}" if source else ""


def _advise(findings: Sequence[Finding]) -> Iterator[str]:
    kinds = {finding.kind for finding in findings}
    worst = _worst(findings)
    if "models" in kinds:
        path = next(finding.job.models[0][0] for finding in findings if finding.job.models)
        yield f"Pass the ID of {path}, and load it in the task. Or let slimjobs do both:"
        yield from _REPLACEMENTS[_is_of_django_rq(worst)]
    elif "size" in kinds or "growth" in kinds:
        yield "Pass an ID, a path or a URL, and load what it stands for in the task."
    if "size" in kinds:
        yield from _advise_on_size(worst)
    elif "growth" in kinds:
        yield "If it has to be so large, list it as it is: --slimjobs-update-baseline."
    elif "models" in kinds:
        yield 'To let it pass: @pytest.mark.slimjobs(models="off"), or slimjobs_models = off in pytest.ini.'
    elif "unreadable" in kinds:
        yield 'To let it pass: @pytest.mark.slimjobs(unreadable="off"), or slimjobs_unreadable = off in pytest.ini.'


def _advise_on_size(job: RecordedJob) -> Iterator[str]:
    """Return how to let a job pass: where its limit stands, since a task's and a queue's go before the process's."""
    if isinstance(job.refusal, BatchTooLargeError):
        yield job.refusal.hint
        return
    roomy = format_size(job.size_bytes * 5 // 4)
    own = own_limits.get(job.task)
    if own is not None and "max_bytes" in own.given:
        yield f'If it has to be so large: max_bytes="{roomy}" in the @job of this task.'
        last = ""
    elif job.limit_bytes != settings().limits.max_bytes:
        yield f'If it has to be so large: limits={{"max_bytes": "{roomy}"}} of its queue.'
        last = ""
    else:
        yield f'If it has to be so large: @pytest.mark.slimjobs(max_bytes="{roomy}") on the test, or'
        last = "slimjobs_max_bytes in pytest.ini. "
    if job.refusal is None:  # a baseline lists what was enqueued
        last += "To begin with all of today's jobs: --slimjobs-baseline=FILE."
    if last:
        yield last.strip()


def _is_of_django_rq(job: RecordedJob) -> bool:
    conf = sys.modules.get("django.conf")
    return conf is not None and conf.settings.configured and job.queue in getattr(conf.settings, "RQ_QUEUES", ())


def _relative(file: str) -> str:
    try:
        path = relpath(file)
    except (ValueError, OSError):  # on another drive; or where this process was is gone
        return file
    return file if path.startswith("..") else path
