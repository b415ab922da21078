"""A short fuzzing run, the holes found before, and memory that what is refused leaves as it was."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest

from rating.fold import Fold
from rating.seen import SeenInMemory
from tests.fuzz.inputs import Inputs
from tests.fuzz.life import CASES, GROWTH, live, read_case, run, write_case
from tests.fuzz.world import Broken, World

INPUTS = 8_000


def test_generated_inputs_have_one_outcome_each_and_no_micro_goes_astray() -> None:
    report = run(int(os.environ.get("SEED", "4")), INPUTS, slices=4)
    assert report.inputs == INPUTS
    assert sum(report.outcomes.values()) == report.folded >= INPUTS
    # Nothing is proved by dead letters alone.
    assert min(report.outcomes[outcome] for outcome in ("rated", "accepted", "time", "forwarded", "dead")) > 50
    assert len(report.reasons) >= 10
    assert report.grown < GROWTH


@pytest.mark.parametrize("case", sorted(CASES.glob("*.log")), ids=lambda path: path.stem)
def test_a_hole_found_before_stays_closed(case: Path) -> None:
    live(case.stem, read_case(case))


def test_inputs_are_kept_as_they_were(tmp_path: Path) -> None:
    odd = [b"", b"{}", b"a\nb", b"\r", b"hex:00", b"\xff\0", "é".encode()]
    path = tmp_path / "not there yet" / "case.log"
    write_case(path, odd)
    assert read_case(path) == odd


def test_the_same_seed_gives_the_same_inputs() -> None:
    first, second = Inputs("5"), Inputs("5")
    assert [first.next() for _ in range(200)] == [second.next() for _ in range(200)]


def test_a_micro_that_goes_astray_is_noticed() -> None:
    inputs = Inputs("6", accounts=3)
    world = World("6")
    world.feed([inputs.next() for _ in range(300)])
    world.check()
    account = next(
        account
        for partition in world._partitions
        for name in partition.accounts
        if (account := partition.fold.books.account(name)) is not None and account.newest is not None
    )
    account.newest.overage_micros += 1
    with pytest.raises(Broken, match="rated"):
        world.check()


def test_duplicates_and_dead_letters_leave_nothing_in_memory() -> None:
    inputs = Inputs("7", accounts=3)
    lines = [inputs.next() for _ in range(3_000)]
    fold = Fold(0, None, SeenInMemory())

    def again(start: int) -> None:
        for offset, line in enumerate(lines, start):
            while not fold.fold(line, offset):
                fold.outputs.clear()
            fold.outputs.clear()
            fold.drain_agencies()
            fold.drain_ledger()

    # Twice over: what was refused for what had not been yet has been then.
    for number in range(3):
        again(number * len(lines))
    tracemalloc.start()
    try:
        again(3 * len(lines))
        before, _ = tracemalloc.get_traced_memory()
        again(4 * len(lines))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 32_768
