-- What the price of a call was, by terms with a rate card.
ALTER TABLE rated_calls
    ADD COLUMN IF NOT EXISTS rate_micros_per_minute Nullable(Int64)
        COMMENT 'millionths of the currency a minute, by terms with a rate card; null: terms without one, or no rate',
    ADD COLUMN IF NOT EXISTS rate_prefix LowCardinality(String)
        COMMENT 'prefix of the row of the rate card; empty: its row for any number, or none';
