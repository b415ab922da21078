"""`make fuzz-guided`: fuzzing that is led by which lines of `rating/` an input reaches (atheris, libFuzzer).

An input is a few records, a line each, folded behind a beginning that has an account of each kind. What reaches new
lines is kept in a corpus, bent further, and kept in turn. A hole is written to ``tests/fuzz/cases/``.

atheris has wheels for Linux only: the extra ``fuzz`` of pyproject.toml.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

import atheris

# Before anything else imports it, or its lines are not counted.
with atheris.instrument_imports(include=["rating"], enable_loader_override=False):
    import rating.fold  # noqa: F401

from tests.fuzz.inputs import Inputs, bent
from tests.fuzz.life import keep
from tests.fuzz.world import World
from tests.rating.builders import call, encode, pack, subscription, tick

LONGEST = 12_000
RECORDS = 12
CAP = {"minutes": 5, "spend_micros": 900_000, "mode": "hard", "alerts_percent": [50, 100]}
BEGINNING = encode(
    [
        tick("2026-11-01T00:00:00Z"),
        subscription(cap=CAP, late_window_s=900),
        subscription(account="acct_2", sub="sub_2", overage="blocked", interval="week", late_calls="adjust"),
        subscription(account="acct_3", sub="sub_3", interval="day", late_calls="write_off", increments="60/6"),
        pack(1, account="acct_2"),
        call(1),
        call(2, account="acct_3"),
        tick("2026-11-04T00:00:00Z"),
    ]
)


def fold(records: list[bytes]) -> None:
    """Fold some records behind the beginning; raises what is wrong."""
    world = World("guided")
    world.feed(BEGINNING)
    world.feed(records)
    world.check()


def test_one_input(data: bytes) -> None:
    """What libFuzzer calls."""
    records = data.split(b"\n")[:RECORDS]
    try:
        fold(records)
    except Exception as error:
        print(f"{type(error).__name__}: {error}\n{keep('guided', [*BEGINNING, *records])}", file=sys.stderr)
        raise


def mutate(data: bytes, most: int, seed: int) -> bytes:
    """Two times in five as libFuzzer does, else as one who knows what a fact is."""
    drawn = random.Random(seed)
    if drawn.random() < 0.4:
        return bytes(atheris.Mutate(data, most))
    records = data.split(b"\n")
    at = drawn.randrange(len(records))
    records[at] = bent(drawn, records[at], drawn.choice(records)).replace(b"\n", b" ")
    if drawn.random() < 0.2:
        records.insert(drawn.randrange(len(records) + 1), drawn.choice(records))
    return b"\n".join(records)[:most]


def sow(corpus: Path) -> None:
    """Real facts to begin with."""
    for number in range(200):
        inputs = Inputs(f"corpus {number}", accounts=3)
        records = [inputs.accounts.next() for _ in range(8)]
        (corpus / f"seed-{number}").write_bytes(b"\n".join(records)[:LONGEST])


def main() -> None:
    """Run for so many seconds."""
    options = argparse.ArgumentParser(prog="python -m tests.fuzz.guided", description=__doc__)
    options.add_argument("--duration", type=int, default=600, metavar="SECONDS")
    options.add_argument("--seed", type=int, default=0, help="the same inputs again; 0: random ones")
    options.add_argument("--corpus", type=Path, help="a folder that is kept from run to run; default: a temporary one")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="callmeter-corpus-") as folder:
        corpus = asked.corpus or Path(folder)
        corpus.mkdir(parents=True, exist_ok=True)
        sow(corpus)
        arguments = [
            sys.argv[0],
            str(corpus),
            f"-max_total_time={asked.duration}",
            f"-max_len={LONGEST}",
            f"-seed={asked.seed}",
            f"-artifact_prefix={folder}/",
            "-print_final_stats=1",
            "-timeout=30",
            "-rss_limit_mb=2048",
        ]
        atheris.Setup(arguments, test_one_input, custom_mutator=mutate)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
