"""Lives: a world and the inputs that it is fed, all from one seed, in slices whose memory is measured."""

from __future__ import annotations

import gc
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import psutil

from tests.fuzz.inputs import Inputs
from tests.fuzz.world import World
from tests.oracle.compare import smallest

CASES = Path(__file__).parent / "cases"
LIFE = 5_000
MIB = 1 << 20
# Memory is flat if it grows by no more than this: the allocator keeps some, and a slice is not like another.
GROWTH = 24 * MIB


class Found(Exception):
    """A hole; the text tells what, and where its smallest case was written."""


@dataclass
class Report:
    """What a run has seen.

    Attributes:
        resident: memory of the process after each slice, with everything of its lives let go, in bytes.
        slowest_s: the longest batch, in seconds.
    """

    inputs: int = 0
    folded: int = 0
    lives: int = 0
    slowest_s: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    resident: list[int] = field(default_factory=list)

    @property
    def grown(self) -> int:
        """Bytes that are never given back: from the most in the first quarter of the slices to the least in the last.

        One slice may take more than the next, and the allocator keeps some of it for a while; what leaks stays.
        """
        quarter = max(1, len(self.resident) // 4)
        return max(0, min(self.resident[-quarter:]) - max(self.resident[:quarter]))


def batches(seed: str, inputs: Sequence[bytes]) -> list[list[bytes]]:
    """The batches that some inputs are folded in."""
    random, found, at = Random(f"{seed} batches"), [], 0
    while at < len(inputs):
        size = random.choice((1, 2, 10, 50, 300))
        found.append(list(inputs[at : at + size]))
        at += size
    return found


def live(seed: str, inputs: Sequence[bytes], report: Report | None = None) -> World:
    """Feed a new world with inputs.

    Raises:
        whatever the world raises.
    """
    world = World(seed)
    for batch in batches(seed, inputs):
        began = time.perf_counter()
        world.feed(batch)
        if len(batch) > 1:
            world.check()
        if report:
            report.slowest_s = max(report.slowest_s, time.perf_counter() - began)
    world.check()
    return world


def inputs_of(seed: str, most: int) -> list[bytes]:
    """The inputs of a life: at most so many, fewer where time has come to its end."""
    accounts = Random(seed).choice((1, 3, 8, 20))
    inputs, drawn = Inputs(seed, accounts), []
    while len(drawn) < most and not inputs.over:
        drawn.append(inputs.next())
    return drawn


def run(seed: int, count: int, slices: int = 20, progress: Callable[[int], None] = lambda inputs: None) -> Report:
    """Fold so many inputs, life after life.

    Args:
        seed: of everything.
        count: inputs.
        slices: after each of so many parts, memory is measured.
        progress: told how many inputs were done.

    Raises:
        Found: a hole.
    """
    report = Report()
    for part in range(1, slices + 1):
        while (left := count * part // slices - report.inputs) > 0:
            name = f"{seed}/{report.lives}"
            inputs = inputs_of(name, min(LIFE, left))
            try:
                world = live(name, inputs, report)
            except Exception as error:
                raise Found(f"life {name}: {type(error).__name__}: {error}\n{keep(name, inputs)}") from error
            report.lives += 1
            report.inputs += len(inputs)
            report.folded += world.folded
            report.outcomes += world.outcomes
            report.reasons += world.reasons
            progress(len(inputs))
        del world, inputs
        gc.collect()
        report.resident.append(psutil.Process().memory_info().rss)
    return report


def keep(seed: str, inputs: Sequence[bytes]) -> str:
    """Write the smallest part of some inputs that still shows a hole to a file, and say which."""

    def fails(candidate: list[bytes]) -> bool:
        try:
            live(seed, candidate)
        except Exception:
            return True
        return False

    few = smallest(list(inputs), fails)
    # A log has a line for each; an input that has line ends of its own is spelled as its hexadecimal digits.
    path = CASES / f"found-{hashlib.sha256(b'|'.join(few)).hexdigest()[:12]}.log"
    write_case(path, few)
    shown = "\n".join(f"  {line[:2_000]!r}" for line in few)
    return f"its smallest case is in {path.relative_to(Path.cwd())}:\n{shown}"


def write_case(path: Path, inputs: Sequence[bytes]) -> None:
    """Write inputs as lines; what has line ends of its own, or begins with ``hex:``, as ``hex:`` and its digits."""
    odd = (b"\n", b"\r")
    lines = [
        b"hex:" + line.hex().encode() if line.startswith(b"hex:") or any(end in line for end in odd) else line
        for line in inputs
    ]
    # It is not there while there are no cases: a clone has no empty folders.
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(line + b"\n" for line in lines))


def read_case(path: Path) -> list[bytes]:
    """The inputs of a case."""
    lines = path.read_bytes().split(b"\n")[:-1]
    return [bytes.fromhex(line[4:].decode()) if line.startswith(b"hex:") else line for line in lines]
