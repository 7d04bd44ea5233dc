"""Jobs of any size are set aside, put back and rewritten in the memory of a small process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import queue_samples
from queue_samples import Letter
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from slimjobs.backlog import restoring
from slimjobs.backlog.pieces import LARGE_BYTES, read_field, write_field
from slimjobs.backlog.records import read_records
from slimjobs.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Iterator

    import rq
    from redis import Redis

# Three times this, as redis-py needs for a value, would be more than the memory that is allowed here.
HUGE_BYTES = 32 * 2**20
MOST_KIBIBYTES = 80 * 1024
REPORT = """
import sys
from pathlib import Path
from slimjobs.cli.main import main
assert main(sys.argv[1:]) == 0
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""


def peak_kibibytes(*arguments: Any) -> int:
    """Run a command, which has to succeed, and return the most memory that it took."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    command = [sys.executable, "-c", REPORT, *map(str, arguments)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return int(run.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is asked of Linux")
def test_a_huge_job_is_set_aside_and_put_back_in_little_memory(redis: Redis, queue: rq.Queue, tmp_path: Path) -> None:
    job = queue.enqueue(queue_samples.give, 1)
    redis.hset(job.key, mapping={"data": os.urandom(HUGE_BYTES), "exc_info": b"\r\n" * LARGE_BYTES})
    before, places = redis.hgetall(job.key), queue.job_ids
    assert peak_kibibytes("quarantine", "--queue", "mail", "--to", tmp_path / "jobs", "--apply") < MOST_KIBIBYTES
    assert not redis.exists(job.key)
    assert peak_kibibytes("restore", tmp_path / "jobs", "--apply") < MOST_KIBIBYTES
    assert (redis.hgetall(job.key), queue.job_ids) == (before, places)
    assert redis.ttl(job.key) == -1


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is asked of Linux")
def test_a_huge_job_is_rewritten_by_a_process_of_little_memory(redis: Redis, queue: rq.Queue) -> None:
    letter = Letter(1, os.urandom(HUGE_BYTES // 4).hex()).save()
    job = queue.enqueue(letter.shout)
    assert redis.hstrlen(job.key, "data") > HUGE_BYTES // 5
    arguments = ["--app", "queue_samples", "--trust-pickle", "--memory", 2**31, "--apply"]
    assert peak_kibibytes("repack", *arguments) < MOST_KIBIBYTES
    assert redis.hstrlen(job.key, "data") < 200


def test_large_and_small_fields_come_back_as_they_were(redis: Redis, queue: rq.Queue, tmp_path: Path) -> None:
    jobs = [queue.enqueue(queue_samples.give, number) for number in range(3)]
    redis.hset(jobs[0].key, "data", b"x" * LARGE_BYTES)
    redis.hset(jobs[1].key, mapping={"data": b"y" * (LARGE_BYTES + 1), "exc_info": b"z" * 2 * LARGE_BYTES})
    before = [redis.hgetall(job.key) for job in jobs]
    assert main(["quarantine", "--queue", "mail", "--to", str(tmp_path / "jobs"), "--apply"]) == 0
    large = [record["large"] for record in list(read_records(tmp_path / "jobs"))[1:]]
    assert [{name: part.size_bytes for name, part in parts.items()} for parts in large] == [
        {},
        {b"data": LARGE_BYTES + 1, b"exc_info": 2 * LARGE_BYTES},
        {},
    ]
    assert main(["restore", str(tmp_path / "jobs"), "--apply"]) == 0
    assert [redis.hgetall(job.key) for job in jobs] == before


def test_a_job_of_which_redis_evicts_a_part_on_its_way_stays_in_its_file(
    redis: Redis, queue: rq.Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job = queue.enqueue(queue_samples.give, 1)
    redis.hset(job.key, "data", b"x" * (LARGE_BYTES + 1))
    before = redis.hgetall(job.key)
    assert main(["quarantine", "--queue", "mail", "--to", str(tmp_path / "jobs"), "--apply"]) == 0

    def evict_and_write(connection: Redis, key: str, *arguments: Any) -> None:
        connection.delete(key)  # as volatile-ttl does with what expires first
        write_field(connection, key, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(restoring, "write_field", evict_and_write)
        assert main(["restore", str(tmp_path / "jobs"), "--apply"]) == 1
    assert "it was lost on its way, as where Redis is at its maxmemory; try again" in capsys.readouterr().out
    assert not redis.exists(job.key)
    assert main(["restore", str(tmp_path / "jobs"), "--apply"]) == 0
    assert (redis.hgetall(job.key), queue.job_ids) == (before, [job.id])


@pytest.mark.parametrize("cut", [2, 100_000, LARGE_BYTES])
def test_a_file_that_ends_in_a_large_field_gives_the_others(
    cut: int, redis: Redis, queue: rq.Queue, tmp_path: Path
) -> None:
    for size_bytes in (10, LARGE_BYTES + 1, LARGE_BYTES + 2):
        redis.hset(queue.enqueue(queue_samples.give, 1).key, "data", b"x" * size_bytes)
    assert main(["quarantine", "--queue", "mail", "--to", str(tmp_path / "jobs"), "--apply"]) == 0
    with (tmp_path / "jobs").open("r+b") as file:
        file.truncate(file.seek(0, os.SEEK_END) - cut)
    assert main(["restore", str(tmp_path / "jobs"), "--apply"]) == 1
    assert queue.count == 2


@pytest.mark.parametrize("damaged", ["body", "field", "second field"])
def test_damage_to_a_job_with_large_fields_loses_that_job_alone(
    damaged: str, redis: Redis, queue: rq.Queue, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = [queue.enqueue(queue_samples.give, number, job_id=f"job-{number}") for number in range(3)]
    for job in jobs:
        redis.hset(job.key, mapping={"data": b"x" * (LARGE_BYTES + 1), "exc_info": b"y" * (LARGE_BYTES + 2)})
    assert main(["quarantine", "--queue", "mail", "--to", str(tmp_path / "jobs"), "--apply"]) == 0
    data = bytearray((tmp_path / "jobs").read_bytes())
    begin = data.index(b"\xa2id\xa5job-1")
    data[begin + {"body": 0, "field": LARGE_BYTES // 2, "second field": 3 * LARGE_BYTES // 2}[damaged]] ^= 255
    (tmp_path / "jobs").write_bytes(data)
    assert main(["restore", str(tmp_path / "jobs"), "--apply"]) == 1
    assert "1 more were set aside into it" in capsys.readouterr().out
    assert queue.job_ids == ["job-0", "job-2"]


@pytest.mark.parametrize("size_bytes", [0, 1, 65_536, 200_000])
def test_a_field_passes_in_pieces_and_the_connection_goes_on(size_bytes: int, redis: Redis) -> None:
    value = os.urandom(size_bytes)
    write_field(redis, "hash", b"field", size_bytes, [value[:100], value[100:]])
    assert redis.hget("hash", "field") == value
    for is_read in (True, False):
        with read_field(redis, "hash", b"field") as (told_bytes, pieces):
            assert told_bytes == size_bytes
            assert not is_read or b"".join(pieces) == value
    with read_field(redis, "hash", b"other") as (told_bytes, pieces):
        assert (told_bytes, list(pieces)) == (0, [])
    assert redis.ping()


def test_a_field_of_what_is_no_hash_is_an_error_and_the_connection_goes_on(redis: Redis) -> None:
    redis.set("text", "x")
    with pytest.raises(RedisConnectionError, match="WRONGTYPE"), read_field(redis, "text", b"field"):
        pass
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        write_field(redis, "text", b"field", 1, [b"x"])
    assert redis.get("text") == b"x"


def test_what_breaks_off_leaves_nothing_behind(redis: Redis) -> None:
    write_field(redis, "hash", b"field", 200_000, [b"x" * 200_000])
    with pytest.raises(KeyError), read_field(redis, "hash", b"field"):
        raise KeyError

    def broken() -> Iterator[bytes]:
        yield b"x" * 10
        raise OSError(5, "no such luck")

    with pytest.raises(RedisConnectionError):
        write_field(redis, "other", b"field", 20, broken())
    assert redis.keys() == [b"hash"]
    assert redis.hlen("hash") == 1
