"""`callmeter assign`, `start`, `subscribe`, `pause`, `resume`, `cancel`: the plan of an account and its life."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import output
from cli.writing import (
    AccountArgument,
    AtOption,
    DryRunOption,
    IdOption,
    PlanArgument,
    Written,
    fact_id_of,
    read_catalogue,
    running_subscription,
    show,
    time_of,
    word_of,
    write,
    write_fact,
)

if TYPE_CHECKING:
    from catalogue.collection import Catalogue, Entry
    from catalogue.facts import Fact
    from streams.accounts import AccountView
    from streams.settings import Settings


def register(app: typer.Typer) -> None:
    """Adds the commands ``assign``, ``start``, ``subscribe``, ``pause``, ``resume``, ``cancel``."""
    for command in (assign, start, subscribe, pause, resume, cancel):
        app.command(command.__name__)(command)


def assign(account: AccountArgument, plan: PlanArgument, json: output.JsonOption = False) -> None:
    """Offer a plan to an account: it is shown to the client, and `start` starts it."""
    import uvloop

    terms, description = uvloop.run(_assign(output.settings(), account, plan))
    if json:
        output.print_json({"account_id": account, "plan": terms["plan"], "description": description, "terms": terms})
        return
    typer.echo(f"{account} is offered {terms['plan']}; start it with: callmeter start {account}")
    _print_terms(terms, description)


def start(
    account: AccountArgument,
    at: AtOption = None,
    id: IdOption = None,
    dry_run: DryRunOption = False,
    json: output.JsonOption = False,
) -> None:
    """Start the plan that is assigned to an account; its terms are frozen from here on."""
    import uvloop

    written = uvloop.run(_start(output.settings(), account, None, at, fact_id_of(id), dry_run))
    show(written, _started(written), json)


def subscribe(
    account: AccountArgument,
    plan: PlanArgument,
    at: AtOption = None,
    id: IdOption = None,
    dry_run: DryRunOption = False,
    json: output.JsonOption = False,
) -> None:
    """Assign a plan to an account and start it."""
    import uvloop

    written = uvloop.run(_start(output.settings(), account, plan, at, fact_id_of(id), dry_run))
    show(written, _started(written), json)


def pause(
    account: AccountArgument,
    at: AtOption = None,
    id: IdOption = None,
    dry_run: DryRunOption = False,
    json: output.JsonOption = False,
) -> None:
    """Pause an account's subscription: no calls, and periods that begin meanwhile cost nothing. Numbers stay rented."""
    from catalogue.facts import subscription_paused

    written = write_fact(
        account,
        at,
        id,
        lambda on: subscription_paused(on.catalogue, account, running_subscription(on.view), on.at, on.fact_id),
        dry_run,
    )
    show(written, f"{account}: subscription {written.fact.get('subscription_id')} is paused", json)


def resume(
    account: AccountArgument,
    at: AtOption = None,
    id: IdOption = None,
    dry_run: DryRunOption = False,
    json: output.JsonOption = False,
) -> None:
    """Have a paused subscription go on; a period that began meanwhile is charged for the rest of it."""
    from catalogue.facts import subscription_resumed

    written = write_fact(
        account,
        at,
        id,
        lambda on: subscription_resumed(on.catalogue, account, running_subscription(on.view), on.at, on.fact_id),
        dry_run,
    )
    show(written, f"{account}: subscription {written.fact.get('subscription_id')} goes on", json)


def cancel(
    account: AccountArgument,
    when: Annotated[
        str, typer.Option(metavar="now|period_end", help="End at --at, or with the period.")
    ] = "period_end",
    at: AtOption = None,
    id: IdOption = None,
    dry_run: DryRunOption = False,
    json: output.JsonOption = False,
) -> None:
    """End an account's subscription, with its period or now.

    What is due stays due. Whether the unused part of a period is credited is said by the plan (cancel_credit).
    """
    from catalogue.facts import subscription_canceled

    when = word_of("--when", when, "now", "period_end")
    written = write_fact(
        account,
        at,
        id,
        lambda on: subscription_canceled(on.catalogue, account, running_subscription(on.view), when, on.at, on.fact_id),
        dry_run,
    )
    ends = "ends with its period" if when == "period_end" else f"ends at {written.fact.get('at')}"
    show(written, f"{account}: subscription {written.fact.get('subscription_id')} {ends}", json)


async def _assign(settings: Settings, account_id: str, plan: str) -> tuple[dict[str, Any], str | None]:
    from catalogue.store import put
    from catalogue.terms import terms_of

    catalogue = await read_catalogue(settings)
    entry = assignment_of(catalogue, account_id, plan)
    name, found = catalogue.plan(plan, entry.agency)
    await put(settings, entry)
    return terms_of(name, found, catalogue.agency(entry.agency)), found.description


def assignment_of(catalogue: Catalogue, account_id: str, plan: str) -> Entry:
    """The entry of the catalogue that offers a plan to an account.

    Raises:
        CallmeterError: the account or plan is not in the catalogue.
        Refused: it is retired, or of another agency.
    """
    from catalogue.collection import Entry
    from catalogue.model import Assignment

    agency = catalogue.account(account_id).agency
    name, _ = catalogue.plan(plan, agency)
    return Entry(agency, "assignment", account_id, Assignment(agency=agency, plan=name))


async def _start(
    settings: Settings, account_id: str, plan: str | None, at: str | None, fact_id: str, dry_run: bool
) -> Written:
    from catalogue.facts import caps_of_account, caps_set, own_id, subscription_started
    from catalogue.store import put
    from streams.errors import CallmeterError

    catalogue = await read_catalogue(settings)
    agency = catalogue.account(account_id).agency
    entry = assignment_of(catalogue, account_id, plan) if plan is not None else None
    if plan is None:
        assigned = catalogue.assignment(account_id)
        if assigned is None:
            raise CallmeterError(
                f"no plan is assigned to {account_id}; run `callmeter assign {account_id} PLAN`, or `callmeter "
                "subscribe`"
            )
        plan = assigned.plan
    name, found = catalogue.plan(plan, agency)
    timezone = found.timezone or catalogue.agency(agency).timezone
    starts = time_of(at, timezone)
    facts = [subscription_started(catalogue, account_id, name, starts, fact_id)]

    def make(view: AccountView) -> list[Fact]:
        # The caps that the catalogue gives an account are set once; they stay through all its subscriptions.
        caps = caps_of_account(catalogue, account_id)
        if view.account is None and caps:
            facts.append(caps_set(catalogue, account_id, caps, starts, own_id("caps_", account_id, fact_id)))
        return facts

    written = await write(settings, account_id, fact_id, make, dry_run)
    # Afterwards, so that a refused subscription leaves the offer as it was.
    if entry and written.sent:
        await put(settings, entry)
    return written


def _started(written: Written) -> str:
    fact = written.fact
    if not written.new:
        return ""
    terms = fact["terms"]
    return f"{fact['account_id']} is on {terms['plan']} from {fact['at']}: subscription {fact['subscription_id']}"


def _overage(terms: dict[str, Any], currency: str) -> str:
    from catalogue.spelling import BY_CARD, micros_text

    rate = terms["overage_micros_per_minute"]
    if rate is not None:
        return f"{micros_text(rate, currency)} per minute"
    return "blocked" if terms["overage"] == "blocked" else BY_CARD


def _print_terms(terms: dict[str, Any], description: str | None) -> None:
    from catalogue.spelling import micros_text

    currency, count = terms["currency"], terms["interval_count"]
    every = terms["interval"] if count == 1 else f"{count} {terms['interval']}s"
    packs = terms["packs"]
    rows = [["description", description]] if description else []
    rows += [
        ["price", f"{micros_text(terms['price_micros'], currency)} every {every}"],
        ["included", f"{terms['included_minutes']} minutes"],
        ["overage", _overage(terms, currency)],
        *([["rate card", terms["rate_card"]]] if terms.get("rate_card") else []),
        ["increments", terms["increments"]],
        ["packs", ", ".join(packs) if isinstance(packs, list) else ("any" if packs else "none")],
        ["due", f"{terms['due_days']} days, then {terms['grace_days']} days of grace"],
    ]
    if terms["trial_days"]:
        minutes = terms["trial_included_minutes"]
        minutes = terms["included_minutes"] if minutes is None else minutes
        rows.append(["trial", f"{terms['trial_days']} days with {minutes} minutes, for nothing"])
    output.print_table("The offer", ["plan", terms["plan"]], rows)
