"""Profit from ClickHouse: what calls brought, what they cost their agency, and what is left, summed from their rows."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sinks.clickhouse import Store

DESTINATION = "if(c.rate_prefix != '', c.rate_prefix, c.wholesale_rate_prefix)"
# What a line is, with its keys.
REPORTS: dict[str, dict[str, str]] = {
    "call": {"ended_at": "c.ended_at", "account_id": "c.account_id", "call_id": "c.call_id"},
    "day": {"day": "toStartOfDay(c.ended_at)"},
    "agency": {"agency_id": "c.agency_id"},
    "account": {"agency_id": "c.agency_id", "account_id": "c.account_id"},
    "campaign": {"account_id": "c.account_id", "campaign_id": "c.campaign_id"},
    "agent": {"account_id": "c.account_id", "agent_id": "c.agent_id"},
    "destination": {"destination": DESTINATION},
}
FILTERS = {"agency": "c.agency_id", "account": "c.account_id", "campaign": "c.campaign_id", "agent": "c.agent_id"}
SUMS = (
    "sum(c.weight) AS calls, sum(c.billed_s) AS billed_s, sum(c.wholesale_billed_s) AS wholesale_billed_s,"
    " sum(c.amount_micros) AS amount_micros, sumIf(c.weight, isNotNull(c.margin_micros)) AS calls_with_cost,"
    " sum(c.known_cost_micros) AS known_cost_micros, sum(c.margin_micros) AS profit_micros"
)


def profit(
    store: Store, by: str, wanted: dict[str, str], begin: datetime | None = None, end: datetime | None = None
) -> list[dict[str, Any]]:
    """Sums by the keys of a report and by currency; seconds and micros. Cost and profit are of the calls with a cost.

    Args:
        store: where to ask.
        by: one of ``REPORTS``.
        wanted: values of some of ``FILTERS``.
        begin: only calls that ended then or later.
        end: only calls that ended before.
    """
    conditions = [f"{FILTERS[name]} = {{{name}:String}}" for name in wanted]
    parameters: dict[str, Any] = dict(wanted)
    for name, limit, compare in (("begin", begin, ">="), ("end", end, "<")):
        if limit is not None:
            conditions.append(f"c.ended_at {compare} fromUnixTimestamp64Micro({{{name}:Int64}})")
            parameters[name] = int(limit.timestamp()) * 1_000_000 + limit.microsecond
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    keys = REPORTS[by]
    columns = ", ".join(f"{expression} AS {name}" for name, expression in keys.items())
    order = ", ".join([*keys, "currency"])
    return store.rows(
        f"SELECT {columns}, c.currency AS currency, {SUMS} FROM rated_calls AS c {where}"
        f" GROUP BY {order} ORDER BY {order}",
        parameters,
    )
