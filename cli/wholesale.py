"""`callmeter wholesale`: what the platform charges an agency."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import output
from cli.writing import AtOption, IdOption, fact_id_of, read_catalogue, time_of

if TYPE_CHECKING:
    from catalogue.model import Agency
    from streams.settings import Settings

AgencyArgument = Annotated[str, typer.Argument(metavar="AGENCY", help="An agency of the catalogue.")]


def register(app: typer.Typer) -> None:
    """Adds the group ``wholesale``."""
    group = typer.Typer(help="What the platform charges an agency, and so what its calls cost.", no_args_is_help=True)
    group.command("set")(set_)
    group.command("show")(show)
    app.add_typer(group, name="wholesale")


def set_(
    agency: AgencyArgument,
    rate: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="Per minute, for what the card has no row for.")
    ] = None,
    rate_card: Annotated[str | None, typer.Option(metavar="CARD", help="The id of a rate card.")] = None,
    currency: Annotated[str | None, typer.Option(metavar="CODE", help="Default: the agency's.")] = None,
    increments: Annotated[str | None, typer.Option(metavar="FIRST/NEXT", help="Such as 60/6; default: 1/1.")] = None,
    minimum: Annotated[str | None, typer.Option(metavar="DURATION", help="Shortest billed duration.")] = None,
    connection_fee: Annotated[str | None, typer.Option(metavar="AMOUNT", help="Per billed call.")] = None,
    cost: Annotated[
        str | None,
        typer.Option(metavar="card|reported", help="reported: a cost reported with the call wins; default: card."),
    ] = None,
    every: Annotated[str | None, typer.Option(metavar="PERIOD", help="Of the agency; default: 1 month.")] = None,
    price: Annotated[str | None, typer.Option(metavar="AMOUNT", help="Of a period, in advance.")] = None,
    included_minutes: Annotated[str | None, typer.Option(metavar="MINUTES", help="Of a period, in its price.")] = None,
    number_price: Annotated[str | None, typer.Option(metavar="AMOUNT", help="Of a rented number a period.")] = None,
    due_days: Annotated[str | None, typer.Option(metavar="DAYS", help="Until a request is due.")] = None,
    timezone: Annotated[str | None, typer.Option(metavar="ZONE", help="Default: the agency's.")] = None,
    at: AtOption = None,
    id: IdOption = None,
    json: output.JsonOption = False,
) -> None:
    """Put an agency's wholesale terms in force: those of the catalogue, and what options say otherwise.

    Prices of calls are for calls that end at or after --at and are rated from now on; the rest is for the period that
    begins at --at, else for the next one. They are written to every partition; running this again with the same --id
    changes nothing.
    """
    import uvloop

    from catalogue.spelling import amount, choice, interval, micros, seconds, whole
    from catalogue.spelling import every as period
    from catalogue.spelling import increments as steps
    from streams.errors import CallmeterError

    given: dict[str, Any] = {}
    for option, name, read, text in (
        ("--rate", "rate_micros_per_minute", lambda text: micros(amount(text)), rate),
        ("--rate-card", "rate_card", str, rate_card),
        ("--currency", "currency", str.upper, currency),
        ("--increments", "increments", steps, increments),
        ("--minimum", "minimum_s", seconds, minimum),
        ("--connection-fee", "connection_fee_micros", lambda text: micros(amount(text)), connection_fee),
        ("--cost", "cost_policy", lambda text: choice(text, ("card", "reported")), cost),
        ("--every", "interval", period, every),
        ("--price", "price_micros", lambda text: micros(amount(text)), price),
        ("--included-minutes", "included_minutes", lambda text: whole(text, 0, 2**53 // 60), included_minutes),
        ("--number-price", "number_price_micros", lambda text: micros(amount(text)), number_price),
        ("--due-days", "due_days", lambda text: whole(text, 0, 36_500), due_days),
        ("--timezone", "timezone", str, timezone),
    ):
        try:
            if text is not None:
                given[name] = read(text)
        except ValueError as error:
            raise CallmeterError(f"{option}: {error}") from None
    if "interval" in given:
        given["interval"], given["interval_count"] = interval(given["interval"])
    fact = uvloop.run(_set(output.settings(), agency, given, at, fact_id_of(id)))
    if json:
        output.print_json({"fact_id": fact["fact_id"], "sent": True, "fact": fact})
    else:
        typer.echo(f"wholesale of {agency} from {fact['at']} on is written to every partition")
        typer.echo(f"fact {fact['fact_id']}")


async def _set(
    settings: Settings, agency_id: str, given: dict[str, Any], at: str | None, fact_id: str
) -> dict[str, Any]:
    from catalogue.facts import encode, time_text
    from rating.facts import Undecodable, decode
    from streams.cards import find_card
    from streams.errors import CallmeterError, Refused
    from streams.producer import FactProducer

    agency = (await read_catalogue(settings)).agency(agency_id)
    terms = {**_of_catalogue(agency), **given}
    if terms.get("rate_micros_per_minute") is None and terms.get("rate_card") is None:
        raise CallmeterError("say what a minute costs: --rate, --rate-card, or both, or wholesale in the catalogue")
    fact = {
        "type": "wholesale.set",
        "fact_id": fact_id,
        "agency_id": agency_id,
        "at": time_text(time_of(at, agency.timezone)),
        "terms": terms,
    }
    encoded = encode(fact)
    try:
        decode(encoded)
    except Undecodable as error:
        raise CallmeterError(str(error)) from None
    if terms.get("rate_card") is not None:
        card = await find_card(settings, terms["rate_card"])
        if card is None:
            raise Refused(f"unknown_rate_card: there is no rate card {terms['rate_card']}")
        if card.currency != terms["currency"]:
            raise Refused(f"wrong_currency: the rate card is in {card.currency}, the terms are in {terms['currency']}")
    async with FactProducer(settings) as producer:
        await producer.publish(encoded)
    return fact


def _of_catalogue(agency: Agency) -> dict[str, Any]:
    from catalogue.terms import wholesale_terms_of

    if agency.wholesale is not None:
        return wholesale_terms_of(agency.wholesale, agency)
    return {"currency": agency.currency, "timezone": agency.timezone}


def show(
    agency: Annotated[str, typer.Argument(metavar="AGENCY", help="An agency's id.")], json: output.JsonOption = False
) -> None:
    """Show an agency's wholesale terms, its open periods with what was used so far, and how many numbers it has.

    Requests to it: `callmeter requests list --wholesale --agency AGENCY`.
    """
    import uvloop

    from jobs.agencies import wholesale_of
    from streams.errors import Refused

    found = uvloop.run(wholesale_of(output.settings(), agency))
    if not found["terms"]:
        raise Refused(f"no wholesale terms of {agency} are in force; see `callmeter wholesale set --help`")
    if json:
        output.print_json(found)
    else:
        _tables(found)


def _tables(found: dict[str, Any]) -> None:
    from cli.tables import duration_text, money_text, print_rows, time_text

    currency = found["terms"][0]["currency"]

    def money(micros: int | None) -> str:
        return money_text(micros, currency)

    columns = ["from", "a minute", "rate card", "cost", "every", "price", "included", "a number"]
    rows = [
        (
            time_text(one["at"]),
            money(one["rate_micros_per_minute"]),
            one["rate_card"] or "",
            one["cost_policy"],
            f"{one['interval_count']} {one['interval']}, {one['timezone']}",
            money(one["price_micros"]),
            f"{one['included_minutes']:,} min",
            money(one["number_price_micros"]),
        )
        for one in found["terms"]
    ]
    print_rows(f"Wholesale terms of {found['agency_id']}", columns, rows, left=columns)
    columns = ["from", "to", "calls", "billed", "included", "cost", "reported"]
    periods = [
        (
            time_text(one["period_start"]),
            time_text(one["period_end"]),
            f"{one['calls'] + one['reported_calls']:,}",
            duration_text(one["billed_s"]),
            duration_text(one["included_s"]),
            money(one["cost_micros"]),
            money(one["reported_micros"]),
        )
        for one in found["periods"]
    ]
    print_rows(f"Open periods; {found['numbers']:,} numbers", columns, periods, left=columns[:2])
