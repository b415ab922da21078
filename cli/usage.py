"""`callmeter usage`: what was used, from ClickHouse."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli import output
from cli.standing import show_standing

BY = ("hour", "day", "account", "campaign", "number", "agent", "agency")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("usage")(usage_)


def usage_(
    of: Annotated[str | None, typer.Argument(metavar="ACCOUNT", help="Show where this account stands.")] = None,
    by: Annotated[
        str | None, typer.Option(help=f"What a line is: {', '.join(BY)}; default: account. Hours and days are UTC.")
    ] = None,
    agency: Annotated[
        str | None, typer.Option(help="Only this agency; without --by: where its accounts stand.")
    ] = None,
    account: Annotated[str | None, typer.Option(help="Only calls of this account.")] = None,
    campaign: Annotated[str | None, typer.Option(help="Only calls of this campaign.")] = None,
    number: Annotated[str | None, typer.Option(help="Only calls of this number of the account.")] = None,
    agent: Annotated[str | None, typer.Option(help="Only calls of this agent.")] = None,
    begin: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="Only calls that ended then or later (UTC).")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", metavar="TIME", help="Only calls that ended before (UTC).")] = None,
    json: output.JsonOption = False,
    csv: output.CsvOption = False,
) -> None:
    """Show where an account, or an agency's accounts, stand; or usage, cost and margin by hour, day, account and so on.

    With ACCOUNT, or --agency alone: period, pools, spend, forecast, campaigns, numbers, alerts and margin. Otherwise
    rated calls are summed by hour, day, account, campaign, number, agent or agency.

    Minutes are shown as m:ss, amounts exactly; --json gives seconds and millionths of the currency. Cost and margin
    cover the calls whose cost is known.
    """
    from cli.writing import time_of
    from sinks.clickhouse import open_store
    from sinks.usage import usage
    from streams.errors import CallmeterError

    standing = of is not None or (agency is not None and not any((by, account, campaign, number, agent, begin, end)))
    if standing:
        if any((by, account, campaign, number, agent, begin, end)):
            raise CallmeterError("ACCOUNT goes with no option but --json and --csv")
        show_standing(of, agency, json, csv)
        return
    by = by or "account"
    if by not in BY:
        raise CallmeterError(f"--by {by!r} is none of {', '.join(BY)}")
    first, last = (time_of(text, "UTC") if text is not None else None for text in (begin, end))
    filters = {"agency": agency, "account": account, "campaign": campaign, "number": number, "agent": agent}
    wanted = {name: value for name, value in filters.items() if value is not None}
    with open_store(output.settings()) as store:
        rows = usage(store, by, wanted, first, last)
    output.print_report(rows, csv, json, lambda: _show(by, rows))


def _show(by: str, rows: list[dict[str, Any]]) -> None:
    from cli.tables import duration_text, money_text, print_rows
    from sinks.usage import REPORTS

    keys = list(REPORTS[by])
    headings = [key.removesuffix("_id") for key in keys]
    pools = [
        name
        for name in ("allowance", "wallet", "credit", "overage", "written_off")
        if any(r[f"{name}_s"] for r in rows)
    ]
    priced = any(row["calls_with_cost"] for row in rows)
    cells = []
    for row in rows:
        currency = row["currency"]
        told = [_key_text(by, row[key]) for key in keys]
        told += [f"{row['calls']:,}", duration_text(row["billed_s"])]
        told += [duration_text(row[f"{name}_s"]) for name in pools]
        told.append(money_text(row["amount_micros"], currency))
        if priced:
            told += [money_text(row["known_cost_micros"], currency), money_text(row["margin_micros"], currency)]
        cells.append(told)
    columns = [*headings, "calls", "billed", *(name.replace("_", " ") for name in pools), "amount"]
    print_rows(f"Usage by {by}", [*columns, *(("cost", "margin") if priced else ())], cells, left=headings)


def _key_text(by: str, value: Any) -> str:
    if by == "hour":
        return f"{value:%Y-%m-%d %H}:00"
    return f"{value:%Y-%m-%d}" if by == "day" else str(value)
