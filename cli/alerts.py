"""`callmeter alerts`: levels that accounts have reached, from ClickHouse."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import output

if TYPE_CHECKING:
    from sinks.clickhouse import Store

AgencyOption = Annotated[str | None, typer.Option("--agency", help="Only those of this agency.")]
AccountOption = Annotated[str | None, typer.Option("--account", help="Only those of this account.")]
TypeOption = Annotated[
    str | None,
    typer.Option(
        "--type", help="Only these: allowance, cap, agency_cap, stuck_call, unusual_usage, dispute and so on."
    ),
]

# How often ClickHouse is asked for new ones.
POLL_S = 1.0
COLUMNS = (
    "kafka_partition",
    "kafka_offset",
    "alert_id",
    "type",
    "level",
    "agency_id",
    "account_id",
    "subscription_id",
    "period_start",
    "at",
    "used",
    "limit_value",
    "call_id",
    "hour",
    "forecast_micros",
    "runs_out_at",
    "cap",
    "cap_on",
    "cap_per",
    "cap_mode",
    "day_start",
    "payment_request_id",
    "dispute_id",
)
# Their quantities are always seconds.
OF_SECONDS = {"allowance", "stuck_call", "unusual_usage", "forecast_overage"}
SELECT = (
    f"SELECT {', '.join(f'a.{name} AS {name}' for name in COLUMNS)},"
    " if(a.currency = '', s.currency, a.currency) AS currency,"
    " s.cap_minutes AS cap_minutes, s.cap_spend_micros AS cap_spend_micros"
    " FROM alerts AS a LEFT JOIN accounts_current AS s ON s.agency_id = a.agency_id AND s.account_id = a.account_id"
)


def register(app: typer.Typer) -> None:
    """Add the group ``alerts``."""
    group = typer.Typer(help="Look at alerts: levels of allowance and caps that were reached.", no_args_is_help=True)
    group.command("list")(list_)
    group.command("follow")(follow)
    app.add_typer(group, name="alerts")


def list_(
    agency: AgencyOption = None,
    account: AccountOption = None,
    type: TypeOption = None,
    limit: Annotated[int, typer.Option(min=1, help="The latest so many.")] = 100,
    json: output.JsonOption = False,
) -> None:
    """Show alerts, the latest last."""
    from cli.tables import print_rows
    from sinks.clickhouse import open_store

    with open_store(output.settings()) as store:
        rows = _latest(store, _filters(agency, account, type), limit)
    if json:
        output.print_json([_public(row) for row in rows])
    else:
        columns = ("at", "agency", "account", "alert", "used", "of", "period")
        print_rows("Alerts", columns, map(_cells, rows), left=("at", "agency", "account", "alert", "period"))


def follow(
    agency: AgencyOption = None,
    account: AccountOption = None,
    type: TypeOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print each as one line of JSON.")] = False,
) -> None:
    """Show alerts as they come, until Ctrl-C; first the latest ten."""
    from sinks.clickhouse import open_store

    filters = _filters(agency, account, type)
    with open_store(output.settings()) as store:
        seen = {
            row["kafka_partition"]: row["last"]
            for row in store.rows(
                "SELECT kafka_partition, max(kafka_offset) AS last FROM alerts GROUP BY kafka_partition"
            )
        }
        rows = [
            row for row in _latest(store, filters, 10) if row["kafka_offset"] <= seen.get(row["kafka_partition"], -1)
        ]
        while True:
            for row in rows:
                if json:
                    output.print_json(_public(row))
                else:
                    at, agency_id, account_id, alert, used, limit, _ = _cells(row)
                    typer.echo(f"{at}  {agency_id}  {account_id}  {alert}: {used} of {limit}")
            time.sleep(POLL_S)
            rows = _newer(store, filters, seen)
            for row in rows:
                seen[row["kafka_partition"]] = max(row["kafka_offset"], seen.get(row["kafka_partition"], -1))


def _filters(agency: str | None, account: str | None, kind: str | None) -> dict[str, str]:
    named = {"agency_id": agency, "account_id": account, "type": kind}
    return {name: value for name, value in named.items() if value is not None}


def _latest(store: Store, filters: dict[str, str], limit: int) -> list[dict[str, Any]]:
    where = " AND ".join(["1", *(f"a.{name} = {{{name}:String}}" for name in filters)])
    rows = store.rows(
        f"{SELECT} WHERE {where} ORDER BY a.at DESC, a.kafka_partition DESC, a.kafka_offset DESC LIMIT {{most:UInt32}}",
        {**filters, "most": limit},
    )
    return rows[::-1]


def _newer(store: Store, filters: dict[str, str], seen: dict[int, int]) -> list[dict[str, Any]]:
    where = " AND ".join(
        [
            "a.kafka_offset > transform(a.kafka_partition, {partitions:Array(Int32)}, {offsets:Array(Int64)},"
            " -1::Int64)",
            *(f"a.{name} = {{{name}:String}}" for name in filters),
        ]
    )
    # An empty array has no type that transform would take.
    known = seen or {-1: -1}
    return store.rows(
        f"{SELECT} WHERE {where} ORDER BY a.at, a.kafka_partition, a.kafka_offset",
        {**filters, "partitions": list(known), "offsets": list(known.values())},
    )


def _public(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in COLUMNS if not name.startswith("kafka_")}


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    from cli.tables import time_text

    return (
        time_text(row["at"]),
        row["agency_id"],
        row["account_id"],
        _what(row),
        _quantity(row, row["used"]),
        _quantity(row, row["limit_value"]),
        f"{row['period_start']:%Y-%m-%d}",
    )


def _what(row: dict[str, Any]) -> str:
    """An alert in a few words."""
    if row["type"] == "stuck_call":
        return f"stuck call {row['call_id']}"
    if row["type"] == "unusual_usage":
        return f"unusual hour {row['hour']:%Y-%m-%d %H}:00"
    if row["type"] == "forecast_overage":
        return "forecast beyond its minutes"
    if row["type"] == "dispute":
        return f"dispute of {row['payment_request_id']}"
    named = f" {row['cap']} ({row['cap_on']} per {row['cap_per']})" if row["cap"] else ""
    return f"{row['type']}{named} {row['level']} %"


def _quantity(row: dict[str, Any], value: int) -> str:
    """Minutes or money; only the number where the cap was changed since, for an alert does not tell its unit."""
    from cli.tables import duration_text, money_text

    if row["cap_on"]:
        return duration_text(value) if row["cap_on"] in ("minutes", "wallet") else money_text(value, row["currency"])
    if row["type"] == "dispute":
        return money_text(value, row["currency"])
    if row["type"] in OF_SECONDS or row["limit_value"] == (row["cap_minutes"] or 0) * 60:
        return duration_text(value)
    if row["limit_value"] == row["cap_spend_micros"]:
        return money_text(value, row["currency"])
    return f"{value:,}"
