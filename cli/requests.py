"""`callmeter requests`: what accounts, and agencies, are asked to pay, and whether they did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from cli import output
from cli.writing import AccountArgument, AtOption, DryRunOption, IdOption, Written, show, time_of, write

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobs.requests import Request
    from streams.settings import Settings

Id = Annotated[str, typer.Argument(metavar="REQUEST", help="A payment request's id, or how only its id begins.")]
AccountOption = Annotated[str | None, typer.Option("--account", help="Only those of this account.")]
Reference = Annotated[str | None, typer.Option(help="Of the payment, such as a wire's number.")]
Note = Annotated[str | None, typer.Option(help="For people.")]
ActorOption = Annotated[str | None, typer.Option("--actor", help="Who says so; default: the user of this machine.")]
AmountOption = Annotated[str | None, typer.Option("--amount", help="In the request's currency: 10.00; default: all.")]
OutsideOption = Annotated[bool, typer.Option("--outside", help="Only write it down: the gateway is not asked.")]
DescriptionOption = Annotated[str, typer.Option("--description", help="The line that the account reads.")]
KINDS = ("cycle", "usage", "pack", "one_time", "credit_note", "refund", "dispute")
STATUSES = ("pending", "paid", "overdue", "failed", "canceled", "opened", "won", "lost")


def register(app: typer.Typer) -> None:
    """Adds the group ``requests``."""
    group = typer.Typer(help="Look at payment requests, settle and correct them.", no_args_is_help=True)
    group.command("list")(list_)
    group.command("show")(show_one)
    group.command("create")(create)
    group.command("mark-paid")(mark_paid)
    group.command("mark-failed")(mark_failed)
    group.command("cancel")(cancel)
    group.command("credit")(credit)
    group.command("refund")(refund)
    group.command("dispute")(dispute)
    app.add_typer(group, name="requests")


def list_(
    account: AccountOption = None,
    agency: Annotated[str | None, typer.Option(help="Only those of this agency.")] = None,
    status: Annotated[
        str | None, typer.Option(help="pending, paid, overdue, failed or canceled; of disputes opened, won or lost.")
    ] = None,
    kind: Annotated[
        str | None, typer.Option(help="cycle, usage, pack, one_time, credit_note, refund or dispute.")
    ] = None,
    wholesale: Annotated[bool, typer.Option("--wholesale", help="Only those of the platform to agencies.")] = False,
    json: output.JsonOption = False,
) -> None:
    """Show payment requests, by due date. Those of the platform to an agency have no account."""
    import uvloop

    from cli.invoice import requests_table
    from jobs.requests import read_requests

    _one_of("--status", status, STATUSES)
    _one_of("--kind", kind, KINDS)
    asked = "" if wholesale else account
    found = uvloop.run(read_requests(output.settings(), account_id=asked, agency_id=agency, status=status, kind=kind))
    if json:
        output.print_json(found)
    else:
        requests_table(found)


def show_one(request: Id, account: AccountOption = None, json: output.JsonOption = False) -> None:
    """Show one payment request like an invoice, with what became of it and what corrects it."""
    import uvloop

    from cli.invoice import invoice
    from jobs.requests import find_request, read_corrections

    settings = output.settings()
    found = uvloop.run(find_request(settings, request, account))
    corrections = uvloop.run(read_corrections(settings, found))
    if json:
        output.print_json({**found, "corrections": corrections})
    else:
        invoice(found, corrections)


def create(
    account: AccountArgument,
    one_time: Annotated[str, typer.Option("--one-time", metavar="AMOUNT", help="In the account's currency: 25.00.")],
    description: Annotated[str, typer.Option(metavar="TEXT", help="What it is for: the line that the account reads.")],
    at: AtOption = None,
    id: IdOption = None,
    dry_run: DryRunOption = False,
    json: output.JsonOption = False,
) -> None:
    """Ask an account for an amount once. Due as its terms say; the billing job raises the request."""
    import uvloop

    from catalogue.spelling import micros_text
    from cli.writing import fact_id_of
    from jobs.requests import one_time_charged
    from streams.errors import Refused

    settings = output.settings()
    when, fact_id = time_of(at, "UTC"), fact_id_of(id)

    def make(view: Any) -> dict[str, Any]:
        if view.currency is None:
            raise Refused(f"no_subscription: account {account} was never subscribed; see `callmeter subscribe`")
        amount = _amount("--one-time", one_time, view.currency)
        return one_time_charged(account, view.agency_id, amount, view.currency, description, when, fact_id)

    written = uvloop.run(write(settings, account, fact_id, make, dry_run))
    fact = written.fact
    told = micros_text(fact["amount_micros"], fact["currency"]) if written.new else ""
    show(written, f"{account} is asked for {told}: request one_time:{fact_id}", json)


def mark_paid(
    request: Id,
    account: AccountOption = None,
    reference: Reference = None,
    note: Note = None,
    actor: ActorOption = None,
    at: AtOption = None,
    id: IdOption = None,
    json: output.JsonOption = False,
) -> None:
    """Say that a request was paid. Safe to repeat."""
    _settle("paid", request, account, reference, note, actor, at, id, json)


def mark_failed(
    request: Id,
    account: AccountOption = None,
    reference: Reference = None,
    note: Note = None,
    actor: ActorOption = None,
    at: AtOption = None,
    id: IdOption = None,
    json: output.JsonOption = False,
) -> None:
    """Say that nobody tries to collect a request any more; it can still be paid or canceled. Safe to repeat."""
    _settle("failed", request, account, reference, note, actor, at, id, json)


def cancel(
    request: Id,
    account: AccountOption = None,
    reference: Reference = None,
    note: Note = None,
    actor: ActorOption = None,
    at: AtOption = None,
    id: IdOption = None,
    json: output.JsonOption = False,
) -> None:
    """Ask for the money no longer. Safe to repeat."""
    _settle("canceled", request, account, reference, note, actor, at, id, json)


def credit(
    request: Id,
    amount: AmountOption = None,
    description: DescriptionOption = "",
    account: AccountOption = None,
    reference: Reference = None,
    note: Note = None,
    actor: ActorOption = None,
    at: AtOption = None,
    id: IdOption = None,
    outside: OutsideOption = False,
    json: output.JsonOption = False,
) -> None:
    """Ask for less: a credit note, a document of its own. Without --amount for all that is left, which cancels it.

    A gateway that has the request makes a credit note, too.
    """
    _correct("credit_note", request, amount, description, account, reference, note, actor, at, id, outside, json)


def refund(
    request: Id,
    amount: AmountOption = None,
    description: DescriptionOption = "",
    account: AccountOption = None,
    reference: Reference = None,
    note: Note = None,
    actor: ActorOption = None,
    at: AtOption = None,
    id: IdOption = None,
    outside: OutsideOption = False,
    json: output.JsonOption = False,
) -> None:
    """Give money back: a document of its own. Without --amount all that was paid.

    The gateway that the request was asked by gives it back. Where there is none, or with --outside, somebody else has.
    """
    _correct("refund", request, amount, description, account, reference, note, actor, at, id, outside, json)


def dispute(
    request: Id,
    dispute: Annotated[str, typer.Argument(metavar="DISPUTE", help="The id that the bank, or gateway, gave it.")],
    status: Annotated[
        str, typer.Option(help="opened, won (nothing goes back) or lost (the money went back).")
    ] = "opened",
    amount: AmountOption = None,
    account: AccountOption = None,
    reference: Reference = None,
    note: Note = None,
    actor: ActorOption = None,
    at: AtOption = None,
    json: output.JsonOption = False,
) -> None:
    """Say that the payer's bank wants money back, or how it decided; what is lost is a refund, too. Safe to repeat.

    Stripe's disputes are told by its webhooks. Without --amount it is what the dispute was opened with, or all that was
    paid and not refunded.
    """
    import uvloop

    from catalogue.facts import check_fact_id
    from catalogue.spelling import micros_text
    from jobs.requests import disputed, find_request, read_corrections
    from streams.errors import Refused

    _one_of("--status", status, ("opened", "won", "lost"))
    settings = output.settings()
    dispute_id, when = check_fact_id(dispute), time_of(at, "UTC")
    found: Request = uvloop.run(find_request(settings, request, account))
    if not found["account_id"]:
        raise Refused("illegal_change: requests of the platform to agencies have no disputes")
    request_id, currency = found["payment_request_id"], found["currency"]
    if amount is not None:
        micros = _amount("--amount", amount, currency)
    else:
        documents = uvloop.run(read_corrections(settings, found))
        known = next((one for one in documents if one["payment_request_id"] == f"dispute:{dispute_id}"), None)
        left = found["paid_micros"] + sum(one["paid_micros"] for one in documents)
        micros = known["disputed_micros"] if known else left
    if micros <= 0:
        raise Refused(f"illegal_change: payment request {request_id} is {found['status']}: give the --amount")
    said = actor or _user(), reference, note
    fact = disputed(found, dispute_id, cast(Any, status), micros, when, *said)
    written = uvloop.run(write(settings, found["account_id"], fact["fact_id"], lambda _: fact))
    show(written, f"dispute {dispute_id} of {micros_text(micros, currency)} for {request_id} is {status}", json)


def _settle(
    status: Literal["paid", "failed", "canceled"],
    begins: str,
    account: str | None,
    reference: str | None,
    note: str | None,
    actor: str | None,
    at: str | None,
    fact_id: str | None,
    json: bool,
) -> None:
    import uvloop

    from catalogue.facts import check_fact_id
    from catalogue.spelling import micros_text
    from jobs.requests import find_request, settled, settling_id

    settings = output.settings()
    when = time_of(at, "UTC")
    found: Request = uvloop.run(find_request(settings, begins, account))
    request_id = found["payment_request_id"]
    own_id = settling_id(request_id, status) if fact_id is None else check_fact_id(fact_id)

    fact = settled(found, status, when, own_id, actor or _user(), reference, note)
    if found["account_id"]:
        written = uvloop.run(write(settings, found["account_id"], own_id, lambda _: fact))
    else:
        written = uvloop.run(_write_of_agency(settings, found, own_id, lambda _: fact))
    amount = micros_text(found["total_micros"], found["currency"])
    show(written, f"{request_id} of {found['account_id'] or found['agency_id']} ({amount}) is {status}", json)


async def _write_of_agency(
    settings: Settings, found: Request, fact_id: str, make: Callable[[Any], dict[str, Any]]
) -> Written:
    """Judge it by where the agency stands, then write it to where agencies are added up."""
    from catalogue.facts import encode
    from streams.agency_view import view_agency
    from streams.errors import Refused
    from streams.producer import FactProducer
    from streams.topics import AGENCY_EVENTS

    view = await view_agency(settings, found["agency_id"])
    if view.knows(fact_id):
        return Written({"fact_id": fact_id}, sent=False, checked=True)
    fact = make(view)
    encoded = encode(fact)
    if refusal := view.refusal(encoded):
        raise Refused(": ".join(refusal))
    async with FactProducer(settings, AGENCY_EVENTS) as producer:
        await producer.send(found["agency_id"], encoded)
        await producer.flush()
    return Written(fact, sent=True, checked=True)


def _correct(
    kind: Literal["credit_note", "refund"],
    begins: str,
    amount: str | None,
    description: str,
    account: str | None,
    reference: str | None,
    note: str | None,
    actor: str | None,
    at: str | None,
    fact_id: str | None,
    outside: bool,
    json: bool,
) -> None:
    import uvloop

    from catalogue.spelling import micros_text
    from cli.writing import fact_id_of
    from jobs.requests import corrected, find_request, read_corrections
    from streams.errors import Refused

    settings = output.settings()
    when, own_id = time_of(at, "UTC"), fact_id_of(fact_id)
    found: Request = uvloop.run(find_request(settings, begins, account))
    request_id, currency = found["payment_request_id"], found["currency"]
    if amount is not None:
        micros = _amount("--amount", amount, currency)
    else:
        documents = uvloop.run(read_corrections(settings, found))
        micros = found["left_micros"]
        if kind == "refund":
            micros = found["paid_micros"] + sum(one["paid_micros"] for one in documents)

    of_gateway = found["gateway"] != "manual"
    to_ask = of_gateway and found["external_id"] is None and found["status"] in ("pending", "overdue")

    def make(view: Any) -> dict[str, Any]:
        if micros <= 0:
            what = "was paid and not refunded yet" if kind == "refund" else "is left to pay"
            raise Refused(f"illegal_change: payment request {request_id} is {found['status']}: nothing {what}")
        if kind == "credit_note" and to_ask and micros < found["left_micros"] and not outside:
            raise Refused(
                f"illegal_change: {found['gateway']} is about to ask for all of {request_id}: wait until it has it, or "
                "credit all that is left"
            )
        return corrected(found, kind, micros, when, own_id, description, actor or _user(), reference, note)

    if not found["account_id"]:
        written = uvloop.run(_write_of_agency(settings, found, own_id, make))
    elif of_gateway and found["external_id"] is not None and not outside:
        written = uvloop.run(_correct_at_gateway(settings, found, own_id, make))
    else:
        written = uvloop.run(write(settings, found["account_id"], own_id, make))
    told = f"{kind.replace('_', ' ')} {kind}:{own_id} of {micros_text(micros, currency)} for {request_id}"
    external_id = written.fact.get("external_id")
    by = f", {external_id} at {found['gateway']}" if external_id else ""
    show(written, f"{told} of {found['account_id'] or found['agency_id']}{by}", json)


async def _correct_at_gateway(
    settings: Settings, found: Request, fact_id: str, make: Callable[[Any], dict[str, Any]]
) -> Written:
    """Judge the fact, have the gateway do what it says, and write it with what the gateway says of that."""
    from cli.writing import read_catalogue
    from jobs.gateways.base import Unavailable
    from jobs.gateways.choice import make_gateway
    from streams.errors import CallmeterError, Refused

    agency_id, name = found["agency_id"], found["gateway"]
    link = (await read_catalogue(settings)).gateway(agency_id)
    if link is None or link.gateway != name:
        raise Refused(
            f"not_linked: agency {agency_id} is no longer linked to {name}, which has this request; link it again, or "
            "do there what has to be done and give --outside"
        )
    judged = await write(settings, found["account_id"], fact_id, make, dry_run=True)
    fact = judged.fact
    if "type" not in fact:
        # It was applied before.
        return judged
    gateway = make_gateway(agency_id, link, settings)
    text = fact["note"] or fact["description"]
    try:
        made = await gateway.refund(found, fact["amount_micros"], text, fact["payment_request_id"])
    except Unavailable as problem:
        raise CallmeterError(
            f"{problem}; whether it was done is not known. Give the same command again with --id {fact_id}: it is done "
            "once"
        ) from None
    finally:
        await gateway.close()
    told = {**fact, "external_id": made.external_id, "tax_micros": made.tax_micros}
    written = await write(settings, found["account_id"], fact_id, lambda _: told)
    # If it is in the log already, the gateway's webhook has brought it meanwhile.
    return written if written.sent else Written(told, sent=True, checked=True)


def _amount(option: str, text: str, currency: str) -> int:
    """Micros of an amount that can be paid: whole minor units, above 0."""
    from catalogue.spelling import amount, micros, micros_text
    from rating.money import minor_unit_micros, rounding_to_minor_unit
    from streams.errors import CallmeterError
    from streams.units import minor_digits

    try:
        given = micros(amount(text))
    except ValueError as error:
        raise CallmeterError(f"{option} {text!r}: {error}") from None
    digits = minor_digits(currency)
    least = minor_unit_micros(digits)
    if given < least or rounding_to_minor_unit(given, digits):
        raise CallmeterError(f"{option} {text!r}: must be whole steps of {micros_text(least, currency)}, above 0")
    return given


def _user() -> str:
    """Who gives the command."""
    from getpass import getuser

    try:
        return getuser()
    except (OSError, KeyError):
        return "callmeter"


def _one_of(option: str, given: str | None, allowed: tuple[str, ...]) -> None:
    from streams.errors import CallmeterError

    if given is not None and given not in allowed:
        raise CallmeterError(f"{option} {given!r} is none of {', '.join(allowed)}")
