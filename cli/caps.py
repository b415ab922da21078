"""`callmeter caps set` and `caps clear`: caps with a name, of an account or of a whole agency."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import output
from cli.writing import AtOption, IdOption, Written, fact_id_of, read_catalogue, show, time_of, timezone_of, write

if TYPE_CHECKING:
    from streams.settings import Settings

OwnerArgument = Annotated[str, typer.Argument(metavar="OWNER", help="An account's id, or an agency's with --agency.")]
AgencyOption = Annotated[bool, typer.Option("--agency", help="OWNER is an agency: all its accounts together.")]
MINUTES = ("minutes", "wallet")
MEASURES = (*MINUTES, "spend", "cost", "margin")


def register(app: typer.Typer) -> None:
    """Add the group ``caps``."""
    group = typer.Typer(
        help="Limit minutes, spend, cost, margin or wallet, of an account or of an agency.", no_args_is_help=True
    )
    group.command("set")(set_)
    group.command("clear")(clear)
    app.add_typer(group, name="caps")


def set_(
    owner: OwnerArgument,
    caps: Annotated[
        list[str],
        typer.Argument(
            metavar="CAP...",
            help="NAME:ON:LIMIT[:PER[:MODE[:LEVELS]]], such as daily:minutes:120:day:hard:80,100 or loss:margin:-50. "
            "ON: minutes, spend, cost, margin, wallet. LIMIT: minutes, or an amount. PER: period, day. MODE: hard, "
            "soft. LEVELS in percent.",
        ),
    ],
    agency: AgencyOption = False,
    currency: Annotated[
        str | None, typer.Option(help="Of an agency's amounts; default: the agency's in the catalogue.")
    ] = None,
    at: AtOption = None,
    id: IdOption = None,
    json: output.JsonOption = False,
) -> None:
    """Set all caps with a name, in place of those there are. They count at once.

    Minutes, spend and cost have a ceiling; margin and wallet a floor, and count as reached at it or below. A hard cap
    that is reached turns access off until it is raised, or its period or day is over; calls that come are still rated.
    """
    _set(owner, [_parsed(one) for one in caps], agency, currency, at, id, json)


def clear(
    owner: OwnerArgument,
    agency: AgencyOption = False,
    at: AtOption = None,
    id: IdOption = None,
    json: output.JsonOption = False,
) -> None:
    """Take all caps with a name away."""
    _set(owner, [], agency, None, at, id, json)


def _set(
    owner: str,
    caps: list[dict[str, Any]],
    agency: bool,
    currency: str | None,
    at: str | None,
    id: str | None,
    json: bool,
) -> None:
    import uvloop

    fact_id = fact_id_of(id)

    async def run(settings: Settings) -> Written:
        from catalogue.facts import caps_set

        catalogue = await read_catalogue(settings)
        if agency:
            zone, usual = catalogue.agency(owner).timezone, catalogue.agency(owner).currency
            return await _write_for_agency(settings, owner, caps, currency or usual, time_of(at, zone), fact_id)
        when = time_of(at, timezone_of(catalogue, owner))
        fact = caps_set(catalogue, owner, caps, when, fact_id)
        return await write(settings, owner, fact_id, lambda _: fact)

    written = uvloop.run(run(output.settings()))
    named = ", ".join(cap["name"] for cap in caps) if caps else "none"
    show(written, f"{owner}: caps {named}", json)


async def _write_for_agency(
    settings: Settings, agency_id: str, caps: list[dict[str, Any]], currency: str, at: Any, fact_id: str
) -> Written:
    from catalogue.facts import encode, time_text
    from rating.agency_facts import MONEY, decode
    from rating.facts import Undecodable
    from streams.errors import Refused
    from streams.producer import FactProducer
    from streams.topics import AGENCY_EVENTS

    own = [{**cap, "currency": currency} if cap["on"] in MONEY else cap for cap in caps]
    head = {"type": "agency.caps_set", "fact_id": fact_id, "agency_id": agency_id, "at": time_text(at)}
    fact = {**head, "caps": own}
    encoded = encode(fact)
    try:
        decode(encoded)
    except Undecodable as refused:
        raise Refused(f"{refused.reason}: {refused}") from None
    async with FactProducer(settings, AGENCY_EVENTS) as producer:
        await producer.send(agency_id, encoded)
        await producer.flush()
    return Written(fact, sent=True, checked=True)


def _parsed(text: str) -> dict[str, Any]:
    """A cap as it is written on the command line.

    Raises:
        CallmeterError: it is none.
    """
    from catalogue.spelling import amount, micros
    from streams.errors import CallmeterError

    name, on, limit, *rest = [*text.split(":"), "", ""][: max(3, text.count(":") + 1)]
    if not name or on not in MEASURES or not limit or len(rest) > 3:
        raise CallmeterError(
            f"{text!r} is no cap; write NAME:ON:LIMIT[:PER[:MODE[:LEVELS]]] such as daily:minutes:120:day:hard:80,100, "
            f"ON being {', '.join(MEASURES)}"
        )
    cap: dict[str, Any] = {"name": name, "on": on}
    try:
        cap["limit"] = int(limit) if on in MINUTES else micros(amount(limit, signed=True))
        per, mode, levels = [*rest, "", "", ""][:3]
        for field, value, allowed in (("per", per, ("period", "day")), ("mode", mode, ("hard", "soft"))):
            if value and value not in allowed:
                raise ValueError(f"{field.upper()} must be {' or '.join(allowed)}")
            cap[field] = value or allowed[0]
        cap["alerts_percent"] = [int(level) for level in levels.split(",")] if levels else [80, 100]
    except ValueError as error:
        raise CallmeterError(f"{text!r} is no cap: {error}") from None
    return cap
