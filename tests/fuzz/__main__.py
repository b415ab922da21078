"""`make fuzz`: so many generated inputs through the decoder and the fold, every outcome and every micro checked.

A hole ends the run: its smallest case is shown and kept in ``tests/fuzz/cases/``, where the tests find it.
"""

from __future__ import annotations

import secrets
import sys
import time
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tests.fuzz.life import GROWTH, MIB, Found, Report, run
from tests.fuzz.world import OUTCOMES

console = Console()


def main(
    inputs: Annotated[int, typer.Option(min=1, help="How many.")] = 1_000_000,
    seed: Annotated[int | None, typer.Option(help="Of a run to be repeated.")] = None,
) -> None:
    """Fold generated inputs and check what comes of them."""
    seed = secrets.randbelow(2**32) if seed is None else seed
    console.print(f"seed {seed}; the same run again: make fuzz SEED={seed} INPUTS={inputs}")
    columns = TextColumn("fuzzing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    began = time.monotonic()
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("fuzzing", total=inputs)
        try:
            report = run(seed, inputs, progress=lambda done: progress.advance(task, done))
        except Found as found:
            progress.stop()
            console.print(f"A hole. {found}", style="red", markup=False, soft_wrap=True)
            sys.exit(1)
    console.print(shown(report, time.monotonic() - began))
    if report.grown > GROWTH:
        console.print(f"Memory is not flat: it grew by {report.grown / MIB:.1f} MiB", style="red")
        sys.exit(1)
    console.print("No exception escaped, each record had one outcome, every micro is where it belongs.")


def shown(report: Report, seconds: float) -> Table:
    """What a run has seen, as a table."""
    table = Table(
        title=f"{report.inputs:,} inputs, {report.folded:,} records, {report.lives:,} lives, {seconds:,.0f} s"
    )
    table.add_column("what came of a record")
    table.add_column("records", justify="right")
    for outcome in OUTCOMES:
        table.add_row(outcome, f"{report.outcomes[outcome]:,}")
    for reason, count in report.reasons.most_common():
        table.add_row(f"  {reason}", f"{count:,}")
    table.add_section()
    first, last = report.resident[0] / MIB, report.resident[-1] / MIB
    table.add_row("memory after the first and the last slice", f"{first:.0f}, {last:.0f} MiB")
    table.add_row("longest batch", f"{report.slowest_s:.2f} s")
    return table


if __name__ == "__main__":
    typer.run(main)
