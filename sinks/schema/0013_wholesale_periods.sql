-- What the platform asks agencies for, period by period. Their requests have no account.
ALTER TABLE billing_events
    MODIFY COLUMN type LowCardinality(String)
        COMMENT 'cycle.opened, cycle.closed, pack.credited, wallet.adjusted, usage.adjusted, usage.corrected, subscription.status_changed, subscription.changed, number.rented, number.released, agency.cycle_opened, agency.cycle_closed';

ALTER TABLE billing_events
    MODIFY COLUMN account_id String COMMENT 'empty: of an agency as a whole';

ALTER TABLE billing_events
    MODIFY COLUMN source_offset Int64 COMMENT 'offset of the fact in account-events; of agency.* in agency-events';

ALTER TABLE billing_events
    ADD COLUMN IF NOT EXISTS cost_micros Nullable(Int64)
        COMMENT 'millionths of the currency; agency.cycle_closed: calls by the wholesale terms' AFTER usage_micros,
    ADD COLUMN IF NOT EXISTS reported_calls Nullable(Int64)
        COMMENT 'agency.cycle_closed: calls whose reported cost counts' AFTER cost_micros,
    ADD COLUMN IF NOT EXISTS reported_micros Nullable(Int64)
        COMMENT 'millionths of the currency; agency.cycle_closed: what was reported with them' AFTER reported_calls,
    ADD COLUMN IF NOT EXISTS included_used_s Nullable(Int64)
        COMMENT 'seconds; agency.cycle_closed: of billed_s, those that the price includes' AFTER included_s,
    ADD COLUMN IF NOT EXISTS included_micros Nullable(Int64)
        COMMENT 'millionths of the currency; agency.cycle_closed: credited for them' AFTER included_used_s;

ALTER TABLE payment_requests
    MODIFY COLUMN account_id String COMMENT 'empty: the platform asks the agency';

ALTER TABLE payment_requests
    MODIFY COLUMN source_offset Int64 COMMENT 'offset of the fact in account-events; of an agency in agency-events';

CREATE OR REPLACE VIEW payment_requests_current AS
SELECT * EXCEPT (kafka_partition, kafka_offset)
FROM payment_requests
WHERE account_id != '' AND (account_id, payment_request_id, kafka_offset) IN
(
    SELECT account_id, payment_request_id, max(kafka_offset)
    FROM payment_requests
    GROUP BY account_id, payment_request_id
)
COMMENT 'Latest state of every payment request of an account';

CREATE VIEW IF NOT EXISTS agency_requests_current AS
SELECT * EXCEPT (kafka_partition, kafka_offset, account_id, subscription_id)
FROM payment_requests
WHERE account_id = '' AND (payment_request_id, kafka_offset) IN
(
    SELECT payment_request_id, max(kafka_offset) FROM payment_requests WHERE account_id = '' GROUP BY payment_request_id
)
COMMENT 'Latest state of every payment request of the platform to an agency';

CREATE VIEW IF NOT EXISTS wholesale_periods AS
SELECT
    agency_id, assumeNotNull(e.period_start) AS period_start, any(assumeNotNull(e.period_end)) AS period_end,
    any(e.currency) AS currency, countIf(e.type = 'agency.cycle_closed') > 0 AS closed,
    any(e.included_s) AS included_s, any(e.price_micros) AS price_micros, any(e.calls) AS calls,
    any(e.billed_s) AS billed_s, any(e.cost_micros) AS cost_micros, any(e.reported_calls) AS reported_calls,
    any(e.reported_micros) AS reported_micros, any(e.usage_micros) AS usage_micros,
    any(e.included_used_s) AS included_used_s, any(e.included_micros) AS included_micros,
    any(e.lines_micros) AS lines_micros
FROM billing_events AS e
WHERE e.type IN ('agency.cycle_opened', 'agency.cycle_closed')
GROUP BY agency_id, period_start
COMMENT 'Wholesale periods of every agency; the sums are null until the period is closed';
