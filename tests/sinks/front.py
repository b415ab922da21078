"""A writable ClickHouse over HTTP for tests: the embedded engine in a process of its own, behind the front of sinks/.

No ClickHouse server can be had where these tests run. The HTTP is that of `sinks.front`, which the product serves
read-only; only what answers behind it is different here.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import chdb
from aiohttp import web
from aiohttp.typedefs import Handler

from sinks.front import Front
from sinks.read_only import Answer, EngineError, Query, format_of
from tests.broker import ROOT

# Names in the address that are no settings of the engine.
TRANSPORT = {
    "buffer_size",
    "client_protocol_version",
    "compress",
    "enable_http_compression",
    "http_headers_progress_interval_ms",
    "send_progress_in_http_headers",
    "session_check",
    "session_id",
    "session_timeout",
    "wait_end_of_query",
}
INSERT_WITH_ROWS = re.compile(rb"\s*(INSERT\s+INTO\s.*?)\s*FORMAT\s+(\w+)[ ;]*\n?", re.IGNORECASE | re.DOTALL)


class WritableEngine:
    """Does whatever it is told."""

    def __init__(self, folder: Path) -> None:
        self._folder = os.path.realpath(folder)
        self._kept = chdb.connect(self._folder)

    def run(self, query: Query) -> Answer:
        connection = chdb.connect(self._folder)
        try:
            if query.database:
                connection.query(f"USE `{query.database}`")
            for name, value in query.settings.items():
                if name not in TRANSPORT:
                    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
                    connection.query(f"SET {name} = '{escaped}'")
            whole = b"\n".join(filter(None, (query.sql.encode(), query.data)))
            with_rows = INSERT_WITH_ROWS.match(whole)
            if with_rows and with_rows.end() < len(whole):
                return _insert(connection, with_rows[1].decode(), whole[with_rows.end() :], with_rows[2].decode())
            sql = whole.decode()
            result = connection.query(sql, query.format, params=dict(query.parameters))
            return Answer(result.bytes() or b"", format_of(sql) or query.format, {"written_rows": "0"})
        except RuntimeError as error:
            raise EngineError(str(error)) from None
        finally:
            connection.close()


def _insert(connection: chdb.Connection, insert: str, rows: bytes, form: str) -> Answer:
    with tempfile.NamedTemporaryFile() as file:
        file.write(rows)
        file.flush()
        connection.query(f"{insert} FROM INFILE '{file.name}' FORMAT {form}", "TabSeparated")
    return Answer(b"", form, {})


@web.middleware
async def check_password(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuses all but user ``callmeter`` with the password of the environment, if that sets one."""
    wanted = os.environ.get("FRONT_PASSWORD")
    basic = "Basic " + base64.b64encode(f"callmeter:{wanted}".encode()).decode()
    if wanted and request.path == "/" and request.headers.get("Authorization") != basic:
        text = "Code: 516. DB::Exception: callmeter: Authentication failed. (AUTHENTICATION_FAILED)\n"
        return web.Response(status=403, text=text, headers={"X-ClickHouse-Exception-Code": "516"})
    return await handler(request)


class WritableFront(Front):
    """The product's HTTP, with a password where a test wants one."""

    middlewares = (*Front.middlewares, check_password)


class ClickHouse(str):
    """Its address, ``host:port``; it can be taken away and brought back."""

    process: subprocess.Popen[str]

    def dsn(self, database: str, user: str = "callmeter", password: str = "secret") -> str:
        """A data source name for one of its databases."""
        return f"http://{user}:{password}@{self}/{database}"

    def go_away(self) -> None:
        """Refuse connections from now on; the engine lives on."""
        self._tell("away")

    def come_back(self) -> None:
        """Listen again, on the same port."""
        self._tell("back")

    def _tell(self, word: str) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        print(word, file=self.process.stdin, flush=True)
        assert self.process.stdout.readline().strip() == word


@contextmanager
def clickhouse_front(folder: Path, password: str = "") -> Iterator[ClickHouse]:
    """Runs a writable ClickHouse on a free port of this machine, with its data in the folder."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.sinks.front", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "FRONT_PASSWORD": password},
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address, "the front did not start"
        front = ClickHouse(address)
        front.process = process
        yield front
    finally:
        process.kill()
        process.communicate()


async def _serve(folder: Path) -> None:
    engine = WritableEngine(folder)
    front = WritableFront(engine)
    address = (await front.start()).removeprefix("http://")
    print(address, flush=True)
    while word := (await asyncio.to_thread(sys.stdin.readline)).strip():
        if word == "away":
            await front.stop()
        else:
            front = WritableFront(engine)
            await front.start(int(address.rpartition(":")[2]))
        print(word, flush=True)


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
