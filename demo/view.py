"""What the demo shows while it runs. Made for a terminal of 80 columns; a wider one shows more."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from cli.tables import duration_text
from demo.figures import day_text, money_text
from demo.market import HERO
from demo.observed import Observed
from demo.platform import Platform
from demo.story import debt_days, story_lines

WIDE = 100
RANKED = 5
STORY_LINES = 5
DEBT_LINES = 4


class LiveView:
    """The picture of a running demo; give it to `rich.live.Live` as what is drawn anew.

    Attributes:
        at: the simulated time; None before it begins.
    """

    def __init__(self, platform: Platform, observed: Observed) -> None:
        """Draw what this platform sends and what comes out."""
        self.at: datetime | None = None
        self._platform = platform
        self._observed = observed
        self._rates: deque[tuple[float, int]] = deque(maxlen=20)
        self._progress = Progress(
            TextColumn("[bold]{task.description}"), BarColumn(None), TextColumn("{task.completed:,} of {task.total:,}")
        )
        self._sent = self._progress.add_task("sent   ", total=platform.records)
        self._done = self._progress.add_task("metered", total=platform.records)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The picture as of now."""
        wide = options.max_width >= WIDE
        sent, done = self._platform.planted.records, self._observed.done()
        self._progress.update(self._sent, completed=sent)
        self._progress.update(self._done, completed=done)
        columns = Table.grid(expand=True, padding=(0, 1))
        columns.add_column(ratio=4 if wide else 2)
        columns.add_column(ratio=4 if wide else 3)
        top = Panel(self._top_accounts(wide), title="top accounts")
        columns.add_row(top, Panel(self._alerts(), title="alerts as they come"))
        yield self._progress
        yield self._figures(sent, done)
        yield columns
        yield Panel(_lines(story_lines(self._observed)[-STORY_LINES:]), title=f"the story of {HERO}")
        yield Panel(_lines(debt_days(self._observed)[-DEBT_LINES:]), title="one pays late, one never")

    def _figures(self, sent: int, done: int) -> Table:
        observed = self._observed
        self._rates.append((time.monotonic(), done))
        (first_at, first), (last_at, last) = self._rates[0], self._rates[-1]
        rate = (last - first) / (last_at - first_at) if last_at > first_at else 0.0
        table = Table.grid(padding=(0, 2))
        for _ in range(7):
            table.add_column(no_wrap=True)
        table.add_row("simulated time", "calls/s", "lag", "duplicates", "dead letters", "late", "alerts", style="dim")
        figures = (
            rate, max(sent - done, 0), observed.duplicates.total(), observed.dead_letters_count,
            len(observed.late), observed.alerts_told.total(),
        )  # fmt: skip
        table.add_row(f"{self.at:%a %d %b %H:%M}" if self.at else "", *(f"{figure:,.0f}" for figure in figures))
        return table

    def _top_accounts(self, wide: bool) -> RenderableType:
        table = Table.grid(padding=(0, 2), expand=True)
        for justify in ("left", "right", "right")[: 3 if wide else 2]:
            table.add_column(justify=justify, no_wrap=True)  # type: ignore[arg-type]
        ranked = sorted(self._observed.usage.items(), key=lambda item: -item[1]["billed_s"])[:RANKED]
        for account, usage in ranked:
            amount = money_text(usage["amount_micros"], self._observed.currencies[account])
            table.add_row(account, duration_text(usage["billed_s"]), *([amount] if wide else []))
        return table

    def _alerts(self) -> RenderableType:
        table = Table.grid(padding=(0, 2), expand=True)
        for _ in range(3):
            table.add_column(no_wrap=True)
        for alert in self._observed.alerts:
            who = alert["account_id"] or alert["agency_id"]
            table.add_row(day_text(alert["at"]), who, f"{alert_name(alert)} {alert['level']} %")
        return table


def _lines(rows: Iterable[tuple[str, ...]]) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for row in rows:
        table.add_row(*row)
    return table


def alert_name(alert: dict[str, Any]) -> str:
    """What an alert is about."""
    return str(alert["type"]).replace("_", " ")
