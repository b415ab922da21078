"""`callmeter numbers`: the numbers that accounts rent."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import output
from cli.writing import AccountArgument, AtOption, DryRunOption, IdOption, micros_of, show, write_fact

NumberArgument = Annotated[str, typer.Argument(metavar="NUMBER", help="The number, such as +14155550100.")]


def register(app: typer.Typer) -> None:
    """Add the group ``numbers``."""
    group = typer.Typer(help="Rent numbers to accounts, release and list them.", no_args_is_help=True)
    group.command("rent")(rent)
    group.command("release")(release)
    group.command("list")(list_)
    app.add_typer(group, name="numbers")


def rent(
    account: AccountArgument,
    number: NumberArgument,
    price: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="For a period; default: the plan's number_price.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="What it is for, such as front desk.")] = None,
    at: AtOption = None,
    id: IdOption = None,
    dry_run: DryRunOption = False,
    json: output.JsonOption = False,
) -> None:
    """Rent a number to an account: whole periods in advance, a part of one by its days when it closes."""
    from catalogue.facts import number_rented
    from catalogue.spelling import micros_text

    price_micros = None if price is None else micros_of("--price", price)
    _check(number, label)
    written = write_fact(
        account,
        at,
        id,
        lambda on: number_rented(on.catalogue, account, number, price_micros, on.view.plan, label, on.at, on.fact_id),
        dry_run,
    )
    fact = written.fact
    cost = micros_text(fact["price_micros"], fact["currency"]) if written.new else ""
    show(written, f"{account} rents {number} for {cost} a period", json)


def release(
    account: AccountArgument,
    number: NumberArgument,
    at: AtOption = None,
    id: IdOption = None,
    dry_run: DryRunOption = False,
    json: output.JsonOption = False,
) -> None:
    """Release a number: what was charged in advance for the days that are left is credited when the period closes."""
    from catalogue.facts import number_released

    _check(number, None)
    written = write_fact(
        account, at, id, lambda on: number_released(on.catalogue, account, number, on.at, on.fact_id), dry_run
    )
    show(written, f"{account} rents {number} no longer", json)


def list_(
    account: Annotated[str | None, typer.Option(help="Only numbers of this account.")] = None,
    agency: Annotated[str | None, typer.Option(help="Only numbers of this agency's accounts.")] = None,
    released: Annotated[bool, typer.Option("--released", help="Those that were released, too.")] = False,
    json: output.JsonOption = False,
) -> None:
    """Show rented numbers with the calls they had, from ClickHouse."""
    from cli.tables import duration_text, money_text, print_rows, time_text
    from sinks.clickhouse import open_store
    from sinks.numbers import numbers

    with open_store(output.settings()) as store:
        rows = numbers(store, account, agency, released)
    if json:
        output.print_json(rows)
        return
    left = ("agency", "account", "number", "label", "rented", "released")
    cells = (
        (
            row["agency_id"],
            row["account_id"],
            row["number"],
            row["label"],
            time_text(row["rented_at"]),
            time_text(row["released_at"]),
            money_text(row["price_micros"], row["currency"]),
            f"{row['calls']:,}",
            duration_text(row["billed_s"]),
        )
        for row in rows
    )
    print_rows(f"Numbers ({len(rows):,})", (*left, "price", "calls", "billed"), cells, left)


def _check(number: str, label: str | None) -> None:
    from catalogue.kinds import identifier
    from streams.errors import CallmeterError

    try:
        identifier(number)
    except ValueError:
        raise CallmeterError(f"{number!r} is no number; it has 1 to 128 bytes and no white space") from None
    if label is not None and len(label.encode()) > 128:
        raise CallmeterError("--label has at most 128 bytes")
