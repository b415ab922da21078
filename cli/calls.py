"""`callmeter calls`: how single calls were rated, and what to do where one was reported wrongly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import output
from cli.writing import (
    AccountArgument,
    AtOption,
    DryRunOption,
    IdOption,
    Written,
    applied_before,
    fact_id_of,
    judge_and_send,
    micros_of,
    show,
    time_of,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from catalogue.facts import Fact
    from streams.accounts import AccountView, Rating
    from streams.settings import Settings

CallArgument = Annotated[str, typer.Argument(metavar="CALL_ID", help="The call's id, as the platform reported it.")]
NOTHING = 'an empty value ("") takes it away'
# What is shown of ratings side by side: heading, field.
COMPARED = (
    ("duration", "duration_s"),
    ("billed", "billed_s"),
    ("allowance", "allowance_s"),
    ("wallet", "wallet_s"),
    ("credit", "credit_s"),
    ("overage", "overage_s"),
    ("written off", "written_off_s"),
    ("fee", "fee_micros"),
    ("amount", "amount_micros"),
    ("cost", "cost_micros"),
    ("margin", "margin_micros"),
    ("allowance left", "allowance_left_s"),
    ("wallet left", "wallet_left_s"),
    ("credit left", "credit_left_micros"),
)
# Shown even where they are 0.
ALWAYS = {"duration_s", "billed_s", "amount_micros"}


def register(app: typer.Typer) -> None:
    """Add the group ``calls``."""
    group = typer.Typer(help="Look at single calls, correct them and void them.", no_args_is_help=True)
    group.command("list")(list_)
    group.command("show")(show_one)
    group.command("correct")(correct)
    group.command("void")(void)
    app.add_typer(group, name="calls")


def list_(
    agency: Annotated[str | None, typer.Option(help="Only calls of this agency.")] = None,
    account: Annotated[str | None, typer.Option(help="Only calls of this account.")] = None,
    campaign: Annotated[str | None, typer.Option(help="Only calls of this campaign.")] = None,
    number: Annotated[str | None, typer.Option(help="Only calls of this number of the account.")] = None,
    agent: Annotated[str | None, typer.Option(help="Only calls of this agent.")] = None,
    begin: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="Only calls that ended then or later (UTC).")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", metavar="TIME", help="Only calls that ended before (UTC).")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The latest so many.")] = 100,
    json: output.JsonOption = False,
) -> None:
    """Show rated calls from ClickHouse, the latest last; of a corrected one every rating."""
    from cli.tables import duration_text, money_text, print_rows, time_text
    from sinks.calls import latest
    from sinks.clickhouse import open_store

    given = {"agency": agency, "account": account, "campaign": campaign, "number": number, "agent": agent}
    first, last = (time_of(text, "UTC") if text is not None else None for text in (begin, end))
    with open_store(output.settings()) as store:
        wanted = {name: value for name, value in given.items() if value is not None}
        rows = latest(store, wanted, first, last, limit)
    if json:
        output.print_json(rows)
        return
    cells = (
        (
            time_text(row["ended_at"]),
            row["account_id"],
            row["call_id"],
            row["direction"],
            row["to_number"],
            row["outcome"],
            _marks(row),
            duration_text(row["billed_s"]),
            money_text(row["amount_micros"], row["currency"]),
            money_text(row["margin_micros"], row["currency"]),
        )
        for row in rows
    )
    left = ("ended", "account", "call", "direction", "to", "outcome", "")
    print_rows(f"Calls ({len(rows):,})", (*left, "billed", "amount", "margin"), cells, left)


def show_one(account: AccountArgument, call: CallArgument, json: output.JsonOption = False) -> None:
    """Show how a call was rated, and corrected, from ClickHouse."""
    from cli.tables import print_rows, time_text
    from sinks.calls import ratings
    from sinks.clickhouse import open_store
    from streams.errors import CallmeterError

    with open_store(output.settings()) as store:
        rows = ratings(store, account, call)
    if not rows:
        raise CallmeterError(
            f"ClickHouse knows no call {call!r} of account {account!r}; see `callmeter calls list --account {account}` "
            "(a call shows once it was rated and stored), or `callmeter dead-letters list`"
        )
    last = rows[-1]
    voided = last["correction"] == "refund"
    if json:
        output.print_json({"account_id": account, "call_id": call, "voided": voided, "ratings": rows})
        return
    told = [
        ("agency", last["agency_id"]),
        ("state", "voided" if voided else "corrected" if len(rows) > 1 else "rated"),
        ("direction", last["direction"]),
        ("from", last["from_number"]),
        ("to", last["to_number"]),
        ("started", time_text(last["started_at"])),
        ("answered", time_text(last["answered_at"])),
        ("ended", time_text(last["ended_at"])),
        ("outcome", last["outcome"] + (", a test" if last["test"] else "")),
        ("campaign", last["campaign_id"]),
        ("agent", " ".join(filter(None, (last["agent_id"], last["tier"])))),
        ("period", time_text(last["period_start"])),
        ("subscription", last["subscription_id"]),
    ]
    print_rows(f"Call {call} of {account}", ("", " "), [pair for pair in told if pair[1]], left=("", " "))
    _compare("Ratings", [(_heading(row), row) for row in rows])


def correct(
    account: AccountArgument,
    call: CallArgument,
    started: Annotated[str | None, typer.Option("--started-at", metavar="TIME", help="When it started.")] = None,
    answered: Annotated[
        str | None, typer.Option("--answered-at", metavar="TIME", help=f"When it was answered; {NOTHING}.")
    ] = None,
    ended: Annotated[str | None, typer.Option("--ended-at", metavar="TIME", help="When it ended.")] = None,
    outcome: Annotated[
        str | None, typer.Option(help="answered, voicemail, no_answer, busy, failed or canceled.")
    ] = None,
    direction: Annotated[str | None, typer.Option(help="inbound, outbound or web.")] = None,
    from_number: Annotated[str | None, typer.Option(metavar="NUMBER", help=f"Who called; {NOTHING}.")] = None,
    to_number: Annotated[str | None, typer.Option(metavar="NUMBER", help=f"Who was called; {NOTHING}.")] = None,
    campaign: Annotated[str | None, typer.Option(help=f"The campaign's id; {NOTHING}.")] = None,
    agent: Annotated[str | None, typer.Option(help=f"The agent's id; {NOTHING}.")] = None,
    tier: Annotated[str | None, typer.Option(help=f"The agent's tier; {NOTHING}.")] = None,
    test: Annotated[bool | None, typer.Option("--test/--no-test", help="Whether it was a test.")] = None,
    cost: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help=f"What the carrier reports that it costs; {NOTHING}.")
    ] = None,
    cost_currency: Annotated[str | None, typer.Option(metavar="CODE", help=f"Of --cost; {NOTHING}.")] = None,
    file: Annotated[
        str | None,
        typer.Option(metavar="FILE|-", help="Instead: the whole call as JSON, as it should have been reported."),
    ] = None,
    at: AtOption = None,
    id: IdOption = None,
    dry_run: DryRunOption = False,
    json: output.JsonOption = False,
) -> None:
    """Rate a call anew, as it should have been reported. What it took is given back first.

    Name only what changes; the rest stays as it was reported last. A call that was voided comes back, with or without
    changes. What falls on a period that is closed becomes lines of the account's next request.
    """
    import uvloop

    named = {
        "started_at": started,
        "answered_at": answered,
        "ended_at": ended,
        "outcome": outcome,
        "direction": direction,
        "from_number": from_number,
        "to_number": to_number,
        "campaign_id": campaign,
        "agent_id": agent,
        "tier": tier,
        "cost_micros": cost,
        "cost_currency": cost_currency,
    }
    changes = _changes({name: value for name, value in named.items() if value is not None}, test)
    whole = None
    if file is not None:
        from streams.errors import CallmeterError

        if changes:
            raise CallmeterError("--file has the whole call: say it alone, or only what changes")
        whole = _whole_call(file, account, call)

    async def make(view: AccountView, rating: Rating, when: datetime, fact_id: str) -> Fact:
        from catalogue.facts import call_corrected
        from streams.errors import CallmeterError

        reported = await view.reported(rating)
        new = whole if whole is not None else {**reported, **changes}
        if not rating.voided and _is_same(reported, new):
            raise CallmeterError(f"call {call} was reported like that: say what changes, such as --ended-at, or --file")
        return call_corrected(rating.rated, new, when, fact_id)

    written, rating = uvloop.run(_write(output.settings(), account, call, make, at, id, dry_run))
    _show(written, account, call, rating, json)


def void(
    account: AccountArgument,
    call: CallArgument,
    reason: Annotated[str, typer.Option(help="Why; it stands in the log for ever.")] = "",
    at: AtOption = None,
    id: IdOption = None,
    dry_run: DryRunOption = False,
    json: output.JsonOption = False,
) -> None:
    """Take a call back whole: it was none. `callmeter calls correct` brings it back."""
    import uvloop

    async def make(view: AccountView, rating: Rating, when: datetime, fact_id: str) -> Fact:
        from catalogue.facts import call_voided

        return call_voided(rating.rated, reason, when, fact_id)

    written, rating = uvloop.run(_write(output.settings(), account, call, make, at, id, dry_run))
    _show(written, account, call, rating, json)


async def _write(
    settings: Settings,
    account_id: str,
    call_id: str,
    make: Callable[[AccountView, Rating, datetime, str], Awaitable[Fact]],
    at: str | None,
    id: str | None,
    dry_run: bool,
) -> tuple[Written, Rating | None]:
    """Write a correction, if the call is found; how it was rated until then."""
    from streams.accounts import view_account
    from streams.errors import CallmeterError, Refused

    fact_id, when = fact_id_of(id), time_of(at, "UTC")
    view = await view_account(settings, account_id)
    if view.knows(fact_id):
        return applied_before(account_id, fact_id), None
    if view.account is None:
        raise Refused(f"no_subscription: account {account_id} was never subscribed")
    rating = await view.rating(call_id)
    if rating is None and not view.certain:
        raise CallmeterError(f"the meter is far behind, and has not rated call {call_id} yet; try again later")
    if rating is None:
        raise Refused(f"unknown_call: call {call_id} was not rated, or too long ago to be found")
    written = await judge_and_send(settings, view, [await make(view, rating, when, fact_id)], dry_run)
    return written, rating


# -- what the call was


def _changes(named: dict[str, str], test: bool | None) -> dict[str, Any]:
    """Options as fields of a call.

    Raises:
        CallmeterError: one cannot be read.
    """
    from catalogue.facts import time_text
    from streams.errors import CallmeterError

    changes: dict[str, Any] = {} if test is None else {"test": test}
    for name, value in named.items():
        option = f"--{name.removesuffix('_id').removesuffix('_micros').replace('_', '-')}"
        if not value:
            if name in ("started_at", "ended_at", "outcome", "direction"):
                raise CallmeterError(f"{option}: a call has one")
            changes[name] = None
        elif name.endswith("_at"):
            try:
                changes[name] = time_text(time_of(value, "UTC"))
            except CallmeterError as error:
                raise CallmeterError(f"{option}: {error}") from None
        else:
            changes[name] = micros_of(option, value) if name == "cost_micros" else value
    return changes


def _whole_call(file: str, account_id: str, call_id: str) -> Fact:
    """A call from a file, without its ids.

    Raises:
        CallmeterError: it cannot be read, is no call, or another one.
    """
    import sys
    from pathlib import Path

    import msgspec

    from rating.facts import CallCompleted
    from streams.accounts import CALL_IDS
    from streams.errors import CallmeterError

    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        call = msgspec.json.decode(content)
    except OSError as error:
        raise CallmeterError(f"cannot read {file}: {error.strerror}") from None
    except ValueError as error:
        raise CallmeterError(f"{file} is not JSON: {error}") from None
    if not isinstance(call, dict):
        raise CallmeterError(f"{file} is no call: a JSON object with started_at, ended_at and so on is wanted")
    for name, wanted in (("call_id", call_id), ("corrects", call_id), ("account_id", account_id)):
        if call.get(name, wanted) != wanted:
            raise CallmeterError(f"{file} is of another call: {name} is {call[name]!r}, not {wanted!r}")
    return {name: call[name] for name in CallCompleted.__struct_fields__ if name in call and name not in CALL_IDS}


def _is_same(reported: Fact, new: Fact) -> bool:
    """Whether two calls are the same, however their times are spelled."""
    from datetime import datetime

    def plain(call: Fact) -> dict[str, Any]:
        said = {name: value for name, value in call.items() if value not in (None, False)}
        return {name: datetime.fromisoformat(said[name]) if name.endswith("_at") else said[name] for name in said}

    try:
        return plain(reported) == plain(new)
    except (TypeError, ValueError):
        # The meter says what is wrong with it.
        return False


# -- what comes of it


def _show(written: Written, account_id: str, call_id: str, rating: Rating | None, json: bool) -> None:
    told = written.outputs_of("rated-calls")
    refund = next((one for one in told if one["correction"] == "refund"), None)
    new = next((one for one in told if one["correction"] == "rerated"), None)
    if told and rating is not None and not json:
        ratings = [("until now", None if rating.voided else rating.rated), ("refund", refund), ("new rating", new)]
        _compare(f"Call {call_id} of {account_id}", [(name, one) for name, one in ratings if one is not None])
        for event in written.outputs_of("billing-events"):
            if event["type"] == "usage.corrected" and event["correction"] == "refund":
                typer.echo("its period is closed: what differs waits as lines for the next request")
    done = "is voided" if written.fact.get("type") == "call.voided" else "is corrected"
    more = {"refund": refund, "rerated": new} if told else None
    show(written, f"{account_id}: call {call_id} {done}", json, more)


def _heading(row: dict[str, Any]) -> str:
    return f"{row['correction']} {row['fact_id']}" if row["correction"] else "rated"


def _marks(row: dict[str, Any]) -> str:
    marks = [row["correction"], "late" if row["late"] else "", "cut" if row["cut"] else ""]
    return ", ".join(filter(None, marks))


def _compare(title: str, ratings: list[tuple[str, dict[str, Any]]]) -> None:
    """Ratings side by side; what is 0 in all of them is left out."""
    from cli.tables import duration_text, money_text, print_rows

    rows = []
    for heading, name in COMPARED:
        values = [one.get(name) for _, one in ratings]
        if name not in ALWAYS and not any(values):
            continue
        if name.endswith("_s"):
            rows.append((heading, *map(duration_text, values)))
        else:
            currencies = [_currency(name, one) for _, one in ratings]
            rows.append((heading, *map(money_text, values, currencies)))
    print_rows(title, ("", *(name for name, _ in ratings)), rows, left=("",))


def _currency(name: str, rated: dict[str, Any]) -> str:
    of_cost = rated.get("cost_currency") if name == "cost_micros" else None
    return str(of_cost or rated["currency"])
