"""The records of ``agency-events``: what the meter sums up for agencies, and what is decided about them.

Deltas, wallets and ticks are written by the meter, in the transactions that rate what they sum up. People and tools
write the rest. The fact that goes back to the accounts, ``agency.access``, is one of `rating.facts`.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from rating.facts import MAX_FACT_BYTES, Time, Undecodable, check_length, explain
from rating.terms import Currency, Id, NamedCap, check_caps

Sum = Annotated[int, Meta(ge=-(2**62), le=2**62)]
MONEY = ("spend", "cost", "margin")


class Delta(msgspec.Struct, frozen=True, kw_only=True, tag="agency.delta"):
    """Rated calls of one agency, one of its periods, one of its days and one currency, summed up in a transaction.

    Attributes:
        at: the latest tick of the source partition; before the first one, the start of the period.
        day_start: start of the agency's local day that the source's clock was in; None before the first tick.
        cost_micros: of the calls whose cost is known in the currency; ``margin_micros`` is of the same calls.
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


AgencyFact = Delta | Wallet | AgencyTick | AgencyCapsSet
TYPES = frozenset(str(kind.__struct_config__.tag) for kind in (Delta, Wallet, AgencyTick, AgencyCapsSet))

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
