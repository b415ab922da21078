"""The billing job with a gateway that keeps its requests in files, as a process: ``FOLDER [CRASH_AFTER]``.

The gateway's outside is a folder: a file for each request asked for, and a log of what was asked of it. After
``CRASH_AFTER`` creations the process kills itself, before anybody learns of the last one.
"""

from __future__ import annotations

import hashlib
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


class FolderGateway:
    """Asks by making files."""

    name = "folder"

    def __init__(self, folder: Path, crash_after: int) -> None:
        self._folder = folder
        self._crash_after = crash_after
        self._created = 0

    async def find(self, request: Mapping[str, Any]) -> ExternalRequest | None:
        external_id = external_id_of(request)
        return ExternalRequest(external_id) if (self._folder / external_id).exists() else None

    async def create(self, request: Mapping[str, Any]) -> ExternalRequest:
        external_id = external_id_of(request)
        with (self._folder / "creations.log").open("a") as log:
            log.write(identity(request) + "\n")
        (self._folder / external_id).touch()
        self._created += 1
        if self._created == self._crash_after:
            os.kill(os.getpid(), signal.SIGKILL)
        return ExternalRequest(external_id)


def external_id_of(request: Mapping[str, Any]) -> str:
    """What the gateway calls a request."""
    return hashlib.blake2b(identity(request).encode(), digest_size=8).hexdigest()


def main() -> None:
    folder = Path(sys.argv[1])
    gateway = FolderGateway(folder, int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    settings = load_settings()
    configure_logging(settings)
    uvloop.install()

    async def run() -> None:
        await serve([make_billing(settings, lambda agency_id: gateway)], settings)

    uvloop.run(run())


if __name__ == "__main__":
    main()
