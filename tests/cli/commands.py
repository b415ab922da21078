"""Runs `callmeter` commands inside the test process: what a person sees, without the start of an interpreter."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from typer.testing import CliRunner

from cli.main import app
from streams.errors import CallmeterError
from streams.settings import Settings
from streams.topics import ACCOUNT_EVENTS
from tests.broker import environment, read_values


@dataclass
class Ran:
    """A command that ended: its exit code, standard output, and the one line of its error."""

    code: int
    out: str
    error: str

    @property
    def json(self) -> Any:
        """Its output as one JSON value."""
        assert self.code == 0, self.error
        return json.loads(self.out)


Run = Callable[..., Ran]


def run(*arguments: str, stdin: str | bytes | None = None) -> Ran:
    """Run ``callmeter ARGUMENTS`` with the variables of this process."""
    result = CliRunner().invoke(app, list(arguments), input=stdin)
    if isinstance(result.exception, CallmeterError):
        return Ran(result.exception.exit_code, result.stdout, str(result.exception))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ran(result.exit_code, result.stdout, result.stderr)


async def facts(settings: Settings) -> list[dict[str, Any]]:
    """The facts in the log, by partition and offset."""
    return await read_values(settings, ACCOUNT_EVENTS)


@contextmanager
def as_settings(settings: Settings) -> Iterator[None]:
    """The variables of this process say these settings."""
    saved = dict(os.environ)
    os.environ.update({name: value for name, value in environment(settings).items() if name.startswith("CALLMETER_")})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(saved)
