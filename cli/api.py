"""`callmeter api`: what others call over HTTP."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli import output


def register(app: typer.Typer) -> None:
    """Adds the command ``api``."""
    app.command("api")(api)


def api(
    host: Annotated[str | None, typer.Option(help="Where to listen; default: CALLMETER_API_HOST.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Its port, 0 for any; default: CALLMETER_API_PORT.")
    ] = None,
) -> None:
    """Take in Stripe's webhooks at /webhooks/stripe, until Ctrl-C or SIGTERM.

    What Stripe tells is in the log before it is answered. Start as many as you like.
    """
    import uvloop

    from streams.observe import configure_logging

    given: dict[str, Any] = {"api_host": host, "api_port": port}
    settings = output.settings(**{name: value for name, value in given.items() if value is not None})
    from jobs.api import run_api
    from streams.administration import check_topics
    from streams.topics import ACCOUNT_EVENTS

    async def run() -> None:
        # Before the libraries may log: a broker that is not there is one line.
        await check_topics(settings, [ACCOUNT_EVENTS])
        configure_logging(settings)
        await run_api(settings)

    uvloop.run(run())
