-- Disputes: documents about payment requests that ask for nothing, and alerts of them.
ALTER TABLE payment_requests
    MODIFY COLUMN kind LowCardinality(String)
        COMMENT 'cycle, usage, pack, one_time; credit_note, refund, dispute: documents about another one';

ALTER TABLE payment_requests
    MODIFY COLUMN status LowCardinality(String)
        COMMENT 'pending, paid, overdue, failed, canceled; of a dispute opened, won, lost';

ALTER TABLE payment_requests
    MODIFY COLUMN corrects String COMMENT 'the payment request that this document corrects, or disputes; empty: none';

ALTER TABLE payment_requests
    ADD COLUMN IF NOT EXISTS disputed_micros Int64
        COMMENT 'millionths of the currency; of a dispute, what the payer''s bank wants back. What is lost is a refund, too';

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

CREATE OR REPLACE VIEW agency_requests_current AS
SELECT * EXCEPT (kafka_partition, kafka_offset, account_id, subscription_id)
FROM payment_requests
WHERE account_id = '' AND (payment_request_id, kafka_offset) IN
(
    SELECT payment_request_id, max(kafka_offset) FROM payment_requests WHERE account_id = '' GROUP BY payment_request_id
)
COMMENT 'Latest state of every payment request of the platform to an agency';

ALTER TABLE alerts
    MODIFY COLUMN type LowCardinality(String)
        COMMENT 'allowance, cap, spend, wallet_low, stuck_call, unusual_usage, forecast_overage, dispute';

ALTER TABLE alerts
    MODIFY COLUMN period_start DateTime64(6, 'UTC') COMMENT 'dispute: when it was told first';

ALTER TABLE alerts
    MODIFY COLUMN used Int64
        COMMENT 'seconds of an allowance, a cap on minutes, a call, an hour or a forecast; millionths of the currency of a cap on spend, or of a dispute';

ALTER TABLE alerts
    MODIFY COLUMN limit_value Int64
        COMMENT 'what used is a part of, in the same unit; dispute: what was paid';

ALTER TABLE alerts
    MODIFY COLUMN currency LowCardinality(String) COMMENT 'of a cap of an agency on money, or of a dispute';

ALTER TABLE alerts
    ADD COLUMN IF NOT EXISTS payment_request_id String COMMENT 'dispute: of the payment request',
    ADD COLUMN IF NOT EXISTS dispute_id String COMMENT 'dispute: the gateway''s';
