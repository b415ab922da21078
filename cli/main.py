"""The `callmeter` command: every group is a module of its own, imported for its help, heavy parts only when run."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Annotated

import typer

from streams.errors import CallmeterError

app = typer.Typer(
    name="callmeter",
    help="Usage metering for resold voice minutes: calls in, exact bills out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(f"callmeter {version('callmeter')}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Usage metering for resold voice minutes: calls in, exact bills out."""


# Each module has `register(app)`, which adds its commands. The order is the order in `--help`.
MODULES: tuple[str, ...] = (
    "up",
    "demo",
    "catalogue",
    "rates",
    "wholesale",
    "subscriptions",
    "change_plan",
    "balances",
    "caps",
    "numbers",
    "campaigns",
    "simulate",
    "send",
    "calls",
    "usage",
    "profit",
    "accounts",
    "requests",
    "alerts",
    "dead_letters",
    "close",
    "kafka",
    "topics",
    "doctor",
    "meter",
    "sink",
    "billing",
    "clock",
)
for _module in MODULES:
    import_module(f"cli.{_module}").register(app)


def run() -> None:
    """Entry point. A mistake of the user's is one line on standard error and an exit code, never a traceback."""
    try:
        app()
    except CallmeterError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    run()
