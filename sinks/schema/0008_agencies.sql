CREATE TABLE IF NOT EXISTS agency_totals
(
    kafka_partition Int32 COMMENT 'partition of agency-ledger',
    kafka_offset Int64 COMMENT 'offset in that partition; the largest one of an agency, period and currency is its state',
    agency_id LowCardinality(String),
    period_start DateTime64(6, 'UTC') COMMENT 'of the agency''s period',
    period_end DateTime64(6, 'UTC'),
    currency LowCardinality(String) COMMENT 'of the accounts whose calls these are',
    closed Bool COMMENT 'nothing is added any more',
    calls Int64,
    late_calls Int64 COMMENT 'of calls: those whose own period was closed',
    billed_s Int64 COMMENT 'seconds',
    amount_micros Int64 COMMENT 'millionths of the currency: overage and fees of its accounts',
    cost_micros Int64 COMMENT 'millionths of the currency, of the calls whose cost is known in it',
    margin_micros Int64 COMMENT 'millionths of the currency, of the same calls: amount minus cost'
)
ENGINE = ReplacingMergeTree(kafka_offset)
PARTITION BY kafka_partition
ORDER BY (agency_id, period_start, currency)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1
COMMENT 'Totals of every agency, period and currency, by the second fold; agency_totals_current never shows older states';

CREATE VIEW IF NOT EXISTS agency_totals_current AS
SELECT * EXCEPT (kafka_partition, kafka_offset)
FROM agency_totals FINAL
COMMENT 'Totals of every agency, period and currency';

ALTER TABLE alerts
    ADD COLUMN IF NOT EXISTS cap String COMMENT 'name of the cap; empty: the cap of terms or of cap.set, or another type of alert',
    ADD COLUMN IF NOT EXISTS cap_on LowCardinality(String) COMMENT 'minutes, spend, cost, margin, wallet',
    ADD COLUMN IF NOT EXISTS cap_per LowCardinality(String) COMMENT 'period, day',
    ADD COLUMN IF NOT EXISTS cap_mode LowCardinality(String) COMMENT 'hard, soft',
    ADD COLUMN IF NOT EXISTS day_start Nullable(DateTime64(6, 'UTC')) COMMENT 'of a cap per day',
    ADD COLUMN IF NOT EXISTS currency LowCardinality(String) COMMENT 'of a cap of an agency on money'
