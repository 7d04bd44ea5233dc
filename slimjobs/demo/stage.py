"""Set the stage: a Redis, a folder and the sizes of the play, with nothing left behind."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import rq
from redis import Redis
from redis.exceptions import RedisError

from slimjobs.demo.errors import DemoError
from slimjobs.demo.redis_server import run_redis_server
from slimjobs.demo.sample import BATCH_RECIPIENTS

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Stage:
    """Where both sides play, one after the other.

    Attributes:
        folder: A temporary directory for databases and logs.
        redis_url: A Redis database that was empty when the play began.
        jobs: How many batches of recipients there are.
        body_bytes: The size of the email's HTML body, in bytes.
    """

    folder: Path
    redis_url: str
    jobs: int
    body_bytes: int

    @property
    def recipients(self) -> int:
        """How many subscribers there are."""
        return self.jobs * BATCH_RECIPIENTS

    @property
    def patience_seconds(self) -> float:
        """How long nothing may happen before the play counts as stuck.

        A scheduler without a memory cap compresses all the emails before it moves the first job, at 10 MB a second
        and more.
        """
        return 60 + self.jobs * self.body_bytes / 10e6


@contextmanager
def set_stage(redis_url: str | None, *, jobs: int, body_bytes: int) -> Iterator[Stage]:
    """Set the stage, and clear it when the block ends.

    Args:
        redis_url: An empty database of a Redis that runs, or None to start one.
        jobs: How many batches of recipients.
        body_bytes: The size of the email's HTML body, in bytes.

    Raises:
        DemoError: There is no Redis to be had, or its database holds something already.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slimjobs-demo-")))
        if redis_url is None:
            redis_url = stack.enter_context(run_redis_server())
        else:
            _require_empty(redis_url)
            stack.callback(clear_redis, redis_url)
        yield Stage(folder, redis_url, jobs, body_bytes)


def clear_redis(redis_url: str) -> None:
    """Delete the keys that the play wrote: RQ's, in a database that was empty before. Never flushes."""
    prefix = rq.Queue.redis_queue_namespace_prefix.partition(":queue:")[0]
    with Redis.from_url(redis_url) as connection:
        for key in connection.scan_iter(match=f"{prefix}:*", count=1000):
            connection.unlink(key)


def _require_empty(redis_url: str) -> None:
    hint = "Name an empty database of a Redis that runs, such as redis://localhost:6379/9, or leave --redis-url out."
    try:
        with Redis.from_url(redis_url) as connection:
            keys = connection.dbsize()
    except (RedisError, ValueError) as error:
        raise DemoError(f"--redis-url: {error}".rstrip("."), hint=hint) from None
    if keys:
        raise DemoError(
            f"--redis-url: this database is not empty ({keys} keys), and the demo never touches what is not its own",
            hint=hint,
        )
