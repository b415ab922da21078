"""`callmeter billing`: ask for money."""

from __future__ import annotations

import typer

from cli import output


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def billing() -> None:
        """Turn cycles, packs and usage into payment requests, each asked for once, until Ctrl-C or SIGTERM.

        Start as many as you like: they share the partitions.
        """
        settings = output.settings()
        import uvloop

        from jobs.billing import make_billing
        from streams.observe import configure_logging
        from streams.transport import serve

        configure_logging(settings)
        # Faust's consumer makes an event loop of its own in a thread of its own.
        uvloop.install()

        async def run() -> None:
            await serve([make_billing(settings)], settings)

        uvloop.run(run())
