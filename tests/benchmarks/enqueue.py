"""What an enqueue costs, stock RQ with pickle against slimjobs: `python tests/benchmarks/enqueue.py`.

Both sides take turns in one run (A B A B), on a real Redis, and medians are compared: only the
ratios mean anything on a shared machine. Nothing here is a test.
"""

from __future__ import annotations

import argparse
import gc
import platform
import time
from contextlib import ExitStack
from importlib.metadata import version
from statistics import median
from typing import TYPE_CHECKING, Any

import rq
from redis import Redis
from rq.serializers import DefaultSerializer

import slimjobs
from slimjobs import codec
from slimjobs.demo.redis_server import run_redis_server

if TYPE_CHECKING:
    from collections.abc import Callable

TASK = "app.jobs.send_email"
ADDRESSES = [f"subscriber{number:05d}@mail{number % 7}.example" for number in range(100)]
SMALL_CALL: tuple[str, None, tuple[Any, ...], dict[str, Any]] = (
    TASK,
    None,
    (12345, ["alice@example.com", "bob@example.org"]),
    {},
)
LARGE_CALL: tuple[str, None, tuple[Any, ...], dict[str, Any]] = (TASK, None, (12345, ADDRESSES), {})


class Email:
    """A model with a 5 MB body."""

    def __init__(self, id: int) -> None:
        self.id = id
        self.body = "All work and no play makes Jack a dull boy. " * (5_000_000 // 44)


def compare(name: str, goal: str, sides: list[tuple[str, Callable[[], Any]]], rounds: int, calls: int = 1) -> None:
    """Time the sides in turn, and print their medians and the ratio of the last to the first."""
    times: list[list[float]] = [[] for _ in sides]
    for _, run in sides:
        run()
    gc.disable()
    try:
        for _ in range(rounds):
            for results, (_, run) in zip(times, sides, strict=True):
                began = time.perf_counter()
                for _ in range(calls):
                    run()
                results.append((time.perf_counter() - began) / calls)
    finally:
        gc.enable()
    medians = [median(results) for results in times]
    shown = "  ".join(f"{label} {format_time(value)}" for (label, _), value in zip(sides, medians, strict=True))
    print(f"{name:34}{shown:50}ratio {medians[-1] / medians[0]:8.4f}   (to reach: {goal})")


def format_time(seconds: float) -> str:
    """Return a time in the unit that fits."""
    return f"{seconds * 1e6:9.2f} us" if seconds < 1e-3 else f"{seconds * 1e3:9.2f} ms"


def compare_codecs(rounds: int) -> None:
    """Compare encoding and decoding a call, the weighing included."""
    encode = codec.Encoder().encode_call
    for label, call, goal in (("80 bytes", SMALL_CALL, "1.2"), ("100 addresses", LARGE_CALL, "1.0")):
        function, instance, args, kwargs = call
        pickled, slim = DefaultSerializer.dumps(call), encode(function, instance, args, kwargs, 65_536)
        assert slim is not None

        def stock_write(call: Any = call) -> None:
            DefaultSerializer.dumps(call)

        def stock_read(pickled: bytes = pickled) -> None:
            DefaultSerializer.loads(pickled)

        def slim_write(args: Any = args, kwargs: Any = kwargs) -> None:
            encode(TASK, None, args, kwargs, 65_536)

        def slim_read(slim: bytes = slim) -> None:
            codec.decode(slim)

        def stock_both(write: Callable[[], None] = stock_write, read: Callable[[], None] = stock_read) -> None:
            write()
            read()

        def slim_both(write: Callable[[], None] = slim_write, read: Callable[[], None] = slim_read) -> None:
            write()
            read()

        compare(f"encode, {label}", "-", [("pickle", stock_write), ("slim", slim_write)], rounds, 2000)
        compare(f"decode, {label}", "-", [("pickle", stock_read), ("slim", slim_read)], rounds, 2000)
        compare(f"encode and decode, {label}", goal, [("pickle", stock_both), ("slim", slim_both)], rounds, 2000)


def compare_queues(connection: Redis, rounds: int) -> None:
    """Compare the queues, on one connection."""
    stock = rq.Queue("stock", connection=connection)
    slim = slimjobs.Queue("slim", connection=connection)
    email = Email(12345)
    recipients = ["alice@example.com", "bob@example.org"]

    def many(queue: rq.Queue) -> None:
        queue.enqueue_many([queue.prepare_data(TASK, (number, recipients)) for number in range(300)])

    compare(
        "enqueue, an id and two addresses",
        "0.70",
        [
            ("stock", lambda: stock.enqueue(TASK, 12345, recipients)),
            ("slim", lambda: slim.enqueue(TASK, 12345, recipients)),
        ],
        rounds,
        100,
    )
    connection.flushdb()
    compare("enqueue_many, 300", "-", [("stock", lambda: many(stock)), ("slim", lambda: many(slim))], rounds)
    connection.flushdb()
    compare(
        "enqueue, a 5 MB model",
        "-",
        [
            ("stock", lambda: stock.enqueue(TASK, email, recipients)),
            ("slim", lambda: slim.enqueue(TASK, email, recipients)),
        ],
        5,
    )
    connection.flushdb()
    compare(
        "enqueue, slim: an id, a 5 MB model",
        "about 1",
        [
            ("id", lambda: slim.enqueue(TASK, 12345, recipients)),
            ("model", lambda: slim.enqueue(TASK, email, recipients)),
        ],
        rounds,
        100,
    )
    connection.flushdb()


def main() -> None:
    """Run all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--redis-url", help="an empty database of a Redis; default: a private redis-server")
    parser.add_argument("--rounds", type=int, default=31, help="how often each side takes its turn (default: 31)")
    options = parser.parse_args()
    versions = ", ".join(f"{name} {version(name)}" for name in ("rq", "redis", "msgpack", "slimjobs"))
    print(f"Python {platform.python_version()}, {versions}; {platform.machine()}, {options.rounds} rounds, medians")
    slimjobs.register(Email, load=Email)
    with ExitStack() as stack:
        connection = Redis.from_url(options.redis_url or stack.enter_context(run_redis_server()))
        if connection.dbsize():
            parser.error("the database is not empty, and would be flushed")
        compare_codecs(options.rounds)
        compare_queues(connection, options.rounds)


if __name__ == "__main__":
    main()
