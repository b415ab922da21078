"""The billing job with a gateway that can be killed at the worst moment, as a process: ``FOLDER``.

The gateway's outside is a folder: a file for each request asked for, made once however often it is asked with the same
id, as a real gateway does with an idempotency key; and a log of every time it was asked. While there is a file
``crash``, the next creation removes it, asks, and kills the process before anybody learns of it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import uvloop

from jobs.billing import make_billing
from jobs.gateways.base import ExternalRequest, identity
from streams.observe import configure_logging
from streams.settings import load_settings
from streams.transport import serve
from tests.jobs.gateway_process import external_id_of

# Beside the gateway's folder.
CRASH = "crash"
ASKED = "asked.log"


class CrashingGateway:
    """Asks by making files."""

    name = "folder"

    def __init__(self, folder: Path) -> None:
        """Keep requests in a folder that is there."""
        self._folder = folder

    async def find(self, request: Mapping[str, Any]) -> ExternalRequest | None:
        """Look a request up."""
        external_id = external_id_of(request)
        return ExternalRequest(external_id) if (self._folder / external_id).exists() else None

    async def create(self, request: Mapping[str, Any]) -> ExternalRequest:
        """Ask; crash if told to."""
        external_id = external_id_of(request)
        with self._folder.with_name(ASKED).open("a") as log:
            log.write(f"{external_id}\n")
        (self._folder / external_id).write_text(f"{identity(request)}\n{request['total_micros']}\n")
        if self._told_to_crash():
            os.kill(os.getpid(), signal.SIGKILL)
        return ExternalRequest(external_id)

    def _told_to_crash(self) -> bool:
        try:
            self._folder.with_name(CRASH).unlink()
        except FileNotFoundError:
            return False
        return True


def main() -> None:
    """Run the billing job."""
    gateway = CrashingGateway(Path(sys.argv[1]))
    settings = load_settings()
    configure_logging(settings)
    uvloop.install()

    async def run() -> None:
        await serve([make_billing(settings, lambda agency_id: gateway)], settings)

    uvloop.run(run())


if __name__ == "__main__":
    main()
