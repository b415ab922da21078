"""What the demo shows at its end: the story, usage, prices, the bill of one account, and the proof.

Made for a terminal of 80 columns: no figure is ever cut. What a bill is made of is shown in the unit it is paid in;
the proof is to the micro.
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from cli.tables import duration_text
from demo.figures import day_text, exact, money
from demo.market import HERO, RETAIL_CARD, WHOLESALE_CARD, Destination, destinations
from demo.observed import Observed
from demo.proof import Proof
from demo.story import agency_lines, story_lines
from rating.money import MICROS

BUSIEST = 10


def show_end(console: Console, observed: Observed, proof: Proof) -> None:
    """All screens, one after the other, and the verdict."""
    console.print(f"\n[bold]The story of {HERO}")
    for at, line in story_lines(observed):
        console.print(f"  {at}  {line}")
    console.print()
    for table in (
        bill_table(observed),
        usage_table(observed),
        agencies_table(observed),
        destinations_table(observed),
        agency_caps_table(observed),
        alerts_table(observed),
        corrections_table(observed),
        requests_table(observed),
        proof_table(proof),
    ):
        console.print(table)
    verdict = "[bold green]Every sum agrees, to the micro." if proof.exact else "[bold red]The sums do not agree."
    console.print(verdict)


def bill_table(observed: Observed) -> Table:
    """What the hero was asked to pay, line by line."""
    table = _table(f"What {HERO} is asked to pay, in USD", "asked*", "for*", "amount", "total", "status*")
    requests = [request for (account, _), request in observed.requests.items() if account == HERO]
    for request in sorted(requests, key=lambda one: (one["created_at"], one["kind"])):
        currency, lines = request["currency"], [one for one in request["lines"] if one["amount_micros"]]
        for at, one in enumerate(lines):
            first, last = at == 0, at == len(lines) - 1
            table.add_row(
                day_text(request["created_at"]) if first else "",
                one["description"],
                money(one["amount_micros"], currency),
                money(request["total_micros"], currency) if last else "",
                request["status"] if last else "",
            )
    return table


def usage_table(observed: Observed) -> Table:
    """Usage and margin of the busiest accounts."""
    title = "Calls per account (the ten busiest, and the one we follow)"
    table = _table(title, "account*", "calls", "billed", "amount", "cost", "margin", "in*")
    ranked = sorted(observed.usage.items(), key=lambda item: -item[1]["billed_s"])
    for account, usage in [row for at, row in enumerate(ranked) if at < BUSIEST or row[0] == HERO]:
        table.add_row(account, *_used(usage, observed.currencies[account]))
    return table


def agencies_table(observed: Observed) -> Table:
    """What calls brought each agency, and what it pays for them."""
    table = _table(
        "Margin per agency: retail minus wholesale", "agency*", "calls", "billed", "amount", "cost", "margin", "in*"
    )
    for agency, usage in sorted(observed.agencies.items()):
        table.add_row(agency, *_used(usage, observed.currencies[agency]))
    return table


def destinations_table(observed: Observed) -> Table:
    """Calls that a rate card prices, by the longest prefix that matched, and what the wholesale card says of it."""
    title = "A rate card: calls of plan world, by the longest prefix, in USD"
    table = _table(title, "prefix*", "destination*", "calls", "billed", "a minute", "cost", "amount", "margin")
    retail, wholesale = destinations(RETAIL_CARD), destinations(WHOLESALE_CARD)
    for prefix, usage in sorted(observed.destinations.items()):
        table.add_row(
            prefix,
            retail[prefix].name,
            f"{usage['calls']:,}",
            duration_text(usage["billed_s"]),
            _rate(retail[prefix]),
            _rate(wholesale[prefix]),
            money(usage["amount_micros"], "USD"),
            money(usage["margin_micros"], "USD"),
        )
    return table


def agency_caps_table(observed: Observed) -> Table:
    """The caps of a whole agency: who was told, and whose calls stopped."""
    table = _table("An agency's caps: all its accounts together", "on*", "agency*", "what happened*")
    for line in agency_lines(observed):
        table.add_row(*line)
    return table


def corrections_table(observed: Observed) -> Table:
    """Calls that were taken back, or turned out to be shorter."""
    table = _table("Corrections", "*", "calls", "billed", "amount", "in*")
    for (kind, currency), sums in sorted(observed.corrected.items()):
        name = {"refund": "given back", "rerated": "rated anew"}[kind]
        amount = money(sums["amount_micros"], currency)
        table.add_row(name, f"{sums['calls']:,}", duration_text(sums["billed_s"]), amount, currency)
    return table


def alerts_table(observed: Observed) -> Table:
    """How many alerts there were, of accounts and of agencies."""
    levels: dict[str, Counter[int]] = {}
    for (kind, level), count in observed.alerts_told.items():
        levels.setdefault(kind, Counter())[level] += count
    columns = sorted({level for found in levels.values() for level in found})
    table = _table("Alerts", "about*", *(f"{level} %" for level in columns))
    for kind, found in sorted(levels.items()):
        table.add_row(kind.replace("_", " "), *(f"{found[level]:,}" if found[level] else "" for level in columns))
    return table


def requests_table(observed: Observed) -> Table:
    """Payment requests by kind, status and currency."""
    totals: Counter[tuple[str, str, str]] = Counter()
    counts: Counter[tuple[str, str, str]] = Counter()
    for request in observed.requests.values():
        by_itself = request["payment_request_id"].startswith("pack:topup:")
        key = (f"{request['kind']}, top-up" if by_itself else request["kind"], request["status"], request["currency"])
        counts[key] += 1
        totals[key] += request["total_micros"]
    table = _table("Payment requests", "kind*", "status*", "requests", "total", "in*")
    for key in sorted(totals):
        kind, status, currency = key
        table.add_row(kind, status, f"{counts[key]:,}", money(totals[key], currency), currency)
    return table


def proof_table(proof: Proof) -> Table:
    """The checks, each with what was expected and what was found."""
    table = _table("The proof", "claim*", "expected", "found", "*")
    for check in proof.checks:
        verdict = "[green]holds" if check.holds else "[bold red]BROKEN"
        table.add_row(check.claim, brief(check.expected), brief(check.found), verdict)
    return table


def brief(figure: Any) -> str:
    """A figure of the proof as a person reads it: amounts by currency, totals, or how many there are."""
    if isinstance(figure, Counter):
        return f"{figure.total():,}"
    if isinstance(figure, dict) and all(len(str(key)) == 3 and str(key).isupper() for key in figure):
        return "\n".join(exact(micros, currency) for currency, micros in figure.items())
    if isinstance(figure, dict | set):
        return f"{len(figure):,}"
    if isinstance(figure, tuple):
        return " and ".join(f"{part:,}" for part in figure)
    return f"{figure:,}"


def _rate(row: Destination) -> str:
    return f"{Decimal(row.rate_micros) / MICROS:.3f}"


def _used(usage: Counter[str], currency: str) -> list[str]:
    amounts = [money(usage[f"{name}_micros"], currency) for name in ("amount", "cost", "margin")]
    return [f"{usage['calls']:,}", duration_text(usage["billed_s"]), *amounts, currency]


def _table(title: str, *columns: str) -> Table:
    """A table; columns with a star are texts, and aligned left. Figures are never cut nor wrapped."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for column in columns:
        text = column.endswith("*")
        table.add_column(column.rstrip("*"), justify="left" if text else "right", no_wrap=not text)
    return table
