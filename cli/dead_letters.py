"""`callmeter dead-letters`: what could not be rated, why, and how it is sent again."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from jobs.dead_letters import Letter, Position, Wanted
    from jobs.redrive import Redrive

HEX_LINE_BYTES = 32

LettersArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[LETTER]...", help="Positions in dead-letters, such as 3:17.")
]
ReasonOption = Annotated[list[str] | None, typer.Option("--reason", help="Only this reason; may be repeated.")]
AgencyOption = Annotated[str | None, typer.Option("--agency", help="Only this agency's, where the bytes tell.")]
AccountOption = Annotated[str | None, typer.Option("--account", help="Only this account's, where the bytes tell.")]
TypeOption = Annotated[str | None, typer.Option("--type", help="Only this type of fact, such as call.completed.")]
SinceOption = Annotated[str | None, typer.Option("--since", metavar="TIME", help="Only those refused then or later.")]
UntilOption = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Only those refused before.")]
SourceOption = Annotated[
    str | None, typer.Option("--source", metavar="P:O", help="Only that of this position in account-events.")
]


def register(app: typer.Typer) -> None:
    """Adds the group ``dead-letters``."""
    group = typer.Typer(help="Look at what could not be rated, and send it again.", no_args_is_help=True)
    group.command("list")(list_)
    group.command("show")(show)
    group.command("redrive")(redrive)
    app.add_typer(group, name="dead-letters")


def list_(
    letters: LettersArgument = None,
    reason: ReasonOption = None,
    agency: AgencyOption = None,
    account: AccountOption = None,
    kind: TypeOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    source: SourceOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Also those that were re-driven.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Show the newest so many.")] = 100,
    json: output.JsonOption = False,
) -> None:
    """Show dead letters, newest last. A letter is open until it was re-driven."""
    import uvloop

    wanted = _wanted(letters, reason, agency, account, kind, since, until, source)
    with _progress("reading") as show_progress:
        rows, reasons = uvloop.run(_read(wanted, everything, limit, show_progress))
    if json:
        output.print_json(rows)
        return
    _table(rows)
    total = sum(reasons.values())
    counted = " · ".join(f"{name} {count:,}" for name, count in sorted(reasons.items()))
    shown = f"the newest {limit:,} of " if total > limit else ""
    typer.echo(f"{shown}{total:,} dead letters{': ' * bool(counted)}{counted}", err=True)


def show(
    letter: Annotated[str, typer.Argument(metavar="LETTER", help="Its position in dead-letters, such as 3:17.")],
    json: output.JsonOption = False,
) -> None:
    """Show one dead letter: its headers, and the original bytes as text, or in hex where they are none."""
    import uvloop

    from jobs.dead_letters import find_letter

    found, redriven_at = uvloop.run(find_letter(output.settings(), _position("LETTER", letter)))
    value = found.record.value
    text = _text(value)
    if json:
        shown = {"headers": found.headers, "value": text, "value_hex": None if value is None else value.hex()}
        output.print_json({**_row(found, redriven_at), **shown})
        return
    from cli.tables import print_rows

    told = [(name, cell) for name, cell in _row(found, redriven_at).items() if name != "detail" and cell is not None]
    headers = [(f"header {name}", text) for name, text in found.headers.items()]
    cells = [(name, _cell(cell)) for name, cell in (*told, *headers)]
    print_rows("Dead letter", ("", "what it says"), cells, left=("",))
    typer.echo(f"{found.reason}: {found.headers.get('detail', '')}")
    if value is None:
        typer.echo("(a tombstone)")
    elif text is not None:
        typer.echo(text)
    else:
        typer.echo(value.hex("\n", -HEX_LINE_BYTES))


def redrive(
    letters: LettersArgument = None,
    reason: ReasonOption = None,
    agency: AgencyOption = None,
    account: AccountOption = None,
    kind: TypeOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    source: SourceOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count them.")] = False,
    json: output.JsonOption = False,
) -> None:
    """Write the bytes of open dead letters back to the log, where the meter rates them, or refuses them again.

    Safe to repeat, to interrupt and to run twice at once: each letter is re-driven once, and no call is rated twice.
    Without filters, all. What is no fact, and ticks and rules, are left.
    """
    import uvloop

    from jobs.redrive import Redrive

    wanted = _wanted(letters, reason, agency, account, kind, since, until, source)
    with _progress("re-driving") as show_progress:
        run = Redrive(output.settings(), wanted, dry_run, show_progress)
        uvloop.run(run.run())
    if json:
        output.print_json({"dry_run": dry_run, "redriven": run.redriven, "skipped": run.skipped})
    else:
        _summary(run)


def _summary(run: Redrive) -> None:
    would = "would be " if run.dry_run else ""
    typer.echo(f"{run.redriven.total():,} letters {would}re-driven")
    for reason, count in sorted(run.redriven.items()):
        typer.echo(f"  {reason}: {count:,}")
    if run.skipped:
        typer.echo(f"{run.skipped.total():,} skipped")
    for why, count in sorted(run.skipped.items()):
        typer.echo(f"  {why}: {count:,}")


async def _read(
    wanted: Wanted, everything: bool, limit: int, show_progress: Callable[[int, int], None]
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """The newest rows, oldest first, and how many letters there are of each reason."""
    from collections import Counter

    from jobs.dead_letters import read_letters

    rows: list[dict[str, Any]] = []
    reasons: Counter[str] = Counter()
    async for letter, redriven_at in read_letters(output.settings(), wanted, show_progress):
        if redriven_at is None or everything:
            reasons[letter.reason] += 1
            rows.append(_row(letter, redriven_at))
            if len(rows) > 10 * limit:
                rows = _newest(rows, limit)
    return _newest(rows, limit), reasons


def _newest(rows: list[dict[str, Any]], limit: int) -> list[dict[str, Any]]:
    # Sorting is stable: what was refused at the same moment stays by position.
    return sorted(rows, key=lambda row: row["refused_at"])[-limit:]


def _row(letter: Letter, redriven_at: datetime | None) -> dict[str, Any]:
    from jobs.dead_letters import spelled

    return {
        "letter": spelled(letter.position),
        "state": "open" if redriven_at is None else "re-driven",
        "refused_at": letter.recorded_at,
        "reason": letter.reason,
        "detail": letter.headers.get("detail", ""),
        "agency_id": letter.named("agency_id"),
        "account_id": letter.named("account_id"),
        "type": letter.named("type"),
        "source": spelled(letter.source) if letter.source else None,
        "came_from": letter.redriven.dead_letter if letter.redriven else None,
        "redriven_at": redriven_at,
        "bytes": len(letter.record.value or b""),
    }


def _table(rows: list[dict[str, Any]]) -> None:
    from cli.tables import print_rows

    names = ["letter", "refused_at", "reason", "account_id", "type", "detail"]
    if any(row["state"] != "open" for row in rows):
        names.insert(1, "state")
    headings = [name.removesuffix("_id").removesuffix("_at") for name in names]
    cells = [[_cell(row[name]) for name in names] for row in rows]
    print_rows("Dead letters", headings, cells, left=headings)


def _cell(value: Any) -> str:
    from datetime import datetime

    from cli.tables import time_text

    if isinstance(value, datetime):
        return time_text(value.replace(microsecond=0))
    return "" if value is None else str(value)


def _text(value: bytes | None) -> str | None:
    """Bytes as text, if a terminal can show them all."""
    try:
        text = (value or b"").decode()
    except UnicodeDecodeError:
        return None
    return text if all(one.isprintable() or one in "\n\t" for one in text) else None


def _wanted(
    letters: list[str] | None,
    reasons: list[str] | None,
    agency: str | None,
    account: str | None,
    kind: str | None,
    since: str | None,
    until: str | None,
    source: str | None,
) -> Wanted:
    from cli.writing import time_of
    from jobs.dead_letters import Wanted

    return Wanted(
        reasons=frozenset(reasons or ()),
        agency=agency,
        account=account,
        kind=kind,
        since=None if since is None else time_of(since, "UTC"),
        until=None if until is None else time_of(until, "UTC"),
        positions=frozenset(_position("LETTER", letter) for letter in letters or ()),
        source=None if source is None else _position("--source", source),
    )


def _position(what: str, text: str) -> Position:
    """A position as people write it.

    Raises:
        CallmeterError: it is none.
    """
    from streams.errors import CallmeterError

    partition, _, offset = text.partition(":")
    if not (partition.isdecimal() and offset.isdecimal()):
        raise CallmeterError(f"{what} {text!r} is no position; write <partition>:<offset>, such as 3:17")
    return int(partition), int(offset)


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error; invisible where that is no terminal. Gives the function that updates it."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = output.console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task(f"{what} dead letters", total=None)
        yield lambda read, total: progress.update(task, completed=read, total=total)
