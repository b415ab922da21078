-- Nearly every question is about one agency, and about days: so sums are kept by day, the agency first. Sums by hour are
-- those by origin, agency first too, and answer usage_by_hour.
ALTER TABLE rated_calls DROP PROJECTION IF EXISTS hourly_by_account;

ALTER TABLE rated_calls ADD PROJECTION IF NOT EXISTS daily_by_account
(
    SELECT
        agency_id, toStartOfDay(ended_at), account_id, subscription_id, period_start, currency,
        sum(weight), sumIf(weight, late), sum(duration_s), sum(billed_s), sum(allowance_s), sum(wallet_s),
        sum(credit_s), sum(credit_micros), sum(overage_s), sum(written_off_s), sum(fee_micros), sum(amount_micros),
        sumIf(weight, isNotNull(margin_micros)), sum(known_cost_micros), sum(margin_micros)
    GROUP BY agency_id, toStartOfDay(ended_at), account_id, subscription_id, period_start, currency
);

ALTER TABLE rated_calls DROP PROJECTION IF EXISTS hourly_by_origin;

ALTER TABLE rated_calls ADD PROJECTION IF NOT EXISTS hourly_by_origin
(
    SELECT
        agency_id, toStartOfHour(ended_at), account_id, campaign_id, agent_id, number, currency,
        sum(weight), sumIf(weight, late), sum(duration_s), sum(billed_s), sum(allowance_s), sum(wallet_s),
        sum(credit_s), sum(credit_micros), sum(overage_s), sum(written_off_s), sum(fee_micros), sum(amount_micros),
        sumIf(weight, isNotNull(margin_micros)), sum(known_cost_micros), sum(margin_micros)
    GROUP BY agency_id, toStartOfHour(ended_at), account_id, campaign_id, agent_id, number, currency
);

ALTER TABLE rated_calls MATERIALIZE PROJECTION daily_by_account;

ALTER TABLE rated_calls MATERIALIZE PROJECTION hourly_by_origin;

CREATE OR REPLACE VIEW usage_by_day AS
SELECT
    toStartOfDay(c.ended_at) AS day, c.agency_id, c.account_id, c.currency,
    sum(c.weight) AS calls, sumIf(c.weight, c.late) AS late_calls, sum(c.duration_s) AS duration_s,
    sum(c.billed_s) AS billed_s, sum(c.allowance_s) AS allowance_s, sum(c.wallet_s) AS wallet_s,
    sum(c.credit_s) AS credit_s, sum(c.credit_micros) AS credit_micros, sum(c.overage_s) AS overage_s,
    sum(c.written_off_s) AS written_off_s, sum(c.fee_micros) AS fee_micros, sum(c.amount_micros) AS amount_micros,
    sumIf(c.weight, isNotNull(c.margin_micros)) AS calls_with_cost, sum(c.known_cost_micros) AS known_cost_micros,
    sum(c.margin_micros) AS margin_micros
FROM rated_calls AS c
GROUP BY day, agency_id, account_id, currency
COMMENT 'Usage by day and account';

CREATE OR REPLACE VIEW usage_by_account AS
SELECT
    c.agency_id, c.account_id, c.currency,
    sum(c.weight) AS calls, sumIf(c.weight, c.late) AS late_calls, sum(c.duration_s) AS duration_s,
    sum(c.billed_s) AS billed_s, sum(c.allowance_s) AS allowance_s, sum(c.wallet_s) AS wallet_s,
    sum(c.credit_s) AS credit_s, sum(c.credit_micros) AS credit_micros, sum(c.overage_s) AS overage_s,
    sum(c.written_off_s) AS written_off_s, sum(c.fee_micros) AS fee_micros, sum(c.amount_micros) AS amount_micros,
    sumIf(c.weight, isNotNull(c.margin_micros)) AS calls_with_cost, sum(c.known_cost_micros) AS known_cost_micros,
    sum(c.margin_micros) AS margin_micros
FROM rated_calls AS c
GROUP BY agency_id, account_id, currency
COMMENT 'Usage by account, of all time';

CREATE OR REPLACE VIEW usage_by_agency AS
SELECT
    toStartOfDay(c.ended_at) AS day, c.agency_id, c.currency,
    sum(c.weight) AS calls, sumIf(c.weight, c.late) AS late_calls, sum(c.duration_s) AS duration_s,
    sum(c.billed_s) AS billed_s, sum(c.allowance_s) AS allowance_s, sum(c.wallet_s) AS wallet_s,
    sum(c.credit_s) AS credit_s, sum(c.credit_micros) AS credit_micros, sum(c.overage_s) AS overage_s,
    sum(c.written_off_s) AS written_off_s, sum(c.fee_micros) AS fee_micros, sum(c.amount_micros) AS amount_micros,
    sumIf(c.weight, isNotNull(c.margin_micros)) AS calls_with_cost, sum(c.known_cost_micros) AS known_cost_micros,
    sum(c.margin_micros) AS margin_micros
FROM rated_calls AS c
GROUP BY day, agency_id, currency
COMMENT 'Usage by day and agency';
