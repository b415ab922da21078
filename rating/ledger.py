"""How state is written to the ledger topic, and read back: one record a key, the latest counts.

Each value begins with a version byte, see `rating.versions`.

- ``account\\0<id>``: the next due time (8 bytes, so that a restore need not decode), the account.
- ``history\\0<id>``: the history.
- ``hours\\0<id>``: the clock hours of an account that is watched for unusual usage.
- ``terms\\0<hash>``: the terms; written once in a partition.
- ``agency\\0<id>``: what the platform charges an agency.
- ``agency-access\\0<id>``: whether all accounts of an agency are off, for a cap of the agency.
- ``position``: offset of the next fact, clock, rules and the tick that is at work. Last record of every transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from rating.account import Account, History, Hours, Wholesale
from rating.versions import Layout, StateError, same

# 2: caps that have a name, cost and margin of a period, parts of a period, lines that wait, numbers, terms to come,
# the newest hour, top-ups, usage by rate. 3: what is not paid.
ACCOUNT_STATE = Layout("account", version=3, upgrades={1: same, 2: same})
# 2: numbers, corrected calls. 3: the life of payment requests, and what of them was given back.
# 4: disputes.
HISTORY_STATE = Layout("history", version=4, upgrades={1: same, 2: same, 3: same})
# 2: trials, credit for those who cancel, longest call, what is watched,
# rate cards.
TERMS_STATE = Layout("terms", version=2, upgrades={1: same})
HOURS_STATE = Layout("hours")
# 2: a tick that is at work.
POSITION_STATE = Layout("position", version=2, upgrades={1: same})
WHOLESALE_STATE = Layout("wholesale")
AGENCY_ACCESS_STATE = Layout("agency access")
ACCOUNT = b"account\0"
HISTORY = b"history\0"
HOURS = b"hours\0"
TERMS = b"terms\0"
WHOLESALE = b"agency\0"
AGENCY_ACCESS = b"agency-access\0"
POSITION = b"position"
NEVER_DUE = 2**64 - 1
HEADER = 9
T = TypeVar("T")

_encode = msgspec.msgpack.Encoder(order="deterministic").encode
_encode_account = msgspec.msgpack.Encoder().encode
_decode_account = msgspec.msgpack.Decoder(Account).decode
_decode_history = msgspec.msgpack.Decoder(History).decode
_decode_wholesale = msgspec.msgpack.Decoder(Wholesale).decode
_decode_hours = msgspec.msgpack.Decoder(Hours).decode


def encode_account(account: Account) -> bytes:
    """An account as a ledger record's value."""
    due = NEVER_DUE if account.next_due is None else account.next_due
    return ACCOUNT_STATE.prefix + due.to_bytes(8, "big") + _encode_account(account)


def due_of(value: bytes) -> int | None:
    """Next due time of an encoded account, in unix microseconds."""
    due = int.from_bytes(value[1:HEADER], "big")
    return None if due == NEVER_DUE else due


def decode_account(value: bytes) -> Account:
    """An account from a ledger record's value.

    Raises:
        StateError: it cannot be read.
    """
    return _decoded(ACCOUNT_STATE, _decode_account, value, HEADER)


def _decoded(layout: Layout, decode: Callable[[memoryview], T], value: bytes, header: int = 1) -> T:
    value = layout.upgraded(value)
    try:
        return decode(memoryview(value)[header:])
    except msgspec.MsgspecError as error:
        raise StateError(f"{layout.kind} record: {error}") from None


def encode_history(history: History) -> bytes:
    """A history as a ledger record's value."""
    return HISTORY_STATE.prefix + _encode(history)


def decode_history(value: bytes) -> History:
    """A history from a ledger record's value.

    Raises:
        StateError: it cannot be read.
    """
    return _decoded(HISTORY_STATE, _decode_history, value)


def encode_wholesale(wholesale: Wholesale) -> bytes:
    """An agency's wholesale terms as a ledger record's value."""
    return WHOLESALE_STATE.prefix + _encode(wholesale)


def decode_wholesale(value: bytes) -> Wholesale:
    """An agency's wholesale terms from a ledger record's value.

    Raises:
        StateError: they cannot be read.
    """
    return _decoded(WHOLESALE_STATE, _decode_wholesale, value)


def encode_hours(hours: Hours) -> bytes:
    """Hours as a ledger record's value."""
    return HOURS_STATE.prefix + _encode_account(hours)


def decode_hours(value: bytes) -> Hours:
    """Hours from a ledger record's value.

    Raises:
        StateError: they cannot be read.
    """
    return _decoded(HOURS_STATE, _decode_hours, value)


def account_row(key: bytes, value: bytes) -> dict[str, Any] | None:
    """An account's current state as a flat row (seconds, micros, UTC times); None for records of another kind.

    Raises:
        StateError: the record cannot be read.
    """
    if not key.startswith(ACCOUNT):
        return None
    account = decode_account(value)
    subscription, newest, cap = account.subscription, account.newest, account.cap
    return {
        "agency_id": account.agency_id,
        "account_id": account.account_id,
        "subscription_id": subscription.subscription_id,
        "plan": subscription.plan,
        "status": account.status,
        "banner": account.dunning.banner if account.dunning else None,
        "currency": account.currency,
        "period_start": newest.start if newest else None,
        "period_end": newest.end if newest else None,
        "included_s": newest.included_s if newest else 0,
        "allowance_left_s": newest.allowance_left_s if newest else 0,
        "wallet_left_s": account.wallet_s,
        "credit_left_micros": account.credit_micros,
        "calls": newest.calls if newest else 0,
        "billed_s": newest.billed_s if newest else 0,
        "overage_s": newest.overage_s if newest else 0,
        "usage_micros": newest.usage_micros if newest else 0,
        "cap_minutes": cap.minutes if cap else None,
        "cap_spend_micros": cap.spend_micros if cap else None,
        "cap_mode": cap.mode if cap else None,
        "access_allowed": not account.reasons,
        "access_reasons": account.reasons,
        "numbers": account.numbers,
        "waiting_micros": sum(one.amount_micros for one in account.lines),
    }
