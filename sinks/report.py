"""Where accounts stand in their period: what `callmeter usage ACCOUNT` and `--agency` show."""

from __future__ import annotations

from typing import Any

from sinks.clickhouse import Store

ACCOUNTS = """
SELECT a.agency_id AS agency_id, a.account_id AS account_id, a.plan AS plan, a.status AS status,
    a.currency AS currency, a.period_start AS period_start, a.period_end AS period_end, a.included_s AS included_s,
    a.allowance_left_s AS allowance_left_s, a.wallet_left_s AS wallet_left_s,
    a.credit_left_micros AS credit_left_micros, a.calls AS calls, a.billed_s AS billed_s, a.overage_s AS overage_s,
    a.usage_micros AS usage_micros, a.numbers AS numbers, c.campaigns AS campaigns, l.alerts AS alerts,
    u.calls_with_cost AS calls_with_cost, u.known_cost_micros AS cost_micros, u.margin_micros AS margin_micros,
    a.access_allowed AS access_allowed, a.access_reasons AS access_reasons
FROM accounts_current AS a
LEFT JOIN
(
    SELECT agency_id, account_id, currency, period_start, sum(calls_with_cost) AS calls_with_cost,
        sum(known_cost_micros) AS known_cost_micros, sum(margin_micros) AS margin_micros
    FROM usage_by_period GROUP BY agency_id, account_id, currency, period_start
) AS u ON u.agency_id = a.agency_id AND u.account_id = a.account_id AND u.currency = a.currency
    AND u.period_start = a.period_start
LEFT JOIN
(
    SELECT agency_id, account_id, period_start, uniqExact(campaign_id) AS campaigns
    FROM rated_calls WHERE campaign_id != '' GROUP BY agency_id, account_id, period_start
) AS c ON c.agency_id = a.agency_id AND c.account_id = a.account_id AND c.period_start = a.period_start
LEFT JOIN
(
    SELECT agency_id, account_id, period_start, count() AS alerts
    FROM alerts GROUP BY agency_id, account_id, period_start
) AS l ON l.agency_id = a.agency_id AND l.account_id = a.account_id AND l.period_start = a.period_start
WHERE {where}
ORDER BY agency_id, account_id
"""
CAMPAIGNS = """
SELECT campaign_id, sum(c.weight) AS calls, sum(c.billed_s) AS billed_s, sum(c.amount_micros) AS amount_micros,
    sum(c.margin_micros) AS margin_micros
FROM rated_calls AS c
WHERE c.account_id = {account:String} AND c.period_start = {start:DateTime64(6, 'UTC')} AND c.campaign_id != ''
GROUP BY campaign_id
ORDER BY billed_s DESC, campaign_id
"""
NUMBERS = """
SELECT number, rented_at, label, price_micros, currency
FROM numbers WHERE account_id = {account:String} AND released_at IS NULL ORDER BY rented_at, number
"""
ALERTS = """
SELECT type, level, at, used, limit_value, alert_id
FROM alerts WHERE account_id = {account:String} AND period_start = {start:DateTime64(6, 'UTC')}
ORDER BY at, kafka_offset
"""


def standings(store: Store, agency: str | None = None, account: str | None = None) -> list[dict[str, Any]]:
    """Accounts in their newest period, of one agency or one of them.

    Returns:
        one row for each (``_s`` seconds, ``_micros`` millionths of the currency; cost and margin of the period over
        ``calls_with_cost`` only, null without).
    """
    named = {"agency": agency, "account": account}
    wanted = {name: value for name, value in named.items() if value is not None}
    where = " AND ".join(["1", *(f"a.{name}_id = {{{name}:String}}" for name in wanted)])
    rows = store.rows(ACCOUNTS.replace("{where}", where), wanted)
    for row in rows:
        if not row["calls_with_cost"]:
            row["cost_micros"] = row["margin_micros"] = None
    return rows


def details(store: Store, row: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Campaigns and alerts of an account's period, and the numbers that it rents."""
    of = {"account": row["account_id"], "start": row["period_start"]}
    numbers = store.rows(NUMBERS, {"account": row["account_id"]})
    if row["period_start"] is None:
        return {"campaigns": [], "numbers": numbers, "alerts": []}
    return {"campaigns": store.rows(CAMPAIGNS, of), "numbers": numbers, "alerts": store.rows(ALERTS, of)}
