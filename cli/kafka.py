"""`callmeter kafka`: the local broker, for development and the demo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli import output

if TYPE_CHECKING:
    from deploy.kafka.broker import KafkaBroker

NOT_RUNNING = 3


def register(app: typer.Typer) -> None:
    """Adds the group ``kafka``."""
    group = typer.Typer(help="Start, stop and look at a local Kafka broker.", no_args_is_help=True)
    group.command("start")(start)
    group.command("stop")(stop)
    group.command("status")(status)
    app.add_typer(group, name="kafka")


def start(
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Where clients connect; default 19092, or any free one.")
    ] = None,
    json: output.JsonOption = False,
) -> None:
    """Start the broker; fetches Apache Kafka the first time. Safe to repeat."""
    broker = _broker(port)
    started = broker.start()
    _show(broker, json, "Kafka started" if started else "Kafka runs already")


def stop(json: output.JsonOption = False) -> None:
    """Stop the broker; its data stays."""
    stopped = _broker().stop()
    if json:
        output.print_json({"stopped": stopped})
    else:
        typer.echo("Kafka stopped" if stopped else "Kafka does not run")


def status(json: output.JsonOption = False) -> None:
    """Say whether the broker runs: exit code 0 if it does and answers, 3 if not."""
    broker = _broker()
    if not _show(broker, json, "Kafka runs"):
        raise typer.Exit(NOT_RUNNING)


def _broker(port: int | None = None) -> KafkaBroker:
    from deploy.kafka.broker import KafkaBroker

    return KafkaBroker(output.settings().broker_run_file.parent, port)


def _show(broker: KafkaBroker, json: bool, running: str) -> bool:
    """Prints the broker's status; True if it answers."""
    from dataclasses import asdict

    found = broker.status()
    if json:
        output.print_json(asdict(found))
    elif not found.running:
        typer.echo("Kafka does not run")
    else:
        silence = "" if found.answers else ", but does not answer"
        typer.echo(
            f"{running}{silence}: {found.bootstrap} (process {found.pid}, version {found.version}, data {found.folder})"
        )
    return found.answers
