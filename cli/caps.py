"""`callmeter cap`: limits on what an account, or all accounts of an agency together, may use."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import output
from cli.writing import (
    AtOption,
    Ground,
    IdOption,
    Written,
    applied_before,
    fact_id_of,
    read_catalogue,
    show,
    time_of,
    write_fact,
)

if TYPE_CHECKING:
    from catalogue.facts import Fact
    from streams.settings import Settings

AccountArgument = Annotated[str | None, typer.Argument(metavar="ACCOUNT", help="An account's id.")]
AgencyOption = Annotated[str | None, typer.Option("--agency", help="Instead: all accounts of this agency together.")]
NameOption = Annotated[
    str | None, typer.Option("--name", help="Of the cap; without: the cap that the account's plan has.")
]
IN_MINUTES = ("minutes", "wallet")
# What a limit is called in a sentence.
LIMITS = {"minutes": "{} minutes", "spend": "a usage of {}", "cost": "a cost of {}", "margin": "a margin of {}",
          "wallet": "a wallet of {} minutes"}  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the group ``cap``."""
    group = typer.Typer(
        help="Limit minutes, spend, cost, margin or wallet of an account, or of an agency.", no_args_is_help=True
    )
    group.command("set")(set_)
    group.command("clear")(clear)
    group.command("list")(list_)
    app.add_typer(group, name="cap")


def set_(
    account: AccountArgument = None,
    name: NameOption = None,
    minutes: Annotated[int | None, typer.Option(min=0, help="At most so many billed minutes.")] = None,
    spend: Annotated[str | None, typer.Option(metavar="AMOUNT", help="At most so much usage.")] = None,
    cost: Annotated[str | None, typer.Option(metavar="AMOUNT", help="At most so much cost.")] = None,
    margin: Annotated[str | None, typer.Option(metavar="AMOUNT", help="No margin at or below this.")] = None,
    wallet: Annotated[int | None, typer.Option(min=0, help="No wallet at or below so many minutes.")] = None,
    per: Annotated[str, typer.Option(metavar="period|day", help="What it counts in; a day is a local one.")] = "period",
    mode: Annotated[str, typer.Option(metavar="hard|soft", help="hard turns access off, soft only warns.")] = "hard",
    alerts: Annotated[str, typer.Option(metavar="PERCENTS", help="When to warn, such as 80,100.")] = "80,100",
    currency: Annotated[
        str | None, typer.Option(metavar="CODE", help="Of an agency's cap; default: the agency's.")
    ] = None,
    agency: AgencyOption = None,
    at: AtOption = None,
    id: IdOption = None,
    json: output.JsonOption = False,
) -> None:
    """Set a cap, in place of the one of that name. It counts at once, and calls that come are still rated.

    With --name it limits one thing, beside all other caps, through all subscriptions. Without, it is the plan's cap
    (minutes, spend or both, per period) that is set otherwise, until the account's next subscription starts.
    """
    owner = _owner(account, agency)
    limits = {"minutes": minutes, "spend": spend, "cost": cost, "margin": margin, "wallet": wallet}
    given: dict[str, Any] = {on: limit for on, limit in limits.items() if limit is not None}
    text = " or ".join(LIMITS[on].format(limit) for on, limit in given.items())
    given |= {"mode": mode, "alerts_percent": alerts.split(",")}
    if name is None:
        _check_plain(given, per, agency)
        written = _set_plain(owner, given, at, id)
        show(written, f"{owner}: {mode} cap at {text} a period", json)
        return
    given["per"] = per
    if currency is not None:
        given["currency"] = currency
    cap = _named(name, given, agency is not None)
    written = _replace(owner, agency is not None, lambda caps: {**caps, name: cap}, at, id)
    show(written, f"{owner}: {mode} cap {name} at {text} a {per}", json)


def clear(
    account: AccountArgument = None,
    name: NameOption = None,
    all: Annotated[bool, typer.Option("--all", help="All caps with a name.")] = False,
    agency: AgencyOption = None,
    at: AtOption = None,
    id: IdOption = None,
    json: output.JsonOption = False,
) -> None:
    """Take a cap away. What it had turned off goes on at once."""
    from catalogue.facts import cap_set
    from streams.errors import CallmeterError

    owner, of_agency = _owner(account, agency), agency is not None
    if all and name is not None:
        raise CallmeterError("--name or --all: say one of them")
    if all:
        show(_replace(owner, of_agency, lambda caps: {}, at, id), f"{owner}: no caps with a name", json)
    elif name is not None:
        written = _replace(owner, of_agency, lambda caps: _without(caps, owner, name), at, id)
        show(written, f"{owner}: no cap {name}", json)
    elif of_agency:
        raise CallmeterError("say which cap of the agency: --name, or --all")
    else:
        written = write_fact(owner, at, id, lambda on: cap_set(on.catalogue, owner, None, on.at, on.fact_id))
        show(written, f"{owner}: no cap", json)


def list_(account: AccountArgument = None, agency: AgencyOption = None, json: output.JsonOption = False) -> None:
    """Show the caps that are in force, and what is used of them; read from the broker, so it is never behind."""
    import uvloop

    owner = _owner(account, agency)
    rows_of = _account_rows if agency is None else _agency_rows
    rows = uvloop.run(rows_of(output.settings(), owner))
    if json:
        output.print_json(rows)
        return
    from cli.tables import duration_text, money_text, print_rows

    def quantity(row: dict[str, Any], value: int | None) -> str:
        return duration_text(value) if row["on"] in IN_MINUTES else money_text(value, row["currency"])

    cells = (
        (
            row["name"] or "(plan)",
            row["on"],
            quantity(row, row["limit"]),
            row["per"],
            row["mode"],
            ", ".join(f"{level} %" for level in row["alerts_percent"]),
            quantity(row, row["used"]),
            "reached" if row["reached"] else "",
        )
        for row in rows
    )
    columns = ("cap", "on", "limit", "per", "mode", "alerts", "used", "")
    print_rows(f"Caps of {owner}", columns, cells, left=("cap", "on", "per", "mode", "alerts", ""))


# -- what is written


def _owner(account: str | None, agency: str | None) -> str:
    """Whose caps are meant: an account's or an agency's id."""
    from streams.errors import CallmeterError

    owner = account if account is not None else agency
    if owner is None or (account is not None and agency is not None):
        raise CallmeterError("say whose cap: ACCOUNT or --agency, one of them")
    return owner


def _check_plain(given: dict[str, Any], per: str, agency: str | None) -> None:
    """Refuse what only a cap with a name can be."""
    from streams.errors import CallmeterError

    only = ["--agency"] * (agency is not None)
    only += [f"--{on}" for on in ("cost", "margin", "wallet") if on in given] + ["--per"] * (per != "period")
    if only:
        raise CallmeterError(f"{only[0]} is for a cap with a name: say --name")


def _set_plain(owner: str, given: dict[str, Any], at: str | None, id: str | None) -> Written:
    from catalogue.facts import cap_set
    from catalogue.model import Cap
    from catalogue.terms import cap_of

    cap = cap_of(_validated(Cap, given))
    return write_fact(owner, at, id, lambda on: cap_set(on.catalogue, owner, cap, on.at, on.fact_id))


def _named(name: str, given: dict[str, Any], agency: bool) -> Any:
    from catalogue.kinds import identifier
    from catalogue.model import AgencyCap, NamedCap
    from streams.errors import CallmeterError

    try:
        identifier(name)
    except ValueError as error:
        raise CallmeterError(f"--name {name!r}: {error}") from None
    if "currency" in given and not agency:
        raise CallmeterError("--currency is for --agency; an account's caps are in its own currency")
    return _validated(AgencyCap if agency else NamedCap, given)


def _validated(model: Any, given: dict[str, Any]) -> Any:
    from pydantic import ValidationError

    from streams.errors import CallmeterError

    try:
        return model.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        named = str(first["loc"][0]) if first["loc"] else ""
        option = f"--{'alerts' if named == 'alerts_percent' else named} " if named else "a cap "
        raise CallmeterError(f"{option}{first['ctx']['error']}") from None


Caps = dict[str, Any]


def _without(caps: Caps, owner: str, name: str) -> Caps:
    from catalogue.spelling import hint
    from streams.errors import CallmeterError

    if name not in caps:
        raise CallmeterError(f"{owner} has no cap {name!r}{hint(name, caps)}; see callmeter cap list")
    return {one: cap for one, cap in caps.items() if one != name}


def _replace(owner: str, agency: bool, change: Callable[[Caps], Caps], at: str | None, id: str | None) -> Written:
    """Write all caps with a name anew: those in force, changed. New ones are models, the others facts as they stand."""
    import uvloop

    if agency:
        return uvloop.run(_replace_of_agency(output.settings(), owner, change, at, fact_id_of(id)))

    def make(on: Ground) -> Fact:
        from catalogue.facts import caps_set

        caps = on.view.account.caps if on.view.account is not None else None
        return caps_set(on.catalogue, owner, _as_facts(change(_by_name(caps.caps if caps else ()))), on.at, on.fact_id)

    return write_fact(owner, at, id, make)


async def _replace_of_agency(
    settings: Settings, agency_id: str, change: Callable[[Caps], Caps], at: str | None, fact_id: str
) -> Written:
    from catalogue.facts import agency_caps_set, encode
    from streams.agency_view import view_agency
    from streams.errors import Refused
    from streams.producer import FactProducer
    from streams.topics import AGENCY_EVENTS

    agency = (await read_catalogue(settings)).agency(agency_id)
    when = time_of(at, agency.timezone)
    view = await view_agency(settings, agency_id)
    if view.knows(fact_id):
        return applied_before(agency_id, fact_id)
    fact = agency_caps_set(agency_id, _as_facts(change(_by_name(view.caps)), agency), when, fact_id)
    encoded = encode(fact)
    refused = view.refusal(encoded)
    if refused:
        raise Refused(": ".join(refused))
    async with FactProducer(settings, AGENCY_EVENTS) as producer:
        await producer.send(agency_id, encoded)
        await producer.flush()
    return Written(fact, sent=True, checked=True)


def _by_name(caps: Any) -> Caps:
    import msgspec

    return {cap.name: msgspec.to_builtins(cap) for cap in caps}


def _as_facts(caps: Caps, agency: Any = None) -> list[dict[str, Any]]:
    from catalogue.terms import named_caps

    return [
        fact
        for name, cap in caps.items()
        for fact in ([cap] if isinstance(cap, dict) else named_caps({name: cap}, agency))
    ]


# -- what is in force


async def _account_rows(settings: Settings, account_id: str) -> list[dict[str, Any]]:
    from rating.caps import used_of
    from streams.accounts import view_account
    from streams.errors import CallmeterError

    account = (await view_account(settings, account_id)).account
    if account is None:
        raise CallmeterError(f"account {account_id!r} was never subscribed, so no cap is in force")
    rows, newest = [], account.newest
    if account.cap is not None:
        cap = account.cap
        for on, limit, used in (
            ("minutes", None if cap.minutes is None else cap.minutes * 60, newest.billed_s if newest else None),
            ("spend", cap.spend_micros, newest.usage_micros if newest else None),
        ):
            if limit is not None:
                reached = used is not None and used >= limit
                rows.append(_row(None, on, "period", cap, account.currency, limit, used, reached))
    caps = account.caps
    for named in caps.caps if caps is not None else ():
        # With no period open caps hold nothing.
        counted = caps.day if caps is not None and newest is not None and named.per == "day" else newest
        rows.append(_named_row(named, account.currency, used_of(account, named, counted) if counted else None))
    return rows


async def _agency_rows(settings: Settings, agency_id: str) -> list[dict[str, Any]]:
    from rating.agency_caps import used_of
    from streams.agency_view import view_agency

    (await read_catalogue(settings)).agency(agency_id)
    view = await view_agency(settings, agency_id)
    rows = []
    for cap in view.caps:
        counted = view.counted(cap)
        used = used_of(view.agency, cap, counted) if view.agency is not None and counted is not None else None
        rows.append(_named_row(cap, cap.currency, used))
    return rows


def _named_row(cap: Any, currency: str | None, used: tuple[int, int] | None) -> dict[str, Any]:
    from rating.caps import level_is_reached

    limit = cap.limit * 60 if cap.on in IN_MINUTES else cap.limit
    reached = used is not None and level_is_reached(cap, 100, *used)
    return _row(cap.name, cap.on, cap.per, cap, currency, limit, used[0] if used else None, reached)


def _row(
    name: str | None, on: str, per: str, cap: Any, currency: str | None, limit: int, used: int | None, reached: bool
) -> dict[str, Any]:
    """One cap for people; limit and used in seconds or micros, as in alerts."""
    return {
        "name": name,
        "on": on,
        "limit": limit,
        "per": per,
        "mode": cap.mode,
        "alerts_percent": list(cap.alerts_percent),
        "currency": None if on in IN_MINUTES else currency,
        "used": used,
        "reached": reached,
    }
