-- The life of payment requests, credit notes and refunds, and what unpaid ones do to accounts.
ALTER TABLE payment_requests
    MODIFY COLUMN kind LowCardinality(String)
        COMMENT 'cycle, usage, pack, one_time; credit_note, refund: documents that correct another one';

ALTER TABLE payment_requests
    MODIFY COLUMN total_micros Int64
        COMMENT 'millionths of the currency, whole minor units; subtotal + rounding + tax, without a tax that is included; negative: a document that corrects';

ALTER TABLE payment_requests
    MODIFY COLUMN reference String COMMENT 'of the latest change, such as a wire; empty: none';

ALTER TABLE payment_requests
    MODIFY COLUMN note String COMMENT 'of the latest change; empty: none';

-- Rows from before have no credit notes and no tax.
ALTER TABLE payment_requests
    ADD COLUMN IF NOT EXISTS number String COMMENT 'year and number, without gaps in an agency and year; empty: not yet',
    ADD COLUMN IF NOT EXISTS actor LowCardinality(String) COMMENT 'who made the latest change; empty: not told',
    ADD COLUMN IF NOT EXISTS overdue_at Nullable(DateTime64(6, 'UTC')) COMMENT 'the tick that found it due and not paid',
    ADD COLUMN IF NOT EXISTS tax_included Bool COMMENT 'the tax is in the total, not on top of it',
    ADD COLUMN IF NOT EXISTS credited_micros Int64 COMMENT 'millionths of the currency; what credit notes take away',
    ADD COLUMN IF NOT EXISTS left_micros Int64 DEFAULT if(status IN ('pending', 'overdue', 'failed'), total_micros, 0)
        COMMENT 'millionths of the currency; still to be paid. Sums to what is outstanding',
    ADD COLUMN IF NOT EXISTS paid_micros Int64 DEFAULT if(status = 'paid', total_micros, 0)
        COMMENT 'millionths of the currency; paid, negative of a refund. Sums to what came in',
    ADD COLUMN IF NOT EXISTS corrects String COMMENT 'the payment request that this document corrects; empty: none';

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

ALTER TABLE billing_events
    MODIFY COLUMN type LowCardinality(String)
        COMMENT 'cycle.opened, cycle.closed, pack.credited, one_time.charged, wallet.adjusted, usage.adjusted, usage.corrected, subscription.status_changed, subscription.changed, number.rented, number.released, agency.cycle_opened, agency.cycle_closed';

ALTER TABLE billing_events
    MODIFY COLUMN status LowCardinality(String)
        COMMENT 'trialing, active, paused, past_due, blocked, canceled; subscription.status_changed, and cycle.opened: as the period opened';

ALTER TABLE billing_events
    ADD COLUMN IF NOT EXISTS description String COMMENT 'one_time.charged',
    ADD COLUMN IF NOT EXISTS banner String COMMENT 'subscription.status_changed: what the account is told; empty: nothing';

ALTER TABLE accounts
    MODIFY COLUMN status LowCardinality(String) COMMENT 'trialing, active, paused, past_due, blocked, canceled';

ALTER TABLE accounts
    ADD COLUMN IF NOT EXISTS banner String COMMENT 'what the people of the account are told; empty: nothing';

CREATE OR REPLACE VIEW accounts_current AS
SELECT * EXCEPT (kafka_partition, kafka_offset)
FROM accounts FINAL
COMMENT 'State of every account';
