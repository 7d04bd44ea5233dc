"""The ledger's rows and keys, on fakeredis."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import pytest
import sample_app
from hypothesis import given
from hypothesis import strategies as st
from queue_samples import SUPPORT_FOLDER

import slimjobs
from slimjobs import Ledger, Limits, Queue
from slimjobs.entries import HOUR_KEY_PREFIX, TOTALS_KEY, Entry, hour_key, record
from slimjobs.ledger import HourRow, LedgerRow
from slimjobs.payload import Payload

if TYPE_CHECKING:
    from redis import Redis


def payload(size_bytes: int, *, is_warned: bool = False) -> Payload:
    data = b"x" * size_bytes
    return Payload("app.task", "app.task", data, data[: size_bytes // 2], None, 0, "", is_warned, Limits())


def entry(queue: str, size_bytes: int, task: str = "app.task") -> Entry:
    return dataclasses.replace(Entry.of_payload(queue, payload(size_bytes)), task=task)


@pytest.mark.parametrize(
    ("size_bytes", "bound"), [(1, 1), (2, 2), (3, 4), (4, 4), (5, 8), (1024, 1024), (1025, 2048), (65_536, 65_536)]
)
def test_a_size_is_counted_under_the_power_of_two_that_it_fits_into(size_bytes: int, bound: int) -> None:
    assert Entry.of_payload("q", payload(size_bytes)).counts[f"size_{bound}"] == 1


@given(st.integers(1, 2**30))
def test_no_size_is_counted_more_than_twice_too_high(size_bytes: int) -> None:
    fake = payload(0)
    fake.meta_bytes = size_bytes
    (name,) = (name for name in Entry.of_payload("q", fake).counts if name.startswith("size_"))
    bound = int(name.removeprefix("size_"))
    assert size_bytes <= bound < 2 * size_bytes


def test_entries_add_up_and_the_largest_is_kept(fake_redis: Redis) -> None:
    record(fake_redis, [entry("q", 10), entry("q", 300), entry("q", 20)])
    record(fake_redis, [entry("q", 30), entry("other", 5), Entry("q", "app.task", {"refused": 2, "missing": 3})])

    other, q = sorted(Ledger(fake_redis).totals(), key=lambda row: row.queue)
    assert q == LedgerRow(
        "q", "app.task", jobs=4, payload_bytes=360, stored_bytes=180, largest_bytes=300, refused=2, missing=3,
        sizes={16: 1, 32: 2, 512: 1},
    )  # fmt: skip
    assert other == LedgerRow("other", "app.task", 1, 5, 2, 5, sizes={8: 1})


def test_rows_come_with_the_most_bytes_first(fake_redis: Redis) -> None:
    record(fake_redis, [entry("a", 10), entry("b", 30), entry("c", 20)])

    assert [row.queue for row in Ledger(fake_redis).totals()] == ["b", "c", "a"]


def test_a_queue_may_have_colons_in_its_name(fake_redis: Redis) -> None:
    record(fake_redis, [entry("mail:high:eu", 10)])

    (row,) = Ledger(fake_redis).totals()
    assert (row.queue, row.task) == ("mail:high:eu", "app.task")


@pytest.mark.parametrize("name", ["straße", "two words", "100%", "a" * 300])
def test_names_come_back_as_they_were(fake_redis: Redis, name: str) -> None:
    record(fake_redis, [entry(name, 10, task=f"app.{name}")])

    (row,) = Ledger(fake_redis).totals()
    assert (row.queue, row.task, row.jobs) == (name, f"app.{name}", 1)


def test_an_empty_ledger_has_no_rows(fake_redis: Redis) -> None:
    assert Ledger(fake_redis).totals() == []
    assert Ledger(fake_redis).hours() == []


def test_a_row_of_an_hour_is_a_row_with_its_hour(fake_redis: Redis) -> None:
    record(fake_redis, [entry("q", 10)])

    (row,) = Ledger(fake_redis).hours()
    assert isinstance(row, HourRow)
    assert isinstance(row, LedgerRow)
    assert row.hour.tzinfo is timezone.utc
    assert (row.queue, row.jobs, row.sizes) == ("q", 1, {16: 1})


def test_the_keys_are_those_in_the_docs() -> None:
    assert TOTALS_KEY == "rq:slimjobs:totals"
    assert hour_key(datetime(2026, 11, 24, 3, tzinfo=timezone.utc)) == "rq:slimjobs:hour:2026112403"
    assert HOUR_KEY_PREFIX == "rq:slimjobs:hour:"


def test_a_refusal_is_written_by_the_next_read(fake_redis: Redis) -> None:
    queue = Queue("q", connection=fake_redis)
    with pytest.raises(slimjobs.PayloadTooLargeError):
        queue.enqueue(sample_app.record, "x" * 70_000)
    assert fake_redis.keys() == []

    (row,) = Ledger(fake_redis).totals()
    assert (row.jobs, row.refused) == (0, 1)
    assert Ledger(fake_redis).totals() == [row]


def test_fakeredis_without_lua_enqueues_all_the_same() -> None:
    code = (
        "import sys\n"
        "sys.modules['lupa'] = None\n"
        f"sys.path.append({str(SUPPORT_FOLDER)!r})\n"
        "import fakeredis, slimjobs, sample_app\n"
        "queue = slimjobs.Queue('q', connection=fakeredis.FakeRedis())\n"
        "queue.enqueue(sample_app.record, 1)\n"
        "queue.enqueue_many([queue.prepare_data(sample_app.record, (2,))])\n"
        "assert queue.count == 2\n"
        "assert slimjobs.Ledger(queue.connection).totals() == []\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
