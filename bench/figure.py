"""What a figure is: sizes that can be changed on the command line, and runs that can be repeated.

A figure is a module of this package with ``TITLE``, a frozen dataclass ``Sizes`` (every field an integer with a default
and a help text), ``async def measure(lab, sizes)``, which yields its runs, and ``lines(runs)``.
"""

from __future__ import annotations

import statistics
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

from bench.lab import Lab


@dataclass(frozen=True)
class Run:
    """One measurement.

    Attributes:
        what: what was measured; runs of the same are summarised together.
        values: by name with its unit, such as ``calls/s``.
    """

    what: str
    values: Mapping[str, float]


class Figure(Protocol):
    """A module that measures something."""

    TITLE: str
    Sizes: type[Any]

    def measure(self, lab: Lab, sizes: Any) -> AsyncIterator[Run]:
        """Measure, run after run."""
        ...

    def lines(self, runs: Sequence[Run]) -> list[str]:
        """Lines for standard output after the table."""
        ...


def size(default: int, text: str) -> Any:
    """A field of ``Sizes``: a default, and what it means."""
    return field(default=default, metadata={"help": text})


def sizes_of(figure: Figure) -> dict[str, tuple[int, str]]:
    """Name, default and help of every size of a figure."""
    defaults = figure.Sizes()
    return {one.name: (getattr(defaults, one.name), one.metadata["help"]) for one in fields(defaults)}


def summary(runs: Sequence[Run]) -> dict[str, dict[str, dict[str, float]]]:
    """Lowest, median and highest value, by what was measured and by name."""
    found: dict[str, dict[str, list[float]]] = {}
    for run in runs:
        for name, value in run.values.items():
            found.setdefault(run.what, {}).setdefault(name, []).append(value)
    return {
        what: {
            name: {"min": min(values), "median": statistics.median(values), "max": max(values)}
            for name, values in named.items()
        }
        for what, named in found.items()
    }
