"""The proof: what was sent is what was rated, every price is the one that was meant, and every sum of money agrees."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from demo import expected
from demo.market import DEBTORS, HERO
from demo.observed import USAGE_KINDS, Observed
from demo.planted import Planted
from demo.platform import TOP_UP_BELOW_S

if TYPE_CHECKING:
    from sinks.clickhouse import Store

# What prepaid accounts buy: 500 minutes for 45 USD.
PACK_S, PACK_MICROS = 500 * 60, 45_000_000

# What ClickHouse is asked for.
TALLY = (
    "SELECT currency, count() AS calls, uniqExact(account_id, call_id) AS ids, sum(amount_micros) AS amount_micros, "
    "sum(known_cost_micros) AS cost_micros, sum(margin_micros) AS margin_micros FROM rated_calls GROUP BY currency"
)
STATUSES = "SELECT account_id, status FROM accounts_current WHERE account_id IN {debtors:Array(String)}"


@dataclass(frozen=True)
class Stored:
    """What ClickHouse has.

    Attributes:
        by_currency: the rows of `TALLY`.
        statuses: of the accounts that do not pay in time.
    """

    by_currency: dict[str, dict[str, int]]
    statuses: dict[str, str]

    @property
    def calls(self) -> int:
        """Rows of rated calls."""
        return sum(row["calls"] for row in self.by_currency.values())


def stored_in(store: Store) -> Stored:
    """Ask ClickHouse."""
    tally = {row["currency"]: row for row in store.rows(TALLY)}
    statuses = store.rows(STATUSES, {"debtors": list(DEBTORS)})
    return Stored(tally, {row["account_id"]: row["status"] for row in statuses})


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


def prove(planted: Planted, observed: Observed, stored: Stored) -> Proof:
    """Compare what the platform sent with what came out.

    Args:
        planted: what was sent, by what must become of it.
        observed: what came out of the topics.
        stored: what ClickHouse has.
    """
    clickhouse = stored.by_currency
    asked = present(Counter(observed.unasked) + Counter(observed.lines(*USAGE_KINDS)))
    checks = [
        *_calls(planted, observed, stored),
        *_prices(planted, observed),
        *_payments(planted, observed, stored),
        *_sums(observed, asked, clickhouse),
    ]
    figures = {
        "calls_sent": planted.records,
        "calls_rated": observed.rated.total(),
        "duplicates": observed.duplicates.total(),
        "dead_letters": observed.dead_letters_count,
        "late_calls": len(observed.late),
        "alerts": observed.alerts_told.total(),
        "payment_requests": len(observed.requests),
        "rated_micros": present(observed.amounts),
        "request_usage_micros": asked,
        "clickhouse_micros": _column(clickhouse, "amount_micros"),
        "cost_micros": _column(clickhouse, "cost_micros"),
        "margin_micros": _column(clickhouse, "margin_micros"),
        "number_micros": present(observed.lines("number")),
        "plan_change_micros": {kind: present(observed.lines(kind)) for kind in ("credit", "charge")},
        "top_ups": observed.top_ups,
        "corrections": dict(Counter(kind for _, kind in observed.corrections.elements())),
        "agency_cap": {
            "alerts": observed.agency_alerts.total(),
            "accounts_off": _told(observed, [True]),
            "accounts_on_again": _told(observed, [True, False]),
        },
        "dunning": {
            "status_changes": _times(observed.status_changes),
            "access_changes": _times(observed.access_changes),
            "paid_late_micros": _of_debtors(observed, "paid_micros"),
            "never_paid_micros": _of_debtors(observed, "left_micros"),
        },
        "agencies": {agency: dict(usage) for agency, usage in sorted(observed.agencies.items())},
        "destinations": {prefix: dict(usage) for prefix, usage in sorted(observed.destinations.items())},
        "accounts": {account: dict(usage) for account, usage in sorted(observed.usage.items())},
        "exact": all(check.holds for check in checks),
    }
    return Proof(checks, figures)


def _calls(planted: Planted, observed: Observed, stored: Stored) -> list[Check]:
    """Which calls were rated, and what became of all others."""
    valid = planted.calls.keys()
    twice = sum(count - 1 for count in observed.rated.values())
    corrections = Counter({(name, "refund"): 1 for name in planted.voided | planted.corrected})
    corrections.update((name, "rerated") for name in planted.corrected)
    rows = observed.rated.total() + observed.corrections.total()
    return [
        Check("every valid call was rated", len(valid), len(valid & observed.rated.keys())),
        Check("nothing else, nothing twice", (len(valid), 0), (len(observed.rated), twice)),
        Check("every duplicate was reported", Counter(planted.duplicates), observed.duplicates),
        Check("bad records: each its reason", planted.dead_letters, observed.dead_letters),
        Check("late calls were marked late", planted.late, observed.late),
        Check("sent = rated + duplicates + dead letters", planted.records, observed.done()),
        Check("calls voided or corrected", corrections, observed.corrections),
        Check("calls in ClickHouse", len(valid), sum(row["ids"] for row in stored.by_currency.values())),
        Check("rows, with corrections", rows, stored.calls),
    ]


def _prices(planted: Planted, observed: Observed) -> list[Check]:
    """Every price is the one that was meant when the month was planned."""
    billed = Counter({name: expected.billed_seconds(call) for name, call in planted.calls.items()})
    destinations = {prefix: usage["amount_micros"] for prefix, usage in observed.destinations.items()}
    top_ups = expected.top_ups(planted, "refill", PACK_S, TOP_UP_BELOW_S)
    packs = planted.packs + Counter({"USD": top_ups * PACK_MICROS})
    checks = [
        Check("billed seconds of every call", billed, observed.billed),
        Check("a price for each destination", present(expected.amounts_by_prefix(planted)), present(destinations)),
        Check("wholesale cost of all calls", present(expected.costs(planted)), present(_costs(observed))),
        Check("rented numbers, by the day", present(expected.numbers(planted)), present(observed.lines("number"))),
        Check("automatic top-ups", top_ups, observed.top_ups),
        Check("packs and top-ups", present(packs), present(observed.lines("pack"))),
    ]
    if (change := planted.plan_change) is not None:
        meant = expected.plan_change(change)
        opened = [
            event["included_s"]
            for _, _, what, event in observed.stories[HERO]
            if what == "cycle.opened" and datetime.fromisoformat(event["period_start"]) == change.at
        ]
        checks += [
            Check("credit for the old plan", {"USD": -meant["credit_micros"]}, observed.lines("credit")),
            Check("charge for the new plan", {"USD": meant["charge_micros"]}, observed.lines("charge")),
            Check("its included seconds", meant["included_s"], sum(opened)),
        ]
    if (cap := planted.agency_cap) is not None:
        off_and_on = (_told(observed, [True]), _told(observed, [True, False]))
        checks += [
            Check("alerts of an agency's caps", cap.alerts, observed.agency_alerts),
            Check("accounts off, and on again", (cap.accounts, cap.accounts), off_and_on),
        ]
    return checks


def _payments(planted: Planted, observed: Observed, stored: Stored) -> list[Check]:
    """Who does not pay is told so, and stopped, and goes on when he pays: each of it once, at its time; nobody else."""
    if not planted.debts:
        return []
    changes = expected.status_changes(planted)
    last = {account: status for account, _, status in sorted(changes)}
    return [
        Check("past due, active, blocked: once", changes, observed.status_changes),
        Check("campaigns off, and on again: once", expected.access_changes(planted), observed.access_changes),
        Check("paid late", expected.owed(planted, paid=True), _of_debtors(observed, "paid_micros")),
        Check("never paid", expected.owed(planted, paid=False), _of_debtors(observed, "left_micros")),
        Check("their status in ClickHouse", last, stored.statuses),
    ]


def _sums(observed: Observed, asked: dict[str, int], clickhouse: dict[str, dict[str, int]]) -> list[Check]:
    """Wherever money is summed up, it is the same."""
    rated = present(observed.amounts)
    margins = {currency: micros - _costs(observed)[currency] for currency, micros in observed.amounts.items()}
    return [
        Check("rated = usage of closed periods", rated, present(observed.closed)),
        Check("rated = lines of usage requests", rated, asked),
        Check("rated = sums in ClickHouse", rated, _column(clickhouse, "amount_micros")),
        Check("wholesale cost = usage of agencies", present(_costs(observed)), present(observed.wholesale)),
        Check("rated - cost = its margin", present(margins), _column(clickhouse, "margin_micros")),
    ]


def _costs(observed: Observed) -> dict[str, int]:
    return {observed.currencies[agency]: usage["cost_micros"] for agency, usage in observed.agencies.items()}


def _of_debtors(observed: Observed, sum_of: str) -> dict[str, int]:
    """A sum of what those are asked for who do not pay in time, by currency."""
    found: Counter[str] = Counter()
    for (account, _), request in observed.requests.items():
        if account in DEBTORS:
            found[request["currency"]] += request[sum_of]
    return present(found)


def _times(changes: Counter[tuple[str, datetime, str]]) -> dict[str, int]:
    """How often there was each change, of all accounts."""
    return dict(sorted(Counter(what for _, _, what in changes.elements()).items()))


def _told(observed: Observed, story: list[bool]) -> int:
    """How many accounts were told this because of their agency, and perhaps more after it."""
    return sum(told[: len(story)] == story for told in observed.capped.values())


def _column(clickhouse: dict[str, dict[str, int]], name: str) -> dict[str, int]:
    return present({currency: row[name] for currency, row in clickhouse.items()})


def present(amounts: dict[str, int]) -> dict[str, int]:
    """Amounts by currency, in order, those of 0 left out."""
    return {currency: micros for currency, micros in sorted(amounts.items()) if micros}
