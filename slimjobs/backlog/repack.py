"""Rewrites jobs in place, one at a time, with refs for pickled models; what cannot be rewritten stays as it is."""

from __future__ import annotations

import subprocess
import sys
from select import select
from typing import TYPE_CHECKING, Any, NamedTuple

from redis.exceptions import WatchError

from slimjobs.backlog.converting import read_message, write_message
from slimjobs.backlog.keys import JOB_PREFIX, text
from slimjobs.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from redis import Redis

    from slimjobs.backlog.rows import JobRow

# How long one job may take to be unpickled, and its rows to be looked for.
_MOST_SECONDS = 60.0


class Repacked(NamedTuple):
    """What became of a job, or would.

    Attributes:
        id: The job's id.
        task: The import path of its task.
        before_bytes: The stored bytes of its payload and meta.
        after_bytes: The same when it is rewritten; as before where it is not.
        problem: Why it stays as it is, or "".
    """

    id: str
    task: str
    before_bytes: int
    after_bytes: int
    problem: str


class Converter:
    """The process that unpickles.

    Args:
        app: The modules that register the application's models.
        memory_bytes: How much memory it may take.
        every: Whether jobs without models are rewritten too.
    """

    def __init__(self, app: Sequence[str], memory_bytes: int, *, every: bool = False) -> None:
        self._command = [sys.executable, "-m", "slimjobs.backlog.converting", "--memory-bytes", str(memory_bytes)]
        self._command += ["--all"] * every
        self._command += [word for module in app for word in ("--app", module)]
        self._process: subprocess.Popen[bytes] | None = None

    def convert(self, data: bytes, meta: bytes) -> dict[str, Any]:
        """Return the new fields of a job, or its "problem".

        Raises:
            ConfigurationError: The application cannot be imported.
        """
        if self._process is None:
            self._start()
        answer = self._ask({"data": data, "meta": meta})
        if answer is None:
            self.close()
            return {"problem": "its process was ended: it took too long, or too much memory"}
        return answer

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _start(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603  # it is this Python
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        if self._receive() is None:
            self.close()
            hint = "Run it where `python -c 'import ...'` works; the error is above."
            raise ConfigurationError("the application cannot be imported", hint=hint)

    def _ask(self, message: dict[str, Any]) -> dict[str, Any] | None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            write_message(self._process.stdin, message)  # type: ignore[arg-type]
        except BrokenPipeError:
            return None
        return self._receive()

    def _receive(self) -> dict[str, Any] | None:
        assert self._process is not None
        assert self._process.stdout is not None
        ready, _, _ = select([self._process.stdout], [], [], _MOST_SECONDS)
        return read_message(self._process.stdout) if ready else None  # type: ignore[arg-type]


def repack(connection: Redis, rows: Sequence[JobRow], converter: Converter, *, writes: bool) -> Iterator[Repacked]:
    """Rewrite jobs, and yield what became of each.

    Args:
        connection: The Redis.
        rows: The jobs.
        converter: Unpickles them.
        writes: False to see what it would be.
    """
    for row in rows:
        with connection.pipeline() as pipeline:
            key = JOB_PREFIX + row.id
            pipeline.watch(key)  # type: ignore[no-untyped-call]
            fields: Any = connection.hmget(key, ["status", "data", "meta"])
            status, data, meta = fields
            before_bytes = len(data or b"") + len(meta or b"")
            if data is None or text(status) == "started":
                problem = "it is gone" if data is None else "it runs"
                yield Repacked(row.id, row.measured.name.task, before_bytes, before_bytes, problem)
                continue
            found = converter.convert(data, meta or b"")
            problem = found.get("problem", "")
            after_bytes = before_bytes if problem else len(found["data"]) + len(found["meta"])
            if not problem and writes:
                pipeline.multi()
                pipeline.hset(key, mapping={name: value for name, value in found.items() if value or name != "meta"})
                try:
                    pipeline.execute()
                except WatchError:
                    problem, after_bytes = "it was written to meanwhile", before_bytes
            yield Repacked(row.id, row.measured.name.task, before_bytes, after_bytes, problem)
