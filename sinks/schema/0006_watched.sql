-- Calls that were cut, what alerts of stuck calls, unusual hours and forecasts tell, and packs bought by themselves.
ALTER TABLE billing_events
    ADD COLUMN IF NOT EXISTS automatic Nullable(Bool) COMMENT 'pack.credited: by a top-up' AFTER pack;

ALTER TABLE rated_calls
    ADD COLUMN IF NOT EXISTS cut Bool COMMENT 'longer than calls may be: rated as if it had lasted that long';

ALTER TABLE alerts
    MODIFY COLUMN type LowCardinality(String)
        COMMENT 'allowance, cap, spend, wallet_low, stuck_call, unusual_usage, forecast_overage';

ALTER TABLE alerts
    MODIFY COLUMN level Int64 COMMENT 'percent; stuck_call: seconds';

ALTER TABLE alerts
    MODIFY COLUMN used Int64
        COMMENT 'seconds of an allowance, a cap on minutes, a call, an hour or a forecast; millionths of the currency of a cap on spend';

ALTER TABLE alerts
    ADD COLUMN IF NOT EXISTS call_id String COMMENT 'stuck_call',
    ADD COLUMN IF NOT EXISTS hour Nullable(DateTime64(6, 'UTC')) COMMENT 'unusual_usage: start of the hour',
    ADD COLUMN IF NOT EXISTS forecast_micros Nullable(Int64)
        COMMENT 'forecast_overage: millionths of the currency, usage by the end of the period',
    ADD COLUMN IF NOT EXISTS runs_out_at Nullable(DateTime64(6, 'UTC'))
        COMMENT 'forecast_overage: when the allowance is used up; null: it is already, or it lasts';
