"""Print what became of jobs: how many, those that were left with the reason, and who waits for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from slimjobs.backlog.quarantine import Outcome
    from slimjobs.cli.lines import Nobody

_MOST_LINES = 20


def show(outcomes: Iterable[Outcome], scene: Nobody, done: str) -> int:
    """Print outcomes as they come.

    Args:
        outcomes: What became of each job.
        scene: Shows the progress.
        done: What became of those without a problem.

    Returns:
        The exit status: 1 where a job has a problem.
    """
    good, left, lines = 0, 0, []
    for number, outcome in enumerate(outcomes, 1):
        good, left = good + (not outcome.problem), left + bool(outcome.problem)
        if outcome.problem:
            lines.append(f"  {outcome.id}: left where it is, {outcome.problem}")
        elif outcome.others:
            lines.append(f"  {outcome.id}: {', '.join(outcome.others[:5])} {outcome.verb}")
        scene.update(number)
    print(f"\n{good:,} jobs {done}" + (f", {left:,} left" if left else ""))
    for line in lines[:_MOST_LINES]:
        print(line)
    if len(lines) > _MOST_LINES:
        print(f"  and {len(lines) - _MOST_LINES:,} more")
    return int(left > 0)
