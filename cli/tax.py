"""`callmeter tax check`: is all there that is needed to ask for money, taxes above all?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from cli import output
from cli.writing import read_catalogue

if TYPE_CHECKING:
    from jobs.gateways.base import Step
    from streams.settings import Settings


def register(app: typer.Typer) -> None:
    """Adds the group ``tax``."""
    group = typer.Typer(help="Stripe Tax of an agency.", no_args_is_help=True)
    # A group of one command: without a callback Typer would make it the command itself.
    group.callback()(_no_options)
    group.command("check")(check)
    app.add_typer(group, name="tax")


def _no_options() -> None:
    """Nothing is common to the commands of the group."""


def check(
    agency: Annotated[str, typer.Argument(metavar="AGENCY", help="An agency of the catalogue.")],
    account: Annotated[str | None, typer.Option(help="The side of this account, which is to buy, too.")] = None,
    json: output.JsonOption = False,
) -> None:
    """Show everything that is needed before an agency's accounts can be asked for money: done, or missing with what to
    do and where.

    Exit code 1 if anything is missing.
    """
    import uvloop

    steps = uvloop.run(_steps(output.settings(), agency, account))
    missing = [step for step in steps if step.state == "missing"]
    if json:
        found = {"agency_id": agency, "account_id": account, "ready": not missing}
        output.print_json({**found, "steps": [step._asdict() for step in steps]})
    else:
        steps_table(f"What {agency} needs", steps)
        typer.echo(f"{len(missing)} of {len(steps)} missing" if missing else "nothing is missing")
    if missing:
        raise typer.Exit(1)


async def _steps(settings: Settings, agency_id: str, account_id: str | None) -> list[Step]:
    from jobs.gateways.preflight import preflight, unlinked

    catalogue = await read_catalogue(settings)
    assigned = catalogue.assignment(account_id) if account_id else None
    steps = await preflight(settings, catalogue, agency_id, account_id, assigned.plan if assigned else None)
    return [unlinked(agency_id)] if catalogue.gateway(agency_id) is None else steps


def steps_table(title: str, steps: Iterable[Step]) -> None:
    """Steps as a table; each line of what to do stays whole, with its link."""
    from rich.markup import escape
    from rich.table import Table

    colors = {"done": "green", "missing": "red", "advised": "yellow"}
    table = Table("step", "whose", "state", "what", title=title, title_justify="left", header_style="bold")
    for step in steps:
        color = colors[step.state]
        what = f"{step.todo}\n{step.link}" if step.link else step.todo
        table.add_row(step.title, step.side, f"[{color}]{step.state}[/{color}]", escape(what))
    output.console().print(table)
