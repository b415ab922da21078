"""``python -m bench.publish``: put what was measured into the documents.

Reads ``bench/results/*.json``, keeps them in ``docs/performance/``, draws a plot of those that compare, and writes each
figure's table into ``docs/performance.md`` between its markers, ``<!-- figure: NAME -->`` and ``<!-- end -->``. Nothing
there is typed by hand.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.report import RESULTS

DOCUMENTS = Path(__file__).parent.parent / "docs"
PAGE = DOCUMENTS / "performance.md"
FOLDER = DOCUMENTS / "performance"
# What is drawn, of which figures: one bar for each thing that was measured.
PLOTS = {
    "hot_path": ("calls/s", "CPU us/call"),
    "side_by_side": ("calls/s", "CPU us/call", "memory MiB"),
    "latency": ("p50 ms", "p99 ms", "max ms"),
    "midnight": ("p50 ms", "p99 ms", "max ms"),
}
OURS = ("#1f6f8b", "#b8c4cc")


def table(result: Mapping[str, Any]) -> str:
    """Medians of a result as a Markdown table; ranges where there were several runs."""
    columns = list(dict.fromkeys(name for values in result["summary"].values() for name in values))
    rows = [["", *columns], ["---", *("---:" for _ in columns)]]
    for what, values in result["summary"].items():
        rows.append([what, *(_cell(values.get(column)) for column in columns)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def about(result: Mapping[str, Any]) -> str:
    """When and on what it was measured, and how much of it."""
    machine, versions = result["machine"], result["versions"]
    sizes = ", ".join(f"{name} {value:,}" for name, value in result["settings"].items())
    return (
        f"{result['measured_at'][:10]}, {machine['cores']} cores of an {machine['processor']}, load "
        f"{machine['load_average'][0]:.1f} at the end; Python {versions['python']}, Kafka {versions['kafka']}. {sizes}."
    )


def section(result: Mapping[str, Any]) -> str:
    """What stands between a figure's markers."""
    parts = [table(result), about(result)]
    if result["figure"] in PLOTS:
        parts.insert(1, f"![{result['title']}](performance/{result['figure']}.svg)")
    return "\n\n".join(parts)


def plot(result: Mapping[str, Any], path: Path) -> None:
    """Draw a figure's medians as bars, with the range of its runs; the meter's are coloured."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = result["figure"]
    matplotlib.rcParams["svg.fonttype"] = "none"
    from matplotlib import pyplot

    names = [name for name in PLOTS[result["figure"]]]
    summary = result["summary"]
    figure, axes = pyplot.subplots(1, len(names), sharey=True, squeeze=False)
    figure.set_size_inches(3.2 * len(names) + 2.4, 0.45 * len(summary) + 1)
    labels = list(summary)
    for axis, name in zip(axes[0], names, strict=True):
        values = [summary[what].get(name, {"min": 0, "median": 0, "max": 0}) for what in labels]
        medians = [value["median"] for value in values]
        ranges = [[m - v["min"] for m, v in zip(medians, values, strict=True)]]
        ranges.append([v["max"] - m for m, v in zip(medians, values, strict=True)])
        colours = [OURS["meter" not in what and len(labels) > 2] for what in labels]
        axis.barh(labels, medians, xerr=ranges, color=colours, ecolor="#555555", capsize=2)
        axis.set_title(name, fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
        axis.ticklabel_format(axis="x", style="plain")
        axis.tick_params(labelsize=8)
        axis.locator_params(axis="x", nbins=4)
    axes[0][0].invert_yaxis()
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)


def put(page: str, results: Mapping[str, Mapping[str, Any]]) -> str:
    """The page with every figure's section; those that were not measured stay as they are."""

    def one(match: re.Match[str]) -> str:
        result = results.get(match[1])
        if result is None:
            return match[0]
        return f"<!-- figure: {match[1]} -->\n{section(result)}\n<!-- end -->"

    return re.sub(r"<!-- figure: (\w+) -->\n.*?<!-- end -->", one, page, flags=re.DOTALL)


def main() -> int:
    """Publish what there is; the exit code."""
    made = argparse.ArgumentParser(prog="python -m bench.publish", description="Put measured figures into the docs.")
    made.add_argument(
        "--results", type=Path, default=RESULTS, metavar="FOLDER", help="where `python -m bench` kept them"
    )
    asked = made.parse_args()
    results = {path.stem: json.loads(path.read_bytes()) for path in sorted(asked.results.glob("*.json"))}
    if not results:
        print(f"error: {asked.results} has no results; run `make bench` first", file=sys.stderr)
        return 1
    FOLDER.mkdir(exist_ok=True)
    for name, result in results.items():
        (FOLDER / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
        if name in PLOTS:
            plot(result, FOLDER / f"{name}.svg")
    PAGE.write_text(put(PAGE.read_text(), results))
    print(f"published: {', '.join(results)}")
    return 0


def _cell(values: Mapping[str, float] | None) -> str:
    if values is None:
        return ""
    digits = 0 if values["median"] >= 100 else 2
    low, median, high = (f"{values[name]:,.{digits}f}" for name in ("min", "median", "max"))
    return median if low == high else f"{median} ({low} to {high})"


if __name__ == "__main__":
    sys.exit(main())
