-- How things are now: the row with the largest offset of its key. A key's rows are all in one partition.
CREATE VIEW IF NOT EXISTS accounts_current AS
SELECT * EXCEPT (kafka_partition, kafka_offset)
FROM accounts FINAL
COMMENT 'State of every account';

CREATE VIEW IF NOT EXISTS access_current AS
SELECT agency_id, account_id, allowed, reason, reasons, at
FROM access_events
WHERE (kafka_partition, account_id, kafka_offset) IN
(
    SELECT kafka_partition, account_id, max(kafka_offset) FROM access_events GROUP BY kafka_partition, account_id
)
COMMENT 'Access of every account whose access ever changed; the others are allowed';

CREATE VIEW IF NOT EXISTS payment_requests_current AS
SELECT * EXCEPT (kafka_partition, kafka_offset)
FROM payment_requests
WHERE (account_id, payment_request_id, kafka_offset) IN
(
    SELECT account_id, payment_request_id, max(kafka_offset)
    FROM payment_requests
    GROUP BY account_id, payment_request_id
)
COMMENT 'Latest state of every payment request';

CREATE VIEW IF NOT EXISTS cycles AS
SELECT
    agency_id, account_id, subscription_id, assumeNotNull(e.period_start) AS period_start,
    coalesce(
        anyIfOrNull(assumeNotNull(e.period_end), e.type = 'cycle.closed'),
        anyIf(assumeNotNull(e.period_end), e.type = 'cycle.opened')
    ) AS period_end,
    anyIf(e.plan, e.type = 'cycle.opened') AS plan,
    any(e.currency) AS currency,
    countIf(e.type = 'cycle.closed') > 0 AS closed,
    anyIf(e.at, e.type = 'cycle.opened') AS opened_at,
    anyIfOrNull(e.at, e.type = 'cycle.closed') AS closed_at,
    any(e.included_s) AS included_s, any(e.price_micros) AS price_micros,
    any(e.calls) AS calls, any(e.late_calls) AS late_calls, any(e.billed_s) AS billed_s,
    any(e.allowance_s) AS allowance_s, any(e.wallet_s) AS wallet_s, any(e.credit_micros) AS credit_micros,
    any(e.overage_s) AS overage_s, any(e.written_off_s) AS written_off_s, any(e.overage_micros) AS overage_micros,
    any(e.fee_micros) AS fee_micros, any(e.usage_micros) AS usage_micros,
    any(e.adjustments_micros) AS adjustments_micros
FROM billing_events AS e
WHERE e.type IN ('cycle.opened', 'cycle.closed')
GROUP BY agency_id, account_id, subscription_id, period_start
COMMENT 'Billing periods; the sums are null until the period is closed';

CREATE VIEW IF NOT EXISTS high_usage_accounts AS
SELECT
    agency_id, account_id, plan, currency, period_start, period_end, included_s, billed_s, overage_s, usage_micros,
    cap_minutes, cap_spend_micros, cap_mode, access_allowed,
    if(included_s > 0, round((included_s - allowance_left_s) * 100 / included_s, 1), NULL) AS allowance_percent,
    if(cap_minutes > 0, round(billed_s * 100 / (cap_minutes * 60), 1), NULL) AS cap_percent,
    if(cap_spend_micros > 0, round(usage_micros * 100 / cap_spend_micros, 1), NULL) AS spend_percent,
    greatest(ifNull(allowance_percent, 0), ifNull(cap_percent, 0), ifNull(spend_percent, 0)) AS highest_percent,
    rank() OVER (PARTITION BY agency_id ORDER BY highest_percent DESC) AS agency_rank
FROM accounts_current
WHERE period_start IS NOT NULL
COMMENT 'How much of its allowance, of its cap on minutes and of its cap on spend each account has used in its period';
