"""`callmeter clock`: time for the log."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import output
from cli.writing import time_of


def register(app: typer.Typer) -> None:
    """Adds the command ``clock``."""
    app.command("clock")(clock)


def clock(
    once: Annotated[bool, typer.Option("--once", help="Write one tick, and end.")] = False,
    at: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="With --once: the time; a time with its zone, or a date (midnight in UTC)."),
    ] = None,
    jump: Annotated[
        bool, typer.Option("--jump", help="With --once: even if the last tick is more than 35 days before.")
    ] = False,
    json: output.JsonOption = False,
) -> None:
    """Tell the meter what time it is, until stopped by Ctrl-C or SIGTERM. Periods open and close by that.

    Several clocks do no harm.
    """
    import uvloop

    from streams.errors import CallmeterError

    settings = output.settings()
    if once:
        from jobs.clock import tick_once

        when = time_of(at, "UTC")
        uvloop.run(tick_once(settings, when, jump))
        if json:
            output.print_json({"at": when})
        else:
            typer.echo(f"tick {when.isoformat()}")
        return
    if at is not None or jump or json:
        raise CallmeterError("--at, --jump and --json go with --once: a running clock tells the time of this machine")
    from jobs.clock import run_clock
    from streams.administration import check_topics
    from streams.observe import configure_logging
    from streams.topics import ACCOUNT_EVENTS

    async def run() -> None:
        # Before the libraries may log: a broker that is not there is one line.
        await check_topics(settings, [ACCOUNT_EVENTS])
        configure_logging(settings)
        await run_clock(settings)

    uvloop.run(run())
