"""Data source names, and one clear line for each way in which ClickHouse cannot be used."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sinks.clickhouse import (
    ClickHouseAway,
    ClickHouseRefused,
    DatabaseMissing,
    Store,
    Target,
    open_store,
    parse_dsn,
    target_of,
)
from streams.errors import ClickHouseUnreachable
from streams.settings import Settings
from tests.broker import ROOT
from tests.sinks.front import ClickHouse

SECRET = "pass:w0rd"


@pytest.mark.parametrize(
    ("dsn", "target"),
    [
        ("chdb:///var/data", Target("chdb", folder="/var/data")),
        ("chdb:///var/my%20data?database=other", Target("chdb", "other", folder="/var/my data")),
        ("http://host", Target("http", host="host", port=8123)),
        ("https://host/", Target("https", host="host", port=8443)),
        (
            "https://me:p%40ss%3A@ch.example.com:9443/usage",
            Target("https", "usage", host="ch.example.com", port=9443, user="me", password="p@ss:"),
        ),
        ("http://[::1]:81/x", Target("http", "x", host="::1", port=81)),
    ],
)
def test_a_data_source_name_is_read(dsn: str, target: Target) -> None:
    assert parse_dsn(dsn) == target


@pytest.mark.parametrize(
    "dsn",
    [
        "",
        "clickhouse",
        "/var/data",
        "chdb://",
        "chdb:///",
        "chdb://folder",
        "http://",
        f"postgres://u:{SECRET}@host/x",
        f"http://u:{SECRET}@host:port/x",
        f"http://u:{SECRET}@[host/x",
    ],
)
def test_a_wrong_data_source_name_is_one_line_without_the_password(dsn: str) -> None:
    with pytest.raises(ClickHouseUnreachable, match="CALLMETER_CLICKHOUSE_DSN") as caught:
        parse_dsn(dsn)
    assert_clear(caught.value)


def test_nothing_listening_is_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(ClickHouseAway, match=f"127.0.0.1:{port}/x: connection refused") as caught:
            Store(parse_dsn(f"http://u:{SECRET}@127.0.0.1:{port}/x"))
    assert_clear(caught.value)


def test_a_wrong_password_is_one_line(clickhouse: ClickHouse) -> None:
    with pytest.raises(ClickHouseUnreachable, match="refuses user 'callmeter' or its password") as caught:
        Store(parse_dsn(clickhouse.dsn("default", password=SECRET)))
    assert_clear(caught.value)
    assert not isinstance(caught.value, ClickHouseAway)


def test_a_missing_database_names_the_command(clickhouse: ClickHouse) -> None:
    with pytest.raises(DatabaseMissing, match=r"no database nowhere .* callmeter migrate") as caught:
        Store(parse_dsn(clickhouse.dsn("nowhere")))
    assert_clear(caught.value)


def test_a_folder_that_another_process_has_open_is_one_line(clickhouse: ClickHouse, tmp_path: Path) -> None:
    folder = tmp_path / "taken"
    holder = subprocess.Popen(
        [sys.executable, "-m", "tests.sinks.front", str(folder)], cwd=ROOT, stdin=-1, stdout=-1, text=True
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline()
        code = (
            "from sinks.clickhouse import Store, parse_dsn\n"
            "from streams.errors import ClickHouseUnreachable\n"
            f"try: Store(parse_dsn('chdb://{folder}'))\n"
            "except ClickHouseUnreachable as error: print(error)"
        )
        told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
        assert "in use by another process" in told.stdout, told.stderr
    finally:
        holder.kill()
        holder.communicate()


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ClickHouseUnreachable, match="cannot use"):
        Store(parse_dsn(f"chdb://{tmp_path}/file/folder"))


def test_a_bad_query_is_no_reason_to_wait(store: Store) -> None:
    with pytest.raises(ClickHouseRefused) as caught:
        store.rows("SELECT nothing FROM rated_calls")
    assert caught.value.code == 47
    assert_clear(caught.value)


def test_rows_have_exact_numbers_and_times_with_a_zone(store: Store) -> None:
    (row,) = store.rows(
        "SELECT 9007199254740993::Int64 AS micros, toDateTime64('2026-11-03 10:00:00.000001', 6, 'UTC') AS at,"
        " {text:String} AS text, {nothing:Nullable(Int64)} AS nothing",
        {"text": "it's\n\\ö", "nothing": None},
    )
    assert row["micros"] == 2**53 + 1
    assert row["at"].isoformat() == "2026-11-03T10:00:00.000001+00:00"
    assert (row["text"], row["nothing"]) == ("it's\n\\ö", None)


def test_without_a_name_the_engine_in_the_data_folder_is_meant(tmp_path: Path) -> None:
    settings = Settings(data_folder=tmp_path)
    assert target_of(settings) == Target("chdb", folder=str(tmp_path / "clickhouse"))
    settings.clickhouse_run_file.write_text("no JSON")
    assert target_of(settings).scheme == "chdb"


def test_a_run_file_of_a_dead_process_is_ignored(tmp_path: Path) -> None:
    settings = Settings(data_folder=tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/callmeter"
        settings.clickhouse_run_file.write_text(json.dumps({"url": url, "pid": 2**22}))
        assert target_of(settings, write=True).scheme == "chdb"


def test_while_the_engine_is_served_others_read_there_and_must_not_write(
    clickhouse: ClickHouse, tmp_path: Path, make_target: Callable[[str], Target]
) -> None:
    settings = Settings(data_folder=tmp_path)
    url = f"http://{clickhouse}/callmeter"
    settings.clickhouse_run_file.write_text(json.dumps({"url": url, "pid": os.getpid() + 1}))
    assert str(target_of(settings)) == url
    with pytest.raises(ClickHouseUnreachable, match="callmeter up"):
        open_store(settings, write=True)
    settings.clickhouse_run_file.write_text(json.dumps({"url": url, "pid": os.getpid()}))
    assert target_of(settings, write=True).scheme == "chdb"


def assert_clear(error: Exception) -> None:
    text = str(error)
    assert "\n" not in text
    assert SECRET not in text and "w0rd" not in text
