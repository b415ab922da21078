"""Processes of `callmeter` that start at once: forks of one that has imported everything.

Each is a process of its own, as real as any, with its own number, descriptors and end. Only the import of the libraries
is not done again, which takes half a second each time. The tests start hundreds.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

PACKAGES = ("cli", "rating", "catalogue", "streams", "jobs")
LIBRARIES = ("sinks.sink", "sinks.migrate", "stripe", "uvloop")
REQUEST_BYTES = 200_000

_starting = threading.Lock()
_server: socket.socket | None = None


class Forked:
    """A process of `callmeter`, with the part of `subprocess.Popen` that tests use.

    Attributes:
        args: what it is asked to do.
        pid: its process id.
        returncode: None while it runs, as far as was looked.
    """

    def __init__(self, arguments: list[str], stdin: int, stdout: int, stderr: int, environment: dict[str, str]) -> None:
        """Start ``callmeter ARGUMENTS`` in our folder.

        Args:
            arguments: of the command.
            stdin, stdout, stderr: open file descriptors.
            environment: its variables, all of them.
        """
        self.args = ["callmeter", *arguments]
        self.returncode: int | None = None
        self._told, telling = os.pipe()
        request = json.dumps({"arguments": arguments, "environment": environment}).encode()
        assert len(request) < REQUEST_BYTES
        try:
            socket.send_fds(_forks(), [request], [stdin, stdout, stderr, telling])
        finally:
            os.close(telling)
        self.pid = int(self._line())

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        if self.returncode is None and select.select([self._told], [], [], 0)[0]:
            self._ended()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended.

        Args:
            timeout: seconds; None: as long as it takes.

        Raises:
            subprocess.TimeoutExpired: it still runs.
        """
        if self.returncode is None:
            if not select.select([self._told], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self._ended()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _ended(self) -> None:
        self.returncode = int(self._line())
        os.close(self._told)

    def _line(self) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            read = os.read(self._told, 1)
            if not read:
                raise RuntimeError("the process that forks has ended")
            line += read
        return line


def _forks() -> socket.socket:
    """Where forks are asked for; starts the process that makes them."""
    global _server
    with _starting:
        if _server is None:
            _server, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            variables = {name: value for name, value in os.environ.items() if not name.startswith("CALLMETER_")}
            process = subprocess.Popen(
                [sys.executable, "-c", f"from tests.forks import serve; serve({theirs.fileno()})"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                cwd=Path(__file__).parent.parent,
                env=variables,
                pass_fds=[theirs.fileno()],
            )
            theirs.close()
            atexit.register(_end, process)
        return _server


def _end(process: subprocess.Popen[bytes]) -> None:
    assert _server is not None
    _server.close()
    process.wait()


def serve(asked_at: int) -> None:
    """Import everything, then fork for each request until nobody is left to ask; a fork is `callmeter` from there on.

    Args:
        asked_at: descriptor of the socket that requests come in at.
    """
    # Who interrupts the tests means those.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for package in map(import_module, PACKAGES):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            import_module(module.name)
    for library in LIBRARIES:
        import_module(library)
    assert threading.active_count() == 1 and "chdb" not in sys.modules
    gc.collect()
    gc.freeze()
    asked = socket.socket(fileno=asked_at)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    telling: dict[int, int] = {}
    while True:
        readable = select.select([asked, woken], [], [])[0]
        if woken in readable:
            os.read(woken, 4096)
            _reap(telling)
        if asked in readable:
            request, descriptors, _, _ = socket.recv_fds(asked, REQUEST_BYTES, 4)
            if not request:
                return
            pid = os.fork()
            if pid == 0:
                break
            for descriptor in descriptors[:3]:
                os.close(descriptor)
            telling[pid] = descriptors[3]
            os.write(telling[pid], b"%d\n" % pid)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, descriptor in enumerate(descriptors[:3]):
        os.dup2(descriptor, number)
    asked.close()
    for descriptor in [woken, wake, *descriptors, *telling.values()]:
        os.close(descriptor)
    _become(json.loads(request))


def _reap(telling: dict[int, int]) -> None:
    while telling:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        descriptor = telling.pop(pid)
        # Perhaps nobody wants to know.
        with suppress(BrokenPipeError):
            os.write(descriptor, b"%d\n" % os.waitstatus_to_exitcode(status))
        os.close(descriptor)


def _become(request: dict[str, Any]) -> None:
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv[:] = ["callmeter", *request["arguments"]]
    import cli.main

    cli.main.run()
