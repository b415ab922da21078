"""`callmeter close`: bring the log to a time, and see everything through."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from cli import output
from cli.writing import time_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jobs.close import Closing
    from jobs.report import Report
    from sinks.clickhouse import Store
    from streams.settings import Settings


def register(app: typer.Typer) -> None:
    """Adds the command ``close``."""
    app.command("close")(close)


def close(
    until: Annotated[
        str,
        typer.Option(metavar="TIME", help="A time with its zone, or a date (midnight in UTC). May be in the future."),
    ],
    timeout: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="Longest wait.")] = 300.0,
    jump: Annotated[bool, typer.Option("--jump", help="In one step, instead of at most 35 days at a time.")] = False,
    json: output.JsonOption = False,
) -> None:
    """Close every period that is due by a time, of accounts and of agencies, and wait until every payment request is
    raised.

    The meter and the billing job must run. The time is written to the log and can not be taken back. Exit code 1 if
    anything is open at the timeout. Safe to repeat.
    """
    import uvloop

    from jobs.close import Closing

    settings = output.settings()
    time = time_of(until, "UTC")
    with _store(settings) as store:
        closing = Closing(settings, time, jump, store)
        with _progress(closing) as closing.show:
            report = uvloop.run(closing.run(timeout))
    if json:
        output.print_json(report)
    else:
        _summary(report)
    for line in report.open:
        typer.echo(f"open: {line}", err=True)
    if not report.done:
        raise typer.Exit(1)


@contextmanager
def _store(settings: Settings) -> Iterator[Store | None]:
    """ClickHouse, if reachable. The embedded engine is the sink's alone: opening it here would keep that out."""
    from sinks.clickhouse import open_store, target_of
    from streams.errors import ClickHouseUnreachable

    try:
        store = None if target_of(settings).scheme == "chdb" else open_store(settings)
    except ClickHouseUnreachable as error:
        typer.echo(f"not looked up in ClickHouse: {error}", err=True)
        store = None
    try:
        yield store
    finally:
        if store is not None:
            store.close()


@contextmanager
def _progress(closing: Closing) -> Iterator[Callable[[], None]]:
    """Bars on standard error; invisible where that is no terminal. Gives the function that updates them."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = output.console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        rated = progress.add_task("partitions rated", total=None)
        raised = progress.add_task("requests raised", total=None)

        def show() -> None:
            closed = f"partitions rated ({closing.tally.periods_closed:,} periods closed)"
            progress.update(
                rated,
                total=closing.partitions,
                completed=closing.partitions - len(closing.behind),
                description=closed,
            )
            progress.update(raised, total=closing.called_for, completed=closing.called_for - len(closing.missing))

        yield show


def _summary(report: Report) -> None:
    from catalogue.spelling import micros_text

    def amounts_text(amounts: dict[str, int]) -> str:
        return ", ".join(micros_text(amount, currency) for currency, amount in sorted(amounts.items()))

    rows = [
        (
            agency,
            totals.subscriptions,
            totals.periods_closed,
            totals.requests,
            amounts_text(totals.amounts_micros),
            amounts_text(totals.wholesale_amounts_micros),
        )
        for agency, totals in report.agencies.items()
    ]
    title = f"{'Closed' if report.done else 'Not all closed'} until {report.until.isoformat()}"
    if rows:
        columns = ["agency", "subscriptions", "periods closed", "requests", "asked for", "wholesale"]
        output.print_table(title, columns, rows)
    else:
        typer.echo(f"{title}: nothing was due")
