"""Processes and ports of this machine, as far as the local broker needs them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"


def wait(condition: Callable[[], Any], timeout_s: float) -> bool:
    """True as soon as the condition holds, False if it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def send_signal(pid: int, number: signal.Signals) -> None:
    """Does nothing if the process has gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def command_line(pid: int) -> str:
    """How a process was started; empty if it is not there or has ended."""
    if sys.platform == "linux":
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    return subprocess.run(
        ["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout


def is_stopped(pid: int) -> bool:
    """Whether every thread of a process has obeyed SIGSTOP, which takes a moment on a busy machine."""
    if sys.platform == "linux":
        threads = [thread.read_text() for thread in Path(f"/proc/{pid}/task").glob("*/stat")]
        return all(thread.rpartition(")")[2].split()[0] == "T" for thread in threads)
    said = subprocess.run(["ps", "-o", "state=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return said.stdout.strip().startswith("T")


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of the loopback address."""
    with socket.socket() as probe:
        # As Java does: a port of which only old connections linger is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def first_free_port(*wanted: int | None) -> int:
    """The first of these ports that is free; any other free one if none is."""
    return next((port for port in wanted if port and is_free(port)), None) or free_port()


def free_port() -> int:
    """A port of the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
