"""Queries on the embedded engine that can only read.

Each runs on a connection of its own for which the engine itself was told ``readonly = 1``: it refuses to write, to
change settings, and to read from files, addresses and other servers. What it lets through all the same is refused here:

- ``INTO OUTFILE``: the client's part of the engine writes that file;
- the functions ``file`` (reads any file) and ``Python`` (reads variables of this process);
- ``DESCRIBE url(...)`` and the like, which connect to learn the columns: table functions are refused but for a few;
- ``KILL QUERY``, which would end the sink's inserts.

They are looked for in what the engine's own parser makes of the query, and exactly that is run.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Set
from typing import NamedTuple

import chdb

# What may begin a statement. SET and USE would do no harm, but are pointless on a connection that is used once.
READING = frozenset({"SELECT", "WITH", "SHOW", "DESCRIBE", "EXPLAIN", "EXISTS"})
# Functions, wherever they are named: they can be called without parentheses, as in `arrayMap(file, ...)`.
FORBIDDEN = frozenset({"file", "python"})
# Table functions that touch nothing outside of the database. All others are refused where they are called.
HARMLESS_TABLES = frozenset(
    {"numbers", "numbers_mt", "zeros", "zeros_mt", "primes", "generateSeries", "generate_series", "generateRandom"}
    | {"values", "SQLStandardValues", "null", "view", "merge", "format"}
)
# A query may take this much of what the sink needs as well.
LIMITS = {
    "max_execution_time": "60",
    "timeout_overflow_mode": "throw",
    "max_memory_usage": str(1 << 30),
    "max_result_bytes": str(256 << 20),
    "max_threads": str(max(1, (os.cpu_count() or 1) // 2)),
    # Older drivers do not know the type on the wire.
    "low_cardinality_allow_in_native_format": "0",
}
# Settings that a reader may choose: how the answer is written. All others are ignored.
CHOSEN = re.compile(r"output_format_\w+|date_time_output_format|session_timezone|limit|offset|extremes")

SYNTAX_ERROR = 62
READONLY = 164
DEFAULT_FORMAT = "TabSeparated"

_TOKEN = re.compile(r"'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`|\"(?:[^\"\\]|\\.)*\"|\w+|[^\s\w]", re.DOTALL)
_IDENTIFIER_PARAMETER = re.compile(r"\{(\w+)\s*:\s*Identifier\}")
_CODE = re.compile(r"Code: (\d+)\.")


class Query(NamedTuple):
    """One request to the engine.

    Attributes:
        sql: the statement, its beginning, or nothing.
        data: the statement, the rest of it, the rows of an insert, or nothing.
        database: for names without one; empty: the engine's default.
        format: of the answer, unless the statement says one.
        parameters: of ``{name:Type}`` in the statement, as ClickHouse's HTTP interface takes them.
        settings: asked for by the caller.
    """

    sql: str
    data: bytes
    database: str
    format: str
    parameters: Mapping[str, str]
    settings: Mapping[str, str]


class Answer(NamedTuple):
    """What the engine says: rows in some format, and ClickHouse's summary of the work."""

    body: bytes
    format: str
    summary: Mapping[str, str]


class EngineError(Exception):
    """The engine, or this module, refuses a query. ``code`` is ClickHouse's number, the text begins with it."""

    def __init__(self, message: str) -> None:
        """Take the number from the message, as ClickHouse writes it."""
        found = _CODE.search(message)
        super().__init__(message[found.start() :].strip() if found else message.strip())
        self.code = int(found[1]) if found else 1002


class ReadOnlyEngine:
    """Runs queries on the engine that this process has open in a folder."""

    def __init__(self, folder: str) -> None:
        """Look at a folder whose engine is open here."""
        self._folder = os.path.realpath(folder)
        self._outside_names: frozenset[str] = frozenset()

    def _outside(self, connection: chdb.Connection) -> frozenset[str]:
        """Table functions of this engine that reach outside of it, in lower case."""
        if not self._outside_names:
            listed = connection.query("SELECT name FROM system.table_functions", "TabSeparated").bytes().decode()
            harmless = {name.lower() for name in HARMLESS_TABLES}
            self._outside_names = frozenset(name.lower() for name in listed.split()) - harmless
        return self._outside_names

    def run(self, query: Query) -> Answer:
        """Run one query; blocks. Several may run at the same time, in threads.

        Raises:
            EngineError: it is refused or fails.
        """
        connection = chdb.connect(self._folder)
        try:
            whole = "\n".join(filter(None, (query.sql, query.data.decode())))
            sql = checked(_parsed(connection, whole), query.parameters, self._outside(connection))
            if query.database:
                connection.query(f"USE {_quoted(query.database, '`')}")
            chosen = {name: value for name, value in query.settings.items() if CHOSEN.fullmatch(name)}
            settings = {**chosen, **LIMITS, "readonly": "1"}
            connection.query("SET " + ", ".join(f"{name} = {_quoted(value)}" for name, value in settings.items()))
            result = connection.query(sql, query.format, params=dict(query.parameters))
            read = {"read_rows": str(result.rows_read()), "read_bytes": str(result.bytes_read())}
            return Answer(result.bytes() or b"", format_of(sql) or query.format, read)
        except UnicodeDecodeError:
            raise EngineError(f"Code: {SYNTAX_ERROR}. DB::Exception: The query is not UTF-8. (SYNTAX_ERROR)") from None
        except RuntimeError as error:
            raise EngineError(str(error)) from None
        finally:
            connection.close()


def checked(sql: str, parameters: Mapping[str, str], outside: Set[str]) -> str:
    """The statement, if it can only read.

    Args:
        sql: as the engine's parser writes it.
        parameters: values of its parameters.
        outside: functions that must not be called, in lower case.

    Raises:
        EngineError: it could do more.
    """
    previous = first = ""
    for token in _TOKEN.findall(sql):
        word = token.upper()
        if not first and token != "(":
            first = word
            if first not in READING:
                raise _refused(f"{first} is refused")
        if previous == "INTO" and word == "OUTFILE":
            raise _refused("INTO OUTFILE is refused")
        _check_name(token)
        if token == "(" and previous.strip('`"').lower() in outside:
            raise _refused(f"table function {previous.lower()} is refused")
        previous = word
    for name in _IDENTIFIER_PARAMETER.findall(sql):
        _check_name(parameters.get(name, ""))
    return sql


def _check_name(token: str) -> None:
    if (name := token.strip('`"').lower()) in FORBIDDEN:
        raise _refused(f"the name {name} is refused")


def format_of(sql: str) -> str | None:
    """The format that a statement ends with, if it says one."""
    tokens = _TOKEN.findall(sql)
    for place in range(len(tokens) - 2, -1, -1):
        if tokens[place] == ")":
            return None
        if tokens[place] == "FORMAT":
            return str(tokens[place + 1]).strip("`")
    return None


def _parsed(connection: chdb.Connection, sql: str) -> str:
    """A statement as the engine's parser writes it: one, without comments, on one line."""
    if not sql.strip():
        raise EngineError(f"Code: {SYNTAX_ERROR}. DB::Exception: Empty query. (SYNTAX_ERROR)")
    escaped = json.dumps(sql, ensure_ascii=False)[1:-1].replace('\\"', '"')
    written = connection.query("SELECT formatQuerySingleLine({sql:String})", "RawBLOB", params={"sql": escaped})
    return str(written.bytes().decode())


def _refused(why: str) -> EngineError:
    return EngineError(f"Code: {READONLY}. DB::Exception: Cannot execute query in readonly mode: {why}. (READONLY)")


def _quoted(text: str, mark: str = "'") -> str:
    escaped = text.replace("\\", "\\\\").replace(mark, "\\" + mark)
    return f"{mark}{escaped}{mark}"
