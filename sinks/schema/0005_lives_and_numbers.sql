-- The life of a subscription, rented numbers, lines that wait.
ALTER TABLE billing_events
    MODIFY COLUMN type LowCardinality(String)
        COMMENT 'cycle.opened, cycle.closed, pack.credited, wallet.adjusted, usage.adjusted, subscription.status_changed, subscription.changed, number.rented, number.released';

ALTER TABLE billing_events
    MODIFY COLUMN status LowCardinality(String)
        COMMENT 'trialing, active, paused, canceled; subscription.status_changed, and cycle.opened: as the period opened';

ALTER TABLE billing_events
    MODIFY COLUMN price_micros Nullable(Int64)
        COMMENT 'millionths of the currency; charged for the period, of the pack, or of the number a period';

ALTER TABLE billing_events
    ADD COLUMN IF NOT EXISTS lines_micros Nullable(Int64)
        COMMENT 'millionths of the currency; cycle.closed: numbers, and what waited' AFTER adjustments_micros,
    ADD COLUMN IF NOT EXISTS previous_plan LowCardinality(String) COMMENT 'subscription.changed' AFTER previous,
    ADD COLUMN IF NOT EXISTS change LowCardinality(String)
        COMMENT 'subscription.changed: now, next_period' AFTER previous_plan,
    ADD COLUMN IF NOT EXISTS number String COMMENT 'number.rented, number.released' AFTER change,
    ADD COLUMN IF NOT EXISTS label String COMMENT 'of the number; empty: none' AFTER number,
    ADD COLUMN IF NOT EXISTS rented_at Nullable(DateTime64(6, 'UTC')) COMMENT 'of the number' AFTER label,
    ADD COLUMN IF NOT EXISTS numbers Nullable(Int64) COMMENT 'how many the account then has' AFTER rented_at;

ALTER TABLE accounts
    MODIFY COLUMN status LowCardinality(String) COMMENT 'trialing, active, paused, canceled';

ALTER TABLE accounts
    ADD COLUMN IF NOT EXISTS numbers Int64 COMMENT 'rented now',
    ADD COLUMN IF NOT EXISTS waiting_micros Int64
        COMMENT 'millionths of the currency; lines for the next request, negative: a credit';

-- Made anew: a view keeps the columns that its table had when it was made.
CREATE OR REPLACE VIEW accounts_current AS
SELECT * EXCEPT (kafka_partition, kafka_offset)
FROM accounts FINAL
COMMENT 'State of every account';

CREATE VIEW IF NOT EXISTS numbers AS
SELECT
    agency_id, account_id, number, assumeNotNull(e.rented_at) AS rented_at,
    minIfOrNull(e.at, e.type = 'number.released') AS released_at,
    any(e.label) AS label, any(assumeNotNull(e.price_micros)) AS price_micros, any(e.currency) AS currency
FROM billing_events AS e
WHERE e.type IN ('number.rented', 'number.released')
GROUP BY agency_id, account_id, number, rented_at
COMMENT 'Every rental of a number; released_at is null while it is rented, price_micros is of a period';

CREATE VIEW IF NOT EXISTS campaigns AS
SELECT
    agency_id, account_id, campaign_id, currency, min(day) AS first_day, max(day) AS last_day,
    sum(u.calls) AS calls, sum(u.duration_s) AS duration_s, sum(u.billed_s) AS billed_s,
    sum(u.overage_s) AS overage_s, sum(u.amount_micros) AS amount_micros,
    sum(u.calls_with_cost) AS calls_with_cost, sum(u.known_cost_micros) AS known_cost_micros,
    sum(u.margin_micros) AS margin_micros
FROM usage_by_campaign AS u
WHERE campaign_id != ''
GROUP BY agency_id, account_id, campaign_id, currency
COMMENT 'Every campaign that ever had a call, with its usage'
