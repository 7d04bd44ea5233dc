"""Show long work as progress bars, with rich."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from slimjobs.cli.lines import Lines

if TYPE_CHECKING:
    from collections.abc import Iterator


class Bars(Lines):
    """Shows a progress bar for the part that runs, and a line for each that has ended."""

    _progress: Progress
    _task: TaskID

    @contextmanager
    def scene(self, title: str, total: int, /) -> Iterator[Bars]:
        """Show a part as a bar, until it ends."""
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with super().scene(title, total), Progress(*columns, TimeElapsedColumn(), transient=True) as self._progress:
            self._task = self._progress.add_task(f"{self.name}: {title}", total=total)
            yield self

    def update(self, done: int, /) -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=done)
