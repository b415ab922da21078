"""`callmeter billing`: ask for money."""

from __future__ import annotations

import typer

from cli import output


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def billing() -> None:
        """Turn cycles, packs and usage into payment requests, and ask for each of them once through the gateway of its
        agency, until Ctrl-C or SIGTERM.

        Start as many as you like: they share the partitions.
        """
        settings = output.settings()
        import uvloop

        from jobs.asking import make_asking
        from jobs.billing import make_billing
        from jobs.gateways.links import Links
        from streams.observe import configure_logging
        from streams.transport import serve

        configure_logging(settings)
        # Faust's consumer makes an event loop of its own in a thread of its own.
        uvloop.install()

        async def run() -> None:
            links = Links(settings)
            await serve([make_billing(settings, links), make_asking(settings, links)], settings)

        uvloop.run(run())
