"""`callmeter campaigns list`: the campaigns of accounts with their usage, from ClickHouse."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import output


def register(app: typer.Typer) -> None:
    """Add the group ``campaigns``."""
    group = typer.Typer(help="Look at campaigns: how many there are, and what each used.", no_args_is_help=True)
    # A group of one command: without a callback Typer would make it the command itself.
    group.callback()(_no_options)
    group.command("list")(list_)
    app.add_typer(group, name="campaigns")


def _no_options() -> None:
    """Nothing is common to the commands of the group."""


def list_(
    account: Annotated[str | None, typer.Option(help="Only campaigns of this account.")] = None,
    agency: Annotated[str | None, typer.Option(help="Only campaigns of this agency's accounts.")] = None,
    json: output.JsonOption = False,
) -> None:
    """Show every campaign that ever had a call: when, how many calls, what they used and came to.

    Days are UTC. `callmeter usage --by campaign --from TIME --to TIME` has the same for a time.
    """
    from cli.tables import duration_text, money_text, print_rows
    from sinks.clickhouse import open_store
    from sinks.numbers import campaigns

    with open_store(output.settings()) as store:
        rows = campaigns(store, account, agency)
    if json:
        output.print_json(rows)
        return
    left = ("agency", "account", "campaign", "first day", "last day")
    cells = (
        (
            row["agency_id"],
            row["account_id"],
            row["campaign_id"],
            f"{row['first_day']:%Y-%m-%d}",
            f"{row['last_day']:%Y-%m-%d}",
            f"{row['calls']:,}",
            duration_text(row["billed_s"]),
            money_text(row["amount_micros"], row["currency"]),
            money_text(row["margin_micros"], row["currency"]),
        )
        for row in rows
    )
    print_rows(f"Campaigns ({len(rows):,})", (*left, "calls", "billed", "amount", "margin"), cells, left)
