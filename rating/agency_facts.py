"""The records of ``agency-events``: what the meter sums up for agencies, and what is decided about them.

Deltas, wallets and ticks are written by the meter, in the transactions that rate what they sum up. People and tools
write the rest. The fact that goes back to the accounts, ``agency.access``, is one of `rating.facts`.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

import msgspec
from msgspec import UNSET, Meta, UnsetType

from rating.facts import (
    MAX_FACT_BYTES,
    PaymentRequestCorrected,
    PaymentRequestCreated,
    PaymentRequestSettled,
    RequestId,
    Time,
    Undecodable,
    WholesaleSet,
    check_length,
    explain,
)
from rating.terms import Currency, Id, NamedCap, check_caps

LARGEST_SUM = 2**62
Sum = Annotated[int, Meta(ge=-LARGEST_SUM, le=LARGEST_SUM)]
MONEY = ("spend", "cost", "margin")


class WholesaleSums(msgspec.Struct):
    """What the platform asks an agency for calls, in seconds and micros of the currency of its wholesale terms.

    Attributes:
        calls: priced by the wholesale terms; so are ``billed_s`` and ``cost_micros``.
        reported_calls: with a reported cost that counts instead; ``reported_micros`` is its sum.
    """

    calls: Sum = 0
    billed_s: Sum = 0
    cost_micros: Sum = 0
    reported_calls: Sum = 0
    reported_micros: Sum = 0

    def plus(self, other: WholesaleSums) -> WholesaleSums:
        """Both together. Sums end at 2^62."""
        totals = (getattr(self, name) + getattr(other, name) for name in self.__struct_fields__)
        return WholesaleSums(*(max(-LARGEST_SUM, min(total, LARGEST_SUM)) for total in totals))


class Delta(msgspec.Struct, frozen=True, kw_only=True, tag="agency.delta"):
    """Rated calls of one agency, one of its periods, one of its days and one currency, summed up in a transaction.

    Attributes:
        at: the latest tick of the source partition; before the first one, the start of the period.
        day_start: start of the agency's local day that the source's clock was in; None before the first tick.
        cost_micros: of the calls whose cost is known in the currency; ``margin_micros`` is of the same calls.
        wholesale: of the calls that wholesale terms were in force for; unset where there are none.
    """

    agency_id: Id
    at: Time
    period_start: Time
    period_end: Time
    day_start: Time | None = None
    day_end: Time | None = None
    currency: Currency
    calls: Sum
    billed_s: Sum = 0
    amount_micros: Sum = 0
    cost_micros: Sum = 0
    margin_micros: Sum = 0
    wholesale: WholesaleSums | UnsetType = UNSET
    source_partition: int
    source_offset: int


class Wallet(msgspec.Struct, frozen=True, kw_only=True, tag="agency.wallet"):
    """By how many seconds the wallets of an agency's accounts have changed in a transaction."""

    agency_id: Id
    at: Time
    wallet_s: Sum
    source_partition: int
    source_offset: int


class AgencyTick(msgspec.Struct, frozen=True, kw_only=True, tag="agency.tick"):
    """A source partition has delivered everything up to a tick."""

    at: Time
    source_partition: int


class AgencyRequest(msgspec.Struct, frozen=True, kw_only=True, tag="agency.request"):
    """A payment request, credit note or refund of an account is to be numbered.

    Attributes:
        year: whose series the number is of.
        source_partition: where the account lives: the number goes there.
    """

    agency_id: Id
    account_id: Id
    payment_request_id: RequestId
    year: int
    at: Time
    source_partition: int
    source_offset: int


class AgencyWholesaleSet(WholesaleSet, frozen=True, kw_only=True, tag="agency.wholesale_set"):
    """A partition has taken up wholesale terms; all of them say so, and the first one counts."""

    source_partition: int
    source_offset: int


class _Number(msgspec.Struct, frozen=True, kw_only=True):
    agency_id: Id
    at: Time
    account_id: Id
    number: Id
    source_partition: int
    source_offset: int


class AgencyNumberRented(_Number, frozen=True, kw_only=True, tag="agency.number_rented"):
    """An account of an agency has a number from ``at``."""


class AgencyNumberReleased(_Number, frozen=True, kw_only=True, tag="agency.number_released"):
    """An account of an agency gives a number back."""


class AgencyRequestCreated(PaymentRequestCreated, frozen=True, kw_only=True, tag="agency.payment_request_created"):
    """The billing job has asked an agency for money."""

    account_id: Literal[""] = ""


class AgencyRequestSettled(PaymentRequestSettled, frozen=True, kw_only=True, tag="agency.payment_request_settled"):
    """A request to an agency was paid, failed or was canceled."""

    account_id: Literal[""] = ""


class AgencyRequestCorrected(
    PaymentRequestCorrected, frozen=True, kw_only=True, tag="agency.payment_request_corrected"
):
    """A credit note or refund of a request to an agency."""

    account_id: Literal[""] = ""


class AgencyCap(NamedCap, frozen=True, kw_only=True):
    """A cap of an agency; ``currency`` says which of its accounts' money is meant."""

    currency: Currency | None = None

    def __post_init__(self) -> None:
        """Raise ValueError where the limit does not fit its measure."""
        super().__post_init__()
        if (self.currency is None) == (self.on in MONEY):
            raise ValueError("currency: for spend, cost and margin, and for nothing else")


class AgencyCapsSet(msgspec.Struct, frozen=True, kw_only=True, tag="agency.caps_set"):
    """The agency's caps, in place of those it has."""

    fact_id: Id
    agency_id: Id
    at: Time
    caps: tuple[AgencyCap, ...]

    def __post_init__(self) -> None:
        """Raise ValueError (a decoding error for msgspec) where the caps do not go together."""
        check_caps(self.caps)


# What people and tools write: it may come to the wrong partition.
AgencyRequestChange = AgencyRequestCreated | AgencyRequestSettled | AgencyRequestCorrected
Decided = AgencyCapsSet | AgencyRequestChange
AgencyFact = (
    Delta
    | Wallet
    | AgencyTick
    | AgencyWholesaleSet
    | AgencyNumberRented
    | AgencyNumberReleased
    | AgencyRequest
    | Decided
)
TYPES = frozenset(str(kind.__struct_config__.tag) for kind in get_args(AgencyFact))

_decode = msgspec.json.Decoder(AgencyFact).decode


def decode(value: bytes | None) -> AgencyFact:
    """Decode one record of ``agency-events``.

    Raises:
        Undecodable: with the reason for its dead letter.
    """
    if not value:
        raise Undecodable("malformed", "empty record")
    if len(value) > MAX_FACT_BYTES:
        raise Undecodable("too_large", f"{len(value)} bytes; a fact has at most {MAX_FACT_BYTES}")
    try:
        fact: AgencyFact = _decode(value)
    except (ValueError, RecursionError) as error:
        raise explain(value, error, TYPES) from None
    if isinstance(fact, AgencyCapsSet):
        for name, text in (("fact_id", fact.fact_id), ("agency_id", fact.agency_id)):
            check_length(name, text, 128)
        for cap in fact.caps:
            check_length("name", cap.name, 128)
    return fact
