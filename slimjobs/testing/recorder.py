"""Records what is enqueued, with pytest or without."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from slimjobs.recording.jobs import Recording
from slimjobs.recording.watching import Watcher
from slimjobs.testing.round_trips import Passed, round_trip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Recorder(Recording):
    """What was enqueued so far, and what a worker would make of a call.

    Attributes:
        jobs: The jobs that were enqueued, in their order.
        refused: What slimjobs refused; nothing of it was written.
    """

    def round_trip(self, func: Callable[..., Any] | str, /, *args: Any, **kwargs: Any) -> Passed:
        """Return what a worker would pass to a function; see `slimjobs.testing.round_trip`."""
        return round_trip(func, *args, **kwargs)


@contextmanager
def record() -> Iterator[Recorder]:
    """Record the jobs that this process enqueues in a `with` block, whatever queue and serializer they take.

    Yields:
        A `Recorder`, which can also be read after the block.
    """
    recorder = Recorder()
    watcher = Watcher(recorder.add)
    watcher.start()
    try:
        yield recorder
    finally:
        watcher.stop()
