"""`callmeter rates`: rate cards, from a CSV file into their topic, and back on the screen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import output

if TYPE_CHECKING:
    from catalogue.card_file import CardFile, Show
    from rating.cards import Card, Head
    from streams.settings import Settings

FileArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="A rate card: CSV with a line of column names, or JSON.")
]
NameOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="The card's name; default: the file's, without its ending.")
]
CurrencyOption = Annotated[
    str | None, typer.Option(metavar="CODE", help="The card's currency, unless a column of the file says it.")
]
SHOWN_ROWS = 50


def register(app: typer.Typer) -> None:
    """Adds the group ``rates``."""
    group = typer.Typer(
        help="Rate cards: prices by destination, direction and tier, checked, imported and shown.", no_args_is_help=True
    )
    group.command("check")(check)
    group.command("import")(import_)
    group.command("show")(show)
    app.add_typer(group, name="rates")


def check(
    file: FileArgument, name: NameOption = None, currency: CurrencyOption = None, json: output.JsonOption = False
) -> None:
    """Check a card without a broker: every mistake with its line, and its id if there is none."""
    found = _read(file, name, currency, json)
    _tell(found, json, imported=None)


def import_(
    file: FileArgument, name: NameOption = None, currency: CurrencyOption = None, json: output.JsonOption = False
) -> None:
    """Check a card and write it into its topic. A card never changes: another content is another card, with another id,
    which a plan names in its rate_card."""
    import uvloop

    found = _read(file, name, currency, json)
    imported = uvloop.run(_import(output.settings(), found.card))
    _tell(found, json, imported)


def show(
    card: Annotated[
        str | None, typer.Argument(metavar="CARD", help="A card's id or the beginning of it; without: all cards.")
    ] = None,
    number: Annotated[str | None, typer.Option(metavar="NUMBER", help="Which row prices a call to it?")] = None,
    direction: Annotated[str, typer.Option(metavar="inbound|outbound|web", help="Of that call.")] = "outbound",
    tier: Annotated[str | None, typer.Option(metavar="TIER", help="Of that call's agent.")] = None,
    json: output.JsonOption = False,
) -> None:
    """List the cards there are, show the rows of one, or the row that prices a call."""
    import uvloop

    from catalogue.card_file import DIRECTIONS
    from catalogue.spelling import choice
    from streams.errors import CallmeterError

    if card is None:
        if number is not None:
            raise CallmeterError("--number: on which card? Name one: callmeter rates show CARD --number NUMBER")
        _show_all(uvloop.run(_heads(output.settings())), json)
        return
    found = uvloop.run(_find(output.settings(), card))
    if number is None:
        _show_card(found, json)
        return
    try:
        direction = choice(direction, DIRECTIONS)
    except ValueError as error:
        raise CallmeterError(f"--direction {error}") from None
    _show_row(found, number, direction, tier, json)


def _read(file: Path, name: str | None, currency: str | None, json: bool) -> CardFile:
    from dataclasses import asdict

    from catalogue.card_file import CardFileError, read_card

    try:
        with _progress("checking") as show:
            return read_card(file, name, currency, show)
    except CardFileError as error:
        if json:
            output.print_json({"valid": False, "problems": [asdict(problem) for problem in error.problems]})
            raise typer.Exit(error.exit_code) from None
        raise


def _tell(found: CardFile, json: bool, imported: bool | None) -> None:
    from dataclasses import asdict

    card, rows = found.card, len(found.card.rows)
    if json:
        told: dict[str, Any] = {
            "valid": True,
            "card_id": card.card_id,
            "name": card.name,
            "currency": card.currency,
            "rows": rows,
            "warnings": [asdict(warning) for warning in found.warnings],
        }
        output.print_json(told if imported is None else {**told, "imported": imported})
        return
    from catalogue.card_file import SHOWN

    for warning in found.warnings[:SHOWN]:
        typer.echo(f"line {warning.line}: {warning.message}", err=True)
    if len(found.warnings) > SHOWN:
        typer.echo(f"... and {len(found.warnings) - SHOWN} more", err=True)
    state = {None: "is valid", True: "is imported", False: "was imported before"}[imported]
    typer.echo(f"card {card.name} {state}: {rows:,} row{'s' * (rows != 1)} in {card.currency}")
    typer.echo(f"rate_card: {card.card_id}")


async def _import(settings: Settings, card: Card) -> bool:
    """Whether the card was not there yet."""
    from datetime import UTC, datetime

    from catalogue.facts import time_text
    from streams.cards import find_card, put_card

    if await find_card(settings, card.card_id) is not None:
        return False
    with _progress("writing") as show:
        await put_card(settings, card, time_text(datetime.now(UTC).replace(microsecond=0)), show)
    return True


async def _heads(settings: Settings) -> dict[str, Head]:
    from streams.cards import read_heads

    return await read_heads(settings)


async def _find(settings: Settings, wanted: str) -> Card:
    from streams.cards import find_card, read_heads
    from streams.errors import CallmeterError

    heads = await read_heads(settings)
    ids = [card_id for card_id in heads if card_id.startswith(wanted.lower())]
    if len(ids) > 1:
        raise CallmeterError(f"{len(ids)} cards have an id that begins with {wanted}; write more of it")
    card = await find_card(settings, ids[0]) if ids else None
    if card is None:
        raise CallmeterError(f"there is no rate card {wanted}; callmeter rates show lists those there are")
    return card


def _show_all(heads: dict[str, Head], json: bool) -> None:
    ordered = sorted(heads.items(), key=lambda item: (item[1].name, item[1].created_at or "", item[0]))
    if json:
        output.print_json(
            [
                {
                    "card_id": card_id,
                    "name": head.name,
                    "currency": head.currency,
                    "rows": head.rows,
                    "created_at": head.created_at,
                }
                for card_id, head in ordered
            ]
        )
        return
    rows = [[head.name, head.currency, head.rows, head.created_at, card_id] for card_id, head in ordered]
    output.print_table("Rate cards", ["name", "currency", "rows", "imported at", "rate_card"], rows)


def _show_card(card: Card, json: bool) -> None:
    if json:
        from catalogue.card_file import as_json

        output.print_json(as_json(card))
        return
    title = f"{card.name}, {card.currency}, {card.card_id}"
    output.print_table(title, COLUMNS, [_cells(card, index) for index in range(min(SHOWN_ROWS, len(card.rows)))])
    if len(card.rows) > SHOWN_ROWS:
        typer.echo(f"and {len(card.rows) - SHOWN_ROWS:,} more rows; all of them: --json", err=True)


COLUMNS = ("prefix", "direction", "tier", "per minute", "increments", "connection fee", "pools")


def _cells(card: Card, index: int) -> list[Any]:
    from rating.money import micros_text

    row = card.rows[index]
    fee = row.connection_fee_micros
    return [
        row.prefix or "any",
        row.direction or "any",
        row.tier or "any",
        f"{micros_text(row.rate_micros_per_minute)} {card.currency}",
        row.increments or "the plan's",
        "the plan's" if fee is None else f"{micros_text(fee)} {card.currency}",
        "drawn on" if row.pools else "not drawn on",
    ]


def _show_row(card: Card, number: str, direction: str, tier: str | None, json: bool) -> None:
    from catalogue.card_file import as_json

    index = card.find(number, direction, tier)
    call = {"to_number": number, "direction": direction, "tier": tier}
    if json:
        rows: Any = as_json(card)["rows"]
        output.print_json({"card_id": card.card_id, **call, "row": None if index is None else rows[index]})
    elif index is None:
        typer.echo(f"no row prices {direction} calls to {number}: the plan's own rate does, if it has one")
    else:
        output.print_table(f"{direction} calls to {number}, by {card.name}", COLUMNS, [_cells(card, index)])


@contextmanager
def _progress(doing: str) -> Iterator[Show]:
    """A bar on standard error, where somebody looks: called with how much is done, of how much."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = output.console(stderr=True)
    columns = (TextColumn(doing), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task(doing, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
