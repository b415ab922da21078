"""`callmeter doctor`: what is wrong with a deployment, without starting anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from cli import output

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from jobs.doctor.finding import Finding
    from streams.settings import Settings

COLOURS = {"ok": "green", "warning": "yellow", "failed": "bold red"}
WIDTH = 7


def register(app: typer.Typer) -> None:
    """Adds the command ``doctor``."""
    app.command("doctor")(doctor)


def doctor(json: output.JsonOption = False) -> None:
    """Look everything over, and say what is wrong and what to do. Exit code 1 if a check failed.

    Starts nothing and changes nothing: broker, clocks, topics, every record of the ledgers and the catalogue,
    positions, ClickHouse, disk, and the index of rated calls on this machine.
    """
    import uvloop

    settings = output.settings()
    findings = uvloop.run(_examine(settings, None if json else output.console()))
    if json:
        output.print_json(findings)
    if any(finding.status == "failed" for finding in findings):
        raise typer.Exit(1)


async def _examine(settings: Settings, console: Console | None) -> list[Finding]:
    from jobs.doctor.examine import examine

    findings = []
    with _progress() as progress:
        task = progress.add_task("", visible=False)

        def show(topic: str, done: int, total: int) -> None:
            progress.update(task, description=f"reading {topic}", completed=done, total=total, visible=done < total)

        async for finding in examine(settings, show):
            findings.append(finding)
            if console is not None:
                _print(console, finding)
    return findings


def _print(console: Console, finding: Finding) -> None:
    from rich.text import Text

    line = Text(f"{finding.status:<{WIDTH}} ", style=COLOURS[finding.status])
    line.append(f"{finding.check}: {finding.detail}", style="default")
    if finding.advice:
        line.append(f". To do: {finding.advice}", style="default")
    console.print(line, soft_wrap=True)


def _progress() -> Progress:
    """A bar on standard error for long reads; invisible where that is no terminal."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = output.console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
