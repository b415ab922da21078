"""A run: everything is started, broken again and again while facts keep coming, and judged at the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.breaking import BREAK, NotPlaced
from tests.faults.schedule import Fault, rounds
from tests.faults.verdict import Verdict, judge
from tests.faults.world import PARTITIONS, World, world

Say = Callable[[str], None]


@dataclass
class Report:
    """What a run did, and what came of it.

    Attributes:
        faults: how many of each kind were done.
        not_placed: those that could not be done, with the reason.
        recovery_s: longest time from the end of a fault until everything sent by then was in ClickHouse.
        ends: exit codes of processes by role; negative ones are signals.
        verdict: what the oracle says.
    """

    seed: int
    seconds: float = 0.0
    faults: dict[str, int] = field(default_factory=dict)
    not_placed: list[str] = field(default_factory=list)
    recovery_s: float = 0.0
    recovery_from: str = ""
    sends: int = 0
    sends_failed: int = 0
    longest_send_s: float = 0.0
    ends: dict[str, dict[str, int]] = field(default_factory=dict)
    verdict: Verdict = field(default_factory=Verdict)

    @property
    def exact(self) -> bool:
        """Whether nothing is wrong."""
        return not self.verdict.wrong

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return {**asdict(self), "exact": self.exact}


async def run(seed: int, seconds: float, folder: Path, say: Say, least: int = 1) -> Report:
    """Break the pipeline for some seconds, then judge it.

    Args:
        seed: what is done and sent is a function of it; when exactly things happen is not.
        seconds: how long faults go on; starting, settling and judging come on top.
        folder: an empty one, for everything.
        say: is told what happens.
        least: so many rounds of faults there are, even if it takes longer.
    """
    report = Report(seed)
    began = time.monotonic()
    say("starting a broker, ClickHouse and the pipeline")
    async with world(seed, folder, seconds) as made:
        until = time.monotonic() + seconds
        for number, faults in enumerate(rounds(seed)):
            if time.monotonic() > until and number >= least:
                break
            await _round(made, faults, report, say)
        say("letting it settle")
        await _settle(made, report)
        report.verdict = await judge(made.settings, PARTITIONS, made.clickhouse.dsn, made.gateway, made.done(), say)
        _finish(made, report)
    report.seconds = round(time.monotonic() - began, 1)
    return report


async def _round(made: World, faults: tuple[Fault, ...], report: Report, say: Say) -> None:
    named = " and ".join(map(str, faults))
    outcomes = await asyncio.gather(*(BREAK[fault.kind](made, fault) for fault in faults), return_exceptions=True)
    for fault, outcome in zip(faults, outcomes, strict=True):
        if isinstance(outcome, NotPlaced):
            report.not_placed.append(f"{fault}: {outcome}")
        elif isinstance(outcome, BaseException):
            raise outcome
        else:
            report.faults[fault.kind] = report.faults.get(fault.kind, 0) + 1
    took = await made.come_through()
    if took > report.recovery_s:
        report.recovery_s, report.recovery_from = round(took, 1), named
    missed = [f" ({outcome})" for outcome in outcomes if isinstance(outcome, NotPlaced)]
    say(f"{named}{''.join(missed)}: whole again after {took:.1f} s")


async def _settle(made: World, report: Report) -> None:
    """Nobody sends any more; everything is rated and stored; then every process ends in order."""
    verdict = report.verdict
    supervisor = made.supervisor
    for unit in supervisor.of("platform", "clock"):
        code = await supervisor.stop(unit)
        if code:
            verdict.blame(f"{unit.name} ended with {code} when it was told to stop: {unit.words()}")
    await made.stop_sending()
    await made.settle()
    for unit in supervisor.of("billing", "meter", "sink"):
        code = await supervisor.stop(unit)
        if code:
            verdict.blame(f"{unit.name} ended with {code} when it was told to stop: {unit.words()}")


def _finish(made: World, report: Report) -> None:
    report.sends, report.sends_failed = made.sends, made.sends_failed
    report.longest_send_s = round(made.longest_send_s, 1)
    for end in made.supervisor.ends:
        codes = report.ends.setdefault(end.unit.rsplit("-", 1)[0], {})
        codes[str(end.code)] = codes.get(str(end.code), 0) + 1
    for end in made.supervisor.defects():
        report.verdict.blame(f"{end.unit} ended with code {end.code}: {end.words}")
    for trouble in made.troubles:
        report.verdict.blame(trouble)
