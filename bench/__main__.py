"""``python -m bench [NAME ...]``: measure figures, show them, and keep them in ``bench/results/NAME.json``.

Progress goes to standard error, tables (or JSON with ``--json``) to standard output.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import msgspec
import uvloop

from bench import report
from bench.figure import Figure, Run, sizes_of
from bench.lab import Lab
from streams.errors import CallmeterError

FIGURES = (
    *("hot_path", "side_by_side", "latency", "rows", "midnight", "close", "ticks"),
    *("scale", "rating", "stages", "cards", "duplicates", "sink", "clickhouse", "limits"),
)


def parser(figures: dict[str, Figure]) -> argparse.ArgumentParser:
    """The command line; every size of every figure is an option."""
    made = argparse.ArgumentParser(prog="python -m bench", description="Measure the figures of the README.")
    listed = "; ".join(f"{name}: {figure.TITLE}" for name, figure in figures.items())
    made.add_argument("names", nargs="*", metavar="NAME", help=f"which figures, all if none is named. {listed}")
    made.add_argument("--json", action="store_true", help="print JSON instead of tables")
    made.add_argument("--results", type=Path, default=report.RESULTS, metavar="FOLDER", help="where JSON is kept")
    made.add_argument("--list", action="store_true", help="list the figures and their sizes")
    known: dict[str, list[str]] = {}
    for name, figure in figures.items():
        for size, (default, text) in sizes_of(figure).items():
            known.setdefault(size, []).append(f"{text} ({name}: {default:,})")
    for size, texts in known.items():
        made.add_argument(f"--{size}", type=int, metavar="N", help="; ".join(texts))
    return made


async def measure(name: str, figure: Figure, lab: Lab, sizes: Any) -> list[Run]:
    """Run one figure."""
    print(f"{name}: {figure.TITLE}", file=sys.stderr, flush=True)
    return [run async for run in figure.measure(lab, sizes)]


def main() -> int:
    """Measure what was asked for; the exit code."""
    figures = {name: cast(Figure, import_module(f"bench.{name}")) for name in FIGURES}
    made = parser(figures)
    asked = made.parse_args()
    if unknown := [name for name in asked.names if name not in figures]:
        made.error(f"there is no figure {unknown[0]}; choose from {', '.join(figures)}")
    if asked.list:
        for name, figure in figures.items():
            print(f"{name}: {figure.TITLE}")
            for size, (default, text) in sizes_of(figure).items():
                print(f"    --{size} {default}  {text}")
        return 0
    results = []
    with Lab() as lab:
        for name in asked.names or figures:
            figure = figures[name]
            given = {size: getattr(asked, size) for size in sizes_of(figure) if getattr(asked, size) is not None}
            sizes = figure.Sizes(**given)
            runs = uvloop.run(measure(name, figure, lab, sizes))
            result = report.record(name, figure.TITLE, asdict(sizes), runs)
            report.write(result, asked.results)
            results.append(result)
            if not asked.json:
                report.show(result)
                for line in figure.lines(runs):
                    print(line, flush=True)
    if asked.json:
        print(msgspec.json.encode(results).decode())
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CallmeterError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
