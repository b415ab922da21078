"""What the daily commands share: read the catalogue, judge the fact, write it, say what was written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from cli import output

if TYPE_CHECKING:
    from catalogue.collection import Catalogue
    from catalogue.facts import Fact
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


DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only show what would come of it; nothing is sent.")]


class Ground(NamedTuple):
    """What a fact is made from: the catalogue in force, where the account stands, the time and the fact's id."""

    catalogue: Catalogue
    view: AccountView
    at: datetime
    fact_id: str


# Facts that money is asked for.
SALES = frozenset(("subscription.started", "subscription.changed", "pack.applied", "number.rented", "one_time.charged"))


@dataclass(frozen=True)
class Written:
    """What became of a fact.

    Attributes:
        fact: as it stands in the log, or would.
        sent: False where a fact of this id was applied before, so there was nothing to do; and in a dry run.
        checked: False where the meter is too far behind to know whether it will accept the fact.
        outputs: what the meter will give out for it: topic and value.
        dry_run: nothing was to be sent.
        also: facts that were sent with it, or would be.
        waiting: lines that it adds to the account's next payment request, with their amounts and currency.
    """

    fact: Fact
    sent: bool
    checked: bool
    outputs: Sequence[tuple[str, dict[str, Any]]] = ()
    dry_run: bool = False
    also: Sequence[Fact] = ()
    waiting: Sequence[dict[str, Any]] = ()

    @property
    def new(self) -> bool:
        """Whether it was not applied before: it was sent, or would be."""
        return self.sent or self.dry_run

    def outputs_of(self, topic: str) -> list[dict[str, Any]]:
        """What the meter will give out for it on one topic."""
        return [value for name, value in self.outputs if name == topic]


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


def word_of(option: str, given: str, *allowed: str) -> str:
    """The value of an option that takes one of some words.

    Raises:
        CallmeterError: it is none of them.
    """
    from catalogue.spelling import choice
    from streams.errors import CallmeterError

    try:
        return choice(given, allowed)
    except ValueError as error:
        raise CallmeterError(f"{option} {error}") from None


def micros_of(option: str, given: str, signed: bool = False) -> int:
    """The value of an option that takes an amount, in micros.

    Raises:
        CallmeterError: it is no amount.
    """
    from catalogue.spelling import amount, micros
    from streams.errors import CallmeterError

    try:
        return micros(amount(given, signed=signed))
    except ValueError as error:
        raise CallmeterError(f"{option} {error}") from None


def running_subscription(view: AccountView) -> str:
    """The id of an account's subscription, which must not have ended.

    Raises:
        Refused: ``no_subscription``.
    """
    from streams.errors import Refused

    subscription_id, status = view.subscription or ("", "canceled")
    if status == "canceled":
        raise Refused(f"no_subscription: {view.account_id} has no active subscription")
    return subscription_id


async def read_catalogue(settings: Settings) -> Catalogue:
    """The catalogue in force."""
    from catalogue.store import read

    return await read(settings)


def timezone_of(catalogue: Catalogue, account_id: str) -> str:
    """The time zone of an account's agency."""
    return catalogue.agency(catalogue.account(account_id, even_retired=True).agency).timezone


def write_fact(
    account_id: str,
    at: str | None,
    id: str | None,
    make: Callable[[Ground], Fact | Sequence[Fact]],
    dry_run: bool = False,
) -> Written:
    """Make a fact about an account of the catalogue, judge it and write it.

    Args:
        account_id: whose fact it is.
        at: its time as a person wrote it, on the clock of the account's agency; None for now.
        id: its id, None for a new one.
        make: makes it; may refuse. Of several facts the first one is meant, and the others are sent with it.
        dry_run: judge only.

    Raises:
        CallmeterError: an argument is wrong, or the account is not in the catalogue.
        Refused: the meter would refuse it; reason and detail are the meter's.
    """
    import uvloop

    fact_id = fact_id_of(id)

    async def run(settings: Settings) -> Written:
        catalogue = await read_catalogue(settings)
        when = time_of(at, timezone_of(catalogue, account_id))
        return await write(
            settings, account_id, fact_id, lambda view: make(Ground(catalogue, view, when, fact_id)), dry_run
        )

    return uvloop.run(run(output.settings()))


async def write(
    settings: Settings,
    account_id: str,
    fact_id: str,
    make: Callable[[AccountView], Fact | Sequence[Fact]],
    dry_run: bool = False,
) -> Written:
    """Judge a fact by the account's state, and write it unless that would break a rule; see `write_fact`.

    Args:
        settings: checked settings.
        account_id: whose fact it is.
        fact_id: its id.
        make: makes it, knowing where the account stands; may refuse.
        dry_run: judge only.

    Raises:
        Refused: the meter would refuse it; reason and detail are the meter's.
    """
    from streams.accounts import view_account

    view = await view_account(settings, account_id)
    if view.knows(fact_id):
        return applied_before(account_id, fact_id)
    made = make(view)
    return await judge_and_send(settings, view, [made] if isinstance(made, dict) else made, dry_run)


def applied_before(account_id: str, fact_id: str) -> Written:
    """What is told of a fact whose id the account knows: there is nothing to do."""
    return Written({"fact_id": fact_id, "account_id": account_id}, sent=False, checked=True)


async def judge_and_send(
    settings: Settings, view: AccountView, facts: Sequence[Fact], dry_run: bool = False
) -> Written:
    """Send facts of an account, all or none, unless the meter would refuse one of them.

    What is sold is sent only if it can be asked for.

    Raises:
        Refused: it would; reason and detail are the meter's. Or ``not_ready``: the agency's gateway, or the account,
            lacks something.
        CallmeterError: the gateway cannot be asked; in a dry run, the meter is too far behind to know what would come
            of them.
    """
    from msgspec.structs import asdict

    from catalogue.facts import encode
    from streams.errors import CallmeterError, Refused
    from streams.producer import FactProducer

    if dry_run and not view.certain:
        raise CallmeterError("the meter is far behind, so what would come of this is not known; try again later")
    waited = len(view.account.lines) if view.account else 0
    outputs: list[tuple[str, dict[str, Any]]] = []
    for fact in facts:
        outcome = await view.outcome(encode(fact))
        if outcome.refused and view.certain:
            raise Refused(": ".join(outcome.refused))
        outputs += outcome.outputs
    await _check_sales(settings, facts)
    if not dry_run:
        async with FactProducer(settings) as producer:
            await producer.publish(*map(encode, facts))
    known = outputs if view.certain else ()
    lines = view.account.lines[waited:] if view.account and view.certain else ()
    waiting = [{**asdict(line), "amount_micros": line.amount_micros, "currency": view.currency} for line in lines]
    return Written(facts[0], not dry_run, view.certain, known, dry_run, facts[1:], waiting)


async def _check_sales(settings: Settings, facts: Sequence[Fact]) -> None:
    """See that what is sold can be asked for, see `jobs.gateways.preflight.require_ready`."""
    from jobs.gateways.preflight import require_ready

    for fact in facts:
        if fact["type"] in SALES:
            plan = fact.get("terms", {}).get("plan")
            await require_ready(settings, await read_catalogue(settings), fact["account_id"], plan)
            return


def show(written: Written, text: str, json: bool, more: dict[str, Any] | None = None) -> None:
    """Print what was written, or would be and what comes of it, and the fact's id.

    Args:
        written: what was written.
        text: it, for people.
        json: for programs.
        more: what comes of it, for programs, by a command that shows that itself.
    """
    fact_id = written.fact["fact_id"]
    if not written.checked:
        typer.echo("the meter is far behind: it was not checked whether it will accept this", err=True)
    if json:
        told = {"fact_id": fact_id, "sent": written.sent, "checked": written.checked, "fact": written.fact}
        if written.dry_run:
            told["dry_run"] = True
            if more is None:
                told["outputs"] = [{"topic": topic, "value": _unplaced(value)} for topic, value in written.outputs]
                told["waiting"] = written.waiting
        if written.also:
            told["also"] = written.also
        output.print_json({**told, **(more or {})})
    elif written.dry_run:
        typer.echo(f"would be: {text}")
        for line in _what_comes(written) if more is None else ():
            typer.echo(f"  {line}")
        typer.echo("nothing was sent")
    elif written.sent:
        typer.echo(text)
        typer.echo(f"fact {fact_id}")
    else:
        typer.echo("nothing to do: this fact was applied before")
        typer.echo(f"fact {fact_id}")


def _unplaced(value: dict[str, Any]) -> dict[str, Any]:
    """An output without its position, which nobody knows before the fact is sent."""
    return {name: part for name, part in value.items() if name not in ("source_partition", "source_offset")}


def _what_comes(written: Written) -> list[str]:
    """What comes of a fact at once, line by line: what is asked for, what waits for the next request, access."""
    from catalogue.spelling import micros_text
    from rating.request import request_for
    from streams.units import minor_digits

    told: list[str] = []
    for event in written.outputs_of("billing-events"):
        request = request_for(event, minor_digits)
        if request is not None:
            amount = micros_text(request["total_micros"], request["currency"])
            told.append(f"asked for at once: {amount}, a payment request of kind {request['kind']}")
        if event["type"] == "subscription.status_changed":
            told.append(f"status: {event['status']}")
    told += [
        f"with the next request: {line['description']}, {micros_text(line['amount_micros'], line['currency'])}"
        for line in written.waiting
    ]
    for event in written.outputs_of("access-events"):
        told.append("calls are allowed" if event["allowed"] else f"access off: {', '.join(event['reasons'])}")
    return told
