"""`callmeter accounts`: state of accounts, from ClickHouse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import output

if TYPE_CHECKING:
    from streams.settings import Settings

STATES = ("trialing", "active", "paused", "past_due", "blocked", "canceled")


def register(app: typer.Typer) -> None:
    """Add the group ``accounts``."""
    group = typer.Typer(help="Look at accounts: what is left, what was used, access.", no_args_is_help=True)
    group.command("list")(list_)
    group.command("show")(show)
    app.add_typer(group, name="accounts")


def list_(
    agency: Annotated[str | None, typer.Option(help="Only accounts of this agency.")] = None,
    status: Annotated[str | None, typer.Option(help=f"Only these: {', '.join(STATES)}.")] = None,
    off: Annotated[bool, typer.Option("--off", help="Only accounts whose calls are not allowed.")] = False,
    json: output.JsonOption = False,
) -> None:
    """Show all accounts: what is left to them, what they used in their period, whether calls are allowed."""
    from cli.tables import duration_text, money_text, print_rows
    from cli.writing import word_of
    from sinks.clickhouse import open_store

    if status is not None:
        status = word_of("--status", status, *STATES)
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
    """Show one account: state, access, what is set for it and will change, open payment requests, latest alerts."""
    import uvloop

    from sinks.clickhouse import open_store
    from streams.errors import CallmeterError

    of, settings = {"account": account}, output.settings()
    with open_store(settings) as store:
        found = store.rows("SELECT * FROM accounts_current WHERE account_id = {account:String}", of)
        if not found:
            raise CallmeterError(
                f"account {account!r} is not in ClickHouse; see `callmeter accounts list` "
                "(a new one shows after its first fact was rated and stored)"
            )
        requests = store.rows(
            "SELECT payment_request_id, number, kind, status, total_micros, left_micros, currency, due_at"
            " FROM payment_requests_current"
            " WHERE account_id = {account:String} AND status NOT IN ('paid', 'canceled') ORDER BY due_at",
            of,
        )
        alerts = store.rows(
            "SELECT type, level, period_start, at, used, limit_value FROM alerts WHERE account_id = {account:String}"
            " ORDER BY at DESC LIMIT 5",
            of,
        )
        campaigns = store.value("SELECT uniqExact(campaign_id) FROM campaigns WHERE account_id = {account:String}", of)
    row = {**found[0], "campaigns": campaigns, **uvloop.run(_decided(settings, account))}
    if json:
        output.print_json({**row, "open_requests": requests, "latest_alerts": alerts})
    else:
        _show(row, requests, alerts)


async def _decided(settings: Settings, account_id: str) -> dict[str, Any]:
    """What was decided about an account, from the broker: it counts though nothing came of it yet.

    Returns:
        ``next_plan``: the plan that its next period is on, where that is another one, and from when; ``ends_at`` of its
        subscription; ``top_up``; ``caps`` that have a name. Null, or none, where there is no such thing.
    """
    from msgspec import to_builtins

    from streams.accounts import view_account

    view = await view_account(settings, account_id)
    account, terms = view.account, view.next_terms
    if account is None:
        return {"next_plan": None, "ends_at": None, "top_up": None, "caps": []}
    coming = None
    if terms is not None and account.newest is not None:
        coming = {
            "plan": terms.plan,
            "from": account.newest.end,
            "price_micros": terms.price_micros,
            "included_s": terms.included_minutes * 60,
        }
    return {
        "next_plan": coming,
        "ends_at": account.subscription.ends_at,
        "top_up": to_builtins(account.top_ups.top_up) if account.top_ups else None,
        "caps": to_builtins(account.caps.caps) if account.caps else [],
    }


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
        **({"banner": row["banner"]} if row["banner"] else {}),
        "plan": row["plan"],
        "next plan": _next_plan(row),
        "ends": time_text(row["ends_at"]),
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
        "caps with a name": ", ".join(cap["name"] for cap in row["caps"]),
        "top-up": _top_up(row),
        "numbers": f"{row['numbers']:,}",
        "campaigns": f"{row['campaigns']:,}",
        "access": _access(row),
    }
    if row["waiting_micros"]:
        told["next request"] = f"{money_text(row['waiting_micros'], currency)} waits for it"
    lines = [(name, text) for name, text in told.items() if text]
    for request in requests:
        amount = money_text(request["left_micros"], request["currency"])
        due = f"{amount}, due {time_text(request['due_at'])} ({request['payment_request_id']})"
        lines.append((f"request {request['status']}", due))
    for alert in alerts:
        lines.append((f"alert {time_text(alert['at'])}", f"{alert['type']} {alert['level']} %"))
    print_rows(f"Account {row['account_id']}", ("", "state"), lines, left=("", "state"))


def _next_plan(row: dict[str, Any]) -> str:
    from cli.tables import duration_text, money_text, time_text

    coming = row["next_plan"]
    if coming is None:
        return ""
    price = money_text(coming["price_micros"], row["currency"])
    included = duration_text(coming["included_s"])
    return f"{coming['plan']} from {time_text(coming['from'])}: {price}, {included} included"


def _top_up(row: dict[str, Any]) -> str:
    from cli.tables import duration_text, money_text

    top_up = row["top_up"]
    if top_up is None:
        return ""
    by_wallet = top_up["below_s"] is not None
    level = (
        f"{duration_text(top_up['below_s'])} in the wallet"
        if by_wallet
        else f"{money_text(top_up['below_micros'], row['currency'])} of credit"
    )
    return f"{top_up['pack']} below {level}, at most {top_up['most_per_month']} times a month"


def _access(row: dict[str, Any]) -> str:
    return "allowed" if row["access_allowed"] else f"off: {', '.join(row['access_reasons'])}"
