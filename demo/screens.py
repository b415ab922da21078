"""What the demo shows at its end: the story, usage, prices, the bill of one account, and the proof.

Made for a terminal of 80 columns: no figure is ever cut. What a bill is made of is shown in the unit it is paid in;
the proof is to the micro.
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table

from cli.tables import duration_text
from demo.figures import day_text, exact, money
from demo.market import HERO, RETAIL_CARD, WHOLESALE_CARD, Destination, destinations
from demo.observed import Observed
from demo.proof import Proof
from demo.story import agency_lines, debt_lines, story_lines
from rating.money import MICROS

BUSIEST = 10
UNLIMITED = 1_000
MONEY = ("amount", "cost?", "margin", "in*")


def show_end(console: Console, observed: Observed, proof: Proof) -> None:
    """All screens, one after the other, and the verdict."""
    console.print(f"\n[bold]The story of {HERO}")
    for at, line in story_lines(observed):
        console.print(f"  {at}  {line}")
    console.print()
    for screen in (
        bill_screen(observed),
        debts_screen(observed),
        usage_screen(observed),
        agencies_screen(observed),
        destinations_screen(observed),
        agency_caps_screen(observed),
        alerts_screen(observed),
        corrections_screen(observed),
        requests_screen(observed),
        proof_screen(proof),
    ):
        console.print(screen)
    verdict = "[bold green]Every sum agrees, to the micro." if proof.exact else "[bold red]The sums do not agree."
    console.print(verdict)


def bill_screen(observed: Observed) -> Screen:
    """What the hero was asked to pay, line by line."""
    screen = Screen(f"What {HERO} is asked to pay, in USD", "asked*", "for*", "amount", "total", "status*")
    requests = [request for (account, _), request in observed.requests.items() if account == HERO]
    for request in sorted(requests, key=lambda one: (one["created_at"], one["kind"])):
        currency, lines = request["currency"], [one for one in request["lines"] if one["amount_micros"]]
        for at, one in enumerate(lines):
            first, last = at == 0, at == len(lines) - 1
            screen.add_row(
                day_text(request["created_at"]) if first else "",
                one["description"],
                money(one["amount_micros"], currency),
                money(request["total_micros"], currency) if last else "",
                request["status"] if last else "",
            )
    return screen


def debts_screen(observed: Observed) -> Screen:
    """Who did not pay in time: what they were asked for, what their subscriptions became, and what they were told."""
    screen = Screen("Not paid in time: one pays late, one never", "on*", "account*", "what happened*")
    for line in debt_lines(observed):
        screen.add_row(*line)
    return screen


def usage_screen(observed: Observed) -> Screen:
    """Usage and margin of the busiest accounts."""
    title = "Calls per account (the ten busiest, and the one we follow)"
    screen = Screen(title, "account*", "calls", "billed", "overage?", *MONEY)
    ranked = sorted(observed.usage.items(), key=lambda item: -item[1]["billed_s"])
    for account, usage in [row for at, row in enumerate(ranked) if at < BUSIEST or row[0] == HERO]:
        screen.add_row(account, *_used(usage, observed.currencies[account]))
    return screen


def agencies_screen(observed: Observed) -> Screen:
    """What calls brought each agency, and what it pays for them."""
    screen = Screen("Margin per agency: retail minus wholesale", "agency*", "calls", "billed", "overage?", *MONEY)
    for agency, usage in sorted(observed.agencies.items()):
        screen.add_row(agency, *_used(usage, observed.currencies[agency]))
    return screen


def destinations_screen(observed: Observed) -> Screen:
    """Calls that a rate card prices, by the longest prefix that matched, and what the wholesale card says of it."""
    title = "A rate card: calls of plan world by destination, USD (rate, cost: a minute)"
    screen = Screen(title, "prefix*", "destination*", "calls", "billed", "rate?", "cost?", "amount", "margin")
    retail, wholesale = destinations(RETAIL_CARD), destinations(WHOLESALE_CARD)
    for prefix, usage in sorted(observed.destinations.items()):
        screen.add_row(
            prefix or "any",
            retail[prefix].name,
            f"{usage['calls']:,}",
            duration_text(usage["billed_s"]),
            _rate(retail[prefix]),
            _rate(wholesale[prefix]),
            money(usage["amount_micros"], "USD"),
            money(usage["margin_micros"], "USD"),
        )
    return screen


def agency_caps_screen(observed: Observed) -> Screen:
    """The caps of a whole agency: who was told, and whose calls stopped."""
    screen = Screen("An agency's caps: all its accounts together", "on*", "agency*", "what happened*")
    for line in agency_lines(observed):
        screen.add_row(*line)
    return screen


def corrections_screen(observed: Observed) -> Screen:
    """Calls that were taken back, or turned out to be shorter."""
    screen = Screen("Corrections", "*", "calls", "billed", "amount", "in*")
    for (kind, currency), sums in sorted(observed.corrected.items()):
        name = {"refund": "given back", "rerated": "rated anew"}[kind]
        amount = money(sums["amount_micros"], currency)
        screen.add_row(name, f"{sums['calls']:,}", duration_text(sums["billed_s"]), amount, currency)
    return screen


def alerts_screen(observed: Observed) -> Screen:
    """How many alerts there were, of accounts and of agencies."""
    levels: dict[str, Counter[int]] = {}
    for (kind, level), count in observed.alerts_told.items():
        levels.setdefault(kind, Counter())[level] += count
    columns = sorted({level for found in levels.values() for level in found})
    screen = Screen("Alerts", "about*", *(f"{level} %" for level in columns))
    for kind, found in sorted(levels.items()):
        screen.add_row(kind.replace("_", " "), *(f"{found[level]:,}" if found[level] else "" for level in columns))
    return screen


def requests_screen(observed: Observed) -> Screen:
    """Payment requests by kind, status and currency."""
    totals: Counter[tuple[str, str, str]] = Counter()
    counts: Counter[tuple[str, str, str]] = Counter()
    for request in observed.requests.values():
        by_itself = request["payment_request_id"].startswith("pack:topup:")
        kind = f"{request['kind']}, top-up" if by_itself else request["kind"]
        key = (kind if request["account_id"] else f"{kind}, of an agency", request["status"], request["currency"])
        counts[key] += 1
        totals[key] += request["total_micros"]
    screen = Screen("Payment requests", "kind*", "status*", "requests", "total", "in*")
    for key in sorted(totals):
        kind, status, currency = key
        screen.add_row(kind, status, f"{counts[key]:,}", money(totals[key], currency), currency)
    return screen


def proof_screen(proof: Proof) -> Screen:
    """The checks, each with what was expected and what was found."""
    screen = Screen("The proof", "claim*", "expected", "found", "*")
    for check in proof.checks:
        verdict = "[green]holds" if check.holds else "[bold red]BROKEN"
        screen.add_row(check.claim, brief(check.expected), brief(check.found), verdict)
    return screen


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
    seconds = [duration_text(usage[f"{name}_s"]) for name in ("billed", "overage")]
    return [f"{usage['calls']:,}", *seconds, *amounts, currency]


class Screen:
    """A table with a title. Columns with a star are texts, aligned left; those with a question mark are left out where
    there is no room for them, the first one first. Figures are never cut nor wrapped.
    """

    def __init__(self, title: str, *columns: str) -> None:
        """Without rows."""
        self._title = title
        self._columns = columns
        self._rows: list[tuple[str, ...]] = []

    def add_row(self, *cells: str) -> None:
        """Add a row: a cell for each column."""
        self._rows.append(cells)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table with all columns that fit."""
        shown = list(range(len(self._columns)))
        while True:
            table = self._table(shown)
            optional = [at for at in shown if self._columns[at].endswith("?")]
            needed = Measurement.get(console, options.update(max_width=UNLIMITED), table).minimum
            if not optional or needed <= options.max_width:
                yield table
                return
            shown.remove(optional[0])

    def _table(self, shown: list[int]) -> Table:
        table = Table(title=self._title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
        for at in shown:
            name = self._columns[at]
            text = name.endswith("*")
            table.add_column(name.rstrip("*?"), justify="left" if text else "right", no_wrap=not text)
        for row in self._rows:
            table.add_row(*(row[at] for at in shown))
        return table
