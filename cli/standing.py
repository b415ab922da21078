"""`callmeter usage ACCOUNT` and `--agency A`: where accounts stand in their period."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rating.forecast import Forecast
    from streams.settings import Settings


def show_standing(account: str | None, agency: str | None, json: bool, csv: bool) -> None:
    """Print where one account stands, or those of an agency."""
    from cli import output
    from sinks.clickhouse import open_store
    from sinks.report import details, standings
    from streams.errors import CallmeterError

    settings = output.settings()
    with open_store(settings) as store:
        rows = standings(store, agency, account)
        if not rows:
            whom = f"account {account!r}" if account is not None else f"account of agency {agency!r}"
            raise CallmeterError(
                f"ClickHouse knows no {whom}; see `callmeter accounts list` "
                "(a new one shows after its first fact was rated and stored)"
            )
        more = details(store, rows[0]) if account is not None else {}
    told = _forecasts(settings, account, rows)
    for row in rows:
        row.update(_forecast_fields(told.get(row["account_id"])))
    if csv:
        output.print_csv(rows)
    elif account is not None and json:
        output.print_json({**rows[0], **more})
    elif account is not None:
        _print_account(rows[0], more)
    elif json:
        output.print_json({"agency_id": agency, "accounts": rows, "totals": _totals(rows)})
    else:
        _print_accounts(rows, _totals(rows))


def _forecasts(settings: Settings, account: str | None, rows: list[dict[str, Any]]) -> dict[str, Forecast | None]:
    """By the accounts' own terms, from the broker: ClickHouse does not know them. Of one account all facts count."""
    import uvloop

    from streams.accounts import forecasts, view_account

    now = datetime.now(UTC)

    async def run() -> dict[str, Forecast | None]:
        if account is not None:
            return {account: (await view_account(settings, account)).forecast(now)}
        return {**await forecasts(settings, [row["account_id"] for row in rows], now)}

    return uvloop.run(run())


def _forecast_fields(found: Forecast | None) -> dict[str, Any]:
    from rating.terms import LARGEST

    return {
        "forecast_s": min(found.billed_s, LARGEST) if found else None,
        "forecast_micros": found.usage_micros if found else None,
        "runs_out_at": found.runs_out_at if found else None,
    }


SUMMED = ("allowance_left_s", "wallet_left_s", "calls", "billed_s", "usage_micros", "campaigns", "numbers", "alerts")
# Of those that have one.
SUMMED_IF_KNOWN = ("cost_micros", "margin_micros", "forecast_s", "forecast_micros")


def _totals(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sums over accounts by currency; null where no account has one. ``forecasts``: of how many accounts there is one.

    Where a forecast says no amount, for its terms have no rate of their own, only its seconds are in the sums.
    """
    totals = []
    for currency in sorted({row["currency"] for row in rows}):
        own = [row for row in rows if row["currency"] == currency]
        total: dict[str, Any] = {"currency": currency, "accounts": len(own)}
        total |= {name: sum(row[name] for row in own) for name in SUMMED}
        for name in SUMMED_IF_KNOWN:
            known = [row[name] for row in own if row[name] is not None]
            total[name] = sum(known) if known else None
        totals.append({**total, "forecasts": sum(row["forecast_s"] is not None for row in own)})
    return totals


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


def _print_accounts(rows: list[dict[str, Any]], totals: list[dict[str, Any]]) -> None:
    from cli.tables import print_rows, time_text

    columns = (
        "account", "plan", "period", "allowance left", "wallet left", "calls", "billed", "spend", "forecast",
        "forecast spend", "runs out", "campaigns", "numbers", "alerts", "margin", "access",
    )  # fmt: skip
    cells = []
    for row in rows:
        period = f"{row['period_start']:%Y-%m-%d}" if row["period_start"] else ""
        access = "on" if row["access_allowed"] else ", ".join(row["access_reasons"])
        ends = time_text(row["runs_out_at"])
        cells.append((row["account_id"], row["plan"], period, *_sums(row, ends), access))
    for total in totals:
        name = f"all {total['accounts']:,} in {total['currency']}"
        forecasts = "" if total["forecasts"] == total["accounts"] else f"{total['forecasts']:,} with a forecast"
        cells.append((name, "", "", *_sums(total, ""), forecasts))
    print_rows("Accounts in their period", columns, cells, left=("account", "plan", "period", "runs out", "access"))


def _sums(row: dict[str, Any], runs_out: str) -> tuple[str, ...]:
    """The cells that an account and a total both have."""
    from cli.tables import duration_text, money_text

    currency = row["currency"]
    return (
        duration_text(row["allowance_left_s"]),
        duration_text(row["wallet_left_s"]),
        f"{row['calls']:,}",
        duration_text(row["billed_s"]),
        money_text(row["usage_micros"], currency),
        duration_text(row["forecast_s"]),
        money_text(row["forecast_micros"], currency),
        runs_out,
        f"{row['campaigns']:,}",
        f"{row['numbers']:,}",
        f"{row['alerts']:,}",
        money_text(row["margin_micros"], currency),
    )
