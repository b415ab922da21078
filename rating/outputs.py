"""What the fold gives out: names of the topics, dead letters and rated calls.

Outputs are encoded JSON, so that `simulate` and the meter give the same bytes. Every time in an output comes from the
fact that caused it. ``source_*`` fields are the position of that fact in the log.
"""

from __future__ import annotations

from datetime import datetime
from typing import TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

RATED_CALLS = "rated-calls"
BILLING_EVENTS = "billing-events"
PAYMENT_REQUESTS = "payment-requests"
ALERTS = "alerts"
ACCESS_EVENTS = "access-events"
DUPLICATES = "duplicates"
DEAD_LETTERS = "dead-letters"


class DeadLetter(msgspec.Struct, frozen=True):
    """A record that could not be rated.

    Attributes:
        reason: one of the reasons of the wire contract, such as ``malformed``.
        detail: what exactly is wrong, in one line.
        topic: where the record was read (without prefix).
        partition: its partition.
        offset: its offset.
        value: its original bytes; None for a tombstone.
        clock: the partition's latest tick by then, None before the first.
    """

    reason: str
    detail: str
    topic: str
    partition: int
    offset: int
    value: bytes | None
    clock: datetime | None = None


# (topic, key of the record, encoded JSON or a dead letter)
Output: TypeAlias = tuple[str, bytes | None, "bytes | DeadLetter"]


class RatedCall(msgspec.Struct, gc=False):
    """A call, all its fields first, with where each of its seconds came from and what it costs.

    ``billed_s = allowance_s + wallet_s + credit_s + overage_s + written_off_s``. ``amount_micros`` is what the
    call adds to the usage line: overage and fee; money drawn from credit is ``credit_micros`` and was paid before.
    ``*_left`` are the balances after the call. ``margin_micros`` is amount minus cost; None where the cost is unknown
    or in another currency. The call's own times stay in the zone they were reported in.
    """

    call_id: str
    account_id: str
    agency_id: str
    campaign_id: str | None
    agent_id: str | None
    direction: str
    from_number: str | None
    to_number: str | None
    started_at: datetime
    answered_at: datetime | None
    ended_at: datetime
    outcome: str
    test: bool
    tier: str | None
    cost_micros: int | None
    cost_currency: str | None
    subscription_id: str
    period_start: datetime
    duration_s: int
    billed_s: int
    allowance_s: int
    wallet_s: int
    credit_s: int
    credit_micros: int
    overage_s: int
    written_off_s: int
    fee_micros: int
    amount_micros: int
    margin_micros: int | None
    currency: str
    allowance_left_s: int
    wallet_left_s: int
    credit_left_micros: int
    late: bool
    source_partition: int
    source_offset: int


class SpecialCall(RatedCall, kw_only=True, gc=False):
    """A rated call with what most calls do not have; what is unset is left out of its record.

    Attributes:
        correction: ``refund`` takes an earlier rating back (all amounts are negated), ``rerated`` takes its place.
        fact_id: of the correction.
        cut: the call was longer than the terms' ``max_call_s``, and is rated as if it had lasted that long.
        rate_micros_per_minute: of terms with a rate card, the rate; None where there is none (overage is blocked).
        rate_prefix: the prefix of the card's row; None: no row matches, the terms' rate.
        cost_source: of an agency with wholesale terms, where the cost is from: ``wholesale`` or ``reported``. The other
            ``wholesale_`` fields are as those of the retail price.
    """

    cut: bool | UnsetType = UNSET
    rate_micros_per_minute: int | UnsetType | None = UNSET
    rate_prefix: str | UnsetType | None = UNSET
    correction: str | UnsetType = UNSET
    fact_id: str | UnsetType = UNSET
    cost_source: str | UnsetType = UNSET
    wholesale_billed_s: int | UnsetType = UNSET
    wholesale_rate_micros_per_minute: int | UnsetType | None = UNSET
    wholesale_rate_prefix: str | UnsetType | None = UNSET


encode = msgspec.json.Encoder().encode
# Into a buffer that need not grow: cheaper.
encode_into = msgspec.json.Encoder().encode_into
