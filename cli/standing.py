"""`callmeter usage ACCOUNT` and `--agency A`: where accounts stand in their period."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rating.forecast import Forecast


def show_standing(account: str | None, agency: str | None, json: bool, csv: bool) -> None:
    """Print where one account stands, or those of an agency."""
    from cli import output
    from sinks.clickhouse import open_store
    from sinks.report import details, standings
    from streams.errors import CallmeterError

    settings = output.settings()
    with open_store(settings) as store:
        rows = standings(store, agency, account)
        if account is not None and not rows:
            raise CallmeterError(f"ClickHouse knows no account {account!r}")
        more = details(store, rows[0]) if account is not None else {}
    found = _forecast_of(settings, account) if account is not None else None
    for row in rows:
        row.update(_forecast_fields(row, found, account is not None))
    if csv:
        print_csv(rows)
    elif json:
        output.print_json({**rows[0], **more} if account is not None else rows)
    elif account is not None:
        _print_account(rows[0], more)
    else:
        _print_accounts(rows)


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


def _forecast_of(settings: Any, account: str) -> Forecast | None:
    """By the account's own terms, from the broker: ClickHouse does not know them."""
    import uvloop

    from streams.accounts import view_account

    async def run() -> Forecast | None:
        return (await view_account(settings, account)).forecast(datetime.now(UTC))

    return uvloop.run(run())


def _forecast_fields(row: dict[str, Any], found: Forecast | None, exact: bool) -> dict[str, Any]:
    """Seconds and date follow from what is in the row; the amount takes the account's terms."""
    from rating.forecast import Standing, forecast
    from rating.terms import LARGEST

    if not exact and row["period_start"] is not None:
        pools = (row["wallet_left_s"], row["credit_left_micros"])
        used = (row["billed_s"], row["overage_s"], row["usage_micros"], 0)
        span = (row["period_start"], row["period_end"], row["included_s"], row["allowance_left_s"])
        found = forecast(Standing(*span, *used, *pools), _NoRate(), False, datetime.now(UTC))
    return {
        "forecast_s": min(found.billed_s, LARGEST) if found else None,
        "forecast_micros": found.usage_micros if found and exact else None,
        "runs_out_at": found.runs_out_at if found else None,
    }


class _NoRate:
    """Of an account whose terms are not known here."""

    rate = 0
    blocked = False


def _print_account(row: dict[str, Any], more: dict[str, list[dict[str, Any]]]) -> None:
    from cli.tables import duration_text, money_text, print_rows, time_text

    currency = row["currency"]
    pairs = [
        ("plan", f"{row['plan']} ({row['status']})"),
        ("period", f"{time_text(row['period_start'])} to {time_text(row['period_end'])}"),
        ("access", "allowed" if row["access_allowed"] else ", ".join(row["access_reasons"])),
        ("allowance left", f"{duration_text(row['allowance_left_s'])} of {duration_text(row['included_s'])}"),
        ("wallet left", duration_text(row["wallet_left_s"])),
        ("credit left", money_text(row["credit_left_micros"], currency)),
        ("calls", f"{row['calls']:,}, {duration_text(row['billed_s'])} billed"),
        ("spend", money_text(row["usage_micros"], currency)),
        ("forecast", _forecast_text(row)),
        ("allowance runs out", time_text(row["runs_out_at"])),
        ("margin", money_text(row["margin_micros"], currency)),
        ("cost", money_text(row["cost_micros"], currency)),
    ]
    print_rows(f"Account {row['account_id']}", ("", " "), [pair for pair in pairs if pair[1]], left=("", " "))
    if more["campaigns"]:
        cells = [
            (
                one["campaign_id"],
                f"{one['calls']:,}",
                duration_text(one["billed_s"]),
                money_text(one["amount_micros"], currency),
            )
            for one in more["campaigns"]
        ]
        print_rows("Campaigns of the period", ("campaign", "calls", "billed", "amount"), cells, left=("campaign",))
    if more["numbers"]:
        numbers = [
            (one["number"], one["label"], time_text(one["rented_at"]), money_text(one["price_micros"], one["currency"]))
            for one in more["numbers"]
        ]
        print_rows("Numbers", ("number", "label", "rented", "a period"), numbers, left=("number", "label", "rented"))
    if more["alerts"]:
        alerts = [(time_text(one["at"]), one["type"], f"{one['level']:,}") for one in more["alerts"]]
        print_rows("Alerts of the period", ("at", "alert", "level"), alerts, left=("at", "alert"))


def _forecast_text(row: dict[str, Any]) -> str:
    from cli.tables import duration_text, money_text

    if row["forecast_s"] is None:
        return ""
    amount = money_text(row["forecast_micros"], row["currency"])
    return f"{duration_text(row['forecast_s'])} by its end" + (f", {amount}" if amount else "")


def _print_accounts(rows: list[dict[str, Any]]) -> None:
    from cli.tables import duration_text, money_text, print_rows, time_text

    columns = (
        "account", "plan", "period", "allowance left", "wallet left", "calls", "billed", "spend", "forecast",
        "runs out", "campaigns", "numbers", "alerts", "margin", "access",
    )  # fmt: skip
    cells = [
        (
            row["account_id"],
            row["plan"],
            f"{row['period_start']:%Y-%m-%d}" if row["period_start"] else "",
            duration_text(row["allowance_left_s"]),
            duration_text(row["wallet_left_s"]),
            f"{row['calls']:,}",
            duration_text(row["billed_s"]),
            money_text(row["usage_micros"], row["currency"]),
            duration_text(row["forecast_s"]),
            time_text(row["runs_out_at"]),
            f"{row['campaigns']:,}",
            f"{row['numbers']:,}",
            f"{row['alerts']:,}",
            money_text(row["margin_micros"], row["currency"]),
            "on" if row["access_allowed"] else ", ".join(row["access_reasons"]),
        )
        for row in rows
    ]
    print_rows("Accounts in their period", columns, cells, left=("account", "plan", "period", "runs out", "access"))
