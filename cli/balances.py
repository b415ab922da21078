"""`callmeter apply-pack`, `packs`, `top-up`, `wallet adjust`, `cap set` and `cap clear`: what an account may use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import output
from cli.writing import (
    AccountArgument,
    AtOption,
    IdOption,
    Written,
    fact_id_of,
    read_catalogue,
    show,
    time_of,
    timezone_of,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from catalogue.collection import Catalogue
    from streams.settings import Settings


def register(app: typer.Typer) -> None:
    """Adds the command ``apply-pack`` and the groups ``wallet``, ``packs``, ``top-up`` and ``cap``."""
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
    cap = typer.Typer(help="Limit what an account may use in a period.", no_args_is_help=True)
    cap.command("set")(set_cap)
    cap.command("clear")(clear_cap)
    app.add_typer(cap, name="cap")


def _no_options() -> None:
    """Nothing is common to the commands of the group."""


def apply_pack(
    account: AccountArgument,
    pack: Annotated[str, typer.Argument(metavar="PACK", help="A pack: boost-60, or acme/boost-60.")],
    at: AtOption = None,
    id: IdOption = None,
    json: output.JsonOption = False,
) -> None:
    """Sell a pack to an account: its minutes are in the wallet at once, and its price is asked for."""
    from catalogue.facts import pack_applied

    fact_id = fact_id_of(id)
    written = _run(account, at, fact_id, lambda catalogue, when: pack_applied(catalogue, account, pack, when, fact_id))
    fact = written.fact
    text = f"{account} gets pack {fact.get('pack')}: {fact.get('minutes')} minutes"
    if fact.get("credit_micros"):
        text += f" and {_money(fact['credit_micros'], fact['currency'])} of credit"
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
    from catalogue.spelling import amount, micros
    from streams.errors import CallmeterError

    if (below_minutes is None) == (below_credit is None):
        raise CallmeterError("say when: --below-minutes or --below-credit, one of them")
    try:
        level = (
            {"below_s": 60 * below_minutes}
            if below_minutes is not None
            else {"below_micros": micros(amount(below_credit))}
        )
    except ValueError as error:
        raise CallmeterError(f"--below-credit {error}") from None
    fact_id = fact_id_of(id)

    def make(catalogue: Catalogue, when: datetime) -> dict[str, Any]:
        return top_up_set(catalogue, account, pack, level, most_per_month, when, fact_id)

    below = f"{below_minutes} minutes" if below_minutes is not None else f"a credit of {below_credit}"
    text = f"{account} buys pack {pack} below {below}, at most {most_per_month} times a month"
    show(_run(account, at, fact_id, make), text, json)


def clear_top_up(
    account: AccountArgument, at: AtOption = None, id: IdOption = None, json: output.JsonOption = False
) -> None:
    """Have an account buy nothing by itself any more."""
    from catalogue.facts import top_up_cleared

    fact_id = fact_id_of(id)
    written = _run(account, at, fact_id, lambda catalogue, when: top_up_cleared(catalogue, account, when, fact_id))
    show(written, f"{account}: no top-up", json)


def adjust(
    account: AccountArgument,
    reason: Annotated[str, typer.Option(help="Why; it stands in the log for ever.")],
    minutes: Annotated[int, typer.Option(help="Minutes to add; negative to take away.")] = 0,
    credit: Annotated[str, typer.Option(metavar="AMOUNT", help="Credit to add, in the account's currency.")] = "0",
    at: AtOption = None,
    id: IdOption = None,
    json: output.JsonOption = False,
) -> None:
    """Correct an account's wallet by a difference; nothing is edited, and nothing is asked for."""
    from catalogue.facts import wallet_adjusted
    from catalogue.spelling import amount, micros
    from streams.errors import CallmeterError

    try:
        credit_micros = micros(amount(credit, signed=True))
    except ValueError as error:
        raise CallmeterError(f"--credit {error}") from None
    if not minutes and not credit_micros:
        raise CallmeterError("say what to adjust: --minutes, --credit or both")
    fact_id = fact_id_of(id)

    def make(catalogue: Catalogue, when: datetime) -> dict[str, Any]:
        return wallet_adjusted(catalogue, account, minutes, credit_micros, reason, when, fact_id)

    show(_run(account, at, fact_id, make), f"{account}: wallet {minutes:+} minutes, credit {credit}", json)


def set_cap(
    account: AccountArgument,
    minutes: Annotated[int | None, typer.Option(min=0, help="Billed minutes of a period.")] = None,
    spend: Annotated[str | None, typer.Option(metavar="AMOUNT", help="Usage of a period, in its currency.")] = None,
    mode: Annotated[str, typer.Option(metavar="hard|soft", help="hard turns access off, soft only warns.")] = "hard",
    alerts: Annotated[str, typer.Option(metavar="PERCENTS", help="When to warn, such as 80,100.")] = "80,100",
    at: AtOption = None,
    id: IdOption = None,
    json: output.JsonOption = False,
) -> None:
    """Set an account's cap, in place of the one it has, until its next subscription starts."""
    from pydantic import ValidationError

    from catalogue.facts import cap_set
    from catalogue.model import Cap
    from catalogue.terms import cap_of
    from streams.errors import CallmeterError

    given = {"minutes": minutes, "spend": spend, "mode": mode, "alerts_percent": alerts.split(",")}
    try:
        cap = cap_of(Cap.model_validate(given))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        option = (
            {"alerts_percent": "--alerts "}.get(str(first["loc"][0]), f"--{first['loc'][0]} ") if first["loc"] else ""
        )
        raise CallmeterError(f"{option or 'a cap '}{first['ctx']['error']}") from None
    fact_id = fact_id_of(id)
    written = _run(account, at, fact_id, lambda catalogue, when: cap_set(catalogue, account, cap, when, fact_id))
    limits = [f"{minutes} minutes"] * (minutes is not None) + [f"a usage of {spend}"] * (spend is not None)
    show(written, f"{account}: {mode} cap at {' or '.join(limits)} a period", json)


def clear_cap(
    account: AccountArgument, at: AtOption = None, id: IdOption = None, json: output.JsonOption = False
) -> None:
    """Take an account's cap away."""
    from catalogue.facts import cap_set

    fact_id = fact_id_of(id)
    written = _run(account, at, fact_id, lambda catalogue, when: cap_set(catalogue, account, None, when, fact_id))
    show(written, f"{account}: no cap", json)


def _run(
    account_id: str, at: str | None, fact_id: str, make: Callable[[Catalogue, datetime], dict[str, Any]]
) -> Written:
    """Make a fact from the catalogue and write it."""
    import uvloop

    async def run(settings: Settings) -> Written:
        catalogue = await read_catalogue(settings)
        fact = make(catalogue, time_of(at, timezone_of(catalogue, account_id)))
        return await write(settings, account_id, fact_id, lambda _: fact)

    return uvloop.run(run(output.settings()))


def _money(value: int, currency: str) -> str:
    from catalogue.spelling import micros_text

    return micros_text(value, currency)
