-- What a call cost the agency, and what was earned with it.
ALTER TABLE rated_calls
    ADD COLUMN IF NOT EXISTS cost_source LowCardinality(String)
        COMMENT 'where cost_micros is from, of agencies with wholesale terms: wholesale, reported; empty: no such terms',
    ADD COLUMN IF NOT EXISTS wholesale_billed_s Nullable(Int64) COMMENT 'seconds billed by the wholesale terms',
    ADD COLUMN IF NOT EXISTS wholesale_rate_micros_per_minute Nullable(Int64)
        COMMENT 'millionths of the cost currency a minute; null: no wholesale terms, or no rate for the call',
    ADD COLUMN IF NOT EXISTS wholesale_rate_prefix LowCardinality(String)
        COMMENT 'prefix of the row of the wholesale card; empty: its row for any number, or none';

-- Profit is amount minus cost, of the calls whose cost is known in the currency; null where there is none.
CREATE VIEW IF NOT EXISTS profit_by_call AS
SELECT
    c.ended_at, c.agency_id, c.account_id, c.call_id, c.campaign_id, c.agent_id, c.direction, c.to_number,
    if(c.rate_prefix != '', c.rate_prefix, c.wholesale_rate_prefix) AS destination, c.billed_s,
    c.rate_micros_per_minute, c.wholesale_billed_s, c.wholesale_rate_micros_per_minute, c.cost_source, c.currency,
    c.amount_micros, c.known_cost_micros, c.margin_micros AS profit_micros
FROM rated_calls AS c
COMMENT 'Profit of every call';

CREATE VIEW IF NOT EXISTS profit AS
SELECT
    toStartOfDay(c.ended_at) AS day, c.agency_id, c.account_id, c.campaign_id, c.agent_id,
    if(c.rate_prefix != '', c.rate_prefix, c.wholesale_rate_prefix) AS destination, c.currency,
    count() AS calls, sum(c.billed_s) AS billed_s, sum(c.wholesale_billed_s) AS wholesale_billed_s,
    sum(c.amount_micros) AS amount_micros, count(c.margin_micros) AS calls_with_cost,
    sum(c.known_cost_micros) AS known_cost_micros, sum(c.margin_micros) AS profit_micros
FROM rated_calls AS c
GROUP BY day, agency_id, account_id, campaign_id, agent_id, destination, currency
COMMENT 'Profit by day, account, campaign, agent and destination';
