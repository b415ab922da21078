-- The other topics, one table each. As in rated_calls, the largest kafka_offset of a partition is where the sink goes on.
CREATE TABLE IF NOT EXISTS billing_events
(
    kafka_partition Int32 COMMENT 'partition of billing-events',
    kafka_offset Int64 COMMENT 'offset in that partition',
    type LowCardinality(String)
        COMMENT 'cycle.opened, cycle.closed, pack.credited, wallet.adjusted, usage.adjusted, subscription.status_changed',
    agency_id LowCardinality(String),
    account_id String,
    subscription_id String,
    at DateTime64(6, 'UTC') COMMENT 'time of the fact that caused it',
    period_start Nullable(DateTime64(6, 'UTC')) COMMENT 'of cycles; of usage.adjusted: of the closed period',
    period_end Nullable(DateTime64(6, 'UTC')) COMMENT 'of cycles',
    plan LowCardinality(String) COMMENT 'of cycles',
    currency LowCardinality(String) COMMENT 'empty: no money is involved',
    due_at Nullable(DateTime64(6, 'UTC')) COMMENT 'when what is asked for this is due',
    grace_ends_at Nullable(DateTime64(6, 'UTC')),
    included_s Nullable(Int64) COMMENT 'seconds; cycle.opened',
    price_micros Nullable(Int64) COMMENT 'millionths of the currency; of the period or of the pack',
    calls Nullable(Int64) COMMENT 'cycle.closed: rated calls of the period',
    late_calls Nullable(Int64) COMMENT 'cycle.closed: how many of them came late',
    billed_s Nullable(Int64) COMMENT 'seconds; cycle.closed and usage.adjusted',
    allowance_s Nullable(Int64) COMMENT 'seconds; cycle.closed',
    wallet_s Nullable(Int64) COMMENT 'seconds; cycle.closed',
    credit_micros Nullable(Int64) COMMENT 'millionths of the currency; drawn (cycle.closed) or added (packs, adjustments)',
    overage_s Nullable(Int64) COMMENT 'seconds; cycle.closed',
    written_off_s Nullable(Int64) COMMENT 'seconds; cycle.closed',
    overage_micros Nullable(Int64) COMMENT 'millionths of the currency; cycle.closed',
    fee_micros Nullable(Int64) COMMENT 'millionths of the currency; cycle.closed',
    usage_micros Nullable(Int64) COMMENT 'millionths of the currency; cycle.closed: overage and fees',
    adjustments_micros Nullable(Int64) COMMENT 'millionths of the currency; cycle.closed: late calls of earlier periods',
    overage_micros_per_minute Nullable(Int64) COMMENT 'millionths of the currency; cycle.closed',
    connection_fee_micros Nullable(Int64) COMMENT 'millionths of the currency a call; cycle.closed',
    fact_id String COMMENT 'of packs and adjustments; empty otherwise',
    pack LowCardinality(String) COMMENT 'pack.credited',
    minutes Nullable(Int64) COMMENT 'minutes added to the wallet',
    wallet_left_s Nullable(Int64) COMMENT 'seconds after it',
    credit_left_micros Nullable(Int64) COMMENT 'millionths of the currency after it',
    call_id String COMMENT 'usage.adjusted',
    amount_micros Nullable(Int64) COMMENT 'millionths of the currency; usage.adjusted',
    at_once Nullable(Bool) COMMENT 'usage.adjusted: asked for at once, no period is open',
    status LowCardinality(String) COMMENT 'subscription.status_changed: active, canceled',
    previous LowCardinality(String) COMMENT 'subscription.status_changed: the status before',
    reason String COMMENT 'wallet.adjusted',
    source_partition Int32 COMMENT 'partition of account-events',
    source_offset Int64 COMMENT 'offset of the fact in account-events',
    PROJECTION position (SELECT kafka_partition, maxOrNull(kafka_offset) GROUP BY kafka_partition)
)
ENGINE = MergeTree
PARTITION BY kafka_partition
ORDER BY (agency_id, account_id, at)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1
COMMENT 'Cycles, packs, adjustments and changes of status, as they happened';

CREATE TABLE IF NOT EXISTS payment_requests
(
    kafka_partition Int32 COMMENT 'partition of payment-requests',
    kafka_offset Int64 COMMENT 'offset in that partition; the largest one of an id is its latest state',
    payment_request_id String,
    kind LowCardinality(String) COMMENT 'cycle, usage, pack, one_time',
    status LowCardinality(String) COMMENT 'pending, paid, overdue, failed, canceled',
    agency_id LowCardinality(String),
    account_id String,
    subscription_id String COMMENT 'empty: none',
    period_start Nullable(DateTime64(6, 'UTC')),
    period_end Nullable(DateTime64(6, 'UTC')),
    currency LowCardinality(String),
    subtotal_micros Int64 COMMENT 'millionths of the currency; sum of the lines',
    rounding_micros Int64 COMMENT 'millionths of the currency; to the minor unit',
    tax_micros Int64 COMMENT 'millionths of the currency',
    total_micros Int64 COMMENT 'millionths of the currency, whole minor units; subtotal + rounding + tax',
    due_at DateTime64(6, 'UTC'),
    grace_ends_at DateTime64(6, 'UTC'),
    gateway LowCardinality(String),
    external_id String COMMENT 'id at the gateway; empty: none',
    reference String COMMENT 'of the payment, such as a wire; empty: none',
    note String COMMENT 'empty: none',
    created_at DateTime64(6, 'UTC'),
    updated_at DateTime64(6, 'UTC') COMMENT 'time of the fact that made this state',
    paid_at Nullable(DateTime64(6, 'UTC')),
    `lines.line_id` Array(String),
    `lines.kind` Array(LowCardinality(String)),
    `lines.description` Array(String),
    `lines.quantity` Array(Int64) COMMENT 'in the unit of the line',
    `lines.unit` Array(LowCardinality(String)),
    `lines.unit_price_micros` Array(Int64) COMMENT 'millionths of the currency',
    `lines.amount_micros` Array(Int64) COMMENT 'millionths of the currency',
    source_partition Int32 COMMENT 'partition of account-events',
    source_offset Int64 COMMENT 'offset of the fact in account-events',
    PROJECTION position (SELECT kafka_partition, maxOrNull(kafka_offset) GROUP BY kafka_partition)
)
ENGINE = MergeTree
PARTITION BY kafka_partition
ORDER BY (agency_id, account_id, payment_request_id)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1
COMMENT 'Payment requests in every state they were in; payment_requests_current has the latest';

CREATE TABLE IF NOT EXISTS alerts
(
    kafka_partition Int32 COMMENT 'partition of alerts',
    kafka_offset Int64 COMMENT 'offset in that partition',
    alert_id String,
    type LowCardinality(String) COMMENT 'allowance, cap, spend, wallet_low',
    level Int64 COMMENT 'percent',
    agency_id LowCardinality(String),
    account_id String,
    subscription_id String,
    period_start DateTime64(6, 'UTC'),
    at DateTime64(6, 'UTC'),
    used Int64 COMMENT 'seconds of an allowance or of a cap on minutes; millionths of the currency of a cap on spend',
    limit_value Int64 COMMENT 'what used is a part of, in the same unit',
    source_partition Int32 COMMENT 'partition of account-events',
    source_offset Int64 COMMENT 'offset of the fact in account-events',
    PROJECTION position (SELECT kafka_partition, maxOrNull(kafka_offset) GROUP BY kafka_partition)
)
ENGINE = MergeTree
PARTITION BY kafka_partition
ORDER BY (agency_id, account_id, at)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1
COMMENT 'Alerts, once a level and period';

CREATE TABLE IF NOT EXISTS access_events
(
    kafka_partition Int32 COMMENT 'partition of access-events',
    kafka_offset Int64 COMMENT 'offset in that partition; the largest one of an account is how it is now',
    agency_id LowCardinality(String),
    account_id String,
    allowed Bool COMMENT 'whether calls are allowed from then on',
    reason LowCardinality(String) COMMENT 'the first reason to be off; ok: none',
    reasons Array(LowCardinality(String)) COMMENT 'all reasons to be off, sorted',
    at DateTime64(6, 'UTC'),
    source_partition Int32 COMMENT 'partition of account-events',
    source_offset Int64 COMMENT 'offset of the fact in account-events',
    PROJECTION position (SELECT kafka_partition, maxOrNull(kafka_offset) GROUP BY kafka_partition)
)
ENGINE = MergeTree
PARTITION BY kafka_partition
ORDER BY (agency_id, account_id, at)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1
COMMENT 'Changes of access; access_current has the latest';

CREATE TABLE IF NOT EXISTS duplicates
(
    kafka_partition Int32 COMMENT 'partition of duplicates',
    kafka_offset Int64 COMMENT 'offset in that partition',
    recorded_at DateTime64(3, 'UTC') COMMENT 'time of the record on the broker',
    agency_id LowCardinality(String),
    account_id String,
    call_id String,
    source_partition Int32 COMMENT 'partition of account-events',
    source_offset Int64 COMMENT 'offset of the duplicate in account-events',
    source_first_offset Int64 COMMENT 'offset of the one that was rated',
    PROJECTION position (SELECT kafka_partition, maxOrNull(kafka_offset) GROUP BY kafka_partition)
)
ENGINE = MergeTree
PARTITION BY kafka_partition
ORDER BY (agency_id, account_id, recorded_at)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1
COMMENT 'Calls that came again and were not rated again';

CREATE TABLE IF NOT EXISTS dead_letters
(
    kafka_partition Int32 COMMENT 'partition of dead-letters',
    kafka_offset Int64 COMMENT 'offset in that partition',
    recorded_at DateTime64(3, 'UTC') COMMENT 'time of the record on the broker',
    reason LowCardinality(String),
    detail String,
    account_id String COMMENT 'key of the record: the account, if it could be read',
    source_topic LowCardinality(String),
    source_partition Int32,
    source_offset Int64,
    value Nullable(String) COMMENT 'the original bytes; null: a tombstone',
    PROJECTION position (SELECT kafka_partition, maxOrNull(kafka_offset) GROUP BY kafka_partition)
)
ENGINE = MergeTree
PARTITION BY kafka_partition
ORDER BY (reason, recorded_at)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1
COMMENT 'Records that could not be rated, with the reason';

CREATE TABLE IF NOT EXISTS accounts
(
    kafka_partition Int32 COMMENT 'partition of ledger',
    kafka_offset Int64 COMMENT 'offset in that partition; the largest one of an account is its state',
    agency_id LowCardinality(String),
    account_id String,
    subscription_id String,
    plan LowCardinality(String),
    status LowCardinality(String) COMMENT 'active, canceled',
    currency LowCardinality(String),
    period_start Nullable(DateTime64(6, 'UTC')) COMMENT 'of the newest open period; null: none is open',
    period_end Nullable(DateTime64(6, 'UTC')),
    included_s Int64 COMMENT 'seconds of the period',
    allowance_left_s Int64 COMMENT 'seconds',
    wallet_left_s Int64 COMMENT 'seconds',
    credit_left_micros Int64 COMMENT 'millionths of the currency',
    calls Int64 COMMENT 'of the period',
    billed_s Int64 COMMENT 'seconds of the period',
    overage_s Int64 COMMENT 'seconds of the period',
    usage_micros Int64 COMMENT 'millionths of the currency, of the period: overage and fees',
    cap_minutes Nullable(Int64) COMMENT 'minutes a period; null: no such cap',
    cap_spend_micros Nullable(Int64) COMMENT 'millionths of the currency a period; null: no such cap',
    cap_mode LowCardinality(String) COMMENT 'hard, soft; empty: no cap',
    access_allowed Bool,
    access_reasons Array(LowCardinality(String)) COMMENT 'all reasons to be off, sorted'
)
ENGINE = ReplacingMergeTree(kafka_offset)
PARTITION BY kafka_partition
ORDER BY (agency_id, account_id)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1
COMMENT 'State of every account; older states go by themselves, accounts_current never shows them';

CREATE TABLE IF NOT EXISTS sink_rejects
(
    kafka_topic LowCardinality(String) COMMENT 'without prefix',
    kafka_partition Int32,
    kafka_offset Int64,
    recorded_at DateTime64(3, 'UTC') COMMENT 'time of the record on the broker',
    error String COMMENT 'why it is no record of this topic',
    key Nullable(String) COMMENT 'the original bytes',
    value Nullable(String) COMMENT 'the original bytes; null: a tombstone'
)
ENGINE = MergeTree
PARTITION BY (kafka_topic, kafka_partition)
ORDER BY (kafka_topic, kafka_partition, kafka_offset)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1
COMMENT 'Records of our own topics that the sink could not read: a defect, or somebody else wrote them';

CREATE TABLE IF NOT EXISTS sink_progress
(
    kafka_topic LowCardinality(String) COMMENT 'without prefix',
    kafka_partition Int32,
    position Int64 COMMENT 'every committed record below this offset is stored',
    checked_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(position)
ORDER BY (kafka_topic, kafka_partition)
COMMENT 'Only to tell transaction markers from lost records where a log no longer starts at 0';
