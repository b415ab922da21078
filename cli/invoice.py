"""How payment requests are shown: a list of them, and one like an invoice. Amounts are exact decimals."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from catalogue.spelling import amount_text, micros_text
from cli import output

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

WIDEST = 1_000
TITLES = {"credit_note": "Credit note", "refund": "Refund", "dispute": "Dispute"}


def requests_table(requests: Iterable[dict[str, Any]]) -> None:
    """Print payment requests as a table."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title="Payment requests", title_justify="left", header_style="bold")
    for column in ("request", "number", "account", "kind", "status"):
        table.add_column(column, no_wrap=True)
    for column in ("total", "left"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("due", no_wrap=True)
    table.add_column("reference")
    for one in requests:
        cells = (
            one["payment_request_id"],
            one["number"] or "",
            one["account_id"],
            one["kind"],
            one["status"],
            micros_text(one["total_micros"], one["currency"]),
            _amount(one["left_micros"], one["currency"]) if one["left_micros"] else "",
            one["due_at"][:10],
            one["reference"] or "",
        )
        table.add_row(*map(Text, cells))
    _print(table)


def invoice(request: dict[str, Any], corrections: Iterable[dict[str, Any]] = ()) -> None:
    """Print one payment request: who, when, what for, how much; then what became of it, and what corrects it."""
    from rich.table import Table
    from rich.text import Text

    currency = request["currency"]
    lines = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 3, 0, 0))
    lines.add_column("Description")
    for column in ("Quantity", "Unit price", "Amount"):
        lines.add_column(column, justify="right", no_wrap=True)
    for line in request["lines"]:
        price = "" if line["kind"] == "call_rounding" else _amount(line["unit_price_micros"], currency)
        amount = _amount(line["amount_micros"], currency)
        lines.add_row(Text(line["description"]), quantity_text(line["quantity"], line["unit"]), price, amount)
    lines.add_section()
    tax = "Tax, included" if request["tax_included"] else "Tax"
    for name, field in (("Subtotal", "subtotal"), ("Rounding", "rounding"), (tax, "tax")):
        lines.add_row("", "", name, _amount(request[f"{field}_micros"], currency))
    lines.add_row("", "", f"Total {currency}", _amount(request["total_micros"], currency), style="bold")
    if request.get("disputed_micros"):
        lines.add_row("", "", "Disputed", _amount(request["disputed_micros"], currency))
    if request["credited_micros"]:
        lines.add_row("", "", "Credited", _amount(-request["credited_micros"], currency))
    if request["credited_micros"] and request["left_micros"]:
        lines.add_row("", "", "Left to pay", _amount(request["left_micros"], currency), style="bold")
    title = Text(f"{TITLES.get(request['kind'], 'Payment request')} {request['payment_request_id']}", style="bold")
    parts: list[RenderableType] = [title, Text(), _head(request), Text(), lines]
    events = _events(request, corrections)
    _print(*parts, *((Text(), events) if events.row_count else ()))


def _events(request: dict[str, Any], corrections: Iterable[dict[str, Any]]) -> Table:
    """What became of a request, in the order of time."""
    from rich.table import Table
    from rich.text import Text

    told = [(one["at"], one["status"], one) for one in request["changes"]]
    for one in corrections:
        if one["kind"] == "dispute":
            text = f"dispute {_amount(one['disputed_micros'], one['currency'])}"
            told += [(change["at"], f"{text} {change['status']}", change) for change in one["changes"]]
            continue
        text = f"{TITLES[one['kind']].lower()} {_amount(-one['total_micros'], one['currency'])}"
        told.append((one["created_at"], f"{text} ({one['number'] or one['payment_request_id']})", one))
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 3, 0, 0))
    for column in ("When", "What", "By", "Reference", "Note"):
        table.add_column(column)
    for at, what, one in sorted(told, key=lambda each: each[0]):
        cells = (time_text(at), what, one["actor"] or "", one["reference"] or "", one["note"] or "")
        table.add_row(*map(Text, cells))
    return table


def _head(request: dict[str, Any]) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    period = ""
    if request["period_start"]:
        period = " to ".join(time_text(request[name]) for name in ("period_start", "period_end") if request[name])
    shown = {
        "Agency": request["agency_id"],
        "Account": request["account_id"],
        "Subscription": request["subscription_id"],
        "Number": request["number"],
        "Disputes" if request["kind"] == "dispute" else "Corrects": request["corrects"],
        "Kind": request["kind"],
        "Period": period,
        "Raised": time_text(request["created_at"]),
        "Due": time_text(request["due_at"]),
        "Grace ends": time_text(request["grace_ends_at"]),
        "Overdue since": time_text(request["overdue_at"]) if request["overdue_at"] else None,
        "Status": request["status"],
        "Paid": time_text(request["paid_at"]) if request["paid_at"] else None,
        "Reference": request["reference"],
        "Note": request["note"],
        "Gateway": " ".join(filter(None, (request["gateway"], request["external_id"]))),
    }
    head = Table(box=None, show_header=False, pad_edge=False, padding=(0, 3, 0, 0))
    for name, value in shown.items():
        if value:
            head.add_row(name, Text(value))
    return head


def quantity_text(quantity: int, unit: str) -> str:
    """A quantity with its unit; seconds also in minutes: ``246 s (4 min 6 s)``."""
    if unit != "second":
        return f"{quantity:,} {unit}" if quantity == 1 else f"{quantity:,} {unit}s"
    minutes, seconds = divmod(abs(quantity), 60)
    told = f"{minutes:,} min {seconds} s" if seconds else f"{minutes:,} min"
    told = f"-{told}" if quantity < 0 else told
    return f"{quantity:,} s ({told})"


def time_text(at: str) -> str:
    """An ISO 8601 time in UTC for people: to the minute, unless it has seconds."""
    day, _, clock = at.removesuffix("Z").partition("T")
    return f"{day} {clock.removesuffix(':00')} UTC"


def _amount(micros: int, currency: str) -> str:
    from decimal import Decimal

    return amount_text(Decimal(micros).scaleb(-6), currency)


def _print(*shown: RenderableType) -> None:
    """Print; ids stay whole where the output is no terminal."""
    console = output.console()
    if not console.is_terminal:
        console.width = WIDEST
        console.width = max(console.measure(one).maximum for one in shown)
    for one in shown:
        console.print(one)
