"""What became of jobs that were moved: how many, those that were left with the reason, and who waits for them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from slimjobs.cli.visible import visible
from slimjobs.errors import SlimjobsError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from slimjobs.backlog.quarantine import Outcome
    from slimjobs.cli.lines import Nobody

_MOST_LINES = 20


@dataclass
class Tally:
    """Outcomes that were counted.

    Attributes:
        done: How many jobs were moved.
        left: Those that were left where they are, with their problem.
        waited_for: Those that were moved and that others wait for, or that wait in vain.
        error: What ended it before its time, or None; to be raised when all of this was shown.
    """

    done: int = 0
    left: list[Outcome] = field(default_factory=list)
    waited_for: list[Outcome] = field(default_factory=list)
    error: SlimjobsError | RedisError | KeyboardInterrupt | None = None

    def end(self) -> int:
        """Return the exit status, 1 where a job was left, or raise what ended it before its time."""
        if self.error:
            raise self.error
        return int(bool(self.left))

    def as_json(self) -> dict[str, Any]:
        """Return all of it as values that JSON has."""
        return {
            "done": self.done,
            "left": [{"id": outcome.id, "reason": outcome.problem} for outcome in self.left],
            "others": [{"id": outcome.id, "jobs": list(outcome.others)} for outcome in self.waited_for],
        }


def count(outcomes: Iterable[Outcome], scene: Nobody) -> Tally:
    """Count outcomes as they come.

    Args:
        outcomes: What became of each job.
        scene: Shows the progress.
    """
    tally = Tally()
    try:
        for number, outcome in enumerate(outcomes, 1):
            if outcome.problem:
                tally.left.append(outcome)
            else:
                tally.done += 1
                if outcome.others:
                    tally.waited_for.append(outcome)
            scene.update(number)
    except (SlimjobsError, RedisError, KeyboardInterrupt) as error:
        tally.error = error
    return tally


def show(tally: Tally, done: str) -> None:
    """Print what was counted.

    Args:
        tally: What was counted.
        done: What became of the jobs that were moved.
    """
    # Where Redis' answer was not awaited, it may have moved some more.
    least = "at least " if tally.error else ""
    print(f"\n{least}{tally.done:,} jobs {done}" + (f", {len(tally.left):,} left" if tally.left else ""))
    show_lines([f"  {outcome.id}: left where it is, {outcome.problem}" for outcome in tally.left])
    show_others(tally.waited_for)


def show_others(outcomes: Iterable[Outcome]) -> None:
    """Print who waits for jobs."""
    show_lines([f"  {outcome.id}: {', '.join(outcome.others[:5])} {outcome.verb}" for outcome in outcomes])


def show_lines(lines: list[str]) -> None:
    """Print lines, and how many more there are."""
    for line in lines[:_MOST_LINES]:
        print(visible(line))
    if len(lines) > _MOST_LINES:
        print(f"  and {len(lines) - _MOST_LINES:,} more")
