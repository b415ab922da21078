"""Facts: the records of the log, decoded strictly. What cannot be decoded says why, and is never guessed at.

The wire contract is JSON with ``snake_case`` fields, ISO 8601 times with a zone and at most six fractional digits,
integers within 2**53 and ids of 1 to 128 bytes of UTF-8. Unknown fields are ignored.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from rating.terms import (
    LARGEST,
    Cap,
    Count,
    Currency,
    Id,
    NamedCap,
    Signed,
    Sum,
    Terms,
    TopUp,
    WholesaleTerms,
    check_caps,
)

MAX_FACT_BYTES = 262_144
# What was rated is known for a day longer: by the topic seen-calls, and by the index that is made from it.
LONGEST_RETENTION_DAYS = 90
BACKSLASH = ord("\\")
DOT = ord(".")
FIRST_TIME = datetime(2000, 1, 1, tzinfo=UTC)
END_OF_TIME = datetime(2100, 1, 1, tzinfo=UTC)
# Periods and days to pay may be as long as terms allow: a hundred years each.
END_OF_DATES = datetime(2500, 1, 1, tzinfo=UTC)

Time = Annotated[datetime, Meta(tz=True)]
# The id of a payment request is made of other ids, so it is longer than they are.
RequestId = Annotated[str, Meta(min_length=1, max_length=512)]
RequestKind = Literal["cycle", "usage", "pack", "one_time"]
# Who did something: a person, a gateway, a job.
Actor = Annotated[str, Meta(min_length=1, max_length=128)]
MOST_DESCRIPTION = 512


class Undecodable(ValueError):
    """Bytes that are no fact. ``reason`` is ``malformed``, ``unknown_type`` or ``too_large``; the text says why."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class CallCompleted(msgspec.Struct, frozen=True, gc=False, kw_only=True, tag="call.completed"):
    """One completed call, as the platform reports it. ``cost_currency`` None means the terms' currency.

    The fields are in the order of the rated call, which begins with them.
    """

    call_id: Id
    account_id: Id
    agency_id: Id
    campaign_id: Id | None = None
    agent_id: Id | None = None
    direction: Literal["inbound", "outbound", "web"]
    from_number: str | None = None
    to_number: str | None = None
    started_at: Time
    answered_at: Time | None = None
    ended_at: Time
    outcome: Literal["answered", "voicemail", "no_answer", "busy", "failed", "canceled"]
    test: bool = False
    tier: str | None = None
    cost_micros: Count | None = None
    cost_currency: Currency | None = None


class AccountFact(msgspec.Struct, frozen=True, kw_only=True):
    """What every fact about an account has, but for calls. ``fact_id`` is unique in its account."""

    fact_id: Id
    account_id: Id
    agency_id: Id
    at: Time


class SubscriptionStarted(AccountFact, frozen=True, kw_only=True, tag="subscription.started"):
    """An account is put on terms; ``at`` is the anchor of its periods."""

    subscription_id: Id
    terms: Terms


class SubscriptionCanceled(AccountFact, frozen=True, kw_only=True, tag="subscription.canceled"):
    """A subscription ends, ``now`` (at ``at``) or with its newest period."""

    subscription_id: Id
    when: Literal["period_end", "now"]


class SubscriptionChanged(AccountFact, frozen=True, kw_only=True, tag="subscription.changed"):
    """A subscription goes on with other terms, ``now`` (at ``at``) or from its next period."""

    subscription_id: Id
    terms: Terms
    when: Literal["next_period", "now"]


class SubscriptionPaused(AccountFact, frozen=True, kw_only=True, tag="subscription.paused"):
    """A subscription pauses: no calls, and what opens meanwhile costs nothing."""

    subscription_id: Id


class SubscriptionResumed(AccountFact, frozen=True, kw_only=True, tag="subscription.resumed"):
    """A paused subscription goes on."""

    subscription_id: Id


class NumberRented(AccountFact, frozen=True, kw_only=True, tag="number.rented"):
    """An account has a number from ``at``, at a price for each period. ``currency`` None means the account's."""

    number: Id
    price_micros: Count
    currency: Currency | None = None
    label: Annotated[str, Meta(max_length=128)] | None = None


class NumberReleased(AccountFact, frozen=True, kw_only=True, tag="number.released"):
    """An account gives a number back."""

    number: Id


class PackApplied(AccountFact, frozen=True, kw_only=True, tag="pack.applied"):
    """A pack is sold: minutes for the wallet, credit in micros, at a price."""

    pack: Id
    minutes: Count = 0
    credit_micros: Count = 0
    price_micros: Count
    currency: Currency


class WalletAdjusted(AccountFact, frozen=True, kw_only=True, tag="wallet.adjusted"):
    """The wallet or the credit is corrected by a difference, of either sign."""

    minutes: Signed = 0
    credit_micros: Signed = 0
    reason: str = ""


class CapSet(AccountFact, frozen=True, kw_only=True, tag="cap.set"):
    """The account's cap from now on; None clears it."""

    cap: Cap | None


class CapsSet(AccountFact, frozen=True, kw_only=True, tag="caps.set"):
    """The account's caps that have a name, in place of those it has; none clears them."""

    caps: tuple[NamedCap, ...]

    def __post_init__(self) -> None:
        """Raise ValueError (a decoding error for msgspec) where the caps do not go together."""
        check_caps(self.caps)


class TopUpSet(AccountFact, frozen=True, kw_only=True, tag="top_up.set"):
    """How the account is topped up from now on; None: not at all."""

    top_up: TopUp | None


class CallCorrected(AccountFact, frozen=True, kw_only=True, tag="call.corrected"):
    """A call that was rated was another one: all its fields again. ``corrects`` is its ``call_id``."""

    corrects: Id
    campaign_id: Id | None = None
    agent_id: Id | None = None
    direction: Literal["inbound", "outbound", "web"]
    from_number: str | None = None
    to_number: str | None = None
    started_at: Time
    answered_at: Time | None = None
    ended_at: Time
    outcome: Literal["answered", "voicemail", "no_answer", "busy", "failed", "canceled"]
    test: bool = False
    tier: str | None = None
    cost_micros: Count | None = None
    cost_currency: Currency | None = None


class CallVoided(AccountFact, frozen=True, kw_only=True, tag="call.voided"):
    """A call that was rated was none."""

    call_id: Id
    reason: str = ""


class RequestLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a payment request: ``amount_micros = quantity * unit_price_micros``, but for ``call_rounding``."""

    line_id: str
    kind: str
    description: str
    quantity: Signed
    unit: str
    unit_price_micros: Signed
    amount_micros: Sum
    period_start: Time | None = None
    period_end: Time | None = None


class PaymentRequestCreated(AccountFact, frozen=True, kw_only=True, tag="payment_request.created"):
    """The billing job has asked for money. Lines sum to the subtotal; subtotal + rounding + tax = total."""

    fact_id: RequestId
    payment_request_id: RequestId
    kind: RequestKind
    currency: Currency
    lines: tuple[RequestLine, ...]
    subtotal_micros: Sum
    rounding_micros: Signed
    tax_micros: Signed = 0
    total_micros: Sum
    due_at: Time
    grace_ends_at: Time
    subscription_id: Id | None = None
    period_start: Time | None = None
    period_end: Time | None = None
    gateway: Id = "manual"
    external_id: Id | None = None
    tax_included: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError (a decoding error for msgspec) where the sums do not hold."""
        if sum(line.amount_micros for line in self.lines) != self.subtotal_micros:
            raise ValueError("subtotal_micros is not the sum of the lines")
        tax_micros = 0 if self.tax_included else self.tax_micros
        if self.subtotal_micros + self.rounding_micros + tax_micros != self.total_micros:
            raise ValueError("total_micros is not subtotal + rounding + tax")


class PaymentRequestSent(AccountFact, frozen=True, kw_only=True, tag="payment_request.sent"):
    """A gateway has the request: by which id, and what tax it reckoned, on top of the total or included in it."""

    payment_request_id: RequestId
    gateway: Id
    external_id: Id
    tax_micros: Count = 0
    tax_included: bool = False
    actor: Actor | None = None


class PaymentRequestSettled(AccountFact, frozen=True, kw_only=True, tag="payment_request.settled"):
    """A request was paid, failed or was canceled."""

    payment_request_id: RequestId
    status: Literal["paid", "failed", "canceled"]
    actor: Actor | None = None
    reference: str | None = None
    note: str | None = None


class PaymentRequestCorrected(AccountFact, frozen=True, kw_only=True, tag="payment_request.corrected"):
    """A credit note or a refund: a document of its own, with an id of its own, that names what it corrects.

    ``amount_micros`` is positive; ``tax_micros`` is how much of it is tax.
    """

    payment_request_id: RequestId
    corrects: RequestId
    kind: Literal["credit_note", "refund"]
    amount_micros: Annotated[int, Meta(ge=1, le=LARGEST)]
    currency: Currency
    tax_micros: Count = 0
    description: Annotated[str, Meta(max_length=MOST_DESCRIPTION)] = ""
    actor: Actor | None = None
    reference: str | None = None
    note: str | None = None
    external_id: Id | None = None

    def __post_init__(self) -> None:
        """Raise ValueError (a decoding error for msgspec) where the tax is more than the amount."""
        if self.tax_micros > self.amount_micros:
            raise ValueError("tax_micros is more than amount_micros")


class PaymentRequestDisputed(AccountFact, frozen=True, kw_only=True, tag="payment_request.disputed"):
    """The payer's bank wants the money of a request back, or how that was decided: for the agency, or against it."""

    payment_request_id: RequestId
    dispute_id: Id
    status: Literal["opened", "won", "lost"]
    amount_micros: Annotated[int, Meta(ge=1, le=LARGEST)]
    currency: Currency
    actor: Actor | None = None
    reference: str | None = None
    note: str | None = None


class PaymentRequestNumbered(AccountFact, frozen=True, kw_only=True, tag="payment_request.numbered"):
    """A payment request, credit note or refund has its number: without gaps in an agency and year."""

    payment_request_id: RequestId
    number: Id


class OneTimeCharged(AccountFact, frozen=True, kw_only=True, tag="one_time.charged"):
    """An amount is to be asked for once."""

    amount_micros: Annotated[int, Meta(ge=1, le=LARGEST)]
    currency: Currency
    description: Annotated[str, Meta(min_length=1, max_length=MOST_DESCRIPTION)]


class RulesSet(msgspec.Struct, frozen=True, kw_only=True, tag="rules.set"):
    """Settings that change money, for a partition from here on. None leaves a rule as it is."""

    at: Time
    max_future_s: Count | None = None
    max_call_s: Count | None = None
    duplicate_retention_days: Annotated[int, Meta(ge=0, le=LONGEST_RETENTION_DAYS)] | None = None


class AgencyAccess(msgspec.Struct, frozen=True, kw_only=True, tag="agency.access"):
    """The accounts of an agency are off, or no longer, for a cap of the agency. Written to every partition.

    Attributes:
        sequence: counts these facts of the agency; what has a lower one than another before it changes nothing.
    """

    fact_id: Id
    agency_id: Id
    at: Time
    sequence: Count
    allowed: bool


class WholesaleSet(msgspec.Struct, frozen=True, kw_only=True, tag="wholesale.set"):
    """What the platform charges an agency for calls that end at or after ``at``. Written to every partition."""

    fact_id: Id
    agency_id: Id
    at: Time
    terms: WholesaleTerms


class Tick(msgspec.Struct, frozen=True, kw_only=True, tag="tick"):
    """The time. ``jump`` allows a step of more than 35 days."""

    at: Time
    jump: bool = False


AnyAccountFact = (
    SubscriptionStarted
    | SubscriptionCanceled
    | SubscriptionChanged
    | SubscriptionPaused
    | SubscriptionResumed
    | NumberRented
    | NumberReleased
    | PackApplied
    | WalletAdjusted
    | CapSet
    | CapsSet
    | TopUpSet
    | CallCorrected
    | CallVoided
    | PaymentRequestCreated
    | PaymentRequestSent
    | PaymentRequestSettled
    | PaymentRequestCorrected
    | PaymentRequestDisputed
    | PaymentRequestNumbered
    | OneTimeCharged
)
Fact = CallCompleted | AnyAccountFact | AgencyAccess | WholesaleSet | RulesSet | Tick
TYPES = frozenset(
    str(fact.__struct_config__.tag)
    for fact in (
        CallCompleted,
        SubscriptionStarted,
        SubscriptionCanceled,
        SubscriptionChanged,
        SubscriptionPaused,
        SubscriptionResumed,
        NumberRented,
        NumberReleased,
        PackApplied,
        WalletAdjusted,
        CapSet,
        CapsSet,
        TopUpSet,
        CallCorrected,
        CallVoided,
        PaymentRequestCreated,
        PaymentRequestSent,
        PaymentRequestSettled,
        PaymentRequestCorrected,
        PaymentRequestDisputed,
        PaymentRequestNumbered,
        OneTimeCharged,
        AgencyAccess,
        WholesaleSet,
        RulesSet,
        Tick,
    )
)

_decode = msgspec.json.Decoder(Fact).decode
_decode_any = msgspec.json.Decoder().decode
_fraction_too_long = re.compile(rb"\.[0-9]{7}").search
# A full stop or a digit spelled as an escape: what it stands in must be looked at unescaped.
_escaped_fraction = re.compile(rb"\\u00(?:2[eE]|3[0-9])").search
_time_with_long_fraction = re.compile(r"\d{4}-\d\d-\d\d.\d\d:\d\d:\d\d\.\d{7}").match
_DATES = frozenset(("period_start", "period_end", "due_at", "grace_ends_at"))
_TIME_FIELDS = frozenset(
    ("at", "started_at", "answered_at", "ended_at", "period_start", "period_end", "due_at", "grace_ends_at", "anchor")
)


def decode(value: bytes | None) -> Fact:
    """Decode one record of the log.

    Raises:
        Undecodable: with the reason for its dead letter.
    """
    if not value:
        raise Undecodable("malformed", "empty record")
    if len(value) > MAX_FACT_BYTES:
        raise Undecodable("too_large", f"{len(value)} bytes; a fact has at most {MAX_FACT_BYTES}")
    try:
        fact: Fact = _decode(value)
    except (ValueError, RecursionError) as error:
        raise explain(value, error, TYPES) from None
    escaped = BACKSLASH in value
    if _fraction_too_long(value) or (escaped and _escaped_fraction(value)):
        _check_fractions(_read_whole(value))
    if not value.isascii():
        # Fields that nobody reads are skipped by the decoder, whatever is in them.
        _read_whole(value)
        _check_ids(fact)
    elif escaped:
        _check_ids(fact)
    if type(fact) is CallCompleted:
        started_at, answered_at, ended_at = fact.started_at, fact.answered_at, fact.ended_at
        # Times in order, as they nearly always are, lie in the span if the outer two do.
        if not FIRST_TIME <= started_at <= (answered_at or started_at) <= ended_at < END_OF_TIME:
            _check_span("started_at", started_at)
            _check_span("ended_at", ended_at)
            if answered_at is not None:
                _check_span("answered_at", answered_at)
    else:
        _check_times(fact)
    return fact


def _read_whole(value: bytes) -> Any:
    try:
        return _decode_any(value)
    except (ValueError, RecursionError) as unreadable:
        raise Undecodable("malformed", f"not JSON: {unreadable}") from None


def account_of(value: bytes | None) -> str | None:
    """The account that a record seems to speak of, where it is readable at all."""
    try:
        content = _decode_any(value or b"")
    except (ValueError, RecursionError):
        return None
    account_id = content.get("account_id") if isinstance(content, dict) else None
    return account_id if isinstance(account_id, str) and account_id else None


def _check_times(fact: msgspec.Struct) -> None:
    for name in _TIME_FIELDS.intersection(fact.__struct_fields__):
        at = getattr(fact, name)
        if at is not None:
            _check_span(name, at, END_OF_DATES if name in _DATES else END_OF_TIME)
    if type(fact) is WholesaleSet:
        _check_times(fact.terms)
    if type(fact) is PaymentRequestCreated:
        for line in fact.lines:
            _check_times(line)


def _check_span(name: str, at: datetime, end: datetime = END_OF_TIME) -> None:
    if not FIRST_TIME <= at < end:
        raise Undecodable("malformed", f"{name}: {at.isoformat()} is not between 2000 and {end.year}")


def _check_ids(fact: Fact) -> None:
    """Ids are bounded in bytes; the decoder counts characters."""
    if isinstance(fact, SubscriptionStarted | SubscriptionChanged):
        check_length("plan", fact.terms.plan, 128)
    elif type(fact) is TopUpSet and fact.top_up is not None:
        check_length("pack", fact.top_up.pack, 128)
    elif type(fact) is CapsSet:
        for cap in fact.caps:
            check_length("name", cap.name, 128)
    for name in fact.__struct_fields__:
        if name.endswith("_id") or name in ("pack", "number", "label", "actor", "gateway", "corrects"):
            made_of_ids = (type(fact) is PaymentRequestCreated and name == "fact_id") or (
                type(fact) is PaymentRequestCorrected and name == "corrects"
            )
            limit = 512 if name == "payment_request_id" or made_of_ids else 128
            check_length(name, getattr(fact, name) or "", limit)


def check_length(name: str, text: str, limit: int) -> None:
    """Refuse a text of too many bytes; the decoder counts characters."""
    if len(text.encode()) > limit:
        raise Undecodable("malformed", f"{name}: longer than {limit} bytes")


def _check_fractions(content: Any) -> None:
    """The decoder rounds a seventh fractional digit; we refuse it, for rounding would move a boundary."""
    left = [("", content)]
    # Not by recursion: what the decoder bears to nest may be more than Python does.
    while left:
        name, value = left.pop()
        if isinstance(value, dict):
            left.extend(value.items())
        elif isinstance(value, list):
            left.extend((name, item) for item in value)
        elif isinstance(value, str) and name in _TIME_FIELDS and _time_with_long_fraction(value):
            raise Undecodable("malformed", f"{name}: {value[:40]} has more than 6 fractional digits")


def explain(value: bytes, error: Exception, types: frozenset[str]) -> Undecodable:
    """Why bytes are none of the facts of some types, ``error`` being what the decoder says."""
    try:
        content = _read_whole(value)
    except Undecodable as unreadable:
        return unreadable
    if not isinstance(content, dict):
        return Undecodable("malformed", "not a JSON object")
    kind = content.get("type")
    if isinstance(kind, str) and kind not in types:
        return Undecodable("unknown_type", f"type: {kind[:80]!r} is not a fact")
    return Undecodable("malformed", str(error))
