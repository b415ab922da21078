"""ClickHouse, embedded or a server, through one client.

- ``chdb:///folder[?database=name]``: the embedded engine. One process at a time may have a folder open.
- ``http://user:password@host:port/database`` (or ``https``): a server, or the read-only front of ``callmeter up``.

Without a data source name the embedded engine in the data folder is meant: through the front of a running
``callmeter up`` if there is one (read-only), else opened here.
"""

from __future__ import annotations

import json
import logging
import os
import re
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

import clickhouse_connect
import urllib3
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, OperationalError, ProgrammingError

from streams.errors import CallmeterError, ClickHouseUnreachable
from streams.settings import Settings

DEFAULT_DATABASE = "callmeter"
DEFAULT_PORTS = {"http": 8123, "https": 8443}
EXAMPLE = "chdb:///folder or http(s)://user:password@host:port/database"
UNREADABLE = (
    f"CALLMETER_CLICKHOUSE_DSN cannot be read; it looks like {EXAMPLE}, with special characters of user and password "
    "written as %XX"
)
CONNECT_TIMEOUT_S = 5
ANSWER_TIMEOUT_S = 40

UNKNOWN_DATABASE = 81
# Errors that go by themselves: timeouts, networks, memory, too many parts or queries, read-only tables, keepers, stops.
PASSING = frozenset({3, 23, 74, 75, 76, 159, 198, 202, 209, 210, 225, 236, 241, 242, 243, 252, 279, 319, 394, 425, 999})
# As OpenSSL says it: "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to ... (_ssl.c:1006)".
TLS_FAILURE = re.compile(r"(?:\[SSL[^\]]*\] |SSL\w*Error\(\d+, ')([^\n\[]*?) \(_ssl\.c")
# Who may come in changes on the server's side; what the reason was is said by the server.
REFUSED_USER = frozenset({192, 193, 194, 516})


class ClickHouseAway(ClickHouseUnreachable):
    """ClickHouse does not answer now, and may later: waiting is right."""


class DatabaseMissing(ClickHouseUnreachable):
    """ClickHouse answers, but our database or its tables are not there yet."""


class ClickHouseRefused(CallmeterError):
    """ClickHouse answered with an error that waiting does not mend."""

    def __init__(self, message: str, code: int | None = None) -> None:
        """Keep ClickHouse's own number of the error, if it gave one."""
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Target:
    """What a data source name means.

    Attributes:
        scheme: ``chdb``, ``http`` or ``https``.
        folder: of the embedded engine; empty otherwise.
        host, port, user, password: of a server.
        database: the database's name.
        cafile, certfile, keyfile: with ``https``: certificates to trust, our own certificate, its key; empty: none.
        verify: with ``https``: whether the server has to prove who it is.
    """

    scheme: str
    database: str = DEFAULT_DATABASE
    folder: str = ""
    host: str = ""
    port: int = 0
    user: str = "default"
    password: str = field(default="", repr=False)
    cafile: str = ""
    certfile: str = ""
    keyfile: str = ""
    verify: bool = True

    def __str__(self) -> str:
        """The address without the password, as messages show it."""
        if self.scheme == "chdb":
            return f"chdb://{self.folder}"
        return f"{self.scheme}://{self.host}:{self.port}/{self.database}"


def parse_dsn(dsn: str) -> Target:
    """Read a data source name.

    Raises:
        ClickHouseUnreachable: it cannot be read. The message never shows the name: it may hold a password.
    """
    try:
        parts = urlsplit(dsn)
        port = parts.port
    except ValueError:
        raise ClickHouseUnreachable(UNREADABLE) from None
    if "@" in parts.path + parts.query + parts.fragment:
        # A password with a slash in it: what comes before that would be taken for the host, and be shown.
        raise ClickHouseUnreachable(UNREADABLE)
    if parts.scheme == "chdb":
        if parts.netloc or not parts.path.strip("/"):
            raise ClickHouseUnreachable("CALLMETER_CLICKHOUSE_DSN: chdb takes an absolute folder, as in chdb:///folder")
        database = parse_qs(parts.query).get("database", [DEFAULT_DATABASE])[0]
        return Target("chdb", database, folder=unquote(parts.path))
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise ClickHouseUnreachable(f"CALLMETER_CLICKHOUSE_DSN is not of the form {EXAMPLE}")
    return Target(
        parts.scheme,
        unquote(parts.path.strip("/")) or DEFAULT_DATABASE,
        host=parts.hostname,
        port=port or DEFAULT_PORTS[parts.scheme],
        user=unquote(parts.username or "default"),
        password=unquote(parts.password or ""),
    )


class Store:
    """One database. Calls block, and one `Store` serves one thread at a time.

    Every method may raise `ClickHouseAway` or `ClickHouseRefused`.
    """

    def __init__(self, target: Target, use_database: bool = True) -> None:
        """Connect.

        Args:
            target: where to.
            use_database: False before the database exists.

        Raises:
            ClickHouseAway: nothing listens, or it does not answer.
            DatabaseMissing: the database is not there.
            ClickHouseUnreachable: user or password are refused, or the folder cannot be opened.
        """
        self.target = target
        for library in ("clickhouse_connect", "urllib3"):
            # What they would say of a failure is in the error raised here.
            logging.getLogger(library).setLevel(logging.CRITICAL)
        try:
            self._client = _connect(target, target.database if use_database else None)
        except ClickHouseError as error:
            raise _translated(target, error) from None

    def __enter__(self) -> Self:
        """The store itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    @property
    def embedded(self) -> bool:
        """Whether this is the engine in our own process."""
        return self.target.scheme == "chdb"

    def another(self) -> Store:
        """A second connection to the same database, for another thread."""
        return Store(self.target)

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement that gives no rows."""
        try:
            self._client.command(sql, parameters=dict(parameters or {}))
        except ClickHouseError as error:
            raise _translated(self.target, error) from None

    def rows(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """The rows of a query, each a dictionary; times are aware and in UTC."""
        try:
            return list(self._client.query(sql, parameters=dict(parameters or {}), tz_mode="aware").named_results())
        except ClickHouseError as error:
            raise _translated(self.target, error) from None

    def value(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Any:
        """The only column of the only row of a query."""
        (row,) = self.rows(sql, parameters)
        (value,) = row.values()
        return value

    def insert(self, table: str, columns: Mapping[str, Sequence[Any]], types: Mapping[str, str]) -> None:
        """Insert rows given by column.

        Args:
            table: its name.
            columns: name to values, all of the same length, at least one row. Times are integer microseconds.
            types: ClickHouse type of each column.
        """
        try:
            self._client.insert(
                table,
                list(columns.values()),
                column_names=list(columns),
                column_type_names=[types[name] for name in columns],
                column_oriented=True,
                settings={"async_insert": 0},
            )
        except ClickHouseError as error:
            raise _translated(self.target, error) from None

    def close(self) -> None:
        """Disconnect. The embedded engine is let go with its last connection."""
        self._client.close()


def _connect(target: Target, database: str | None) -> Client:
    if target.scheme == "chdb":
        try:
            os.makedirs(target.folder, exist_ok=True)
        except OSError as error:
            raise ClickHouseUnreachable(
                f"the embedded ClickHouse cannot use {target.folder}: {error.strerror}"
            ) from None
        return clickhouse_connect.get_client(interface="chdb", path=target.folder, database=database)
    if not target.verify:
        # Somebody has said so in the settings; the library would say it again for each connection.
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    return clickhouse_connect.get_client(
        interface=target.scheme,
        host=target.host,
        port=target.port,
        username=target.user,
        password=target.password,
        database=database or "default",
        client_name="callmeter",
        autogenerate_session_id=False,
        connect_timeout=CONNECT_TIMEOUT_S,
        send_receive_timeout=ANSWER_TIMEOUT_S,
        query_retries=0,
        verify=target.verify,
        ca_cert=target.cafile or None,
        client_cert=target.certfile or None,
        client_cert_key=target.keyfile or None,
        # A certificate tells who we are where there is no password; else it only lets us in.
        tls_mode="strict" if target.certfile and target.password else None,
    )


def _translated(target: Target, error: ClickHouseError) -> CallmeterError:
    code = getattr(error, "code", None)
    detail = _first_line(error, target.password)
    if code == UNKNOWN_DATABASE:
        return DatabaseMissing(f"there is no database {target.database} at {target}; create it with: callmeter migrate")
    if code in REFUSED_USER:
        return ClickHouseUnreachable(
            f"ClickHouse at {target} refuses user {target.user!r} or its password; see CALLMETER_CLICKHOUSE_DSN"
        )
    if target.scheme == "chdb" and "create connection" in detail:
        return ClickHouseUnreachable(_why_not_open(target, detail))
    if code in PASSING or (code is None and not isinstance(error, ProgrammingError)):
        hint = "; is it running, and is CALLMETER_CLICKHOUSE_DSN right?" if isinstance(error, OperationalError) else ""
        return ClickHouseAway(f"ClickHouse does not answer at {target}: {detail}{hint}")
    return ClickHouseRefused(f"ClickHouse at {target}: {detail}", code)


def _why_not_open(target: Target, detail: str) -> str:
    if not os.access(target.folder, os.W_OK | os.X_OK):
        return f"the embedded ClickHouse cannot be opened: folder {target.folder} is not writable"
    if "different path" in detail:
        return f"the embedded ClickHouse cannot open {target.folder}: this process has another folder open already"
    return (
        f"the embedded ClickHouse in {target.folder} is in use by another process (one process a folder); "
        "stop that, or give it a server by CALLMETER_CLICKHOUSE_DSN"
    )


def _first_line(error: Exception, password: str) -> str:
    """What a person needs of an error: no second line, no stack of wrappers, no password."""
    text = str(error).strip()
    for reason in ("Connection refused", "timed out", "Name or service not known", "Temporary failure in name"):
        if reason in text:
            return reason.lower()
    if tls := TLS_FAILURE.search(text):
        return f"TLS fails: {tls[1]}; see the CALLMETER_CLICKHOUSE_SSL settings"
    line = text.splitlines()[0] if text else type(error).__name__
    return line.replace(password, "***") if password else line


def target_of(settings: Settings, write: bool = False) -> Target:
    """Where ClickHouse is, by the settings.

    Args:
        settings: checked settings.
        write: the caller wants to write.

    Raises:
        ClickHouseUnreachable: the name cannot be read; or the caller wants to write where a running ``callmeter up``
            has the engine.
    """
    if settings.clickhouse_dsn is not None:
        return replace(
            parse_dsn(settings.clickhouse_dsn.get_secret_value()),
            cafile=str(settings.clickhouse_ssl_cafile or ""),
            certfile=str(settings.clickhouse_ssl_certfile or ""),
            keyfile=str(settings.clickhouse_ssl_keyfile or ""),
            verify=settings.clickhouse_ssl_verify,
        )
    own = Target("chdb", folder=str(settings.folder / "clickhouse"))
    front = _front_of_another_process(settings.clickhouse_run_file)
    if front is None:
        return own
    if write:
        raise ClickHouseUnreachable(
            f"`callmeter up` has the embedded ClickHouse open and serves it read-only at {front}; its own sink writes. "
            "Stop it, or set CALLMETER_CLICKHOUSE_DSN"
        )
    return front


def open_store(settings: Settings, write: bool = False) -> Store:
    """Connect to the database that the settings name; see `target_of`.

    Raises:
        ClickHouseUnreachable: one clear line, without the password.
    """
    return Store(target_of(settings, write))


def _front_of_another_process(run_file: Path) -> Target | None:
    """The front of a ``callmeter up`` that runs, unless that is this process."""
    try:
        run = json.loads(run_file.read_text())
        if run["pid"] == os.getpid():
            return None
        with urllib.request.urlopen(run["url"].rsplit("/", 1)[0] + "/ping", timeout=CONNECT_TIMEOUT_S) as answer:
            return parse_dsn(run["url"]) if answer.read() == b"Ok.\n" else None
    except (OSError, ValueError, KeyError):
        return None
