-- One row a rated call. kafka_* is the position in the topic the sink reads, source_* that of the fact in the log.
CREATE TABLE IF NOT EXISTS rated_calls
(
    kafka_partition Int32 COMMENT 'partition of rated-calls',
    kafka_offset Int64 COMMENT 'offset in that partition; the largest one is where the sink goes on',
    agency_id LowCardinality(String),
    account_id String,
    call_id String,
    subscription_id String,
    campaign_id String COMMENT 'empty: none',
    agent_id String COMMENT 'empty: none',
    direction LowCardinality(String) COMMENT 'inbound, outbound, web',
    from_number String COMMENT 'empty: not known',
    to_number String COMMENT 'empty: not known',
    number String MATERIALIZED multiIf(direction = 'inbound', to_number, direction = 'outbound', from_number, '')
        COMMENT 'the number of the account: called one of an inbound call, calling one of an outbound call',
    started_at DateTime64(6, 'UTC'),
    answered_at Nullable(DateTime64(6, 'UTC')) COMMENT 'null: never answered',
    ended_at DateTime64(6, 'UTC'),
    outcome LowCardinality(String) COMMENT 'answered, voicemail, no_answer, busy, failed, canceled',
    test Bool COMMENT 'a test call',
    tier LowCardinality(String) COMMENT 'empty: none',
    period_start DateTime64(6, 'UTC') COMMENT 'start of the period it is counted in',
    duration_s Int64 COMMENT 'seconds from answer to end, rounded up',
    billed_s Int64 COMMENT 'seconds; allowance + wallet + credit + overage + written off',
    allowance_s Int64 COMMENT 'seconds drawn from the included minutes',
    wallet_s Int64 COMMENT 'seconds drawn from purchased minutes',
    credit_s Int64 COMMENT 'seconds paid from credit',
    credit_micros Int64 COMMENT 'millionths of the currency, drawn from credit',
    overage_s Int64 COMMENT 'seconds charged',
    written_off_s Int64 COMMENT 'seconds nobody pays',
    fee_micros Int64 COMMENT 'millionths of the currency; connection fee',
    amount_micros Int64 COMMENT 'millionths of the currency; what the call adds to the usage line: overage and fee',
    cost_micros Nullable(Int64) COMMENT 'millionths of cost_currency; null: not known',
    cost_currency LowCardinality(String) COMMENT 'empty: as currency',
    margin_micros Nullable(Int64) COMMENT 'millionths of the currency; amount minus cost; null: cost not known or in another currency',
    known_cost_micros Nullable(Int64) MATERIALIZED if(isNull(margin_micros), NULL, cost_micros)
        COMMENT 'millionths of the currency; the cost where there is a margin',
    currency LowCardinality(String),
    allowance_left_s Int64 COMMENT 'seconds left after the call',
    wallet_left_s Int64 COMMENT 'seconds left after the call',
    credit_left_micros Int64 COMMENT 'millionths of the currency left after the call',
    late Bool COMMENT 'its own period was closed already',
    source_partition Int32 COMMENT 'partition of account-events',
    source_offset Int64 COMMENT 'offset of the call in account-events',
    -- Where the sink goes on, without reading the rows.
    PROJECTION position (SELECT kafka_partition, maxOrNull(kafka_offset) GROUP BY kafka_partition),
    -- Sums by hour that are part of the very insert that brings the rows, so they agree at every moment.
    PROJECTION hourly_by_account
    (
        SELECT
            toStartOfHour(ended_at), agency_id, account_id, subscription_id, period_start, currency,
            count(), countIf(late), sum(duration_s), sum(billed_s), sum(allowance_s), sum(wallet_s), sum(credit_s),
            sum(credit_micros), sum(overage_s), sum(written_off_s), sum(fee_micros), sum(amount_micros),
            count(margin_micros), sum(known_cost_micros), sum(margin_micros)
        GROUP BY toStartOfHour(ended_at), agency_id, account_id, subscription_id, period_start, currency
    ),
    PROJECTION hourly_by_origin
    (
        SELECT
            toStartOfHour(ended_at), agency_id, account_id, campaign_id, agent_id, number, currency,
            count(), countIf(late), sum(duration_s), sum(billed_s), sum(allowance_s), sum(wallet_s), sum(credit_s),
            sum(credit_micros), sum(overage_s), sum(written_off_s), sum(fee_micros), sum(amount_micros),
            count(margin_micros), sum(known_cost_micros), sum(margin_micros)
        GROUP BY toStartOfHour(ended_at), agency_id, account_id, campaign_id, agent_id, number, currency
    )
)
ENGINE = MergeTree
PARTITION BY kafka_partition
ORDER BY (agency_id, account_id, ended_at)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1
COMMENT 'Every rated call; corrections are rows of their own';
