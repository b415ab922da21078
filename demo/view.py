"""What the demo shows while it runs, and at its end."""

from __future__ import annotations

import time
from collections import deque
from datetime import datetime
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from catalogue.spelling import micros_text
from cli.tables import duration_text
from demo.observer import Observer
from demo.platform import HERO, Platform
from demo.proof import Proof

# Tables as narrow as a terminal of 80 columns.
PLAIN: dict[str, Any] = {"title_justify": "left", "box": box.SIMPLE_HEAVY}

STORY_OF_ALERT = {
    "allowance": "alert: {level} % of the included minutes used",
    "cap": "alert: {level} % of the cap reached",
}


def tell(kind: str, what: str, event: dict[str, Any]) -> str | None:
    """One line of the hero's story, or None where there is nothing to tell."""
    if kind == "alert":
        return STORY_OF_ALERT[what].format(**event)
    if kind == "pool":
        empty = "included minutes used up" if what == "allowance_left_s" else "wallet used up"
        return f"{empty}; this call: {call_sources(event)}"
    if kind == "access":
        return "campaigns may run again" if event["allowed"] else f"access off: {', '.join(event['reasons'])}"
    if kind == "request":
        amount = micros_text(event["total_micros"], event["currency"])
        return f"payment request {event['payment_request_id']}: {amount}, {event['status']}"
    if what == "pack.credited":
        return f"pack {event['pack']} applied: wallet {duration_text(event['wallet_left_s'])}"
    if what == "cycle.opened":
        price = micros_text(event["price_micros"], event["currency"])
        return f"period opens: {event['included_s'] // 60} included minutes for {price}"
    if what == "cycle.closed" and event["calls"]:
        amount = micros_text(event["usage_micros"], event["currency"])
        return f"period closes: {event['calls']} calls, {duration_text(event['billed_s'])} billed, overage {amount}"
    return None


def call_sources(call: dict[str, Any]) -> str:
    """Where a call's seconds came from."""
    names = ("allowance", "wallet", "credit", "overage", "written_off")
    parts = [f"{duration_text(call[f'{name}_s'])} {name}" for name in names if call[f"{name}_s"]]
    return " + ".join(parts)


def story_lines(observed: Observer) -> list[tuple[str, str]]:
    """The hero's story so far: (date, line)."""
    # Topics are read side by side, so the order of arrival means little; what happened at one instant stays as it came.
    story = sorted(observed.story, key=lambda part: datetime.fromisoformat(part[0]))
    told = ((at[:10], tell(kind, what, event)) for at, kind, what, event in story)
    return [(at, line) for at, line in told if line]


class LiveView:
    """The picture of a running demo; give it to `rich.live.Live` as what is drawn anew."""

    def __init__(self, platform: Platform, observed: Observer) -> None:
        """Draw what this platform sends and what comes out."""
        self._platform = platform
        self._observed = observed
        self._rates: deque[tuple[float, int]] = deque(maxlen=20)
        self.simulated = ""
        self._progress = Progress(
            TextColumn("[bold]{task.description}"), BarColumn(None), TextColumn("{task.completed:,} of {task.total:,}")
        )
        self._sent = self._progress.add_task("sent    ", total=platform.records)
        self._done = self._progress.add_task("metered ", total=platform.records)

    def __rich__(self) -> RenderableType:
        """The picture as of now."""
        observed, sent = self._observed, self._platform.planted.records
        done = observed.rated.total() + observed.duplicates.total() + observed.dead_letters_count
        self._rates.append((time.monotonic(), done))
        (first_at, first), (last_at, last) = self._rates[0], self._rates[-1]
        rate = (last - first) / (last_at - first_at) if last_at > first_at else 0.0
        self._progress.update(self._sent, completed=sent)
        self._progress.update(self._done, completed=done)
        figures = Table.grid(padding=(0, 3))
        figures.add_row("simulated time", "calls/s", "lag", "duplicates", "dead letters", "late", "alerts", style="dim")
        figures.add_row(
            self.simulated,
            f"{rate:,.0f}",
            f"{max(sent - done, 0):,}",
            f"{observed.duplicates.total():,}",
            f"{observed.dead_letters_count:,}",
            f"{len(observed.late):,}",
            f"{observed.alerts_count:,}",
        )
        columns = Table.grid(expand=True, padding=(0, 1))
        columns.add_column(ratio=3)
        columns.add_column(ratio=4)
        columns.add_row(
            Panel(self._top_accounts(), title="top accounts"), Panel(self._alerts(), title="alerts as they come")
        )
        return Group(self._progress, figures, columns, Panel(self._story(), title=f"the story of {HERO}"))

    def _top_accounts(self) -> Table:
        table = Table.grid(padding=(0, 2), expand=True)
        ranked = sorted(self._observed.usage.items(), key=lambda item: -item[1]["billed_s"])[:6]
        for account, usage in ranked:
            table.add_row(
                account,
                duration_text(usage["billed_s"]),
                micros_text(usage["amount_micros"], self._observed.currencies[account]),
            )
        return table

    def _alerts(self) -> Table:
        table = Table.grid(padding=(0, 2), expand=True)
        for alert in self._observed.alerts:
            table.add_row(alert["at"][:10], alert["account_id"], f"{alert['type']} {alert['level']} %")
        return table

    def _story(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for at, line in story_lines(self._observed)[-8:]:
            table.add_row(at, line)
        return table


def usage_table(observed: Observer) -> Table:
    """Usage and margin of the busiest accounts."""
    table = Table(title="Usage per account (the ten busiest, and the one we follow)", **PLAIN)
    for column in ("account", "calls", "billed", "overage", "amount", "margin"):
        table.add_column(column, justify="left" if column == "account" else "right", no_wrap=True)
    ranked = sorted(observed.usage.items(), key=lambda item: -item[1]["billed_s"])
    for account, usage in [row for at, row in enumerate(ranked) if at < 10 or row[0] == HERO]:
        currency = observed.currencies[account]
        seconds = [duration_text(usage[f"{name}_s"]) for name in ("billed", "overage")]
        amounts = [micros_text(usage[name], currency) for name in ("amount_micros", "margin_micros")]
        table.add_row(account, f"{usage['calls']:,}", *seconds, *amounts)
    return table


def requests_table(observed: Observer) -> Table:
    """Payment requests by kind, status and currency."""
    totals: dict[tuple[str, str, str], list[int]] = {}
    for request in observed.requests.values():
        row = totals.setdefault((request["kind"], request["status"], request["currency"]), [0, 0])
        row[0] += 1
        row[1] += request["total_micros"]
    table = Table(title="Payment requests", **PLAIN)
    for column in ("kind", "status", "requests", "total"):
        table.add_column(column, justify="right" if column in ("requests", "total") else "left")
    for (kind, status, currency), (count, total) in sorted(totals.items()):
        table.add_row(kind, status, f"{count:,}", micros_text(total, currency))
    return table


def proof_table(proof: Proof) -> Table:
    """The checks, each with what was expected and what was found."""
    table = Table(title="The proof", **PLAIN)
    for column in ("claim", "sent", "found", ""):
        table.add_column(column)
    for check in proof.checks:
        verdict = "[green]holds" if check.holds else "[bold red]BROKEN"
        table.add_row(check.claim, brief(check.expected), brief(check.found), verdict)
    return table


def brief(figure: Any) -> str:
    """A figure of the proof as a person reads it."""
    if isinstance(figure, dict) and all(len(str(key)) == 3 and str(key).isupper() for key in figure):
        return "\n".join(micros_text(micros, currency) for currency, micros in figure.items())
    if isinstance(figure, dict | set):
        return f"{len(figure):,}"
    if isinstance(figure, tuple):
        return " and ".join(f"{part:,}" for part in figure)
    return f"{figure:,}"


def day(at: datetime) -> str:
    """A simulated time as the view shows it."""
    return f"{at:%a %d %b %H:%M}"
