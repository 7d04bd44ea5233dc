"""Rows are told by the keys that find them, in few queries, whatever the database takes for the same key."""

from __future__ import annotations

import sqlite3
import unicodedata
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimjobs.orm.matching import matched

if TYPE_CHECKING:
    from collections.abc import Iterable


def plain(text: str) -> str:
    """Return what the collation compares: without case, accents and blanks at the end."""
    return unicodedata.normalize("NFD", text).encode("ascii", "ignore").decode().lower().rstrip()


class Table:
    """A table of one column in SQLite, and how often it was asked."""

    def __init__(self, keys: Iterable[str], collation: str = "plain") -> None:
        self.queries = 0
        self._database = sqlite3.connect(":memory:")
        self._database.create_collation("plain", lambda a, b: (plain(a) > plain(b)) - (plain(a) < plain(b)))
        self._database.execute(f"CREATE TABLE rows (key TEXT COLLATE {collation} PRIMARY KEY)")
        self._database.executemany("INSERT OR IGNORE INTO rows VALUES (?)", [(key,) for key in keys])

    def ask(self, keys: list[str]) -> dict[str, list[str]]:
        self.queries += 1
        marks = ", ".join("?" * len(keys))
        return {key: [key] for (key,) in self._database.execute(f"SELECT key FROM rows WHERE key IN ({marks})", keys)}

    def delete_all(self) -> None:
        self._database.execute("DELETE FROM rows")

    def close(self) -> None:
        self._database.close()


texts = st.builds(str.__add__, st.text("aAeEéÉ", min_size=1, max_size=3), st.sampled_from(["", " "]))


@given(st.lists(texts, max_size=40), st.lists(texts, min_size=1, max_size=40, unique=True))
def test_each_key_finds_what_it_finds_alone(stored: list[str], keys: list[str]) -> None:
    table = Table(stored)
    found = matched(keys, table.ask)
    alone = {key: list(table.ask([key])) for key in keys}
    table.close()

    assert {key: found.get(key, []) for key in keys} == alone
    assert len({id(row) for row in found.values()}) == len({row[0] for row in found.values()})


USERS = [f"User{number}@Example.org" for number in range(3000)]
GONE = [f"gone{number}@example.org" for number in range(2999)]


@pytest.mark.parametrize(
    ("keys", "most_queries"),
    [
        (USERS, 1),
        ([user.lower() for user in USERS], 20),
        ([user.lower() for user in USERS[:1500]] + [user.upper() for user in USERS[:1500]], 40),
        ([*GONE, USERS[0].lower()], 20),
        ([*USERS[:1500], *GONE[:1500]], 2),
        ([user.lower() for user in USERS[:6]], 8),
    ],
    ids=["as they are", "lower case", "lower and upper case", "one is left", "half of them", "few"],
)
def test_many_keys_take_few_queries(keys: list[str], most_queries: int) -> None:
    table = Table(USERS, "NOCASE")
    found = matched(keys, table.ask)
    table.close()

    assert [found[key][0] for key in keys if key in found] == [
        USERS[int(key.lower().removeprefix("user").partition("@")[0])] for key in keys if key not in GONE
    ]
    assert table.queries <= most_queries


@pytest.mark.parametrize("others", [0, 3, 30])
def test_a_key_that_finds_two_rows_has_neither(others: int) -> None:
    keys = ["ab", "c", *GONE[:others]]

    def ask(some: list[str]) -> dict[str, list[str]]:
        two = ["Ab", "aB"] if "ab" in some else []
        return {key: [key] for key in (*two, *("c" for key in some if key == "c"))}

    found = matched(keys, ask)
    assert [key for key in keys if key in found] == ["c"]


@pytest.mark.parametrize("queries", range(1, 12))
def test_a_row_that_is_deleted_meanwhile_is_given_to_no_other_key(queries: int) -> None:
    table = Table(["e"])
    keys = ["gone 0", "é", "gone 1", "gone 2", "è", "gone 3", "gone 4", "gone 5"]

    def ask(some: list[str]) -> dict[str, list[str]]:
        if table.queries == queries:
            table.delete_all()
        return table.ask(some)

    found = matched(keys, ask)
    table.close()

    assert not [key for key in keys if key.startswith("gone") and key in found]
