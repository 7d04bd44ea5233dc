from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import pytest
from redis.exceptions import ResponseError

from slimjobs.cli.connecting import add_redis_url, connect, explain, name_of

if TYPE_CHECKING:
    from redis import Redis


def database_of(*argv: str) -> object:
    parser = argparse.ArgumentParser(prog="slimjobs thing")
    add_redis_url(parser)
    kwargs = connect(parser.parse_args(argv)).connection_pool.connection_kwargs
    return f"{kwargs['host']}:{kwargs['port']}/{kwargs['db']}"


def test_the_option_goes_before_the_environment_and_that_before_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("REDIS_URL", "RQ_REDIS_URL"):
        monkeypatch.delenv(variable, raising=False)
    assert database_of() == "localhost:6379/0"
    monkeypatch.setenv("RQ_REDIS_URL", "redis://elsewhere:6380/2")
    assert database_of() == "elsewhere:6380/2"
    monkeypatch.setenv("REDIS_URL", "redis://elsewhere:6380/3")
    assert database_of() == "elsewhere:6380/3"
    for option in ("--redis-url", "--url", "-u"):
        assert database_of(option, "redis://there:6381/4") == "there:6381/4"


@pytest.mark.parametrize("url", ["localhost:6379", "redis://me:secret@host:port/0", "redis://me:secret@host:99999/0"])
def test_a_url_that_cannot_be_read_is_a_wrong_argument_and_not_shown(
    url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit, match="2"):
        database_of("-u", url)
    assert "slimjobs thing: error: --redis-url: " in (shown := capsys.readouterr().err)
    assert "secret" not in shown
    monkeypatch.setenv("REDIS_URL", url)
    with pytest.raises(SystemExit, match="2"):
        database_of()
    assert "error: REDIS_URL: " in capsys.readouterr().err


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost/0?foo=1",
        "redis://localhost/0?ssl=1",
        "redis://localhost/0?encoding=klingon",
        "redis://localhost/0?connection_class=x",
        "redis://a..b/0",
    ],
)
def test_a_url_that_no_connection_can_be_made_of_is_a_wrong_argument(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        database_of("-u", url)
    assert "slimjobs thing: error: --redis-url: " in capsys.readouterr().err


def test_what_redis_gives_are_bytes_whatever_the_url_says(redis_url: str) -> None:
    parser = argparse.ArgumentParser()
    add_redis_url(parser)
    connection = connect(parser.parse_args(["-u", f"{redis_url}?decode_responses=True&max_connections=1"]))
    assert connection.echo("x") == b"x"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("redis://me:secret@there:6381/4", "there:6381, database 4"),
        ("redis://there?password=secret&db=2", "there:6379, database 2"),
        ("rediss://:secret@there", "there:6379, database 0"),
        ("unix://me:secret@/run/redis.sock?db=3", "/run/redis.sock, database 3"),
    ],
)
def test_a_connection_is_called_by_its_place_without_the_password(url: str, name: str) -> None:
    parser = argparse.ArgumentParser()
    add_redis_url(parser)
    assert name_of(connect(parser.parse_args(["-u", url]))) == name


def test_what_redis_refuses_is_told_of_without_what_it_was_sent(redis: Redis) -> None:
    redis.set("text", "1")
    with redis.pipeline() as pipeline:
        pipeline.hset("text", "data", "secret of pipeline caused error: it")
        with pytest.raises(ResponseError) as caught:
            pipeline.execute()

    assert "secret" in str(caught.value)
    assert explain(caught.value).startswith("WRONGTYPE")
