"""`callmeter change-plan`: from one plan to another, and what that comes to before and after it is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import output
from cli.subscriptions import assignment_of
from cli.writing import (
    AccountArgument,
    AtOption,
    DryRunOption,
    IdOption,
    PlanArgument,
    Written,
    applied_before,
    fact_id_of,
    judge_and_send,
    read_catalogue,
    running_subscription,
    show,
    time_of,
    timezone_of,
    word_of,
)

if TYPE_CHECKING:
    from streams.accounts import AccountView
    from streams.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("change-plan")(change_plan)


def change_plan(
    account: AccountArgument,
    plan: PlanArgument,
    when: Annotated[
        str, typer.Option(metavar="next_period|now", help="With its next period, or at --at.")
    ] = "next_period",
    at: AtOption = None,
    id: IdOption = None,
    dry_run: DryRunOption = False,
    json: output.JsonOption = False,
) -> None:
    """Put an account on another plan, with its next period or now; shows what it comes to.

    Now: what is left of the old price is credited, the new one is charged for the rest of the period, and so are the
    included minutes; the old ones lapse. Both plans must have the same period.
    """
    import uvloop

    when = word_of("--when", when, "next_period", "now")
    written, change = uvloop.run(_change(output.settings(), account, plan, when, at, fact_id_of(id), dry_run))
    if change is not None and not json:
        _print(account, change)
    begins = "with its next period" if when == "next_period" else f"from {written.fact.get('at')}"
    text = f"{account} is on {written.fact.get('terms', {}).get('plan')} {begins}"
    show(written, text, json, {"change": change} if change else None)


async def _change(
    settings: Settings, account_id: str, plan: str, when: str, at: str | None, fact_id: str, dry_run: bool
) -> tuple[Written, dict[str, Any] | None]:
    from catalogue.facts import subscription_changed
    from catalogue.store import put
    from streams.accounts import view_account

    catalogue = await read_catalogue(settings)
    entry = assignment_of(catalogue, account_id, plan)
    begins = time_of(at, timezone_of(catalogue, account_id))
    view = await view_account(settings, account_id)
    if view.knows(fact_id):
        return applied_before(account_id, fact_id), None
    fact = subscription_changed(catalogue, account_id, running_subscription(view), plan, when, begins, fact_id)
    written = await judge_and_send(settings, view, [fact], dry_run)
    if written.sent:
        await put(settings, entry)
    return written, _what_changes(view, written) if view.certain else None


def _what_changes(view: AccountView, written: Written) -> dict[str, Any]:
    """What a change comes to, by the fold that has just taken it.

    Returns:
        plans; ``from`` and ``until``: the first period, or the rest of this one, on the new plan; what is credited and
        charged for it, and what its request asks for with all else that waits; seconds included in it, and those that
        lapse; price and included seconds of every whole period from then on.
    """
    terms, account = written.fact["terms"], view.account
    assert account is not None
    period = account.periods[-1]
    change: dict[str, Any] = {"account_id": view.account_id, "plan": terms["plan"], "when": written.fact["when"]}
    if written.fact["when"] == "now":
        told = next(event for event in written.outputs_of("billing-events") if event["type"] == "subscription.changed")
        opened = next(
            event for event in reversed(written.outputs_of("billing-events")) if event["type"] == "cycle.opened"
        )
        amounts = {line["kind"]: line["amount_micros"] for line in opened["lines"]}
        change |= {
            "previous_plan": told["previous_plan"],
            "from": period.start,
            "until": period.end,
            "credit_micros": -amounts.get("credit", 0),
            "charge_micros": amounts.get("charge", 0),
            "asked_micros": sum(line["amount_micros"] for line in opened["lines"]),
            "included_s": period.included_s,
            "lapsing_s": account.periods[-2].allowance_left_s if len(account.periods) > 1 else 0,
        }
    else:
        change |= {
            "previous_plan": account.subscription.plan,
            "from": period.end,
            "until": None,
            "credit_micros": 0,
            "charge_micros": terms["price_micros"],
            "asked_micros": None,
            "included_s": terms["included_minutes"] * 60,
            "lapsing_s": 0,
        }
    whole = {"price_micros": terms["price_micros"], "period_included_s": terms["included_minutes"] * 60}
    return {**change, **whole, "interval": _every(terms), "currency": terms["currency"]}


def _every(terms: dict[str, Any]) -> str:
    count, unit = terms["interval_count"], terms["interval"]
    return unit if count == 1 else f"{count} {unit}s"


def _print(account_id: str, change: dict[str, Any]) -> None:
    from cli.tables import duration_text, money_text, print_rows, time_text

    currency = change["currency"]

    def money(name: str) -> str:
        return money_text(change[name], currency)

    told = [("plan", f"{change['previous_plan']} -> {change['plan']}"), ("from", time_text(change["from"]))]
    if change["when"] == "now":
        told += [
            ("until", f"{time_text(change['until'])}, this period's end"),
            ("credit for the old plan", money("credit_micros")),
            ("charge for the new plan", money("charge_micros")),
            ("asked for at once", money("asked_micros")),
            ("minutes that lapse", duration_text(change["lapsing_s"])),
            ("minutes until then", duration_text(change["included_s"])),
        ]
    told += [
        (f"price every {change['interval']}", money("price_micros")),
        (f"minutes every {change['interval']}", duration_text(change["period_included_s"])),
    ]
    print_rows(f"Change of {account_id}", ("", " "), told, left=("", " "))
