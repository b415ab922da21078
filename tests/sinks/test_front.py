"""The front speaks ClickHouse's HTTP: curl, clickhouse-connect and Grafana's driver find what they expect."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import clickhouse_connect
import lz4.frame
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from sinks.clickhouse import Store, Target, target_of
from sinks.exactly_once import Appender
from sinks.front import serving
from sinks.migrate import migrate
from sinks.tables import TABLES
from streams.settings import Settings
from tests.sinks.story import alerts


@pytest.fixture(scope="module")
def embedded(engine: Path) -> Target:
    """The embedded engine with our tables."""
    target = Target("chdb", "served", folder=str(engine))
    migrate(target)
    return target


@pytest.fixture
async def url(embedded: Target, tmp_path: Path) -> AsyncIterator[str]:
    """Address of a front, with the database."""
    async with serving(embedded, tmp_path / "clickhouse.json") as address:
        yield address


@pytest.fixture
async def http(url: str) -> AsyncIterator[aiohttp.ClientSession]:
    """A plain client of the front, which decompresses nothing."""
    plain = {"Accept-Encoding": "identity"}
    async with aiohttp.ClientSession(url.rsplit("/", 1)[0], headers=plain, auto_decompress=False) as session:
        yield session


async def test_it_answers_pings(http: aiohttp.ClientSession) -> None:
    for path in ("/", "/ping", "/replicas_status"):
        async with http.get(path) as answer:
            assert (answer.status, await answer.text()) == (200, "Ok.\n")
    async with http.head("/ping") as answer:
        assert answer.status == 200


async def test_a_query_may_be_in_the_address_the_body_or_both(http: aiohttp.ClientSession) -> None:
    sql = "SELECT {x:UInt8} + 1 AS a FORMAT CSV"
    for params, body in (
        ({"query": sql}, b""),
        ({}, sql.encode()),
        ({"query": sql[:20]}, sql[20:].encode()),
        ({"query": sql.replace(" FORMAT CSV", ""), "default_format": "CSV"}, b""),
    ):
        async with http.post("/", params={**params, "param_x": "4"}, data=body) as answer:
            assert (answer.status, await answer.text()) == (200, "5\n")
            assert answer.headers["X-ClickHouse-Format"] == "CSV"
            assert answer.content_type == "text/csv"
    async with http.get("/", params={"query": "SELECT 1"}) as answer:
        assert await answer.text() == "1\n"
        assert json.loads(answer.headers["X-ClickHouse-Summary"])["read_rows"] == "1"
        assert {"X-ClickHouse-Query-Id", "X-ClickHouse-Timezone"} <= set(answer.headers)


async def test_bodies_and_answers_may_be_compressed(http: aiohttp.ClientSession) -> None:
    sql = b"SELECT toString(number) FROM numbers(1000)"
    expected = "".join(f"{number}\n" for number in range(1000)).encode()
    for encoding, compress, decompress in (
        ("gzip", gzip.compress, gzip.decompress),
        ("lz4", lz4.frame.compress, lz4.frame.decompress),
    ):
        headers = {"Content-Encoding": encoding, "Accept-Encoding": encoding}
        async with http.post("/", data=compress(sql), headers=headers) as answer:
            assert answer.headers["Content-Encoding"] == encoding
            assert decompress(await answer.read()) == expected
    two_frames = lz4.frame.compress(sql[:10]) + lz4.frame.compress(sql[10:])
    plain = {"enable_http_compression": "0"}
    async with http.post("/", data=two_frames, headers={"Content-Encoding": "lz4"}, params=plain) as answer:
        assert await answer.read() == expected


@pytest.mark.parametrize(
    ("sql", "status", "code", "name"),
    [
        ("SELECT * FROM nowhere", 404, "60", "UNKNOWN_TABLE"),
        ("SELECT (", 400, "62", "SYNTAX_ERROR"),
        ("SELECT unknown", 400, "47", "UNKNOWN_IDENTIFIER"),
        ("DROP TABLE alerts", 500, "164", "READONLY"),
        ("SELECT {x:UInt8}", 400, "456", "UNKNOWN_QUERY_PARAMETER"),
        ("SELECT throwIf(1)", 500, "395", "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO"),
    ],
)
async def test_errors_look_like_clickhouses(
    http: aiohttp.ClientSession, sql: str, status: int, code: str, name: str
) -> None:
    async with http.get("/", params={"query": sql, "database": "served"}) as answer:
        text = await answer.text()
        assert (answer.status, answer.headers["X-ClickHouse-Exception-Code"]) == (status, code)
        assert text.startswith(f"Code: {code}. DB::Exception: ") and f"({name})" in text


async def test_what_it_does_not_speak_it_says(http: aiohttp.ClientSession) -> None:
    for params, headers in (({"compress": "1"}, {}), ({"decompress": "1"}, {}), ({}, {"Content-Encoding": "br"})):
        async with http.post("/", params=params, headers=headers, data=b"SELECT 1") as answer:
            assert answer.status in (400, 501)
    async with http.post("/", data=b"SELECT '\xff'") as answer:
        assert answer.status == 400


async def test_it_answers_by_no_other_name_than_that_of_this_machine(http: aiohttp.ClientSession) -> None:
    for host, status in (("evil.example", 403), ("evil.example:80", 403), ("localhost", 200), ("[::1]:9", 200)):
        async with http.get("/", params={"query": "SELECT 1"}, headers={"Host": host}) as answer:
            assert answer.status == status


async def test_the_run_file_is_there_while_it_serves(embedded: Target, tmp_path: Path) -> None:
    settings = Settings(data_folder=tmp_path)
    async with serving(embedded, settings.clickhouse_run_file) as url:
        run = json.loads(settings.clickhouse_run_file.read_text())
        assert run == {"url": url, "pid": os.getpid()}
        settings.clickhouse_run_file.write_text(json.dumps({"url": url, "pid": 1}))
        assert str(await asyncio.to_thread(target_of, settings)) == url
    assert not settings.clickhouse_run_file.exists()


async def test_clickhouse_connect_reads_and_cannot_write(url: str) -> None:
    def use() -> None:
        client = clickhouse_connect.get_client(dsn=url)
        rows = client.query(
            "SELECT {t:String} AS text, toLowCardinality('x') AS low, [1, 2] AS list, NULL::Nullable(Int64) AS nothing",
            parameters={"t": "it's\n"},
        ).result_rows
        assert rows == [("it's\n", "x", [1, 2], None)]
        assert client.query("SELECT * FROM usage_by_day").result_rows == []
        assert client.query_df("SELECT number FROM numbers(3)")["number"].sum() == 3
        with client.query_row_block_stream("SELECT number FROM numbers(3)") as blocks:
            assert [row for block in blocks for row in block] == [(0,), (1,), (2,)]
        for write in ("INSERT INTO alerts (kafka_offset) VALUES (1)", "DROP TABLE alerts", "SELECT 1 INTO OUTFILE 'x'"):
            with pytest.raises(DatabaseError) as caught:
                client.command(write)
            assert caught.value.code == 164
        with pytest.raises(DatabaseError):
            client.insert("alerts", [[1]], column_names=["kafka_offset"])
        client.close()

    await asyncio.to_thread(use)


async def test_reading_goes_on_while_the_sink_inserts(url: str, embedded: Target, http: aiohttp.ClientSession) -> None:
    table = next(table for table in TABLES if table.name == "alerts")
    appender = Appender(Store(embedded), "alerts")
    counts = []

    async def read() -> None:
        while not counts or counts[-1] < 2_000:
            sql = "SELECT count() FROM served.alerts"
            async with http.get("/", params={"query": sql}) as answer:
                counts.append(int(await answer.text()))

    slow = asyncio.create_task(
        http.get("/", params={"query": "SELECT sleepEachRow(0.01) FROM numbers(300)"}).__aenter__()
    )
    reading = asyncio.create_task(read())
    position, beside_slow = None, 0
    for start in range(0, 2_000, 200):
        chunk = table.chunk(alerts(range(start, start + 200)))
        position = await asyncio.to_thread(appender.append, 0, chunk.columns, position)
        beside_slow += not slow.done()
    await asyncio.wait_for(reading, 60)
    assert beside_slow, "inserts waited for a slow reader"
    assert counts == sorted(counts)
    assert all(count % 200 == 0 for count in counts)
    (await slow).release()
    await asyncio.to_thread(appender.close)
