"""What `callmeter simulate --table` shows: the outputs of a run added up per account."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import typer

from catalogue.spelling import micros_text
from cli import output
from cli.tables import duration_text
from rating.outputs import ALERTS, BILLING_EVENTS, DEAD_LETTERS, DUPLICATES, RATED_CALLS
from rating.request import request_for
from streams.units import minor_digits

USED = ("billed_s", "allowance_s", "wallet_s", "credit_s", "overage_s", "written_off_s")


@dataclass
class AccountSummary:
    """What an account used: seconds, and micros of its currency."""

    account_id: str
    currency: str = ""
    plan: str = ""
    calls: int = 0
    billed_s: int = 0
    allowance_s: int = 0
    wallet_s: int = 0
    credit_s: int = 0
    overage_s: int = 0
    written_off_s: int = 0
    amount_micros: int = 0
    alerts: list[str] = field(default_factory=list)


@dataclass
class Summary:
    """A whole run: accounts by id, requests to be asked in order, what was not rated by reason."""

    accounts: dict[str, AccountSummary] = field(default_factory=dict)
    requests: list[dict[str, Any]] = field(default_factory=list)
    duplicates: int = 0
    dead_letters: Counter[str] = field(default_factory=Counter)
    open_usage_micros: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))

    def add(self, topic: str, value: Mapping[str, Any]) -> None:
        """Take in one output of the fold."""
        if topic == RATED_CALLS:
            self._add_call(value)
        elif topic == BILLING_EVENTS:
            self._add_billing(value)
        elif topic == ALERTS:
            self._account(value).alerts.append(f"{value['type']} {value['level']} %")
        elif topic == DUPLICATES:
            self.duplicates += 1
        elif topic == DEAD_LETTERS:
            self.dead_letters[value["reason"]] += 1

    def _account(self, value: Mapping[str, Any]) -> AccountSummary:
        account_id = value["account_id"]
        found = self.accounts.get(account_id)
        if found is None:
            found = self.accounts[account_id] = AccountSummary(account_id)
        return found

    def _add_call(self, call: Mapping[str, Any]) -> None:
        account = self._account(call)
        account.currency = call["currency"]
        account.calls += 1
        account.amount_micros += call["amount_micros"]
        for name in USED:
            setattr(account, name, getattr(account, name) + call[name])
        self.open_usage_micros[call["account_id"], call["period_start"]] += call["amount_micros"]

    def _add_billing(self, event: Mapping[str, Any]) -> None:
        account = self._account(event)
        if event["type"] == "cycle.opened":
            account.plan, account.currency = event["plan"], event["currency"]
        elif event["type"] == "cycle.closed":
            self.open_usage_micros.pop((event["account_id"], event["period_start"]), None)
        request = request_for(event, minor_digits)
        if request:
            self.requests.append(request)


def print_summary(outputs: Iterable[Mapping[str, Any]], json: bool) -> None:
    """Add the outputs up and print them as tables, or as one JSON object."""
    summary = Summary()
    for one in outputs:
        summary.add(one["topic"], one["value"])
    still_open = {key: used for key, used in summary.open_usage_micros.items() if used}
    if json:
        output.print_json(
            {
                "accounts": [asdict(account) for account in summary.accounts.values()],
                "requests": summary.requests,
                "open_usage": [
                    {"account_id": account_id, "period_start": start, "amount_micros": used}
                    for (account_id, start), used in still_open.items()
                ],
                "duplicates": summary.duplicates,
                "dead_letters": dict(summary.dead_letters),
            }
        )
        return
    _print_accounts(summary)
    _print_requests(summary)
    for account in summary.accounts.values():
        if account.alerts:
            typer.echo(f"alerts for {account.account_id}: {', '.join(account.alerts)}")
    for (account_id, start), used in still_open.items():
        amount = micros_text(used, summary.accounts[account_id].currency)
        typer.echo(f"not asked for yet: {amount} of {account_id}, whose period from {start} is open (see --until)")
    if summary.duplicates:
        typer.echo(f"duplicates, rated once: {summary.duplicates}")
    for reason, count in sorted(summary.dead_letters.items()):
        typer.echo(f"not rated: {count} {reason}")


def _print_accounts(summary: Summary) -> None:
    accounts = list(summary.accounts.values())
    # A source that nobody used would only make the table wider than a terminal.
    used = [name for name in USED if name == "billed_s" or any(getattr(account, name) for account in accounts)]
    columns = ["account", "plan", "calls", *(name.removesuffix("_s").replace("_", " ") for name in used), "amount"]
    rows = [
        [
            account.account_id,
            account.plan,
            account.calls,
            *(duration_text(getattr(account, name)) for name in used),
            micros_text(account.amount_micros, account.currency),
        ]
        for account in accounts
    ]
    output.print_table("Usage", columns, rows)


def _print_requests(summary: Summary) -> None:
    rows = [
        [
            one["account_id"],
            one["kind"],
            one["period_start"],
            one["due_at"],
            micros_text(one["total_micros"], one["currency"]),
        ]
        for one in summary.requests
    ]
    output.print_table("Requests to be asked", ["account", "kind", "period", "due", "total"], rows)
