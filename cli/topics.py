"""`callmeter topics`: the topics that everything else reads and writes."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import output


def register(app: typer.Typer) -> None:
    """Adds the group ``topics``."""
    group = typer.Typer(help="Create and look at the topics.", no_args_is_help=True)
    group.command("create")(create)
    group.command("list")(list_)
    app.add_typer(group, name="topics")


def create(
    partitions: Annotated[
        int | None, typer.Option(min=1, help="Of every topic, for ever; default: the setting.")
    ] = None,
    replication: Annotated[int | None, typer.Option(min=1, help="Copies of every topic; default: the setting.")] = None,
    json: output.JsonOption = False,
) -> None:
    """Create the topics that are missing, and say what differs in the others. Safe to repeat; changes nothing."""
    from dataclasses import asdict

    import uvloop

    from streams.administration import create_topics

    flags = {"partitions": partitions, "replication": replication}
    settings = output.settings(**{name: value for name, value in flags.items() if value is not None})
    report = uvloop.run(create_topics(settings))
    if json:
        output.print_json(asdict(report))
        return
    for topic in report.created:
        typer.echo(f"created {topic}")
    if not report.created:
        typer.echo(f"all {len(report.existing)} topics exist")
    for one in report.differences:
        typer.echo(f"differs: {one.topic}: {one.what} is {one.found or 'not set'}, wanted {one.wanted}")


def list_(json: output.JsonOption = False) -> None:
    """Show the topics with their partitions and what they set."""
    from dataclasses import asdict

    import uvloop

    from streams.administration import find_topics
    from streams.topics import TOPICS

    settings = output.settings()
    found = uvloop.run(find_topics(settings))
    if json:
        output.print_json([{**asdict(one), "topic": settings.topic(one.name)} for one in found.values()])
        return
    rows: list[list[object]] = []
    for topic in TOPICS:
        name, one = settings.topic(topic.name), found.get(topic.name)
        if one is None:
            rows.append([name, None, None, "missing: run `callmeter topics create`"])
        else:
            kept = ", ".join(f"{key}={one.config[key]}" for key in topic.config)
            rows.append([name, one.partitions, one.replication, kept])
    output.print_table(f"Topics at {settings.bootstrap}", ["topic", "partitions", "replication", "settings"], rows)
