"""The proof: what was sent is what was rated, and every sum of money agrees."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from demo.observer import Observer
from demo.platform import Planted


@dataclass(frozen=True)
class Check:
    """One line of the proof: two figures that must be equal."""

    claim: str
    expected: Any
    found: Any

    @property
    def holds(self) -> bool:
        """Whether they are."""
        return bool(self.expected == self.found)


@dataclass(frozen=True)
class Proof:
    """All checks, and the figures for scripts."""

    checks: list[Check]
    figures: dict[str, Any]

    @property
    def exact(self) -> bool:
        """Whether every check holds."""
        return all(check.holds for check in self.checks)


def prove(planted: Planted, observed: Observer, clickhouse: dict[str, dict[str, int]]) -> Proof:
    """Compare what the platform sent with what came out.

    Args:
        planted: what was sent, by what must become of it.
        observed: what came out of the topics.
        clickhouse: per currency: ``calls``, distinct ``ids`` and ``amount_micros`` as ClickHouse has them.
    """
    rated_once = {name for name, count in observed.rated.items() if count == 1}
    asked = Counter({currency: micros for currency, micros in observed.unasked.items()})
    for request in observed.requests.values():
        if request["kind"] == "usage":
            asked[request["currency"]] += request["subtotal_micros"]
    stored = {currency: row["amount_micros"] for currency, row in clickhouse.items()}
    rated_micros = present(observed.amounts)
    checks = [
        Check("every valid call was rated", len(planted.rated), len(planted.rated & observed.rated.keys())),
        Check("nothing else was rated, nothing twice", (len(planted.rated), 0), _extra(planted, observed)),
        Check("every duplicate was reported", Counter(planted.duplicates), observed.duplicates),
        Check("every bad record was dead-lettered, for its reason", planted.dead_letters, observed.dead_letters),
        Check("every late call was marked late", planted.late, observed.late),
        Check(
            "sent = rated + duplicates + dead letters",
            planted.records,
            sum(observed.rated.values()) + sum(observed.duplicates.values()) + observed.dead_letters_count,
        ),
        Check("calls in ClickHouse", len(rated_once), sum(row["ids"] for row in clickhouse.values())),
        Check("rows in ClickHouse", len(rated_once), sum(row["calls"] for row in clickhouse.values())),
        Check("rated calls = usage of the closed periods", rated_micros, present(observed.closed)),
        Check("rated calls = lines of the usage requests", rated_micros, present(asked)),
        Check("rated calls = sums in ClickHouse", rated_micros, present(stored)),
    ]
    figures = {
        "calls_sent": planted.records,
        "calls_rated": sum(observed.rated.values()),
        "duplicates": sum(observed.duplicates.values()),
        "dead_letters": observed.dead_letters_count,
        "late_calls": len(observed.late),
        "alerts": observed.alerts_count,
        "payment_requests": len(observed.requests),
        "rated_micros": rated_micros,
        "request_usage_micros": present(asked),
        "clickhouse_micros": present(stored),
        "accounts": {account: dict(usage) for account, usage in sorted(observed.usage.items())},
        "exact": all(check.holds for check in checks),
    }
    return Proof(checks, figures)


def _extra(planted: Planted, observed: Observer) -> tuple[int, int]:
    twice = sum(count - 1 for count in observed.rated.values())
    return len(observed.rated), twice


def present(amounts: dict[str, int]) -> dict[str, int]:
    """Amounts by currency, in order, those of 0 left out."""
    return {currency: micros for currency, micros in sorted(amounts.items()) if micros}
