-- Usage, always summed from the rows of rated_calls (by their projections, where those can answer). Times are UTC.
-- Seconds end in _s, millionths of the currency in _micros. Money of different currencies is never summed. Cost and
-- margin cover the calls_with_cost only, and are null where there is none.

CREATE VIEW IF NOT EXISTS usage_by_hour AS
SELECT
    toStartOfHour(c.ended_at) AS hour, c.agency_id, c.account_id, c.currency,
    count() AS calls, countIf(c.late) AS late_calls, sum(c.duration_s) AS duration_s, sum(c.billed_s) AS billed_s,
    sum(c.allowance_s) AS allowance_s, sum(c.wallet_s) AS wallet_s, sum(c.credit_s) AS credit_s,
    sum(c.credit_micros) AS credit_micros, sum(c.overage_s) AS overage_s, sum(c.written_off_s) AS written_off_s,
    sum(c.fee_micros) AS fee_micros, sum(c.amount_micros) AS amount_micros,
    count(c.margin_micros) AS calls_with_cost, sum(c.known_cost_micros) AS known_cost_micros,
    sum(c.margin_micros) AS margin_micros
FROM rated_calls AS c
GROUP BY hour, agency_id, account_id, currency
COMMENT 'Usage by hour and account';

CREATE VIEW IF NOT EXISTS usage_by_period AS
SELECT
    c.agency_id, c.account_id, c.subscription_id, c.period_start, c.currency,
    count() AS calls, countIf(c.late) AS late_calls, sum(c.duration_s) AS duration_s, sum(c.billed_s) AS billed_s,
    sum(c.allowance_s) AS allowance_s, sum(c.wallet_s) AS wallet_s, sum(c.credit_s) AS credit_s,
    sum(c.credit_micros) AS credit_micros, sum(c.overage_s) AS overage_s, sum(c.written_off_s) AS written_off_s,
    sum(c.fee_micros) AS fee_micros, sum(c.amount_micros) AS amount_micros,
    count(c.margin_micros) AS calls_with_cost, sum(c.known_cost_micros) AS known_cost_micros,
    sum(c.margin_micros) AS margin_micros
FROM rated_calls AS c
GROUP BY agency_id, account_id, subscription_id, period_start, currency
COMMENT 'Usage by account and billing period';

CREATE VIEW IF NOT EXISTS usage_by_origin AS
SELECT
    toStartOfHour(c.ended_at) AS hour, c.agency_id, c.account_id, c.campaign_id, c.agent_id, c.number, c.currency,
    count() AS calls, countIf(c.late) AS late_calls, sum(c.duration_s) AS duration_s, sum(c.billed_s) AS billed_s,
    sum(c.allowance_s) AS allowance_s, sum(c.wallet_s) AS wallet_s, sum(c.credit_s) AS credit_s,
    sum(c.credit_micros) AS credit_micros, sum(c.overage_s) AS overage_s, sum(c.written_off_s) AS written_off_s,
    sum(c.fee_micros) AS fee_micros, sum(c.amount_micros) AS amount_micros,
    count(c.margin_micros) AS calls_with_cost, sum(c.known_cost_micros) AS known_cost_micros,
    sum(c.margin_micros) AS margin_micros
FROM rated_calls AS c
GROUP BY hour, agency_id, account_id, campaign_id, agent_id, number, currency
COMMENT 'Usage by hour, account, campaign, agent and number';

CREATE VIEW IF NOT EXISTS usage_by_day AS
SELECT
    toStartOfDay(u.hour) AS day, u.agency_id, u.account_id, u.currency,
    sum(u.calls) AS calls, sum(u.late_calls) AS late_calls, sum(u.duration_s) AS duration_s,
    sum(u.billed_s) AS billed_s, sum(u.allowance_s) AS allowance_s, sum(u.wallet_s) AS wallet_s,
    sum(u.credit_s) AS credit_s, sum(u.credit_micros) AS credit_micros, sum(u.overage_s) AS overage_s,
    sum(u.written_off_s) AS written_off_s, sum(u.fee_micros) AS fee_micros, sum(u.amount_micros) AS amount_micros,
    sum(u.calls_with_cost) AS calls_with_cost, sum(u.known_cost_micros) AS known_cost_micros,
    sum(u.margin_micros) AS margin_micros
FROM usage_by_hour AS u
GROUP BY day, agency_id, account_id, currency
COMMENT 'Usage by day and account';

CREATE VIEW IF NOT EXISTS usage_by_account AS
SELECT
    u.agency_id, u.account_id, u.currency,
    sum(u.calls) AS calls, sum(u.late_calls) AS late_calls, sum(u.duration_s) AS duration_s,
    sum(u.billed_s) AS billed_s, sum(u.allowance_s) AS allowance_s, sum(u.wallet_s) AS wallet_s,
    sum(u.credit_s) AS credit_s, sum(u.credit_micros) AS credit_micros, sum(u.overage_s) AS overage_s,
    sum(u.written_off_s) AS written_off_s, sum(u.fee_micros) AS fee_micros, sum(u.amount_micros) AS amount_micros,
    sum(u.calls_with_cost) AS calls_with_cost, sum(u.known_cost_micros) AS known_cost_micros,
    sum(u.margin_micros) AS margin_micros
FROM usage_by_hour AS u
GROUP BY agency_id, account_id, currency
COMMENT 'Usage by account, of all time';

CREATE VIEW IF NOT EXISTS usage_by_agency AS
SELECT
    toStartOfDay(u.hour) AS day, u.agency_id, u.currency,
    sum(u.calls) AS calls, sum(u.late_calls) AS late_calls, sum(u.duration_s) AS duration_s,
    sum(u.billed_s) AS billed_s, sum(u.allowance_s) AS allowance_s, sum(u.wallet_s) AS wallet_s,
    sum(u.credit_s) AS credit_s, sum(u.credit_micros) AS credit_micros, sum(u.overage_s) AS overage_s,
    sum(u.written_off_s) AS written_off_s, sum(u.fee_micros) AS fee_micros, sum(u.amount_micros) AS amount_micros,
    sum(u.calls_with_cost) AS calls_with_cost, sum(u.known_cost_micros) AS known_cost_micros,
    sum(u.margin_micros) AS margin_micros
FROM usage_by_hour AS u
GROUP BY day, agency_id, currency
COMMENT 'Usage by day and agency';

CREATE VIEW IF NOT EXISTS usage_by_campaign AS
SELECT
    toStartOfDay(u.hour) AS day, u.agency_id, u.account_id, u.campaign_id, u.currency,
    sum(u.calls) AS calls, sum(u.late_calls) AS late_calls, sum(u.duration_s) AS duration_s,
    sum(u.billed_s) AS billed_s, sum(u.allowance_s) AS allowance_s, sum(u.wallet_s) AS wallet_s,
    sum(u.credit_s) AS credit_s, sum(u.credit_micros) AS credit_micros, sum(u.overage_s) AS overage_s,
    sum(u.written_off_s) AS written_off_s, sum(u.fee_micros) AS fee_micros, sum(u.amount_micros) AS amount_micros,
    sum(u.calls_with_cost) AS calls_with_cost, sum(u.known_cost_micros) AS known_cost_micros,
    sum(u.margin_micros) AS margin_micros
FROM usage_by_origin AS u
GROUP BY day, agency_id, account_id, campaign_id, currency
COMMENT 'Usage by day, account and campaign';

CREATE VIEW IF NOT EXISTS usage_by_number AS
SELECT
    toStartOfDay(u.hour) AS day, u.agency_id, u.account_id, u.number, u.currency,
    sum(u.calls) AS calls, sum(u.late_calls) AS late_calls, sum(u.duration_s) AS duration_s,
    sum(u.billed_s) AS billed_s, sum(u.allowance_s) AS allowance_s, sum(u.wallet_s) AS wallet_s,
    sum(u.credit_s) AS credit_s, sum(u.credit_micros) AS credit_micros, sum(u.overage_s) AS overage_s,
    sum(u.written_off_s) AS written_off_s, sum(u.fee_micros) AS fee_micros, sum(u.amount_micros) AS amount_micros,
    sum(u.calls_with_cost) AS calls_with_cost, sum(u.known_cost_micros) AS known_cost_micros,
    sum(u.margin_micros) AS margin_micros
FROM usage_by_origin AS u
GROUP BY day, agency_id, account_id, number, currency
COMMENT 'Usage by day, account and number';

CREATE VIEW IF NOT EXISTS usage_by_agent AS
SELECT
    toStartOfDay(u.hour) AS day, u.agency_id, u.account_id, u.agent_id, u.currency,
    sum(u.calls) AS calls, sum(u.late_calls) AS late_calls, sum(u.duration_s) AS duration_s,
    sum(u.billed_s) AS billed_s, sum(u.allowance_s) AS allowance_s, sum(u.wallet_s) AS wallet_s,
    sum(u.credit_s) AS credit_s, sum(u.credit_micros) AS credit_micros, sum(u.overage_s) AS overage_s,
    sum(u.written_off_s) AS written_off_s, sum(u.fee_micros) AS fee_micros, sum(u.amount_micros) AS amount_micros,
    sum(u.calls_with_cost) AS calls_with_cost, sum(u.known_cost_micros) AS known_cost_micros,
    sum(u.margin_micros) AS margin_micros
FROM usage_by_origin AS u
GROUP BY day, agency_id, account_id, agent_id, currency
COMMENT 'Usage by day, account and agent';
