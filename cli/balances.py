"""`callmeter apply-pack`, `packs`, `top-up` and `wallet adjust`: what an account may use beyond its plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli import output
from cli.writing import (
    AccountArgument,
    AtOption,
    DryRunOption,
    Ground,
    IdOption,
    micros_of,
    read_catalogue,
    show,
    write_fact,
)

if TYPE_CHECKING:
    from catalogue.facts import Fact


def register(app: typer.Typer) -> None:
    """Adds the command ``apply-pack`` and the groups ``wallet``, ``packs`` and ``top-up``."""
    app.command("apply-pack")(apply_pack)
    wallet = typer.Typer(help="Correct the purchased minutes and credit of an account.", no_args_is_help=True)
    # A group of one command: without a callback Typer would make it the command itself.
    wallet.callback()(_no_options)
    wallet.command("adjust")(adjust)
    app.add_typer(wallet, name="wallet")
    packs = typer.Typer(help="Look at the packs that an account may buy.", no_args_is_help=True)
    packs.callback()(_no_options)
    packs.command("list")(list_packs)
    app.add_typer(packs, name="packs")
    top_up = typer.Typer(help="Have an account buy a pack by itself when it runs low.", no_args_is_help=True)
    top_up.command("set")(set_top_up)
    top_up.command("clear")(clear_top_up)
    app.add_typer(top_up, name="top-up")


def _no_options() -> None:
    """Nothing is common to the commands of the group."""


def apply_pack(
    account: AccountArgument,
    pack: Annotated[str, typer.Argument(metavar="PACK", help="A pack: boost-60, or acme/boost-60.")],
    at: AtOption = None,
    id: IdOption = None,
    dry_run: DryRunOption = False,
    json: output.JsonOption = False,
) -> None:
    """Sell a pack to an account: its minutes are in the wallet at once, and its price is asked for."""
    from catalogue.facts import pack_applied

    written = write_fact(
        account, at, id, lambda on: pack_applied(on.catalogue, account, pack, on.at, on.fact_id), dry_run
    )
    fact, text = written.fact, ""
    if written.new:
        credit = fact["credit_micros"]
        given = [f"{fact['minutes']} minutes"] * (fact["minutes"] > 0)
        given += [f"{_money(credit, fact['currency'])} of credit"] * (credit > 0)
        price = _money(fact["price_micros"], fact["currency"])
        text = f"{account} gets pack {fact['pack']}, {' and '.join(given)}, for {price}"
    show(written, text, json)


def list_packs(account: AccountArgument, json: output.JsonOption = False) -> None:
    """Show the packs that an account may buy: those assigned to it, or else to its agency."""
    import uvloop

    from catalogue.terms import currency_of

    catalogue = uvloop.run(read_catalogue(output.settings()))
    agency = catalogue.agency(catalogue.account(account).agency)
    rows = [
        (name, pack.minutes, pack.credit, pack.price, currency_of(pack, agency))
        for name, pack in catalogue.packs_of(account)
    ]
    if json:
        from catalogue.spelling import micros

        output.print_json(
            [
                {
                    "pack": name,
                    "minutes": minutes,
                    "credit_micros": micros(credit),
                    "price_micros": micros(price),
                    "currency": currency,
                }
                for name, minutes, credit, price, currency in rows
            ]
        )
        return
    from catalogue.spelling import amount_text

    cells = [
        [name, minutes, f"{amount_text(credit, currency)} {currency}", f"{amount_text(price, currency)} {currency}"]
        for name, minutes, credit, price, currency in rows
    ]
    output.print_table(f"Packs of {account}", ["pack", "minutes", "credit", "price"], cells)


def set_top_up(
    account: AccountArgument,
    pack: Annotated[str, typer.Argument(metavar="PACK", help="What it buys: boost-60, or acme/boost-60.")],
    most_per_month: Annotated[int, typer.Option(min=1, help="How often at most in a calendar month.")],
    below_minutes: Annotated[int | None, typer.Option(min=0, help="Buy when the wallet has fewer minutes.")] = None,
    below_credit: Annotated[str | None, typer.Option(metavar="AMOUNT", help="Buy when there is less credit.")] = None,
    at: AtOption = None,
    id: IdOption = None,
    json: output.JsonOption = False,
) -> None:
    """Have an account buy a pack after a call that leaves too little in its wallet, or of its credit."""
    from catalogue.facts import top_up_set
    from streams.errors import CallmeterError

    if (below_minutes is None) == (below_credit is None):
        raise CallmeterError("say when: --below-minutes or --below-credit, one of them")
    level = {"below_s": 60 * below_minutes} if below_minutes is not None else {}
    if below_credit is not None:
        level["below_micros"] = micros_of("--below-credit", below_credit)
    written = write_fact(
        account,
        at,
        id,
        lambda on: top_up_set(on.catalogue, account, pack, level, most_per_month, on.at, on.fact_id),
    )
    below = f"{below_minutes} minutes" if below_minutes is not None else f"a credit of {below_credit}"
    text = f"{account} buys pack {pack.rpartition('/')[2]} below {below}, at most {most_per_month} times a month"
    show(written, text, json)


def clear_top_up(
    account: AccountArgument, at: AtOption = None, id: IdOption = None, json: output.JsonOption = False
) -> None:
    """Have an account buy nothing by itself any more."""
    from catalogue.facts import top_up_cleared

    written = write_fact(account, at, id, lambda on: top_up_cleared(on.catalogue, account, on.at, on.fact_id))
    show(written, f"{account}: no top-up", json)


def adjust(
    account: AccountArgument,
    reason: Annotated[str, typer.Option(help="Why; it stands in the log for ever.")],
    minutes: Annotated[int, typer.Option(help="Minutes to add; negative to take away.")] = 0,
    credit: Annotated[str, typer.Option(metavar="AMOUNT", help="Credit to add, in the account's currency.")] = "0",
    at: AtOption = None,
    id: IdOption = None,
    dry_run: DryRunOption = False,
    json: output.JsonOption = False,
) -> None:
    """Correct an account's wallet by a difference; nothing is edited, and nothing is asked for."""
    from catalogue.facts import wallet_adjusted
    from cli.tables import duration_text
    from streams.errors import CallmeterError

    credit_micros = micros_of("--credit", credit, signed=True)
    if not minutes and not credit_micros:
        raise CallmeterError("say what to adjust: --minutes, --credit or both")
    currency = ""

    def make(on: Ground) -> Fact:
        nonlocal currency
        currency = on.view.account.currency if on.view.account is not None else ""
        return wallet_adjusted(on.catalogue, account, minutes, credit_micros, reason, on.at, on.fact_id)

    written = write_fact(account, at, id, make, dry_run)
    text = f"{account}: wallet {minutes:+} minutes, credit {credit}"
    for event in written.outputs_of("billing-events"):
        if event["type"] == "wallet.adjusted":
            left = _money(event["credit_left_micros"], currency)
            text += f"; now {duration_text(event['wallet_left_s'])} and {left}"
    show(written, text, json)


def _money(value: int, currency: str) -> str:
    from catalogue.spelling import micros_text

    return micros_text(value, currency)
