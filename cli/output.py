"""How commands speak: results on standard output (a table, or JSON with ``--json``), the rest on standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from streams.settings import Settings

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

CsvOption = Annotated[bool, typer.Option("--csv", help="Print CSV instead of a table.")]


def settings(**overrides: Any) -> Settings:
    """The checked settings (imported late: pydantic costs a command 100 ms)."""
    from streams.settings import load_settings

    return load_settings(**overrides)


def console(stderr: bool = False, record: bool = False) -> Console:
    """A Rich console on standard output or error; ``record`` keeps what is shown, to be saved."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, record=record)


def print_json(value: Any) -> None:
    """One JSON value on standard output, on one line; times as ISO 8601, exact integers."""
    import msgspec

    typer.echo(msgspec.json.encode(value).decode())


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A Rich table; numbers are aligned right."""
    from rich.table import Table

    listed = [list(row) for row in rows]
    table = Table(title=title, title_justify="left", header_style="bold")
    for index, column in enumerate(columns):
        numeric = bool(listed) and all(isinstance(row[index], int | float) for row in listed)
        table.add_column(column, justify="right" if numeric else "left")
    for row in listed:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    console().print(table)


def print_report(rows: Sequence[dict[str, Any]], csv: bool, json: bool, show: Callable[[], None]) -> None:
    """Rows as CSV, as JSON, or as ``show`` shows them to people."""
    if csv:
        print_csv(rows)
    elif json:
        print_json(rows)
    else:
        show()


def print_csv(rows: Sequence[dict[str, Any]]) -> None:
    """Rows as CSV with a heading; times as ISO 8601, lists with spaces, nothing for null."""
    import csv
    import io

    out = io.StringIO()
    if rows:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(rows[0])
        writer.writerows([_csv_cell(value) for value in row.values()] for row in rows)
    typer.echo(out.getvalue(), nl=False)


def _csv_cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return value
