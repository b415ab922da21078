"""`callmeter simulate`: facts from a file through the meter's own code, without a broker."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from catalogue.collection import Catalogue
    from rating.cards import Cards

WRITTEN_AT_ONCE = 1 << 16


def register(app: typer.Typer) -> None:
    """Adds the command ``simulate``."""
    app.command("simulate")(simulate)


def simulate(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="Facts, a JSON object a line; - for standard input.")],
    catalogue: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A catalogue, for the plans of --subscribe.")
    ] = None,
    subscribe: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ACCOUNT=PLAN[@TIME]",
            help="Put an account on a plan before the first fact; default time: start of the month of the first call.",
        ),
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="After the last fact let time pass until then: periods close.")
    ] = None,
    rates: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="A rate card that plans name: CSV with a column currency, or JSON."),
    ] = None,
    table: Annotated[bool, typer.Option("--table", help="Print what each account used and owes.")] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print every output, one JSON object a line (the default); a table as JSON.")
    ] = False,
) -> None:
    """Rate a file of facts and print everything that follows from it, in order. What cannot be rated becomes a
    dead-letters output, and the run goes on."""
    from catalogue.load import load

    shop = load(catalogue) if catalogue else None
    cards = _cards(rates or [])
    lines = _subscribed(file, shop, subscribe or [])
    if until:
        lines = chain(lines, [_last_tick(until, shop)])
    if table:
        from cli.simulate_table import print_summary
        from rating.simulate import simulate as fold

        print_summary(fold(lines, cards), json)
    else:
        _print_outputs(lines, cards)


def _cards(files: list[Path]) -> Cards:
    if not files:
        return {}
    from catalogue.card_file import read_card

    return {card.card_id: card for card in (read_card(file).card for file in files)}


def _print_outputs(lines: Iterable[bytes], cards: Cards) -> None:
    import os
    import sys

    from rating.simulate import simulate_encoded

    out = sys.stdout.buffer
    try:
        chunk = bytearray()
        for encoded in simulate_encoded(lines, cards):
            chunk += encoded
            chunk += b"\n"
            if len(chunk) > WRITTEN_AT_ONCE:
                out.write(chunk)
                chunk.clear()
        out.write(chunk)
        out.flush()
    except BrokenPipeError:
        # The reader has seen enough (`| head`); what is still buffered must not be tried again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _subscribed(file: str, shop: Catalogue | None, wanted: list[str]) -> Iterable[bytes]:
    """The facts of the file, after the subscriptions that were asked for."""
    from catalogue.facts import encode, parse_time, subscription_started
    from streams.errors import CallmeterError

    if wanted and shop is None:
        raise CallmeterError("--subscribe needs the plans: --catalogue FILE")
    lines: Iterable[bytes] = _lines(file)
    first: datetime | None = None
    started = []
    for number, one in enumerate(wanted):
        assert shop is not None
        account_id, _, sold = one.rpartition("=")
        plan, _, time = sold.partition("@")
        if not account_id or not plan:
            raise CallmeterError(
                f"--subscribe {one!r}: write ACCOUNT=PLAN or ACCOUNT=PLAN@TIME, such as acct_1=starter"
            )
        agency = shop.account(account_id).agency
        timezone = shop.plan(plan, agency)[1].timezone or shop.agency(agency).timezone
        if time:
            at = parse_time(time, timezone)
        else:
            if first is None:
                # Standard input can be read only once.
                lines = list(lines) if file == "-" else lines
                first = _first_time(lines if file == "-" else _lines(file))
            at = _month_start(first, timezone)
        started.append(encode(subscription_started(shop, account_id, plan, at, f"subscribe-{number}")))
    return chain(started, lines)


def _lines(file: str) -> Iterator[bytes]:
    import sys

    from streams.errors import CallmeterError

    if file == "-":
        yield from sys.stdin.buffer
        return
    try:
        with open(file, "rb") as facts:
            yield from facts
    except OSError as error:
        raise CallmeterError(f"cannot read {file}: {error.strerror}") from None


def _first_time(lines: Iterable[bytes]) -> datetime:
    """When the earliest call started; of a file without calls, the earliest ``at``."""
    import msgspec

    from streams.errors import CallmeterError

    times_of_a_fact = [("started_at", datetime | None, None), ("at", datetime | None, None)]
    decode = msgspec.json.Decoder(msgspec.defstruct("Times", times_of_a_fact)).decode
    calls: datetime | None = None
    others: datetime | None = None
    for line in lines:
        try:
            times: Any = decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
        started, at = times.started_at, times.at
        if started is not None and started.tzinfo and (calls is None or started < calls):
            calls = started
        if at is not None and at.tzinfo and (others is None or at < others):
            others = at
    first = calls or others
    if first is None:
        raise CallmeterError(
            "no fact says when it was; say when the subscription starts: --subscribe ACCOUNT=PLAN@TIME"
        )
    return first


def _month_start(at: datetime, timezone: str) -> datetime:
    from rating.period import instant, wall_clock

    local = wall_clock(at, timezone)
    return instant(local.replace(day=1, hour=0, minute=0, second=0, microsecond=0), timezone)


def _last_tick(until: str, shop: Catalogue | None) -> bytes:
    """A tick; a date alone means that the day has begun for every agency."""
    from catalogue.facts import encode, parse_time, time_text

    zones = {shop.agency(agency).timezone for agency in shop.agencies()} if shop else {"UTC"}
    at = max(parse_time(until, zone) for zone in zones)
    return encode({"type": "tick", "at": time_text(at), "jump": True})
