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
    "gateway",
    "tax",
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
    "api",
)
# Where `--help` lists what a module registers.
PANELS: dict[str, tuple[str, ...]] = {
    "Try it": ("up", "demo", "simulate"),
    "Sell": (
        "catalogue",
        "rates",
        "wholesale",
        "subscriptions",
        "change_plan",
        "balances",
        "caps",
        "numbers",
        "gateway",
        "tax",
    ),
    "Calls and money": ("send", "calls", "usage", "profit", "accounts", "campaigns", "requests", "alerts", "close"),
}


def _register(module: str) -> None:
    before = len(app.registered_commands), len(app.registered_groups)
    import_module(f"cli.{module}").register(app)
    panel = next((name for name, modules in PANELS.items() if module in modules), "Operate")
    for command in app.registered_commands[before[0] :]:
        command.rich_help_panel = panel
    for group in app.registered_groups[before[1] :]:
        group.rich_help_panel = panel


for _module in MODULES:
    _register(_module)


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
