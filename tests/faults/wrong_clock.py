"""`callmeter clock` on a machine whose time is wrong, as a process: ``SECONDS`` to add to the real time."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta, tzinfo
from typing import Any

import jobs.clock
from cli.main import app

OFF = timedelta(seconds=float(sys.argv.pop(1)))


class WrongTime(datetime):
    """Times of this machine, all of them wrong."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Any:
        """The wrong time."""
        return datetime.now(tz) + OFF


vars(jobs.clock)["datetime"] = WrongTime
sys.argv[1:] = ["clock"]
app()
