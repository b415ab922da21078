"""`callmeter up`: everything in one process, on the embedded ClickHouse engine."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from cli import output

if TYPE_CHECKING:
    from deploy.kafka.broker import KafkaBroker
    from sinks.clickhouse import Target
    from streams.settings import Settings
    from streams.transport import RoleApp

LOOK_S = 0.05


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("up")(up)


def up(
    clock: Annotated[
        bool, typer.Option("--clock/--no-clock", help="Write ticks of the real time; without, you say what time it is.")
    ] = True,
) -> None:
    """Run meter, sink, billing and clock in one process, with the embedded ClickHouse engine, until Ctrl-C or SIGTERM.

    Starts a local Kafka broker if none is configured, creates topics and tables, and serves ClickHouse read-only on
    loopback: the other commands, a notebook or Grafana find it there. With CALLMETER_STRIPE_WEBHOOK_SECRET set it also
    serves what `callmeter api` does.
    """
    settings = output.settings()
    import uvloop

    from streams.observe import configure_logging

    configure_logging(settings)
    broker = None if settings.kafka_bootstrap else _started(settings)
    try:
        # Faust's consumer makes an event loop of its own in a thread of its own.
        uvloop.install()
        uvloop.run(_run(settings, clock))
    finally:
        if broker is not None:
            broker.stop()


def _started(settings: Settings) -> KafkaBroker | None:
    """The local broker, if it was started here and so is to be stopped here."""
    from deploy.kafka.broker import KafkaBroker

    broker = KafkaBroker(settings.broker_run_file.parent)
    return broker if broker.start() else None


async def _run(settings: Settings, clock: bool) -> None:
    from jobs.api import serving_api
    from jobs.asking import make_asking
    from jobs.billing import make_billing
    from jobs.clock import keep_ticking
    from jobs.gateways.links import Links
    from sinks.clickhouse import Store, target_of
    from sinks.migrate import migrate
    from sinks.sink import make_sink
    from streams.administration import create_topics
    from streams.agencies import make_agencies
    from streams.meter import make_meter
    from streams.transport import serve

    await create_topics(settings)
    target = target_of(settings, write=True)
    await asyncio.to_thread(migrate, target)
    async with AsyncExitStack() as stack:
        stack.enter_context(Store(target))
        api = await stack.enter_async_context(serving_api(settings)) if settings.stripe_webhook_secret else None
        links = Links(settings)
        apps = [
            make_meter(settings),
            make_agencies(settings),
            make_sink(settings),
            make_billing(settings, links),
            make_asking(settings, links),
        ]

        async def tick(stop: asyncio.Event) -> None:
            if clock:
                await keep_ticking(settings, stop)

        async def show(stop: asyncio.Event) -> None:
            await _serve_when_ready(settings, target, api, apps, stop)

        await serve(apps, settings, tick, show)


async def _serve_when_ready(
    settings: Settings, target: Target, api: str | None, apps: Sequence[RoleApp], stop: asyncio.Event
) -> None:
    """Serve the engine once every role is ready, and say so: whoever finds the run file finds a running pipeline."""
    from sinks.front import serving

    while any(app.watch.waiting() for app in apps) and not stop.is_set():
        await asyncio.sleep(LOOK_S)
    async with AsyncExitStack() as stack:
        url = str(target)
        if target.scheme == "chdb":
            url = await stack.enter_async_context(serving(target, settings.clickhouse_run_file))
        webhooks = f"  Stripe's webhooks: {api}/webhooks/stripe" if api else ""
        served = f"Kafka: {settings.bootstrap}  ClickHouse (read-only): {url}{webhooks}"
        typer.echo(f"Callmeter is up. {served}  Ctrl-C ends it.")
        await stop.wait()
