"""Whoever reads through the front can only read: nothing is written, no file, address or variable is looked at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sinks.clickhouse import Store, Target
from sinks.read_only import READONLY, EngineError, Query, ReadOnlyEngine

ROWS = b"1\n2\n"


@pytest.fixture(scope="module")
def reader(engine: Path) -> Iterator[ReadOnlyEngine]:
    """The engine with one table, ``numbers`` in database ``reading``."""
    with Store(Target("chdb", folder=str(engine)), use_database=False) as store:
        for sql in (
            "CREATE DATABASE reading",
            "CREATE TABLE reading.t (a Int64) ENGINE = MergeTree ORDER BY a",
            "INSERT INTO reading.t VALUES (1), (2)",
        ):
            store.command(sql)
        yield ReadOnlyEngine(str(engine))
        assert store.rows("SELECT a FROM reading.t ORDER BY a") == [{"a": 1}, {"a": 2}]


def ask(reader: ReadOnlyEngine, sql: str, parameters: dict[str, str] | None = None, **settings: str) -> bytes:
    return reader.run(Query(sql, b"", "reading", "TabSeparated", parameters or {}, settings)).body


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t VALUES (3)",
        "INSERT INTO t SELECT 3",
        "INSERT INTO FUNCTION file('FOLDER/out.csv') SELECT 1",
        "INSERT INTO t FROM INFILE 'FOLDER/secret' FORMAT TabSeparated",
        "CREATE TABLE x (a Int8) ENGINE = Memory",
        "CREATE TEMPORARY TABLE x (a Int8)",
        "CREATE FUNCTION f AS x -> x",
        "DROP TABLE t",
        "TRUNCATE TABLE t",
        "ALTER TABLE t DELETE WHERE 1",
        "DELETE FROM t WHERE 1",
        "OPTIMIZE TABLE t",
        "RENAME TABLE t TO u",
        "DETACH TABLE t",
        "SYSTEM SHUTDOWN",
        "SYSTEM FLUSH LOGS",
        "KILL QUERY WHERE 1",
        "SET readonly = 0",
        "SET max_threads = 1",
        "USE default",
        "GRANT ALL ON *.* TO default",
        "BACKUP TABLE t TO File('FOLDER/backup')",
        "SELECT 1 SETTINGS readonly = 0",
        "SELECT 1 SETTINGS max_execution_time = 0",
        "SELECT 1 INTO OUTFILE 'FOLDER/out'",
        "SELECT 1 INTO OUTFILE 'FOLDER/out' TRUNCATE FORMAT CSV",
        "(SELECT 1) into /* no */ outfile 'FOLDER/out'",
        "SHOW TABLES INTO OUTFILE 'FOLDER/out'",
        "EXPLAIN SELECT 1 INTO OUTFILE 'FOLDER/out'",
        "SELECT file('FOLDER/secret')",
        "SELECT `file`('FOLDER/secret')",
        "SELECT \"file\"('FOLDER/secret')",
        "SELECT arrayMap(file, ['FOLDER/secret'])",
        "SELECT * APPLY(file) FROM (SELECT 'FOLDER/secret')",
        "WITH file AS f SELECT f('FOLDER/secret')",
        "SELECT * FROM file('FOLDER/secret', 'LineAsString')",
        "SELECT * FROM File('FOLDER/secret', 'LineAsString')",
        "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
        "SELECT * FROM s3('http://127.0.0.1:1/a.csv')",
        "SELECT * FROM remote('127.0.0.1:1', system.one)",
        "SELECT * FROM mysql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
        "SELECT * FROM sqlite('FOLDER/secret', 't')",
        "SELECT * FROM executable('ls', 'LineAsString', 'a String')",
        "SELECT * FROM filesystem('FOLDER')",
        "SELECT * FROM python(ROWS)",
        "SELECT * FROM Python(ROWS)",
        "SELECT * FROM eval('SELECT 1')",
        "DESCRIBE TABLE url('http://127.0.0.1:1/a.csv')",
        "DESCRIBE TABLE s3('http://127.0.0.1:1/a.csv')",
        "DESCRIBE (SELECT * FROM url('http://127.0.0.1:1/a.csv'))",
        "EXPLAIN SELECT * FROM url('http://127.0.0.1:1/a.csv')",
    ],
)
def test_what_does_more_than_reading_is_refused(reader: ReadOnlyEngine, tmp_path: Path, sql: str) -> None:
    (tmp_path / "secret").write_text("secret\n")
    with pytest.raises(EngineError) as caught:
        ask(reader, sql.replace("FOLDER", str(tmp_path)))
    assert caught.value.code == READONLY
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


@pytest.mark.parametrize(
    "sql", ["SELECT * FROM 'FOLDER/secret'", "SELECT * FROM `FOLDER/secret`", "SELECT 1; DROP TABLE t", "", "SELECT ("]
)
def test_what_is_no_query_is_refused_too(reader: ReadOnlyEngine, tmp_path: Path, sql: str) -> None:
    (tmp_path / "secret").write_text("secret\n")
    with pytest.raises(EngineError):
        ask(reader, sql.replace("FOLDER", str(tmp_path)))


def test_no_parameter_brings_in_the_name_of_a_function(reader: ReadOnlyEngine, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret\n")
    for name in ("file", "`file`", "File"):
        with pytest.raises(EngineError):
            ask(reader, f"SELECT arrayMap({{f:Identifier}}, ['{tmp_path}/secret'])", {"f": name})


@pytest.mark.parametrize(
    ("sql", "body"),
    [
        ("SELECT a FROM t ORDER BY a", ROWS),
        ("FROM t SELECT a ORDER BY a -- by a\n;", ROWS),
        ("WITH 1 AS x SELECT x", b"1\n"),
        ("(SELECT 1) UNION ALL (SELECT 1)", b"1\n1\n"),
        ("SELECT count() FROM t WHERE a IN (SELECT a FROM t)", b"2\n"),
        ("SELECT 'file', 'INTO OUTFILE', $$ file() $$", b"file\tINTO OUTFILE\t file() \n"),
        ("SELECT 'it''s\n\t\\\\ö'", "it\\'s\\n\\t\\\\ö\n".encode()),
        ("SELECT 1 AS `into`, 2 AS `outfile`", b"1\t2\n"),
        ("SELECT sum(number) FROM numbers(4)", b"6\n"),
        ("SHOW TABLES", b"t\n"),
        ("EXISTS TABLE t", b"1\n"),
        ("DESCRIBE TABLE t", b"a\tInt64\t\t\t\t\t\n"),
        ("SELECT {x:Int64} + 1", b"42\n"),
        ("SELECT {name:Identifier} FROM {table:Identifier} ORDER BY 1", ROWS),
    ],
)
def test_reading_is_allowed(reader: ReadOnlyEngine, sql: str, body: bytes) -> None:
    assert ask(reader, sql, {"x": "41", "name": "a", "table": "t"}) == body


def test_the_statement_names_the_format_or_the_caller_does(reader: ReadOnlyEngine) -> None:
    for sql, asked, given in (
        ("SELECT 1 AS a", "JSONEachRow", "JSONEachRow"),
        ("SELECT 1 AS a FORMAT JSONCompactEachRow", "CSV", "JSONCompactEachRow"),
        ("SELECT 1 AS a FORMAT Null", "CSV", "Null"),
        ("SELECT 'FORMAT CSV' AS a", "TabSeparated", "TabSeparated"),
    ):
        assert reader.run(Query(sql, b"", "", asked, {}, {})).format == given


def test_settings_of_the_answer_count_and_all_others_are_ignored(reader: ReadOnlyEngine) -> None:
    sql = "SELECT 1::Int64 AS a, getSetting('max_memory_usage') > 0 AS b FORMAT JSONEachRow"
    quoted = {"output_format_json_quote_64bit_integers": "1"}
    assert ask(reader, sql, None, **quoted, max_memory_usage="0", readonly="0", nonsense="1") == b'{"a":"1","b":1}\n'


def test_a_query_that_takes_too_much_is_stopped(reader: ReadOnlyEngine) -> None:
    with pytest.raises(EngineError) as caught:
        ask(reader, "SELECT groupArray(number) FROM numbers(1000000000)")
    assert caught.value.code == 241
