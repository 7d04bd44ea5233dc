"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import resource
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from slimjobs.backlog.whole_files import check_writable, write_whole
from slimjobs.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def small_files() -> Iterator[None]:
    """No file of this process may be larger than 1,000 bytes; pytest's own output may be one, and has no part in it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_new_file_can_be_read_by_those_who_may_read_others(tmp_path: Path) -> None:
    path, other = tmp_path / "page.html", tmp_path / "other"
    other.touch()
    check_writable(path)
    write_whole(path, "grün\n")
    assert path.read_bytes() == "grün\n".encode()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(other.stat().st_mode)
    assert sorted(tmp_path.iterdir()) == [other, path]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("before")
    (tmp_path / "link").symlink_to("page.html")
    write_whole(tmp_path / "link", "after")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "page.html").read_text() == "after"


def test_what_was_there_stays_when_the_disk_is_full(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("before")
    problem = r"page\.html cannot be written \(File too large\)"
    with pytest.raises(ConfigurationError, match=problem), small_files():
        write_whole(path, "x" * 100_000)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_told_of_before(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no/page\.html cannot be written \(No such file or directory\)"):
        check_writable(tmp_path / "no" / "page.html")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"cannot be written \(Not a directory\)"):
        check_writable(tmp_path / "file" / "page.html")
    with pytest.raises(ConfigurationError, match=r"cannot be written \(it is no file\)"):
        check_writable(tmp_path)


@pytest.mark.parametrize("write", [check_writable, lambda path: write_whole(path, "x")])
def test_a_device_is_not_replaced(write: object, tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    assert callable(write)
    with pytest.raises(ConfigurationError, match=r"pipe cannot be written \(it is no file\)"):
        write(path)
    assert stat.S_ISFIFO(path.stat().st_mode)
