"""docs/clickhouse.md: every query of it runs, on data, and its tables of columns are those of the database."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sinks.clickhouse import Store, Target
from sinks.exactly_once import Appender
from sinks.migrate import migrate
from sinks.tables import TABLES
from tests.broker import ROOT
from tests.sinks.story import lives, month, platform, written

PAGE = (ROOT / "docs" / "clickhouse.md").read_text()
STATEMENTS = [
    statement.strip()
    for block in re.findall(r"^```sql\n(.*?)^```$", PAGE, re.M | re.S)
    for statement in block.split(";\n")
    if statement.strip()
]
# The embedded engine has no users: these are only parsed.
OF_USERS = ("CREATE USER", "GRANT")
EMPTY = "-- Must give no rows"
TIME = "DateTime64(6, 'UTC')"


@pytest.fixture(scope="module")
def filled(engine: Path) -> Iterator[Store]:
    """The story of the other tests, in the embedded engine."""
    target = Target("chdb", "docs", folder=str(engine))
    migrate(target)
    story = written([*month(), *lives(), *platform()])
    for table in TABLES:
        appender = Appender(Store(target), table.name)
        appender.append(0, table.chunk(story[table.topic]).columns, None)
        appender.close()
    with Store(target) as store:
        yield store


@pytest.mark.parametrize("statement", STATEMENTS, ids=range(1, len(STATEMENTS) + 1))
def test_a_statement_of_the_page_runs(filled: Store, statement: str) -> None:
    code = re.sub(r"^--.*\n", "", statement, flags=re.M)
    if code.startswith(OF_USERS):
        assert filled.value("SELECT formatQuery({sql:String})", {"sql": code})
    elif code.startswith(("SELECT", "WITH")):
        assert bool(filled.rows(code)) != statement.startswith(EMPTY)
    else:
        calls = filled.value("SELECT count() FROM rated_calls")
        filled.command(code)
        assert filled.value("SELECT count() FROM rated_calls") <= calls


def test_deleting_what_is_old_leaves_the_positions_alone(filled: Store) -> None:
    (delete,) = (statement for statement in STATEMENTS if "DELETE" in statement)
    filled.command("CREATE TABLE calls_copy AS rated_calls")
    filled.command("INSERT INTO calls_copy SELECT * FROM rated_calls")
    everything = re.sub(r"ended_at < now\(\) - INTERVAL \d+ YEAR", "1", delete.replace("rated_calls", "calls_copy"))
    filled.command(re.sub(r"^--.*\n", "", everything, flags=re.M) + " SETTINGS mutations_sync = 2")
    newest = filled.value("SELECT max(kafka_offset) FROM rated_calls")
    assert [row["kafka_offset"] for row in filled.rows("SELECT kafka_offset FROM calls_copy")] == [newest]
    filled.command("DROP TABLE calls_copy")


def columns_of_tables(store: Store) -> set[str]:
    """The rows of the page's tables: column, type, meaning."""
    listed = store.rows(
        "SELECT c.name AS name, c.type AS type, c.comment AS comment FROM system.columns AS c"
        " JOIN system.tables AS t ON t.database = c.database AND t.name = c.table"
        " WHERE c.database = currentDatabase() AND t.engine LIKE '%MergeTree'"
    )
    return {f"| `{row['name']}` | {short(row['type'])} | {row['comment']} |".replace("  ", " ") for row in listed}


def short(kind: str) -> str:
    """A type as the page writes it."""
    return re.sub(r"LowCardinality\((\w+)\)", r"\1", kind).replace(TIME, "Time")


def test_the_columns_of_the_page_are_those_of_the_tables(filled: Store) -> None:
    assert set(re.findall(r"^\| `[\w.]+` \| [A-Z]\w*(?:\([^|]*)? \|.*\|$", PAGE, re.M)) == columns_of_tables(filled)


def test_every_table_and_view_is_on_the_page(filled: Store) -> None:
    named = {row["name"] for row in filled.rows("SELECT name FROM system.tables WHERE database = currentDatabase()")}
    assert {name for name in named if f"`{name}`" not in PAGE} == set()
    for row in filled.rows(
        "SELECT c.name AS name, c.table AS view FROM system.columns AS c"
        " JOIN system.tables AS t ON t.database = c.database AND t.name = c.table"
        " WHERE c.database = currentDatabase() AND t.engine = 'View'"
    ):
        assert f"`{row['name']}`" in PAGE, f"{row['view']}.{row['name']}"
