"""`callmeter wholesale`: what the platform charges an agency."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import output
from cli.writing import AtOption, IdOption, fact_id_of, read_catalogue, time_of

if TYPE_CHECKING:
    from streams.settings import Settings


def register(app: typer.Typer) -> None:
    """Adds the group ``wholesale``."""
    group = typer.Typer(help="What the platform charges an agency, and so what its calls cost.", no_args_is_help=True)
    group.command("set")(set_)
    app.add_typer(group, name="wholesale")


def set_(
    agency: Annotated[str, typer.Argument(metavar="AGENCY", help="An agency of the catalogue.")],
    rate: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="Per minute, for what the card has no row for.")
    ] = None,
    rate_card: Annotated[str | None, typer.Option(metavar="CARD", help="The id of a rate card.")] = None,
    currency: Annotated[str | None, typer.Option(metavar="CODE", help="Default: the agency's.")] = None,
    increments: Annotated[str, typer.Option(metavar="FIRST/NEXT", help="Such as 60/6.")] = "1/1",
    minimum: Annotated[str, typer.Option(metavar="DURATION", help="Shortest billed duration.")] = "0",
    connection_fee: Annotated[str, typer.Option(metavar="AMOUNT", help="Per billed call.")] = "0",
    cost: Annotated[
        str, typer.Option(metavar="card|reported", help="reported: a cost reported with the call wins.")
    ] = "card",
    at: AtOption = None,
    id: IdOption = None,
    json: output.JsonOption = False,
) -> None:
    """Set an agency's wholesale prices, for calls that end at or after --at and are rated from now on. They are written
    to every partition; running this again with the same --id changes nothing."""
    import uvloop

    from catalogue.spelling import amount, choice, micros, seconds
    from catalogue.spelling import increments as steps
    from streams.errors import CallmeterError

    if rate is None and rate_card is None:
        raise CallmeterError("say what a minute costs: --rate, --rate-card, or both")
    terms: dict[str, Any] = {"currency": currency, "rate_card": rate_card}
    for option, name, read, text in (
        ("--rate", "rate_micros_per_minute", lambda text: micros(amount(text)), rate),
        ("--increments", "increments", steps, increments),
        ("--minimum", "minimum_s", seconds, minimum),
        ("--connection-fee", "connection_fee_micros", lambda text: micros(amount(text)), connection_fee),
        ("--cost", "cost_policy", lambda text: choice(text, ("card", "reported")), cost),
    ):
        try:
            terms[name] = None if text is None else read(text)
        except ValueError as error:
            raise CallmeterError(f"{option}: {error}") from None
    fact = uvloop.run(_set(output.settings(), agency, terms, at, fact_id_of(id)))
    if json:
        output.print_json({"fact_id": fact["fact_id"], "sent": True, "fact": fact})
    else:
        typer.echo(f"wholesale of {agency} from {fact['at']} on is written to every partition")
        typer.echo(f"fact {fact['fact_id']}")


async def _set(
    settings: Settings, agency_id: str, terms: dict[str, Any], at: str | None, fact_id: str
) -> dict[str, Any]:
    from catalogue.facts import encode, time_text
    from rating.facts import Undecodable, decode
    from streams.cards import find_card
    from streams.errors import CallmeterError, Refused
    from streams.producer import FactProducer

    agency = (await read_catalogue(settings)).agency(agency_id)
    terms["currency"] = (terms["currency"] or agency.currency).upper()
    begins = time_of(at, agency.timezone)
    fact = {
        "type": "wholesale.set",
        "fact_id": fact_id,
        "agency_id": agency_id,
        "at": time_text(begins),
        "terms": {**terms, "timezone": agency.timezone},
    }
    encoded = encode(fact)
    try:
        decode(encoded)
    except Undecodable as error:
        raise CallmeterError(str(error)) from None
    if terms["rate_card"] is not None:
        card = await find_card(settings, terms["rate_card"])
        if card is None:
            raise Refused(f"unknown_rate_card: there is no rate card {terms['rate_card']}")
        if card.currency != terms["currency"]:
            raise Refused(f"wrong_currency: the rate card is in {card.currency}, the terms are in {terms['currency']}")
    async with FactProducer(settings) as producer:
        await producer.publish(encoded)
    return fact
