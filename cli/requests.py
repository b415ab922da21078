"""`callmeter requests`: what accounts, and agencies, are asked to pay, and whether they did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cli import output
from cli.writing import AtOption, IdOption, Written, show, time_of, write

if TYPE_CHECKING:
    from jobs.requests import Request
    from streams.settings import Settings

Id = Annotated[str, typer.Argument(metavar="REQUEST", help="A payment request's id, or how only its id begins.")]
AccountOption = Annotated[str | None, typer.Option("--account", help="Only those of this account.")]
Reference = Annotated[str | None, typer.Option(help="Of the payment, such as a wire's number.")]
Note = Annotated[str | None, typer.Option(help="For people.")]


def register(app: typer.Typer) -> None:
    """Adds the group ``requests``."""
    group = typer.Typer(help="Look at payment requests, and settle them.", no_args_is_help=True)
    group.command("list")(list_)
    group.command("show")(show_one)
    group.command("mark-paid")(mark_paid)
    group.command("mark-failed")(mark_failed)
    group.command("cancel")(cancel)
    app.add_typer(group, name="requests")


def list_(
    account: AccountOption = None,
    agency: Annotated[str | None, typer.Option(help="Only those of this agency.")] = None,
    status: Annotated[str | None, typer.Option(help="pending, paid, overdue, failed or canceled.")] = None,
    kind: Annotated[str | None, typer.Option(help="cycle, usage, pack or one_time.")] = None,
    wholesale: Annotated[bool, typer.Option("--wholesale", help="Only those of the platform to agencies.")] = False,
    json: output.JsonOption = False,
) -> None:
    """Show payment requests, by due date. Those of the platform to an agency have no account."""
    import uvloop

    from cli.invoice import requests_table
    from jobs.requests import read_requests

    _one_of("--status", status, ("pending", "paid", "overdue", "failed", "canceled"))
    _one_of("--kind", kind, ("cycle", "usage", "pack", "one_time"))
    asked = "" if wholesale else account
    found = uvloop.run(read_requests(output.settings(), account_id=asked, agency_id=agency, status=status, kind=kind))
    if json:
        output.print_json(found)
    else:
        requests_table(found)


def show_one(request: Id, account: AccountOption = None, json: output.JsonOption = False) -> None:
    """Show one payment request like an invoice."""
    import uvloop

    from cli.invoice import invoice
    from jobs.requests import find_request

    found = uvloop.run(find_request(output.settings(), request, account))
    if json:
        output.print_json(found)
    else:
        invoice(found)


def mark_paid(
    request: Id,
    account: AccountOption = None,
    reference: Reference = None,
    note: Note = None,
    at: AtOption = None,
    id: IdOption = None,
    json: output.JsonOption = False,
) -> None:
    """Say that a request was paid. Safe to repeat."""
    _settle("paid", request, account, reference, note, at, id, json)


def mark_failed(
    request: Id,
    account: AccountOption = None,
    reference: Reference = None,
    note: Note = None,
    at: AtOption = None,
    id: IdOption = None,
    json: output.JsonOption = False,
) -> None:
    """Say that a payment failed; it can still be paid or canceled. Safe to repeat."""
    _settle("failed", request, account, reference, note, at, id, json)


def cancel(
    request: Id,
    account: AccountOption = None,
    reference: Reference = None,
    note: Note = None,
    at: AtOption = None,
    id: IdOption = None,
    json: output.JsonOption = False,
) -> None:
    """Ask for the money no longer. Safe to repeat."""
    _settle("canceled", request, account, reference, note, at, id, json)


def _settle(
    status: Literal["paid", "failed", "canceled"],
    begins: str,
    account: str | None,
    reference: str | None,
    note: str | None,
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

    fact = settled(found, status, when, own_id, reference, note)
    if found["account_id"]:
        written = uvloop.run(write(settings, found["account_id"], own_id, lambda _: fact))
    else:
        written = uvloop.run(_settle_of_agency(settings, found, fact))
    amount = micros_text(found["total_micros"], found["currency"])
    show(written, f"{request_id} of {found['account_id'] or found['agency_id']} ({amount}) is {status}", json)


async def _settle_of_agency(settings: Settings, found: Request, fact: dict[str, Any]) -> Written:
    """Judge it by the request as it stands, then write it to where agencies are added up."""
    from catalogue.facts import encode
    from rating.agency_facts import AgencyRequestSettled, decode
    from rating.books import Refusal
    from rating.payments import settled
    from streams.errors import Refused
    from streams.producer import FactProducer
    from streams.topics import AGENCY_EVENTS

    if found["status"] == fact["status"]:
        return Written(fact, sent=False, checked=True)
    encoded = encode(fact)
    decoded = decode(encoded)
    assert isinstance(decoded, AgencyRequestSettled)
    try:
        settled(found, decoded)
    except Refusal as refusal:
        raise Refused(f"{refusal.reason}: {refusal}") from None
    async with FactProducer(settings, AGENCY_EVENTS) as producer:
        await producer.send(found["agency_id"], encoded)
        await producer.flush()
    return Written(fact, sent=True, checked=True)


def _one_of(option: str, given: str | None, allowed: tuple[str, ...]) -> None:
    from streams.errors import CallmeterError

    if given is not None and given not in allowed:
        raise CallmeterError(f"{option} {given!r} is none of {', '.join(allowed)}")
