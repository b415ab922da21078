"""`callmeter meter`: rate calls."""

from __future__ import annotations

import typer

from cli import output


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def meter() -> None:
        """Rate calls as they arrive, exactly once, until stopped by Ctrl-C or SIGTERM.

        Start as many as you like: they share the partitions of the log.
        """
        settings = output.settings()
        import uvloop

        from streams.agencies import make_agencies
        from streams.meter import make_meter
        from streams.observe import configure_logging
        from streams.transport import serve

        configure_logging(settings)
        # Faust's consumer makes an event loop of its own in a thread of its own.
        uvloop.install()

        async def run() -> None:
            await serve([make_meter(settings), make_agencies(settings)], settings)

        uvloop.run(run())
