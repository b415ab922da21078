"""The processes of the pipeline, each started again when it ends, as a machine's supervisor would."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deploy.kafka.process import is_stopped
from tests.broker import ROOT

# systemd's default is a tenth of a second.
RESTART_S = 0.5
LOOK_S = 0.05
LAST_WORDS = 1_500


@dataclass(frozen=True)
class Ended:
    """One end of a process: its unit, exit code (negative: the signal), seconds since the run began, last words."""

    unit: str
    code: int
    at_s: float
    words: str


@dataclass
class Unit:
    """A process that is kept running.

    Attributes:
        name: such as ``meter-1``.
        role: such as ``meter``.
        command: its words.
        environment: all of it.
        log: file of its standard output and error, of all its lives.
        wanted: whether it is started again when it ends.
    """

    name: str
    role: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    wanted: bool = True
    popen: subprocess.Popen[bytes] | None = None
    ended_at: float = 0.0
    frozen: bool = False
    starts: int = 0

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self.popen is not None
        return self.popen.pid

    def alive(self) -> bool:
        """Whether it runs, or is frozen."""
        return self.popen is not None and self.popen.poll() is None

    def start(self) -> None:
        """Start it."""
        self.starts += 1
        self.frozen = False
        with self.log.open("ab") as out:
            self.popen = subprocess.Popen(
                list(self.command),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=dict(self.environment),
                start_new_session=True,
            )

    def send(self, number: signal.Signals) -> bool:
        """Send a signal; False if there is no process."""
        if not self.alive():
            return False
        os.kill(self.pid, number)
        return True

    def kill(self) -> bool:
        """``kill -9``; False if there is no process."""
        return self.send(signal.SIGKILL)

    def freeze(self) -> bool:
        """SIGSTOP, and wait until every thread has stopped; False if there is no process."""
        if not self.send(signal.SIGSTOP):
            return False
        deadline = time.monotonic() + 5
        while self.alive() and not is_stopped(self.pid) and time.monotonic() < deadline:
            time.sleep(0.001)
        self.frozen = True
        return self.alive()

    def thaw(self) -> None:
        """SIGCONT."""
        self.frozen = False
        self.send(signal.SIGCONT)

    def words(self) -> str:
        """The last lines of its log."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - LAST_WORDS))
                return file.read().decode(errors="replace")
        except OSError:
            return ""


@dataclass
class Supervisor:
    """Keeps units running.

    Attributes:
        ends: every end of a unit so far.
    """

    folder: Path
    ends: list[Ended] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.units: dict[str, Unit] = {}
        self._began = time.monotonic()
        self._task: asyncio.Task[None] | None = None
        self.folder.mkdir(parents=True, exist_ok=True)

    def add(self, name: str, role: str, environment: Mapping[str, str], *words: str) -> Unit:
        """Start a unit that runs ``python -m WORDS``."""
        unit = Unit(name, role, [sys.executable, "-m", *words], environment, self.folder / f"{name}.log")
        self.units[name] = unit
        unit.start()
        return unit

    def of(self, *roles: str) -> list[Unit]:
        """The units of some roles that should run, by name."""
        return [unit for _, unit in sorted(self.units.items()) if unit.role in roles and unit.wanted]

    def start(self) -> None:
        """Begin to look after the units."""
        self._task = asyncio.create_task(self._look())

    async def stop(self, unit: Unit, timeout_s: float = 90.0) -> int:
        """SIGTERM, and wait for its end; its exit code. It is not started again.

        Raises:
            AssertionError: it did not end in time.
        """
        unit.wanted = False
        if not unit.alive():
            return self._note(unit)
        unit.send(signal.SIGTERM)
        unit.thaw()
        deadline = time.monotonic() + timeout_s
        while unit.alive():
            if time.monotonic() > deadline:
                unit.kill()
                raise AssertionError(f"{unit.name} did not end within {timeout_s:g} s of SIGTERM: {unit.words()}")
            await asyncio.sleep(LOOK_S)
        return self._note(unit)

    async def close(self) -> None:
        """Kill everything that is left."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for unit in self.units.values():
            if unit.alive():
                unit.kill()
                assert unit.popen is not None
                unit.popen.wait()

    def defects(self) -> Iterator[Ended]:
        """Ends that no fault explains: code 70 is a defect, and any other unknown code or signal is one too.

        A process that has only begun to start does not catch SIGTERM yet.
        """
        for end in self.ends:
            if end.code not in (0, 1, -signal.SIGKILL, -signal.SIGTERM):
                yield end

    def _note(self, unit: Unit) -> int:
        assert unit.popen is not None
        code = unit.popen.wait()
        if not unit.ended_at:
            unit.ended_at = time.monotonic()
            self.ends.append(Ended(unit.name, code, round(unit.ended_at - self._began, 1), unit.words()))
        return code

    async def _look(self) -> None:
        while True:
            for unit in list(self.units.values()):
                if unit.popen is None or unit.alive():
                    continue
                self._note(unit)
                if unit.wanted and time.monotonic() - unit.ended_at >= RESTART_S:
                    unit.ended_at = 0.0
                    unit.start()
            await asyncio.sleep(LOOK_S)
