-- Corrections are rows of their own: one that takes a rating back (all amounts negated), one that takes its place. So
-- sums need nothing; only counts of calls weigh a row that takes back as -1.
ALTER TABLE rated_calls
    ADD COLUMN IF NOT EXISTS correction LowCardinality(String)
        COMMENT 'refund: takes an earlier rating back, all amounts are negated; rerated: takes its place; empty: none',
    ADD COLUMN IF NOT EXISTS fact_id String COMMENT 'of the correction; empty: none';

ALTER TABLE rated_calls
    ADD COLUMN IF NOT EXISTS weight Int8 MATERIALIZED if(correction = 'refund', -1, 1)
        COMMENT 'what the row adds to the number of calls: -1 where it takes a call back';

ALTER TABLE billing_events
    ADD COLUMN IF NOT EXISTS correction LowCardinality(String) COMMENT 'usage.corrected: refund, rerated' AFTER call_id;

ALTER TABLE billing_events
    MODIFY COLUMN call_id String COMMENT 'usage.adjusted, usage.corrected';

ALTER TABLE billing_events
    MODIFY COLUMN amount_micros Nullable(Int64)
        COMMENT 'millionths of the currency; usage.adjusted, usage.corrected';

ALTER TABLE rated_calls DROP PROJECTION IF EXISTS hourly_by_account;

ALTER TABLE rated_calls ADD PROJECTION IF NOT EXISTS hourly_by_account
(
    SELECT
        toStartOfHour(ended_at), agency_id, account_id, subscription_id, period_start, currency,
        sum(weight), sumIf(weight, late), sum(duration_s), sum(billed_s), sum(allowance_s), sum(wallet_s),
        sum(credit_s), sum(credit_micros), sum(overage_s), sum(written_off_s), sum(fee_micros), sum(amount_micros),
        sumIf(weight, isNotNull(margin_micros)), sum(known_cost_micros), sum(margin_micros)
    GROUP BY toStartOfHour(ended_at), agency_id, account_id, subscription_id, period_start, currency
);

ALTER TABLE rated_calls DROP PROJECTION IF EXISTS hourly_by_origin;

ALTER TABLE rated_calls ADD PROJECTION IF NOT EXISTS hourly_by_origin
(
    SELECT
        toStartOfHour(ended_at), agency_id, account_id, campaign_id, agent_id, number, currency,
        sum(weight), sumIf(weight, late), sum(duration_s), sum(billed_s), sum(allowance_s), sum(wallet_s),
        sum(credit_s), sum(credit_micros), sum(overage_s), sum(written_off_s), sum(fee_micros), sum(amount_micros),
        sumIf(weight, isNotNull(margin_micros)), sum(known_cost_micros), sum(margin_micros)
    GROUP BY toStartOfHour(ended_at), agency_id, account_id, campaign_id, agent_id, number, currency
);

ALTER TABLE rated_calls MATERIALIZE PROJECTION hourly_by_account;

ALTER TABLE rated_calls MATERIALIZE PROJECTION hourly_by_origin;

CREATE OR REPLACE VIEW usage_by_hour AS
SELECT
    toStartOfHour(c.ended_at) AS hour, c.agency_id, c.account_id, c.currency,
    sum(c.weight) AS calls, sumIf(c.weight, c.late) AS late_calls, sum(c.duration_s) AS duration_s,
    sum(c.billed_s) AS billed_s, sum(c.allowance_s) AS allowance_s, sum(c.wallet_s) AS wallet_s,
    sum(c.credit_s) AS credit_s, sum(c.credit_micros) AS credit_micros, sum(c.overage_s) AS overage_s,
    sum(c.written_off_s) AS written_off_s, sum(c.fee_micros) AS fee_micros, sum(c.amount_micros) AS amount_micros,
    sumIf(c.weight, isNotNull(c.margin_micros)) AS calls_with_cost, sum(c.known_cost_micros) AS known_cost_micros,
    sum(c.margin_micros) AS margin_micros
FROM rated_calls AS c
GROUP BY hour, agency_id, account_id, currency
COMMENT 'Usage by hour and account';

CREATE OR REPLACE VIEW usage_by_period AS
SELECT
    c.agency_id, c.account_id, c.subscription_id, c.period_start, c.currency,
    sum(c.weight) AS calls, sumIf(c.weight, c.late) AS late_calls, sum(c.duration_s) AS duration_s,
    sum(c.billed_s) AS billed_s, sum(c.allowance_s) AS allowance_s, sum(c.wallet_s) AS wallet_s,
    sum(c.credit_s) AS credit_s, sum(c.credit_micros) AS credit_micros, sum(c.overage_s) AS overage_s,
    sum(c.written_off_s) AS written_off_s, sum(c.fee_micros) AS fee_micros, sum(c.amount_micros) AS amount_micros,
    sumIf(c.weight, isNotNull(c.margin_micros)) AS calls_with_cost, sum(c.known_cost_micros) AS known_cost_micros,
    sum(c.margin_micros) AS margin_micros
FROM rated_calls AS c
GROUP BY agency_id, account_id, subscription_id, period_start, currency
COMMENT 'Usage by account and billing period';

CREATE OR REPLACE VIEW usage_by_origin AS
SELECT
    toStartOfHour(c.ended_at) AS hour, c.agency_id, c.account_id, c.campaign_id, c.agent_id, c.number, c.currency,
    sum(c.weight) AS calls, sumIf(c.weight, c.late) AS late_calls, sum(c.duration_s) AS duration_s,
    sum(c.billed_s) AS billed_s, sum(c.allowance_s) AS allowance_s, sum(c.wallet_s) AS wallet_s,
    sum(c.credit_s) AS credit_s, sum(c.credit_micros) AS credit_micros, sum(c.overage_s) AS overage_s,
    sum(c.written_off_s) AS written_off_s, sum(c.fee_micros) AS fee_micros, sum(c.amount_micros) AS amount_micros,
    sumIf(c.weight, isNotNull(c.margin_micros)) AS calls_with_cost, sum(c.known_cost_micros) AS known_cost_micros,
    sum(c.margin_micros) AS margin_micros
FROM rated_calls AS c
GROUP BY hour, agency_id, account_id, campaign_id, agent_id, number, currency
COMMENT 'Usage by hour, account, campaign, agent and number';
