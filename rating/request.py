"""From billing events to payment requests: lines, rounding, ids. Pure; the billing job asks for what is built here.

Lines sum to the subtotal; subtotal + rounding + tax = total, which is whole minor units of the currency. Every line but
``call_rounding`` is quantity times unit price. Overage is charged per call, so ``call_rounding`` holds the difference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from rating.money import micros_text, rounding_to_minor_unit
from rating.period import stamp
from rating.terms import Terms


def line(
    line_id: str,
    kind: str,
    description: str,
    quantity: int,
    unit: str,
    unit_price_micros: int,
    period_start: Any = None,
    period_end: Any = None,
    amount_micros: int | None = None,
) -> dict[str, Any]:
    """One line of a request. The amount is quantity times unit price, unless given."""
    return {
        "line_id": line_id,
        "kind": kind,
        "description": description,
        "quantity": quantity,
        "unit": unit,
        "unit_price_micros": unit_price_micros,
        "amount_micros": quantity * unit_price_micros if amount_micros is None else amount_micros,
        "period_start": period_start,
        "period_end": period_end,
    }


def recurring_lines(
    terms: Terms, start: datetime, end: datetime, price_micros: int, part: bool = False
) -> list[dict[str, Any]]:
    """What a period, or a part of one, costs in advance: the plan's price, if there is one."""
    if not price_micros:
        return []
    if part:
        return [line("charge", "charge", f"Plan {terms.plan}, part of a period", 1, "period", price_micros, start, end)]
    return [line("recurring", "recurring", f"Plan {terms.plan}", 1, "period", price_micros, start, end)]


def request_for(event: Mapping[str, Any], digits: Callable[[str], int]) -> dict[str, Any] | None:
    """The payment request that a billing event calls for.

    Args:
        event: a decoded billing event; times may be text or datetimes, they are passed through.
        digits: decimal places of a currency's minor unit.

    Returns:
        The fields of a ``payment_request.created`` fact but for ``type`` and the gateway's; None where nothing is
        asked: another type of event, or a total of 0.
    """
    build = {
        "cycle.opened": _cycle_request,
        "cycle.closed": _usage_request,
        "pack.credited": _pack_request,
        "usage.adjusted": _adjustment_request,
        "agency.cycle_opened": _agency_cycle_request,
        "agency.cycle_closed": _agency_usage_request,
        "one_time.charged": _one_time_request,
    }.get(event["type"])
    built = build(event) if build else None
    if built is None:
        return None
    request_id, kind, lines = built
    currency = event["currency"]
    subtotal = sum(one["amount_micros"] for one in lines)
    rounding = rounding_to_minor_unit(subtotal, digits(currency))
    if subtotal + rounding == 0:
        return None
    return {
        "fact_id": request_id,
        "payment_request_id": request_id,
        "account_id": event["account_id"],
        "agency_id": event["agency_id"],
        "subscription_id": event["subscription_id"] or None,
        "at": event["at"],
        "kind": kind,
        "currency": currency,
        "period_start": event.get("period_start"),
        "period_end": event.get("period_end"),
        "lines": lines,
        "subtotal_micros": subtotal,
        "rounding_micros": rounding,
        "tax_micros": 0,
        "total_micros": subtotal + rounding,
        "due_at": event["due_at"],
        "grace_ends_at": event["grace_ends_at"],
    }


Built = tuple[str, str, list[dict[str, Any]]]


def _stamp(at: datetime | str) -> str:
    return stamp(datetime.fromisoformat(at) if isinstance(at, str) else at)


def _cycle_request(event: Mapping[str, Any]) -> Built:
    return f"{event['subscription_id']}:{_stamp(event['period_start'])}:cycle", "cycle", list(event["lines"])


def _usage_request(event: Mapping[str, Any]) -> Built:
    start, end = event["period_start"], event["period_end"]
    lines = []
    for kind, seconds in (("allowance", event["allowance_s"]), ("wallet", event["wallet_s"])):
        if seconds:
            lines.append(line(kind, kind, f"Used from the {kind}", seconds, "second", 0, start, end))
    overage = _overage_lines(event)
    lines.extend(overage)
    difference = event["overage_micros"] - sum(one["amount_micros"] for one in overage)
    if difference:
        lines.append(_call_rounding(difference, start, end))
    lines.extend(_fee_lines(event))
    for adjusted in event["adjustments"]:
        if adjusted["amount_micros"]:
            of = adjusted["period_start"]
            text = f"{adjusted['calls']} late call(s) of an earlier period"
            lines.append(
                line(f"adjustment:{_stamp(of)}", "adjustment", text, 1, "period", adjusted["amount_micros"], of, None)
            )
    lines.extend(event.get("lines", ()))
    return f"{event['subscription_id']}:{_stamp(start)}:usage", "usage", lines


def _overage_lines(event: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One line, or of terms with a rate card one for each rate."""
    start, end = event["period_start"], event["period_end"]
    if "overage_rates" not in event:
        if not event["overage_s"]:
            return []
        price = event["overage_micros_per_minute"] // 60
        return [line("overage", "overage", "Overage", event["overage_s"], "second", price, start, end)]
    lines = []
    for used in event["overage_rates"]:
        rate, seconds = used["rate_micros_per_minute"], used["overage_s"]
        if rate is None:
            text = f"Overage at further rates, {seconds} s"
            lines.append(line("overage:others", "overage", text, 1, "period", used["overage_micros"], start, end))
        else:
            text = f"Overage at {micros_text(rate)} {event['currency']} a minute"
            lines.append(line(f"overage:{rate}", "overage", text, seconds, "second", rate // 60, start, end))
    return lines


def _fee_lines(event: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One line, or of terms with a rate card one for each fee."""
    start, end = event["period_start"], event["period_end"]
    text = "Connection fees"
    if "connection_fees" not in event:
        if not event["fee_micros"]:
            return []
        price = event["connection_fee_micros"]
        calls = event["fee_micros"] // price
        return [line("connection_fee", "connection_fee", text, calls, "call", price, start, end)]
    lines = []
    for used in event["connection_fees"]:
        fee, calls = used["connection_fee_micros"], used["calls"]
        if fee is None:
            others = f"{text} of further amounts, {calls} calls"
            lines.append(
                line("connection_fee:others", "connection_fee", others, 1, "period", used["fee_micros"], start, end)
            )
        else:
            lines.append(line(f"connection_fee:{fee}", "connection_fee", text, calls, "call", fee, start, end))
    return lines


def _call_rounding(difference: int, start: Any, end: Any) -> dict[str, Any]:
    text = "Overage is rounded per call"
    return line("call_rounding", "call_rounding", text, 1, "period", 0, start, end, amount_micros=difference)


def _pack_request(event: Mapping[str, Any]) -> Built:
    lines = [line("pack", "pack", f"Pack {event['pack']}", 1, "pack", event["price_micros"])]
    return f"pack:{event['fact_id']}", "pack", lines


def _one_time_request(event: Mapping[str, Any]) -> Built:
    lines = [line("one_time", "one_time", event["description"], 1, "charge", event["amount_micros"])]
    return f"one_time:{event['fact_id']}", "one_time", lines


def _adjustment_request(event: Mapping[str, Any]) -> Built | None:
    if not event["at_once"]:
        return None
    start = event["period_start"]
    text = f"Late call {event['call_id']}"
    lines = [line("adjustment", "adjustment", text, 1, "call", event["amount_micros"], start, None)]
    return f"{event['subscription_id']}:{_stamp(start)}:adjustment:{event['call_id']}", "usage", lines


def _agency_id(event: Mapping[str, Any], kind: str) -> str:
    return f"wholesale:{event['agency_id']}:{_stamp(event['period_start'])}:{kind}"


def _agency_cycle_request(event: Mapping[str, Any]) -> Built:
    return _agency_id(event, "cycle"), "cycle", list(event["lines"])


def _agency_usage_request(event: Mapping[str, Any]) -> Built:
    """What an agency's calls cost it, less what the period includes. Lines of usage sum to ``usage_micros``."""
    period = event["period_start"], event["period_end"]
    lines = []
    cost, seconds = event["cost_micros"], event["billed_s"]
    price = cost // seconds if seconds else 0
    if seconds:
        text = f"{event['calls']} call(s), at their average price"
        lines.append(line("minutes", "minutes", text, seconds, "second", price, *period))
    difference = cost - seconds * price
    if difference:
        text = "Prices are rounded per call"
        lines.append(line("call_rounding", "call_rounding", text, 1, "period", 0, *period, amount_micros=difference))
    if event["reported_micros"]:
        text = f"{event['reported_calls']} call(s), at their reported cost"
        lines.append(line("reported", "reported", text, 1, "period", event["reported_micros"], *period))
    if event["included_micros"]:
        text = f"Included, {event['included_used_s']} of {event['included_s']} s"
        lines.append(line("included", "included", text, 1, "period", -event["included_micros"], *period))
    lines.extend(event["lines"])
    return _agency_id(event, "usage"), "usage", lines
