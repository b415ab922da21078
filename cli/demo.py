"""`callmeter demo`: the whole pipeline on real parts, with a simulated platform, ending in a proof."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.output import JsonOption


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo")(demo)


def demo(
    accounts: Annotated[int, typer.Option(min=4, help="Accounts of the simulated platform.")] = 60,
    calls: Annotated[int, typer.Option(min=100, help="Calls in the simulated month.")] = 30_000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same month.")] = 7,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the pipeline running at the end.")] = False,
    keep_log: Annotated[
        Path | None, typer.Option("--keep-log", metavar="FILE", help="Save the input as JSON lines.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option("--picture", metavar="FILE", help="Save what is shown as an SVG picture.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run the whole pipeline on a real Kafka broker and the embedded ClickHouse engine, and prove that it is exact.

    A voice platform with three agencies is simulated for a month: calls, duplicates, bad records, late and corrected
    calls; rate cards and wholesale prices, packs, numbers, a change of plan, an agency's cap, accounts that do not
    pay in time. Exit code 1 if any sum does not agree.
    """
    import uvloop

    from cli.output import console, print_json
    from demo.run import Options, run_demo

    screen = console(stderr=as_json, record=picture is not None)
    proof = uvloop.run(run_demo(Options(accounts, calls, seed, keep, keep_log), screen))
    if picture:
        screen.save_svg(str(picture), title="callmeter demo")
    if as_json:
        print_json(proof.figures)
    if not proof.exact:
        raise typer.Exit(1)
