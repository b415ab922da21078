"""What people ask of usage: sums over rated calls, by one of several things."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sinks.clickhouse import Store

HOUR = "toStartOfHour(ended_at)"
DAY = "toStartOfDay(ended_at)"
DAY_S, HOUR_S = 86_400, 3_600
# What a row of each report stands for: its columns, and where they come from. Times are UTC.
REPORTS: dict[str, dict[str, str]] = {
    "hour": {"hour": HOUR},
    "day": {"day": DAY},
    "agency": {"agency_id": "agency_id"},
    "account": {"agency_id": "agency_id", "account_id": "account_id"},
    "campaign": {"agency_id": "agency_id", "account_id": "account_id", "campaign_id": "campaign_id"},
    "number": {"agency_id": "agency_id", "account_id": "account_id", "number": "number"},
    "agent": {"agency_id": "agency_id", "account_id": "account_id", "agent_id": "agent_id"},
}
FILTERS = {
    "agency": "agency_id",
    "account": "account_id",
    "campaign": "campaign_id",
    "number": "number",
    "agent": "agent_id",
}
# What sums by day know of; all else is known by hour.
BY_DAY = frozenset(("day", "agency", "account"))
# As in the views usage_by_*, so that their projections answer here too.
SUMS = """sum(c.weight) AS calls, sumIf(c.weight, c.late) AS late_calls, sum(c.duration_s) AS duration_s,
    sum(c.billed_s) AS billed_s,
    sum(c.allowance_s) AS allowance_s, sum(c.wallet_s) AS wallet_s, sum(c.credit_s) AS credit_s,
    sum(c.credit_micros) AS credit_micros, sum(c.overage_s) AS overage_s, sum(c.written_off_s) AS written_off_s,
    sum(c.fee_micros) AS fee_micros, sum(c.amount_micros) AS amount_micros,
    sumIf(c.weight, isNotNull(c.margin_micros)) AS calls_with_cost,
    sum(c.known_cost_micros) AS known_cost_micros, sum(c.margin_micros) AS margin_micros"""


def usage(
    store: Store,
    by: str,
    filters: Mapping[str, str] | None = None,
    begin: datetime | None = None,
    end: datetime | None = None,
) -> list[dict[str, Any]]:
    """Usage of rated calls.

    Args:
        store: where the calls are.
        by: one of `REPORTS`.
        filters: any of `FILTERS`, each to the one value wanted.
        begin: only calls that ended then or later.
        end: only calls that ended before.

    Returns:
        one row for each thing and currency, in the thing's order: its columns, ``currency``, and the sums (``_s``
        seconds, ``_micros`` millionths of the currency; cost and margin over ``calls_with_cost`` only, null without).
    """
    keys = REPORTS[by]
    wanted = {name: value for name, value in (filters or {}).items() if value is not None}
    limits = {name: limit for name, limit in (("begin", begin), ("end", end)) if limit is not None}
    # The projections know whole days, or whole hours.
    instant = "c.ended_at"
    if BY_DAY.issuperset((by, *wanted)) and all(limit.timestamp() % DAY_S == 0 for limit in limits.values()):
        instant = DAY
    elif all(limit.timestamp() % HOUR_S == 0 for limit in limits.values()):
        instant = HOUR
        if by == "day":
            keys = {"day": f"toStartOfDay({HOUR})"}
    conditions = [f"c.{FILTERS[name]} = {{{name}:String}}" for name in wanted]
    parameters: dict[str, Any] = dict(wanted)
    for name, limit in limits.items():
        compare = ">=" if name == "begin" else "<"
        conditions.append(f"{instant} {compare} fromUnixTimestamp64Micro({{{name}:Int64}})")
        parameters[name] = int(limit.timestamp()) * 1_000_000 + limit.microsecond
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    columns = ", ".join(f"{expression} AS {name}" for name, expression in keys.items())
    order = ", ".join([*keys, "currency"])
    return store.rows(
        f"SELECT {columns}, c.currency AS currency, {SUMS} FROM rated_calls AS c {where}"
        f" GROUP BY {order} ORDER BY {order}",
        parameters,
    )
