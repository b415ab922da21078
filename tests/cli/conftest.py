"""Fixtures of the command tests: a catalogue in force, and commands run in the test process."""

from __future__ import annotations

import asyncio
import shlex

import pytest

from catalogue.load import loads
from catalogue.store import editing
from tests.cli.commands import as_settings, run


@pytest.fixture
async def shop(settings, request):
    """Settings with the catalogue ``SHOP`` of the test's module in force; the variables of this process say them."""
    async with editing(settings) as editor:
        await editor.write(loads(request.module.SHOP).entries.values())
    with as_settings(settings):
        yield settings


@pytest.fixture
def callmeter(shop):
    """Runs commands in a thread of their own: they bring their own event loop. One text is split as a shell does."""

    async def in_thread(*arguments, **options):
        if len(arguments) == 1:
            arguments = shlex.split(arguments[0])
        return await asyncio.to_thread(run, *arguments, **options)

    return in_thread
