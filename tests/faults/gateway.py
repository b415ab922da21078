"""The billing job with a gateway that kills it at the worst moment, as a process: ``FOLDER``.

The gateway's outside is a folder: a file for each request asked for, made once however often it is asked with the same
id, as a real gateway does with an idempotency key; and a log of every time it was asked. While there is a file
``crash``, the next creation removes it, asks, and kills the process before anybody learns of it.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
from pathlib import Path

import uvloop

from jobs.asking import make_asking
from jobs.billing import make_billing
from jobs.gateways.base import Buyer, ExternalRequest, Request, identity
from jobs.gateways.links import Links
from jobs.gateways.manual import ManualGateway
from streams.observe import configure_logging
from streams.settings import load_settings
from streams.transport import serve

# Beside the gateway's folder.
CRASH = "crash"
ASKED = "asked.log"


class CrashingGateway(ManualGateway):
    """Asks by making files."""

    name = "folder"
    asks = True

    def __init__(self, folder: Path) -> None:
        """Keep requests in a folder that is there."""
        self._folder = folder

    async def find(self, request: Request, buyer: Buyer) -> ExternalRequest | None:
        """Look a request up."""
        external_id = external_id_of(request)
        return ExternalRequest(external_id) if (self._folder / external_id).exists() else None

    async def create(self, request: Request, buyer: Buyer) -> ExternalRequest:
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


def external_id_of(request: Request) -> str:
    """What the gateway calls a request."""
    return hashlib.blake2b(identity(request).encode(), digest_size=8).hexdigest()


class FolderLinks(Links):
    """Every agency is linked to the gateway."""

    gateway: CrashingGateway

    def name_of(self, agency_id: str) -> str:
        """Its name."""
        return self.gateway.name

    def gateway_of(self, agency_id: str) -> CrashingGateway:
        """The gateway."""
        return self.gateway


def main() -> None:
    """Run the billing job."""
    FolderLinks.gateway = CrashingGateway(Path(sys.argv[1]))
    settings = load_settings()
    configure_logging(settings)
    uvloop.install()

    async def run() -> None:
        links = FolderLinks(settings)
        await serve([make_billing(settings, links), make_asking(settings, links)], settings)

    uvloop.run(run())


if __name__ == "__main__":
    main()
