"""`callmeter catalogue`: what agencies sell, from a YAML file into the catalogue topic and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import output

if TYPE_CHECKING:
    from catalogue.collection import Catalogue
    from catalogue.diff import Change
    from catalogue.store import Editor
    from streams.settings import Settings

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A catalogue in YAML.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Overwrite the file if it is there.")]
SIGNS = {"add": "[green]+[/]", "change": "[yellow]~[/]", "retire": "[red]-[/]", "restore": "[green]+[/]"}
DONE = {"add": "added", "change": "changed", "retire": "retired", "restore": "restored"}


def register(app: typer.Typer) -> None:
    """Adds the group ``catalogue``."""
    group = typer.Typer(help="Agencies, plans, packs and accounts: check a file, apply it.", no_args_is_help=True)
    group.command("init")(init)
    group.command("validate")(validate)
    group.command("apply")(apply)
    group.command("export")(export)
    app.add_typer(group, name="catalogue")


def init(file: FileArgument, force: ForceOption = False) -> None:
    """Write an example, with comments, to start from."""
    from importlib.resources import files

    _write(file, files("catalogue").joinpath("example.yaml").read_text("utf-8"), force)
    typer.echo(f"wrote {file}; next: callmeter catalogue validate {file}")


def validate(file: FileArgument, json: output.JsonOption = False) -> None:
    """Check a file without a broker; every mistake is named with its line and key."""
    from dataclasses import asdict

    from catalogue.load import SECTIONS, CatalogueError, load

    try:
        catalogue = load(file)
    except CatalogueError as error:
        if json:
            output.print_json({"valid": False, "problems": [asdict(problem) for problem in error.problems]})
            raise typer.Exit(error.exit_code) from None
        raise
    counts = {section: len(list(catalogue.of_kind(kind))) for section, kind in SECTIONS.items()}
    if json:
        output.print_json({"valid": True, **counts})
    else:
        typer.echo(f"{file} is valid: " + ", ".join(f"{count} {section}" for section, count in counts.items()))


def apply(
    file: FileArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Apply without asking.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
    json: output.JsonOption = False,
) -> None:
    """Put a file in force: show what changes, ask, write. Only agencies in the file are touched; what is not in it any
    more is retired, never deleted; running subscriptions stay on the terms they started with."""
    import sys

    import uvloop

    from catalogue.load import load
    from streams.errors import CallmeterError

    wanted = load(file)
    settings = output.settings()
    if not (yes or dry_run) and (json or not sys.stdin.isatty()):
        raise CallmeterError("there is nobody to ask here; say --yes to apply, or --dry-run to look")
    changes, applied = uvloop.run(_apply(settings, wanted, None if dry_run else yes, json))
    if json:
        output.print_json({"applied": applied, "changes": [change.as_dict() for change in changes]})
    elif not changes:
        typer.echo("nothing to change")
    elif applied:
        typer.echo("applied")
    else:
        typer.echo("nothing was written")


def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; - for standard output.")],
    agency: Annotated[str | None, typer.Option(help="Only this agency's.")] = None,
    force: ForceOption = False,
) -> None:
    """Write the catalogue in force as a file; applying that changes nothing. What is retired is left out."""
    import uvloop

    from catalogue.dump import dumps
    from catalogue.store import read

    catalogue = uvloop.run(read(output.settings()))
    if agency is not None:
        catalogue.agency(agency)
    text = dumps(catalogue, agency)
    if str(file) == "-":
        typer.echo(text, nl=False)
    else:
        _write(file, text, force)
        typer.echo(f"wrote {file}")


def _write(file: Path, text: str, force: bool) -> None:
    from streams.errors import CallmeterError

    try:
        with file.open("w" if force else "x", encoding="utf-8") as out:
            out.write(text)
    except FileExistsError:
        raise CallmeterError(f"{file} is there already; say --force to overwrite it") from None
    except OSError as error:
        raise CallmeterError(f"cannot write {file}: {error.strerror}") from None


async def _apply(settings: Settings, wanted: Catalogue, yes: bool | None, json: bool) -> tuple[list[Change], bool]:
    """The changes, and whether they were written; ``yes`` None only looks."""
    from catalogue.store import editing, read

    if yes is None:
        return await _show_changes(settings, await read(settings), wanted, json), False
    async with editing(settings) as editor:
        changes = await _show_changes(settings, editor.current, wanted, json)
        return changes, await _write_changes(editor, changes, yes)


async def _write_changes(editor: Editor, changes: list[Change], yes: bool) -> bool:
    if not changes or not (yes or typer.confirm("Apply?", err=True)):
        return False
    await editor.write((change.entry for change in changes), map(_caps_fact, _caps_at_once(changes)))
    return True


def _caps_at_once(changes: list[Change]) -> list[Change]:
    return [change for change in changes if change.caps is not None and not change.caps_wait]


def _caps_fact(change: Change) -> tuple[str, str, bytes]:
    """What sets the caps of an agency or account: topic, key, and the fact."""
    from catalogue.facts import account_caps_set, agency_caps_set, encode
    from cli.writing import fact_id_of, time_of
    from streams.topics import ACCOUNT_EVENTS, AGENCY_EVENTS

    entry, at, fact_id, caps = change.entry, time_of(None, "UTC"), fact_id_of(None), change.caps or []
    if entry.kind == "agency":
        return AGENCY_EVENTS, entry.id, encode(agency_caps_set(entry.id, caps, at, fact_id))
    return ACCOUNT_EVENTS, entry.id, encode(account_caps_set(entry.id, entry.agency, caps, at, fact_id))


async def _show_changes(settings: Settings, current: Catalogue, wanted: Catalogue, json: bool) -> list[Change]:
    from catalogue.diff import accounts_with_new_caps, changes, count_subscriptions, find_waiting
    from streams.accounts import running_subscriptions, subscribed

    found = changes(current, wanted)
    if with_caps := accounts_with_new_caps(found):
        found = find_waiting(found, await subscribed(settings, with_caps))
    if any(change.new_terms is not None for change in found):
        found = count_subscriptions(found, await running_subscriptions(settings))
    if found and not json:
        _print_changes(found)
    return found


def _print_changes(changes: list[Change]) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for change in changes:
        table.add_row(
            SIGNS[change.action], change.entry.kind, escape(change.address), escape("\n".join(_details(change)))
        )
    console = output.console()
    console.print(table)
    counts = {action: sum(change.action == action for change in changes) for action in DONE}
    console.print(", ".join(f"{count} {DONE[action]}" for action, count in counts.items() if count))


def _details(change: Change) -> list[str]:
    if change.action in ("add", "retire"):
        lines = [
            ", ".join(f"{name} {_spelled(new)}" for name, (_, new) in change.fields.items()) or DONE[change.action]
        ]
    else:
        lines = [f"{name} {_spelled(old)} -> {_spelled(new)}" for name, (old, new) in change.fields.items()]
    if change.action == "restore":
        lines.insert(0, "sold again")
    if change.caps is not None:
        lines.append("caps are set when it is subscribed" if change.caps_wait else "caps are set at once")
    if change.entry.kind == "agency" and change.fields.get("wholesale", (None, None))[1] is not None:
        lines.append(f"wholesale is in force by `callmeter wholesale set {change.entry.id} --at TIME`")
    if change.new_terms is not None:
        if not change.fields and change.action == "change":
            lines.append("terms change with the agency")
        count = change.subscriptions
        lines.append(f"{count or 'no'} running subscription{'s' * (count != 1)} stay{'s' * (count == 1)} on old terms")
    return lines


def _spelled(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_spelled, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {_spelled(one)}' for name, one in value.items() if one is not None)}}}"
    return str(value)
