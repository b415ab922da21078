"""The records of our output topics, as strictly as the sink reads them: anything else is rejected, not guessed at.

Fields are the columns of the tables in ``schema/``, where their units are told. Fields a record has beyond these are
ignored, so that a newer meter can write for an older sink.
"""

from __future__ import annotations

from datetime import datetime
from types import NoneType
from typing import Annotated, Any, TypeAlias, get_args, get_type_hints

import msgspec
from msgspec import Meta, UnsetType

from rating.outputs import RatedCall, SpecialCall

Whole: TypeAlias = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Partition: TypeAlias = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Time: TypeAlias = Annotated[datetime, Meta(tz=True)]


def _as_stored(declared: Any) -> Any:
    """A field's type with the bounds of its column."""
    if declared is int:
        return Whole
    if declared is datetime:
        return Time
    inner = [kind for kind in get_args(declared) if kind not in (NoneType, UnsetType)]
    if len(inner) == len(get_args(declared)) - 1 and NoneType not in get_args(declared):
        return _as_stored(inner[0])
    return _as_stored(inner[0]) | None if inner else declared


def _special() -> list[Any]:
    """Fields that only special calls have; the others have false or null in them."""
    own = {name: hint for name, hint in get_type_hints(SpecialCall).items() if name not in RatedCall.__struct_fields__}
    stored = {name: _as_stored(hint) for name, hint in own.items()}
    return [(name, kind, False) if kind is bool else (name, kind | None, None) for name, kind in stored.items()]


# The meter's own type, with the bounds of the columns.
RatedCallRow = msgspec.defstruct(
    "RatedCallRow",
    [
        (name, Partition if name == "source_partition" else _as_stored(hint))
        for name, hint in get_type_hints(RatedCall).items()
    ]
    + _special(),
    gc=False,
)


class Sourced(msgspec.Struct, kw_only=True):
    """What everything but a dead letter tells: whose it is, and the fact that caused it."""

    agency_id: str
    account_id: str
    source_partition: Partition
    source_offset: Whole


class BillingEvent(Sourced, kw_only=True, tag_field="type"):
    """An event of ``billing-events``; each type has columns of its own, null in the rows of the others."""

    subscription_id: str
    at: Time

    @property
    def type(self) -> str:
        """The tag: ``cycle.opened`` and so on."""
        return str(self.__struct_config__.tag)


class CycleOpened(BillingEvent, kw_only=True, tag="cycle.opened"):
    """A period has begun."""

    period_start: Time
    period_end: Time
    plan: str
    included_s: Whole
    price_micros: Whole
    currency: str
    due_at: Time
    grace_ends_at: Time
    status: str | None = None


class CycleClosed(BillingEvent, kw_only=True, tag="cycle.closed"):
    """A period is settled: what was used in it."""

    period_start: Time
    period_end: Time
    plan: str
    calls: Whole
    late_calls: Whole
    billed_s: Whole
    allowance_s: Whole
    wallet_s: Whole
    credit_micros: Whole
    overage_s: Whole
    written_off_s: Whole
    overage_micros: Whole
    fee_micros: Whole
    usage_micros: Whole
    adjustments_micros: Whole
    lines_micros: Whole = 0
    overage_micros_per_minute: Whole | None
    connection_fee_micros: Whole
    currency: str
    due_at: Time
    grace_ends_at: Time


class PackCredited(BillingEvent, kw_only=True, tag="pack.credited"):
    """A pack was applied."""

    fact_id: str
    pack: str
    minutes: Whole
    credit_micros: Whole
    price_micros: Whole
    currency: str
    automatic: bool = False
    wallet_left_s: Whole
    credit_left_micros: Whole
    due_at: Time
    grace_ends_at: Time


class OneTimeCharged(BillingEvent, kw_only=True, tag="one_time.charged"):
    """An amount is asked for once."""

    fact_id: str
    amount_micros: Whole
    currency: str
    description: str
    due_at: Time
    grace_ends_at: Time


class WalletAdjusted(BillingEvent, kw_only=True, tag="wallet.adjusted"):
    """The wallet was corrected."""

    fact_id: str
    minutes: Whole
    credit_micros: Whole
    reason: str | None
    wallet_left_s: Whole
    credit_left_micros: Whole


class UsageAdjusted(BillingEvent, kw_only=True, tag="usage.adjusted"):
    """A late call was rated against a closed period."""

    call_id: str
    period_start: Time
    billed_s: Whole
    amount_micros: Whole
    currency: str
    at_once: bool
    due_at: Time
    grace_ends_at: Time


class UsageCorrected(BillingEvent, kw_only=True, tag="usage.corrected"):
    """A call of a closed period was corrected: taken back, or rated anew."""

    fact_id: str
    call_id: str
    correction: str
    period_start: Time
    billed_s: Whole
    amount_micros: Whole
    currency: str


class StatusChanged(BillingEvent, kw_only=True, tag="subscription.status_changed"):
    """A subscription began, was paused, resumed, or ended; it was not paid for, or is now."""

    status: str
    previous: str | None
    banner: str | None = None


class SubscriptionChanged(BillingEvent, kw_only=True, tag="subscription.changed", rename={"change": "when"}):
    """A subscription is on other terms."""

    plan: str
    previous_plan: str
    change: str


class NumberEvent(BillingEvent, kw_only=True):
    """What a number that is rented or released is like."""

    fact_id: str
    number: str
    price_micros: Whole
    currency: str
    label: str | None
    rented_at: Time
    numbers: Whole


class NumberRented(NumberEvent, kw_only=True, tag="number.rented"):
    """An account has a number from now on."""


class NumberReleased(NumberEvent, kw_only=True, tag="number.released"):
    """An account has a number no longer."""


class AgencyCycleOpened(BillingEvent, kw_only=True, tag="agency.cycle_opened"):
    """A wholesale period of an agency has begun. The account and the subscription are empty, as in the next one."""

    period_start: Time
    period_end: Time
    included_s: Whole
    price_micros: Whole
    currency: str
    due_at: Time
    grace_ends_at: Time


class AgencyCycleClosed(BillingEvent, kw_only=True, tag="agency.cycle_closed"):
    """A wholesale period of an agency is settled."""

    period_start: Time
    period_end: Time
    calls: Whole
    billed_s: Whole
    cost_micros: Whole
    reported_calls: Whole
    reported_micros: Whole
    usage_micros: Whole
    included_s: Whole
    included_used_s: Whole
    included_micros: Whole
    lines_micros: Whole
    currency: str
    due_at: Time
    grace_ends_at: Time


AnyBillingEvent: TypeAlias = (
    CycleOpened
    | CycleClosed
    | PackCredited
    | OneTimeCharged
    | WalletAdjusted
    | UsageAdjusted
    | UsageCorrected
    | StatusChanged
    | SubscriptionChanged
    | NumberRented
    | NumberReleased
    | AgencyCycleOpened
    | AgencyCycleClosed
)


class RequestLine(msgspec.Struct, kw_only=True):
    """One line of a payment request."""

    line_id: str
    kind: str
    description: str
    quantity: Whole
    unit: str
    unit_price_micros: Whole
    amount_micros: Whole


class PaymentRequest(Sourced, kw_only=True):
    """A payment request in one of its states, or a document that corrects one."""

    payment_request_id: str
    kind: str
    status: str
    subscription_id: str | None
    period_start: Time | None
    period_end: Time | None
    currency: str
    subtotal_micros: Whole
    rounding_micros: Whole
    tax_micros: Whole
    total_micros: Whole
    due_at: Time
    grace_ends_at: Time
    gateway: str
    external_id: str | None
    reference: str | None
    note: str | None
    created_at: Time
    updated_at: Time
    paid_at: Time | None
    number: str | None = None
    actor: str | None = None
    overdue_at: Time | None = None
    tax_included: bool = False
    credited_micros: Whole = 0
    left_micros: Whole = 0
    paid_micros: Whole = 0
    corrects: str | None = None
    disputed_micros: Whole = 0
    lines: list[RequestLine]


NAMES_OF_ALERTS = {"limit_value": "limit", "cap_on": "on", "cap_per": "per", "cap_mode": "mode"}


class Alert(Sourced, kw_only=True, rename=NAMES_OF_ALERTS):
    """A level was reached. Of an agency's, account and subscription are empty."""

    alert_id: str
    type: str
    level: Whole
    subscription_id: str
    period_start: Time
    at: Time
    used: Whole
    limit_value: Whole
    call_id: str | None = None
    hour: Time | None = None
    forecast_micros: Whole | None = None
    runs_out_at: Time | None = None
    cap: str | None = None
    cap_on: str | None = None
    cap_per: str | None = None
    cap_mode: str | None = None
    day_start: Time | None = None
    currency: str | None = None
    payment_request_id: str | None = None
    dispute_id: str | None = None


class AccessChanged(Sourced, kw_only=True):
    """An account's calls are allowed from now on, or not."""

    allowed: bool
    reason: str
    reasons: list[str]
    at: Time


class Duplicate(Sourced, kw_only=True):
    """A call that came again."""

    call_id: str
    source_first_offset: Whole


class DeadLetterRow(msgspec.Struct, kw_only=True):
    """A dead letter: its headers, its key, and the original bytes (None: a tombstone)."""

    reason: str
    detail: str
    account_id: str
    source_topic: str
    source_partition: Partition
    source_offset: Whole
    value: bytes | None


class AccountRow(msgspec.Struct, kw_only=True):
    """State of an account, as `rating.ledger.account_row` gives it."""

    agency_id: str
    account_id: str
    subscription_id: str
    plan: str
    status: str
    currency: str
    period_start: Time | None
    period_end: Time | None
    included_s: Whole
    allowance_left_s: Whole
    wallet_left_s: Whole
    credit_left_micros: Whole
    calls: Whole
    billed_s: Whole
    overage_s: Whole
    usage_micros: Whole
    cap_minutes: Whole | None
    cap_spend_micros: Whole | None
    cap_mode: str | None
    access_allowed: bool
    access_reasons: list[str]
    numbers: Whole
    waiting_micros: Whole
    banner: str | None


class AgencyTotalsRow(msgspec.Struct, kw_only=True):
    """Totals of an agency, a period and a currency, as `rating.agencies.totals_row` gives them."""

    agency_id: str
    period_start: Time
    period_end: Time
    currency: str
    closed: bool
    calls: Whole
    late_calls: Whole
    billed_s: Whole
    amount_micros: Whole
    cost_micros: Whole
    margin_micros: Whole
