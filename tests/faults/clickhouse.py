"""ClickHouse over HTTP that can be made slow, be held in the middle of an insert, be frozen, and be killed.

The engine is the embedded one, in a process of its own: ``python -m tests.faults.clickhouse FOLDER PORT``. It is told
what to do by lines on its standard input, and says ``held PORT`` when a request of the client at that port is held.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler

from deploy.kafka.process import free_port, is_stopped
from tests.broker import ROOT
from tests.sinks.front import WritableEngine, WritableFront

START_S = 60.0
# The insert that decides: rows go from a staging table into the table of the rated calls.
DECISIVE = b"INSERT INTO rated_calls "


class Trouble:
    """What is wrong with this ClickHouse at the moment.

    Attributes:
        delay_s: how long every request waits before it is answered.
        hold: ``before`` or ``after``: the next decisive insert is held there, and its client told nothing.
    """

    def __init__(self) -> None:
        self.delay_s = 0.0
        self.hold = ""
        self.released = asyncio.Event()


def make_front(engine: WritableEngine, trouble: Trouble) -> WritableFront:
    """A front with this trouble."""

    @web.middleware
    async def troubled(request: web.Request, handler: Handler) -> web.StreamResponse:
        if trouble.delay_s:
            await asyncio.sleep(trouble.delay_s)
        if not trouble.hold or request.path != "/" or DECISIVE not in await request.read():
            return await handler(request)
        hold, trouble.hold = trouble.hold, ""
        trouble.released.clear()
        assert request.transport is not None
        port = request.transport.get_extra_info("peername")[1]
        if hold == "after":
            answer = await handler(request)
        print(f"held {port}", flush=True)
        await trouble.released.wait()
        return answer if hold == "after" else await handler(request)

    class TroubledFront(WritableFront):
        middlewares = (*WritableFront.middlewares, troubled)

    return TroubledFront(engine)


async def serve(folder: Path, port: int) -> None:
    """Serve until standard input ends."""
    engine, trouble = WritableEngine(folder), Trouble()
    front = make_front(engine, trouble)
    await front.start(port)
    print("ready", flush=True)
    while words := (await asyncio.to_thread(sys.stdin.readline)).split():
        match words:
            case ["slow", seconds]:
                trouble.delay_s = float(seconds)
            case ["hold", where]:
                trouble.hold = where
            case ["release"]:
                trouble.hold = ""
                trouble.released.set()
            case ["away"]:
                await front.stop()
            case ["back"]:
                front = make_front(engine, trouble)
                await front.start(port)
        print("done", flush=True)


class ClickHouse:
    """The harness's end of it.

    Attributes:
        dsn: its data source name.
    """

    def __init__(self, folder: Path) -> None:
        """Choose a port; nothing runs yet."""
        self._folder = folder
        self._port = free_port()
        self._log = folder.with_suffix(".log")
        self.dsn = f"http://callmeter:@127.0.0.1:{self._port}/callmeter"

    def start(self) -> None:
        """Start it, on the port and the data it had before; returns when it answers."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.clickhouse", str(self._folder), str(self._port)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=ROOT,
                start_new_session=True,
            )
        self._said: deque[str] = deque()
        self._held: int | None = None
        threading.Thread(target=self._listen, args=(self._process,), daemon=True).start()
        self._wait("ready", START_S)

    def tell(self, words: str) -> None:
        """Tell it what to do, and wait until it did."""
        assert self._process.stdin is not None
        print(words, file=self._process.stdin, flush=True)
        self._wait("done", 30.0)

    @property
    def held(self) -> int | None:
        """Port of the client whose insert is held now."""
        return self._held

    def release(self) -> None:
        """Let go of what is held."""
        self._held = None
        self.tell("release")

    def freeze(self) -> None:
        """Stop it without ending it."""
        os.kill(self._process.pid, signal.SIGSTOP)
        while not is_stopped(self._process.pid):
            time.sleep(0.001)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self._process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """``kill -9``."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End it for good."""
        if hasattr(self, "_process"):
            self.kill()

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("held "):
                self._held = int(line.split()[1])
            else:
                self._said.append(line.strip())

    def _wait(self, word: str, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while word not in self._said:
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise AssertionError(f"ClickHouse did not say {word!r}; its log: {self._log.read_text()[-2000:]}")
            time.sleep(0.005)
        self._said.remove(word)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
