"""``python -m tests.faults``: break the pipeline, and report. Exit code 1 if anything is wrong."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import uvloop
from rich.console import Console
from rich.table import Table

from tests.faults.run import Report, run


def main() -> int:
    """Run once; the exit code."""
    options = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    options.add_argument("--duration", type=float, default=180.0, metavar="SECONDS", help="how long faults go on")
    options.add_argument("--seed", type=int, help="the same faults again; default: a random one")
    options.add_argument("--keep", action="store_true", help="keep the folder, even if nothing is wrong")
    options.add_argument("--json", action="store_true", help="print the report as JSON")
    asked = options.parse_args()
    seed = random.randrange(10**6) if asked.seed is None else asked.seed
    console = Console(stderr=True, highlight=False)
    began = time.monotonic()

    def say(what: str) -> None:
        console.print(f"[{time.monotonic() - began:5.0f} s] {what}", markup=False, soft_wrap=True)

    folder = Path(tempfile.mkdtemp(prefix="callmeter-faults-"))
    say(f"seed {seed}; everything is in {folder}")
    exact = False
    try:
        report = uvloop.run(run(seed, asked.duration, folder, say))
        exact = report.exact
    except BaseException:
        say(f"seed {seed} failed; to run it again: make faults SEED={seed} DURATION={asked.duration:g}")
        raise
    finally:
        if exact and not asked.keep:
            shutil.rmtree(folder, ignore_errors=True)
    if asked.json:
        print(msgspec.json.encode(report.as_json()).decode())
    else:
        show(report)
    if not exact:
        say(f"to run it again: make faults SEED={seed} DURATION={asked.duration:g}; what is left is in {folder}")
    return 0 if exact else 1


def show(report: Report) -> None:
    """The report, for people."""
    console = Console(highlight=False)
    faults = Table(title=f"Faults, seed {report.seed}", title_justify="left")
    faults.add_column("kind")
    faults.add_column("times", justify="right")
    for kind, times in sorted(report.faults.items()):
        faults.add_row(kind, str(times))
    faults.add_row("in all", str(sum(report.faults.values())))
    console.print(faults)
    for what in report.not_placed:
        console.print(f"not done: {what}", markup=False)
    verdict = report.verdict
    figures = Table(title="Result", title_justify="left", show_header=False)
    for name, value in (
        ("records in the log", verdict.records),
        ("calls in the log", verdict.calls),
        ("calls rated", verdict.rated),
        ("lost", verdict.lost),
        ("doubled", verdict.doubled),
        ("accounts", verdict.accounts),
        ("wrong accounts", verdict.wrong_accounts),
        ("rows in ClickHouse", verdict.rows),
        ("rows lost in ClickHouse", verdict.rows_lost),
        ("rows doubled in ClickHouse", verdict.rows_doubled),
        ("payment requests", verdict.requests),
        ("requests lost", verdict.requests_lost),
        ("requests doubled", verdict.requests_doubled),
        ("longest recovery, s", f"{report.recovery_s} ({report.recovery_from})"),
        (
            "`callmeter send`: runs, failed, longest in s",
            f"{report.sends}, {report.sends_failed}, {report.longest_send_s}",
        ),
        ("the whole run, s", report.seconds),
    ):
        figures.add_row(name, f"{value:,}" if isinstance(value, int) else str(value))
    console.print(figures)
    console.print(f"ends of processes (exit code: times): {report.ends}", markup=False)
    for what in verdict.wrong:
        console.print(f"WRONG: {what}", markup=False, soft_wrap=True)
    console.print("[bold green]Exact." if report.exact else "[bold red]Not exact.")


if __name__ == "__main__":
    sys.exit(main())
