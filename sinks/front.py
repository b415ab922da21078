"""The embedded engine behind ClickHouse's HTTP interface, on loopback and read-only.

One process has the engine open, ``callmeter up``. Its sink writes; everybody else, in other processes, reads here: our
own commands, a notebook with clickhouse-connect, Grafana, curl. What a query may do is decided by `sinks.read_only`;
this module only speaks HTTP.
"""

from __future__ import annotations

import asyncio
import json
import os
import uuid
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import lz4.frame
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from sinks.clickhouse import DEFAULT_DATABASE, Target
from sinks.read_only import DEFAULT_FORMAT, Answer, EngineError, Query, ReadOnlyEngine

HOST = "127.0.0.1"
# Names by which a client on this machine may ask; a page of some other site that had its name point here may not.
LOCAL_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})
LARGEST_REQUEST = 64 << 20
# Queries at the same time; others wait.
THREADS = 4

# Of the interface itself; every other name in the address is a setting.
OWN_NAMES = frozenset({"query", "database", "default_format", "user", "password", "query_id", "quota_key", "role"})
CONTENT_TYPES = {
    "JSON": "application/json; charset=UTF-8",
    "JSONCompact": "application/json; charset=UTF-8",
    "JSONEachRow": "application/x-ndjson; charset=UTF-8",
    "TabSeparated": "text/tab-separated-values; charset=UTF-8",
    "TabSeparatedWithNames": "text/tab-separated-values; charset=UTF-8",
    "CSV": "text/csv; charset=UTF-8; header=absent",
    "CSVWithNames": "text/csv; charset=UTF-8; header=present",
    "Native": "application/octet-stream",
}
# As ClickHouse answers them; every other error is 500.
STATUS_OF = {
    **dict.fromkeys((6, 27, 36, 41, 42, 43, 44, 47, 53, 62, 70, 72, 456, 457), 400),
    **dict.fromkeys((194, 516), 401),
    **dict.fromkeys((291, 497), 403),
    **dict.fromkeys((46, 60, 81), 404),
    159: 408,
    48: 501,
}


class Engine(Protocol):
    """Whatever answers queries; the one there is is `ReadOnlyEngine`. Tests have one that writes."""

    def run(self, query: Query) -> Answer:
        """Answer a query, or raise EngineError. Blocks; is called from several threads."""


@web.middleware
async def only_local(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse requests by a name that is not one of this machine: pages of other sites, whose names point here."""
    name = request.host if request.host.endswith("]") else request.host.rsplit(":", 1)[0]
    if name.lower() not in LOCAL_NAMES:
        return web.Response(status=403, text="Only for clients on this machine, by the name localhost or 127.0.0.1\n")
    return await handler(request)


class Front:
    """An HTTP server in front of an engine of this process.

    Attributes:
        middlewares: what a request passes before it is answered.
    """

    middlewares: tuple[Middleware, ...] = (only_local,)

    def __init__(self, engine: Engine) -> None:
        """Make a front that does not listen yet."""
        self._engine = engine
        self._threads = ThreadPoolExecutor(THREADS, "front")
        self._runner: web.AppRunner | None = None

    async def start(self, port: int = 0) -> str:
        """Listen on loopback.

        Args:
            port: 0 for any free one.

        Returns:
            the address, without a database.
        """
        app = web.Application(client_max_size=LARGEST_REQUEST, middlewares=self.middlewares)
        app.router.add_route("*", "/", self._query)
        app.router.add_get("/ping", _ok)
        app.router.add_get("/replicas_status", _ok)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, port).start()
        return f"http://{HOST}:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Listen no more; queries in hand are let go."""
        if self._runner is not None:
            await self._runner.cleanup()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _query(self, request: web.Request) -> web.Response:
        query_id = request.query.get("query_id") or str(uuid.uuid4())
        headers = {"X-ClickHouse-Query-Id": query_id, "X-ClickHouse-Server-Display-Name": "callmeter"}
        try:
            query = await _read(request)
            if request.method in ("GET", "HEAD") and not query.sql and not query.data:
                return await _ok(request)
            loop = asyncio.get_running_loop()
            answer = await loop.run_in_executor(self._threads, self._engine.run, query)
        except EngineError as error:
            headers["X-ClickHouse-Exception-Code"] = str(error.code)
            return web.Response(status=STATUS_OF.get(error.code, 500), text=f"{error}\n", headers=headers)
        headers["X-ClickHouse-Format"] = answer.format
        headers["X-ClickHouse-Timezone"] = "UTC"
        headers["X-ClickHouse-Summary"] = json.dumps(dict(answer.summary))
        headers["Content-Type"] = CONTENT_TYPES.get(answer.format, "text/plain; charset=UTF-8")
        body = answer.body
        if request.query.get("enable_http_compression", "1") != "0" and (encoding := _wanted_encoding(request)):
            headers["Content-Encoding"] = encoding
            body = await loop.run_in_executor(self._threads, ENCODE[encoding], body)
        return web.Response(body=body, headers=headers)


@asynccontextmanager
async def serving(target: Target, run_file: Path, port: int = 0) -> AsyncIterator[str]:
    """Serve the embedded engine of this process, and say so in the run file, where other commands look.

    Args:
        target: the engine; a `Store` of it must stay open for as long.
        run_file: as the settings name it; removed at the end.
        port: 0 for any free one.

    Returns:
        the address with the database, as a data source name.
    """
    front = Front(ReadOnlyEngine(target.folder))
    url = f"{await front.start(port)}/{target.database or DEFAULT_DATABASE}"
    try:
        new = run_file.with_suffix(".new")
        new.write_text(json.dumps({"url": url, "pid": os.getpid()}))
        new.replace(run_file)
        yield url
    finally:
        run_file.unlink(missing_ok=True)
        await front.stop()


async def _ok(request: web.Request) -> web.Response:
    return web.Response(text="Ok.\n")


async def _read(request: web.Request) -> Query:
    """A request as a query: the address may hold the statement, or its beginning; the body the rest, or rows."""
    address = request.query
    if address.get("decompress") == "1" or address.get("compress") == "1":
        raise _not_spoken("compress=1 and decompress=1 are not spoken here; use enable_http_compression=1")
    encoding = request.headers.get("Content-Encoding", "")
    body = await request.read()
    if encoding == "lz4":
        body = _from_lz4(body)
    elif encoding not in ("", "identity", "gzip", "deflate"):
        raise _not_spoken(f"Content-Encoding {encoding} is not spoken here; use gzip, deflate or lz4")
    names = address.keys() - OWN_NAMES
    return Query(
        address.get("query", ""),
        body,
        address.get("database", "") or request.headers.get("X-ClickHouse-Database", ""),
        address.get("default_format", "") or request.headers.get("X-ClickHouse-Format", DEFAULT_FORMAT),
        {name.removeprefix("param_"): address[name] for name in names if name.startswith("param_")},
        {name: address[name] for name in names if not name.startswith("param_")},
    )


def _from_lz4(body: bytes) -> bytes:
    """Clients send one frame after the other."""
    parts = []
    while body:
        frame = lz4.frame.LZ4FrameDecompressor()
        try:
            parts.append(frame.decompress(body))
        except RuntimeError as error:
            raise _not_spoken(f"the body is no lz4: {error}") from None
        body = frame.unused_data or b""
    return b"".join(parts)


def _not_spoken(why: str) -> EngineError:
    return EngineError(f"Code: 48. DB::Exception: {why}. (NOT_IMPLEMENTED)")


def _gzip(body: bytes) -> bytes:
    compressor = zlib.compressobj(level=1, wbits=31)
    return compressor.compress(body) + compressor.flush()


ENCODE: Mapping[str, Callable[[bytes], bytes]] = {"lz4": lz4.frame.compress, "gzip": _gzip, "deflate": zlib.compress}


def _wanted_encoding(request: web.Request) -> str | None:
    """The first of our encodings that the client takes."""
    taken = {part.split(";")[0].strip() for part in request.headers.get("Accept-Encoding", "").split(",")}
    return next((encoding for encoding in ENCODE if encoding in taken), None)
