"""`callmeter accounts`: state of accounts, from ClickHouse."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli import output


def register(app: typer.Typer) -> None:
    """Add the group ``accounts``."""
    group = typer.Typer(help="Look at accounts: what is left, what was used, access.", no_args_is_help=True)
    group.command("list")(list_)
    group.command("show")(show)
    app.add_typer(group, name="accounts")


def list_(
    agency: Annotated[str | None, typer.Option(help="Only accounts of this agency.")] = None,
    status: Annotated[str | None, typer.Option(help="Only these: trialing, active, paused, canceled.")] = None,
    off: Annotated[bool, typer.Option("--off", help="Only accounts whose calls are not allowed.")] = False,
    json: output.JsonOption = False,
) -> None:
    """Show all accounts: what is left to them, what they used in their period, whether calls are allowed."""
    from cli.tables import duration_text, money_text, print_rows
    from sinks.clickhouse import open_store

    filters = {name: value for name, value in (("agency_id", agency), ("status", status)) if value is not None}
    where = " AND ".join(["1", *(f"{name} = {{{name}:String}}" for name in filters), *(["NOT access_allowed"] * off)])
    with open_store(output.settings()) as store:
        rows = store.rows(f"SELECT * FROM accounts_current WHERE {where} ORDER BY agency_id, account_id", filters)
    if json:
        output.print_json(rows)
        return
    left = ("agency", "account", "plan", "access")
    columns = ("agency", "account", "plan", "allowance left", "wallet left", "calls", "billed", "usage", "access")
    cells = (
        (
            row["agency_id"],
            row["account_id"],
            row["plan"],
            duration_text(row["allowance_left_s"]),
            duration_text(row["wallet_left_s"]),
            f"{row['calls']:,}",
            duration_text(row["billed_s"]),
            money_text(row["usage_micros"], row["currency"]),
            _access(row),
        )
        for row in rows
    )
    print_rows("Accounts", columns, cells, left)


def show(
    account: Annotated[str, typer.Argument(metavar="ACCOUNT", help="Its id.")],
    json: output.JsonOption = False,
) -> None:
    """Show one account: state, access, open payment requests, latest alerts."""
    from sinks.clickhouse import open_store
    from streams.errors import CallmeterError

    of = {"account": account}
    with open_store(output.settings()) as store:
        found = store.rows("SELECT * FROM accounts_current WHERE account_id = {account:String}", of)
        if not found:
            raise CallmeterError(
                f"account {account!r} is not in ClickHouse; see `callmeter accounts list` "
                "(a new one shows after its first fact was rated and stored)"
            )
        requests = store.rows(
            "SELECT payment_request_id, kind, status, total_micros, currency, due_at FROM payment_requests_current"
            " WHERE account_id = {account:String} AND status NOT IN ('paid', 'canceled') ORDER BY due_at",
            of,
        )
        alerts = store.rows(
            "SELECT type, level, period_start, at, used, limit_value FROM alerts WHERE account_id = {account:String}"
            " ORDER BY at DESC LIMIT 5",
            of,
        )
        campaigns = store.value("SELECT uniqExact(campaign_id) FROM campaigns WHERE account_id = {account:String}", of)
    if json:
        output.print_json({**found[0], "campaigns": campaigns, "open_requests": requests, "latest_alerts": alerts})
    else:
        _show({**found[0], "campaigns": campaigns}, requests, alerts)


def _show(row: dict[str, Any], requests: list[dict[str, Any]], alerts: list[dict[str, Any]]) -> None:
    from cli.tables import duration_text, money_text, print_rows, time_text

    currency = row["currency"]
    period = (
        f"{time_text(row['period_start'])} to {time_text(row['period_end'])}" if row["period_start"] else "none open"
    )
    caps = []
    if row["cap_minutes"] is not None:
        caps.append(f"{row['cap_minutes']:,} min")
    if row["cap_spend_micros"] is not None:
        caps.append(money_text(row["cap_spend_micros"], currency))
    told = {
        "agency": row["agency_id"],
        "subscription": f"{row['subscription_id']} ({row['status']})",
        "plan": row["plan"],
        "period": period,
        "included": duration_text(row["included_s"]),
        "allowance left": duration_text(row["allowance_left_s"]),
        "wallet left": duration_text(row["wallet_left_s"]),
        "credit left": money_text(row["credit_left_micros"], currency),
        "calls": f"{row['calls']:,}",
        "billed": duration_text(row["billed_s"]),
        "overage": duration_text(row["overage_s"]),
        "usage": money_text(row["usage_micros"], currency),
        "cap": f"{row['cap_mode']}, {' or '.join(caps)}" if caps else "none",
        "numbers": f"{row['numbers']:,}",
        "campaigns": f"{row['campaigns']:,}",
        "access": _access(row),
    }
    if row["waiting_micros"]:
        told["next request"] = f"{money_text(row['waiting_micros'], currency)} waits for it"
    lines = list(told.items())
    for request in requests:
        amount = money_text(request["total_micros"], request["currency"])
        due = f"{amount}, due {time_text(request['due_at'])} ({request['payment_request_id']})"
        lines.append((f"request {request['status']}", due))
    for alert in alerts:
        lines.append((f"alert {time_text(alert['at'])}", f"{alert['type']} {alert['level']} %"))
    print_rows(f"Account {row['account_id']}", ("", "state"), lines, left=("", "state"))


def _access(row: dict[str, Any]) -> str:
    return "allowed" if row["access_allowed"] else f"off: {', '.join(row['access_reasons'])}"
