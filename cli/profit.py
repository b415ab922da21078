"""`callmeter profit`: what calls brought, what they cost the agency, and what is left, from ClickHouse."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli import output

BY = ("call", "day", "agency", "account", "campaign", "agent", "destination")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("profit")(profit_)


def profit_(
    by: Annotated[str, typer.Option(help=f"What a line is: {', '.join(BY)}. Days are UTC.")] = "account",
    agency: Annotated[str | None, typer.Option(help="Only calls of this agency.")] = None,
    account: Annotated[str | None, typer.Option(help="Only calls of this account.")] = None,
    campaign: Annotated[str | None, typer.Option(help="Only calls of this campaign.")] = None,
    agent: Annotated[str | None, typer.Option(help="Only calls of this agent.")] = None,
    begin: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="Only calls that ended then or later (UTC).")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", metavar="TIME", help="Only calls that ended before (UTC).")] = None,
    json: output.JsonOption = False,
    csv: output.CsvOption = False,
) -> None:
    """Show profit: amount minus cost of rated calls, by call, day, agency, account, campaign, agent or destination.

    A destination is the prefix of the rate card's row, else of the wholesale card's. Cost and profit cover the calls
    whose cost is known in the currency. What is asked for beside calls (plans, numbers, packs) is not in it.
    """
    from cli.writing import time_of
    from sinks.clickhouse import open_store
    from sinks.profit import profit
    from streams.errors import CallmeterError

    if by not in BY:
        raise CallmeterError(f"--by {by!r} is none of {', '.join(BY)}")
    first, last = (time_of(text, "UTC") if text is not None else None for text in (begin, end))
    filters = {"agency": agency, "account": account, "campaign": campaign, "agent": agent}
    wanted = {name: value for name, value in filters.items() if value is not None}
    with open_store(output.settings()) as store:
        rows = profit(store, by, wanted, first, last)
    output.print_report(rows, csv, json, lambda: _show(by, rows))


def _show(by: str, rows: list[dict[str, Any]]) -> None:
    from cli.tables import duration_text, money_text, print_rows, time_text
    from sinks.profit import REPORTS

    keys = list(REPORTS[by])

    def key_text(key: str, value: Any) -> str:
        if key == "ended_at":
            return time_text(value)
        return f"{value:%Y-%m-%d}" if key == "day" else str(value)

    cells = [
        [
            *(key_text(key, row[key]) for key in keys),
            f"{row['calls']:,}",
            duration_text(row["billed_s"]),
            duration_text(row["wholesale_billed_s"]),
            money_text(row["amount_micros"], row["currency"]),
            money_text(row["known_cost_micros"], row["currency"]),
            money_text(row["profit_micros"], row["currency"]),
        ]
        for row in rows
    ]
    headings = [key.removesuffix("_id").replace("_", " ") for key in keys]
    columns = [*headings, "calls", "billed", "wholesale", "amount", "cost", "profit"]
    print_rows(f"Profit by {by}", columns, cells, left=headings)
