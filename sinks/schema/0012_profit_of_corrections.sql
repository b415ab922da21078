-- A rating that was taken back is a row, too, and counts as -1 call.
CREATE OR REPLACE VIEW profit AS
SELECT
    toStartOfDay(c.ended_at) AS day, c.agency_id, c.account_id, c.campaign_id, c.agent_id,
    if(c.rate_prefix != '', c.rate_prefix, c.wholesale_rate_prefix) AS destination, c.currency,
    sum(c.weight) AS calls, sum(c.billed_s) AS billed_s, sum(c.wholesale_billed_s) AS wholesale_billed_s,
    sum(c.amount_micros) AS amount_micros, sumIf(c.weight, isNotNull(c.margin_micros)) AS calls_with_cost,
    sum(c.known_cost_micros) AS known_cost_micros, sum(c.margin_micros) AS profit_micros
FROM rated_calls AS c
GROUP BY day, agency_id, account_id, campaign_id, agent_id, destination, currency
COMMENT 'Profit by day, account, campaign, agent and destination';
