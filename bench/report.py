"""What a figure leaves behind: a table on the screen, and JSON with every run, the machine and the versions."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import psutil
from rich.console import Console
from rich.table import Table

from bench.figure import Run, summary
from deploy.kafka.jars import kafka_version

RESULTS = Path(__file__).parent / "results"
LIBRARIES = ("callmeter", "aiokafka", "faust-streaming", "msgspec", "rocksdict", "uvloop", "chdb", "clickhouse-connect")


def record(name: str, title: str, sizes: Mapping[str, int], runs: Sequence[Run]) -> dict[str, Any]:
    """Everything about a figure, ready for JSON."""
    return {
        "figure": name,
        "title": title,
        "measured_at": datetime.now(UTC),
        "machine": machine(),
        "versions": {
            "python": platform.python_version(),
            "kafka": kafka_version(),
            **{library: version(library) for library in LIBRARIES},
        },
        "settings": sizes,
        "runs": [{"what": run.what, **run.values} for run in runs],
        "summary": summary(runs),
    }


def machine() -> dict[str, Any]:
    """What it was measured on, and how busy that was."""
    return {
        "processor": processor(),
        "cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
        "load_average": psutil.getloadavg(),
    }


def processor() -> str:
    """The processor's name, as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def write(result: Mapping[str, Any], folder: Path) -> Path:
    """Keep a result; the one before of the same name is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{result['figure']}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    return path


def show(result: Mapping[str, Any]) -> None:
    """Print a result's medians, with the range of all rounds."""
    columns = list(dict.fromkeys(name for values in result["summary"].values() for name in values))
    sizes = ", ".join(f"{name} {value:,}" for name, value in result["settings"].items())
    table = Table(title=f"{result['title']} ({sizes})", title_justify="left", header_style="bold")
    table.add_column(result["figure"])
    for column in columns:
        table.add_column(column, justify="right")
    for what, values in result["summary"].items():
        table.add_row(what, *(_cell(values.get(column)) for column in columns))
    Console(highlight=False, width=None if Console().is_terminal else 140).print(table)


def _cell(values: Mapping[str, float] | None) -> str:
    if values is None:
        return ""
    digits = 0 if values["median"] >= 100 else 2
    low, median, high = (f"{values[name]:,.{digits}f}" for name in ("min", "median", "max"))
    return median if low == high else f"{median}  ({low} to {high})"
