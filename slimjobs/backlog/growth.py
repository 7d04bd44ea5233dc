"""Whether more and more jobs wait: each look at a backlog is held against those of the minutes before."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from slimjobs.backlog.health import OK, WARNING, Check, format_seconds
from slimjobs.backlog.whole_files import write_whole
from slimjobs.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# A queue that keeps up has been as short as this long ago at some look since, or is so at the next one.
WINDOW_SECONDS = 600.0
# One look may come between a job's call and its worker.
_FEWEST_LOOKS = 2
# An older look is no measure of now.
_OLDEST_SECONDS = 86_400.0
_MOST_LOOKS = 1_000


class Look(NamedTuple):
    """A look at what waits.

    Attributes:
        at: When, in seconds since 1970, UTC.
        waiting: How many jobs are queued, or due, by queue.
    """

    at: float
    waiting: dict[str, int]


class Growth:
    """The looks of the last ten minutes, and the last two in any case.

    Args:
        path: The file that keeps them for the next process, or None. What is no file, as /dev/null, is left alone.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._looks: list[Look] = [] if path is None else _read(path)

    def check(self, waiting: Mapping[str, int]) -> Check | None:
        """Add a look, and return whether more jobs have waited at each since the first one.

        Args:
            waiting: How many jobs are queued, or due, by queue.

        Returns:
            The check, or None where there are too few looks to tell.
        """
        now = Look(time.time(), dict(waiting))
        earlier = [look for look in self._looks if now.at - _OLDEST_SECONDS < look.at <= now.at]
        within = sum(look.at >= now.at - WINDOW_SECONDS for look in earlier)
        recent = earlier[-max(within, _FEWEST_LOOKS) :]
        self._looks = [*recent, now][-_MOST_LOOKS:]
        if self._path is not None:
            _write(self._path, self._looks)
        if len(recent) < _FEWEST_LOOKS:
            return None
        first, *later = [sum(look.waiting.get(queue, 0) for queue in waiting) for look in self._looks]
        seconds = max(now.at - recent[0].at, 0.001)
        words = f"{later[-1]:,} jobs wait, {first:,} did {format_seconds(seconds)} ago"
        if min(later) <= first:
            return Check("growth", "", OK, words)
        most = max(waiting, key=lambda queue: waiting[queue] - recent[0].waiting.get(queue, 0))
        rate = (later[-1] - first) / seconds * 60
        return Check("growth", "", WARNING, f"{words}: {rate:+,.1f} a minute, most of them on {most}")


def _read(path: Path) -> list[Look]:
    try:
        if not path.is_file():  # a pipe or a device may never end
            return []
        found: list[tuple[float, dict[str, int]]] = json.loads(path.read_text())
        looks = [Look(float(at), {str(name): int(jobs) for name, jobs in waiting.items()}) for at, waiting in found]
    except (OSError, TypeError, ValueError, AttributeError):
        return []  # there is none, or none that this can read
    return sorted(looks, key=lambda look: look.at)


def _write(path: Path, looks: list[Look]) -> None:
    """Replace the file; where that is not possible the next look has nothing to be held against."""
    with suppress(OSError, ConfigurationError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(looks))
