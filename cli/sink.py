"""`callmeter sink` and `callmeter migrate`: ClickHouse."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import output


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("sink")(sink)
    app.command("migrate")(migrate_)


def sink(
    accept_lost: Annotated[
        bool,
        typer.Option("--accept-lost", help="Go on where records were deleted from the log before they were stored."),
    ] = False,
) -> None:
    """Store what the meter gives out in ClickHouse, each row exactly once, until stopped by Ctrl-C or SIGTERM.

    Start as many as you like: they share the partitions. While ClickHouse is away the sink waits; the meter goes on.
    """
    settings = output.settings()
    import uvloop

    from sinks.sink import make_sink
    from streams.observe import configure_logging
    from streams.transport import serve

    configure_logging(settings)
    # Faust's consumer makes an event loop of its own in a thread of its own.
    uvloop.install()

    async def run() -> None:
        await serve([make_sink(settings, accept_lost)], settings)

    uvloop.run(run())


def migrate_(json: output.JsonOption = False) -> None:
    """Create or update ClickHouse's database, tables and views. Safe to run twice, and by several at once."""
    from sinks.clickhouse import target_of
    from sinks.migrate import migrate

    target = target_of(output.settings(), write=True)
    done = migrate(target)
    if json:
        applied = [{"version": one.version, "name": one.name} for one in done]
        output.print_json({"database": target.database, "at": str(target), "applied": applied})
        return
    for one in done:
        typer.echo(f"applied {one.name}")
    if not done:
        typer.echo(f"database {target.database} at {target} is up to date")
