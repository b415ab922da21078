"""What the daily commands share: read the catalogue, judge the fact, write it, say what was written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import output

if TYPE_CHECKING:
    from catalogue.collection import Catalogue
    from streams.accounts import AccountView
    from streams.settings import Settings

AccountArgument = Annotated[str, typer.Argument(metavar="ACCOUNT", help="An account's id.")]
PlanArgument = Annotated[str, typer.Argument(metavar="PLAN", help="A plan: starter, or acme/starter.")]
AtOption = Annotated[
    str | None,
    typer.Option("--at", metavar="TIME", help="When: a time with its zone, or a date for midnight; default: now."),
]
IdOption = Annotated[
    str | None, typer.Option("--id", metavar="ID", help="The fact's id; the same one again changes nothing.")
]


@dataclass(frozen=True)
class Written:
    """What became of a fact.

    Attributes:
        fact: as it stands in the log.
        sent: False where a fact of this id was applied before, so there was nothing to do.
        checked: False where the meter is too far behind to know whether it will accept the fact.
    """

    fact: dict[str, Any]
    sent: bool
    checked: bool


def fact_id_of(given: str | None) -> str:
    """The id of the fact to write: the given one, or a new one.

    Raises:
        CallmeterError: the given one is no id.
    """
    from uuid import uuid4

    from catalogue.facts import check_fact_id

    return check_fact_id(given) if given is not None else f"fact_{uuid4().hex[:16]}"


def time_of(given: str | None, timezone: str) -> datetime:
    """The time of the fact: the given one, or now, to the second.

    Raises:
        CallmeterError: the given one is no time.
    """
    from datetime import UTC

    from catalogue.facts import parse_time

    return parse_time(given, timezone) if given is not None else datetime.now(UTC).replace(microsecond=0)


async def read_catalogue(settings: Settings) -> Catalogue:
    """The catalogue in force."""
    from catalogue.store import read

    return await read(settings)


def timezone_of(catalogue: Catalogue, account_id: str) -> str:
    """The time zone of an account's agency."""
    return catalogue.agency(catalogue.account(account_id, even_retired=True).agency).timezone


async def write(
    settings: Settings,
    account_id: str,
    fact_id: str,
    make: Callable[[AccountView], dict[str, Any]],
) -> Written:
    """Judge a fact by the account's state, and write it unless that would break a rule.

    Args:
        settings: checked settings.
        account_id: whose fact it is.
        fact_id: its id.
        make: makes it, knowing where the account stands; may refuse.

    Raises:
        Refused: the meter would refuse it; reason and detail are the meter's.
    """
    from catalogue.facts import encode
    from streams.accounts import view_account
    from streams.errors import Refused
    from streams.producer import FactProducer

    view = await view_account(settings, account_id)
    if view.knows(fact_id):
        return Written({"fact_id": fact_id, "account_id": account_id}, sent=False, checked=True)
    fact = make(view)
    encoded = encode(fact)
    refused = await view.refusal(encoded)
    if refused and view.certain:
        raise Refused(": ".join(refused))
    async with FactProducer(settings) as producer:
        await producer.publish(encoded)
    return Written(fact, sent=True, checked=view.certain)


def show(written: Written, text: str, json: bool) -> None:
    """Print what was written, and the fact's id."""
    fact_id = written.fact["fact_id"]
    if not written.checked:
        typer.echo("the meter is far behind: it was not checked whether it will accept this", err=True)
    if json:
        output.print_json({"fact_id": fact_id, "sent": written.sent, "checked": written.checked, "fact": written.fact})
    elif written.sent:
        typer.echo(text)
        typer.echo(f"fact {fact_id}")
    else:
        typer.echo("nothing to do: this fact was applied before")
        typer.echo(f"fact {fact_id}")
