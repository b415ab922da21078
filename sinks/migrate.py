"""Brings the database's tables and views to the version that this Callmeter needs: numbered SQL files, each once.

Safe to run twice, and by several at once: every statement is of the kind ``IF NOT EXISTS``, and a file is recorded
after its last statement, so a run that was cut short is done again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from importlib.resources import files
from typing import NamedTuple

from sinks.clickhouse import ClickHouseRefused, DatabaseMissing, Store, Target

APPLIED_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations
(
    version UInt32 COMMENT 'number of the SQL file',
    name String COMMENT 'its name',
    checksum String COMMENT 'SHA-256 of its text',
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = MergeTree ORDER BY version
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1
COMMENT 'SQL files that were applied by callmeter migrate'
"""


class Migration(NamedTuple):
    """One numbered SQL file."""

    version: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, in hex."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def statements(self) -> Iterator[str]:
        """Its statements; each ends with a semicolon at the end of a line, the last one may go without."""
        for statement in self.text.split(";\n"):
            if statement.strip():
                yield statement


def migrations() -> list[Migration]:
    """All SQL files of this package, by number."""
    found = [file for file in files("sinks").joinpath("schema").iterdir() if file.name.endswith(".sql")]
    return sorted(Migration(int(file.name.split("_", 1)[0]), file.name, file.read_text("utf-8")) for file in found)


def applied(store: Store) -> dict[int, str]:
    """Versions that the database has, with the checksums they were applied with; empty before the first run."""
    if not store.value("EXISTS TABLE schema_migrations"):
        return {}
    rows = store.rows("SELECT version, any(checksum) AS checksum FROM schema_migrations GROUP BY version")
    return {row["version"]: row["checksum"] for row in rows}


def migrate(target: Target) -> list[Migration]:
    """Create the database if need be, and apply what is missing.

    Returns:
        what was applied now, in order.

    Raises:
        ClickHouseUnreachable: ClickHouse does not answer or refuses us.
        ClickHouseRefused: a statement failed; an applied file was changed since; or the database is newer than we are.
    """
    with Store(target, use_database=False) as server:
        server.command(f"CREATE DATABASE IF NOT EXISTS `{target.database.replace('`', '')}`")
    with Store(target) as store:
        store.command(APPLIED_TABLE)
        missing = _missing(store)
        for migration in missing:
            for statement in migration.statements():
                store.command(statement)
            store.command(
                "INSERT INTO schema_migrations (version, name, checksum)"
                f" SETTINGS async_insert = 0, insert_deduplication_token = 'migration:{migration.version}'"
                f" VALUES ({migration.version}, '{migration.name}', '{migration.checksum}')"
            )
        return missing


def check_schema(store: Store) -> None:
    """See that the database has every migration of this Callmeter.

    Raises:
        DatabaseMissing: one is missing.
        ClickHouseRefused: an applied file was changed since, or the database is newer than we are.
    """
    if missing := _missing(store):
        names = ", ".join(migration.name for migration in missing)
        raise DatabaseMissing(
            f"database {store.target.database} at {store.target} lacks {names}; run: callmeter migrate"
        )


def _missing(store: Store) -> list[Migration]:
    have, known = applied(store), migrations()
    for migration in known:
        if have.get(migration.version, migration.checksum) != migration.checksum:
            raise ClickHouseRefused(
                f"{migration.name} was changed after it was applied to database {store.target.database}; "
                "put it back and write a new file, or use another database"
            )
    if newer := set(have) - {migration.version for migration in known}:
        raise ClickHouseRefused(
            f"database {store.target.database} has migration {max(newer)}, which is newer than this Callmeter"
        )
    return [migration for migration in known if migration.version not in have]
