"""What people ask of single calls: how they were rated, and corrected. Each rating is a row of its own."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sinks.clickhouse import Store

COLUMNS = (
    "agency_id", "account_id", "call_id", "correction", "fact_id", "campaign_id", "agent_id", "direction",
    "from_number", "to_number", "started_at", "answered_at", "ended_at", "outcome", "test", "tier", "subscription_id",
    "period_start", "duration_s", "billed_s", "allowance_s", "wallet_s", "credit_s", "credit_micros", "overage_s",
    "written_off_s", "fee_micros", "amount_micros", "cost_micros", "cost_currency", "margin_micros", "currency",
    "allowance_left_s", "wallet_left_s", "credit_left_micros", "late", "cut", "rate_micros_per_minute", "rate_prefix",
    "cost_source", "wholesale_billed_s", "wholesale_rate_micros_per_minute", "source_partition", "source_offset",
)  # fmt: skip
FILTERS = {
    "agency": "agency_id",
    "account": "account_id",
    "campaign": "campaign_id",
    "number": "number",
    "agent": "agent_id",
}


def ratings(store: Store, account_id: str, call_id: str) -> list[dict[str, Any]]:
    """Everything that a call was rated as, in order: its rating, then each correction's ``refund`` and ``rerated``."""
    return store.rows(
        f"SELECT {', '.join(COLUMNS)} FROM rated_calls"
        " WHERE account_id = {account:String} AND call_id = {call:String} ORDER BY kafka_partition, kafka_offset",
        {"account": account_id, "call": call_id},
    )


def latest(
    store: Store,
    filters: dict[str, str],
    begin: datetime | None = None,
    end: datetime | None = None,
    most: int = 100,
) -> list[dict[str, Any]]:
    """The calls that ended last, the latest last; ratings that were taken back since are rows, too.

    Args:
        store: where the calls are.
        filters: any of `FILTERS`, each to the one value wanted.
        begin: only calls that ended then or later.
        end: only calls that ended before.
        most: how many rows.
    """
    conditions = ["1", *(f"c.{FILTERS[name]} = {{{name}:String}}" for name in filters)]
    parameters: dict[str, Any] = {**filters, "most": most}
    for name, limit, compare in (("begin", begin, ">="), ("end", end, "<")):
        if limit is not None:
            conditions.append(f"c.ended_at {compare} fromUnixTimestamp64Micro({{{name}:Int64}})")
            parameters[name] = int(limit.timestamp()) * 1_000_000 + limit.microsecond
    order = "c.ended_at DESC, c.kafka_partition DESC, c.kafka_offset DESC"
    rows = store.rows(
        f"SELECT {', '.join(COLUMNS)} FROM rated_calls AS c WHERE {' AND '.join(conditions)}"
        f" ORDER BY {order} LIMIT {{most:UInt32}}",
        parameters,
    )
    return rows[::-1]
