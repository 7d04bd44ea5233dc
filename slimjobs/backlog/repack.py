"""Rewrites jobs in place, one at a time, with refs for pickled models; what cannot be rewritten stays as it is."""

from __future__ import annotations

import subprocess
import sys
from select import select
from typing import TYPE_CHECKING, Any, NamedTuple

from redis.exceptions import WatchError

from slimjobs.backlog.converting import NO_ROOM, read_message, write_message
from slimjobs.backlog.keys import JOB_PREFIX, text
from slimjobs.backlog.pieces import read_field
from slimjobs.errors import ConfigurationError
from slimjobs.sizes import format_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from redis import Redis
    from redis.client import Pipeline

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
        self._memory_bytes = memory_bytes
        self._process: subprocess.Popen[bytes] | None = None

    def convert(self, size_bytes: int, pieces: Iterable[bytes], meta: bytes, description: str) -> dict[str, Any]:
        """Return the new fields of a job, or its "problem".

        Args:
            size_bytes: How long its payload is, as it is stored.
            pieces: The payload.
            meta: Its meta as it is stored, b"" where there is none.
            description: Its description, which is replaced where its user gave it none.

        Raises:
            ConfigurationError: The application cannot be imported, or takes more memory than it may.
        """
        if self._process is None:
            self._start()
        answer = self._ask({"data_bytes": size_bytes, "meta": meta, "description": description}, pieces)
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
        process = self._process = subprocess.Popen(  # noqa: S603  # it is this Python
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        if self._receive() is None:
            self.close()
            if process.returncode == NO_ROOM:
                problem = f"the application does not fit in {format_size(self._memory_bytes)} of memory"
                raise ConfigurationError(problem, hint="Allow more with --memory.")
            hint = "Run it where `python -c 'import ...'` works; the error is above."
            raise ConfigurationError("the application cannot be imported", hint=hint)

    def _ask(self, message: dict[str, Any], pieces: Iterable[bytes]) -> dict[str, Any] | None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            write_message(self._process.stdin, message)  # type: ignore[arg-type]
            for piece in pieces:
                self._process.stdin.write(piece)
            self._process.stdin.flush()
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
            yield _repack(connection, pipeline, row, converter, writes=writes)


def _repack(connection: Redis, pipeline: Pipeline, row: JobRow, converter: Converter, *, writes: bool) -> Repacked:
    key = JOB_PREFIX + row.id
    pipeline.watch(key)  # type: ignore[no-untyped-call]
    fields: Any = connection.hmget(key, ["status", "meta", "description"])
    status, meta, description = text(fields[0]), fields[1] or b"", text(fields[2])
    with read_field(connection, key, b"data") as (data_bytes, pieces):
        problem = "it is gone" if not data_bytes else "it runs" if status == "started" else ""
        found = {"problem": problem} if problem else converter.convert(data_bytes, pieces, meta, description)
    before_bytes = data_bytes + len(meta)
    problem = found.get("problem", "")
    after_bytes = before_bytes if problem else len(found["data"]) + len(found["meta"])
    if writes and not problem:
        pipeline.multi()
        pipeline.hset(key, mapping={name: value for name, value in found.items() if value or name != "meta"})
        try:
            pipeline.execute()
        except WatchError:
            problem, after_bytes = "it was written to meanwhile", before_bytes
    return Repacked(row.id, row.measured.name.task, before_bytes, after_bytes, problem)
