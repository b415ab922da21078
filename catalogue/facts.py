"""Facts made from the catalogue: what the daily commands and `simulate` write into the log.

All are plain dicts, ready for JSON. The same arguments give the same bytes: ids that are not given by the caller are
derived from the fact's.
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime
from typing import Any

from catalogue.collection import Catalogue
from catalogue.kinds import identifier
from catalogue.spelling import micros
from catalogue.terms import currency_of, named_caps, terms_of
from rating.facts import END_OF_TIME, FIRST_TIME
from rating.period import instant
from streams.errors import CallmeterError, Refused

Fact = dict[str, Any]

_date = re.compile(r"\d{4}-\d\d-\d\d").fullmatch
_long_fraction = re.compile(r"\.\d{7}").search


def parse_time(text: str, timezone: str) -> datetime:
    """A time that a person wrote, in UTC: ``2026-11-01T00:00:00-05:00``, or a date for its midnight in a time zone.

    Raises:
        CallmeterError: it is neither, lacks a zone, is too exact or not between 2000 and 2100.
    """
    try:
        at = datetime.fromisoformat(text)
        if _date(text):
            at = instant(at, timezone)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None or _long_fraction(text):
        raise CallmeterError(
            f"{text!r} is no time; write a date such as 2026-11-01 (midnight in {timezone}) or a time with its zone "
            "such as 2026-11-01T00:00:00-05:00"
        )
    if not FIRST_TIME <= at < END_OF_TIME:
        raise CallmeterError(f"{text} is not between 2000 and 2100")
    return at.astimezone(UTC)


def time_text(at: datetime) -> str:
    """A time as facts and commands write it: ISO 8601 in UTC."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def encode(fact: Fact) -> bytes:
    """A fact as its record's value."""
    return json.dumps(fact, separators=(",", ":"), ensure_ascii=False).encode()


def check_fact_id(fact_id: str) -> str:
    """A fact's id as given by a person.

    Raises:
        CallmeterError: it is empty, longer than 128 bytes or has white space.
    """
    try:
        return identifier(fact_id)
    except ValueError as error:
        raise CallmeterError(f"--id {fact_id!r}: {error}") from None


def own_id(prefix: str, account_id: str, fact_id: str) -> str:
    """An id for what comes with a fact: another fact, or another account, gives another one."""
    return prefix + hashlib.blake2b(f"{account_id}\0{fact_id}".encode(), digest_size=8).hexdigest()


def subscription_id_of(account_id: str, fact_id: str) -> str:
    """The id of the subscription that a fact starts."""
    return own_id("sub_", account_id, fact_id)


def subscription_started(catalogue: Catalogue, account_id: str, plan: str, at: datetime, fact_id: str) -> Fact:
    """An account is put on a plan; its terms are frozen here.

    Raises:
        CallmeterError: the account or plan is not in the catalogue.
        Refused: it is retired, or of another agency.
    """
    agency = catalogue.account(account_id).agency
    name, found = catalogue.plan(plan, agency)
    return {
        **_head("subscription.started", catalogue, account_id, at, fact_id),
        "subscription_id": subscription_id_of(account_id, fact_id),
        "terms": terms_of(name, found, catalogue.agency(agency)),
    }


def subscription_canceled(
    catalogue: Catalogue, account_id: str, subscription_id: str, when: str, at: datetime, fact_id: str
) -> Fact:
    """A subscription ends: ``when`` is ``now`` or ``period_end``."""
    head = _head("subscription.canceled", catalogue, account_id, at, fact_id)
    return {**head, "subscription_id": subscription_id, "when": when}


def subscription_changed(
    catalogue: Catalogue, account_id: str, subscription_id: str, plan: str, when: str, at: datetime, fact_id: str
) -> Fact:
    """A subscription goes on with another plan: ``when`` is ``now`` or ``next_period``.

    Raises:
        CallmeterError: the account or plan is not in the catalogue.
        Refused: it is retired, or of another agency.
    """
    agency = catalogue.account(account_id).agency
    name, found = catalogue.plan(plan, agency)
    head = _head("subscription.changed", catalogue, account_id, at, fact_id)
    terms = terms_of(name, found, catalogue.agency(agency))
    return {**head, "subscription_id": subscription_id, "when": when, "terms": terms}


def subscription_paused(
    catalogue: Catalogue, account_id: str, subscription_id: str, at: datetime, fact_id: str
) -> Fact:
    """A subscription pauses."""
    head = _head("subscription.paused", catalogue, account_id, at, fact_id)
    return {**head, "subscription_id": subscription_id}


def subscription_resumed(
    catalogue: Catalogue, account_id: str, subscription_id: str, at: datetime, fact_id: str
) -> Fact:
    """A paused subscription goes on."""
    head = _head("subscription.resumed", catalogue, account_id, at, fact_id)
    return {**head, "subscription_id": subscription_id}


def number_rented(
    catalogue: Catalogue,
    account_id: str,
    number: str,
    price_micros: int | None,
    plan: str | None,
    label: str | None,
    at: datetime,
    fact_id: str,
) -> Fact:
    """An account has a number from now on.

    Args:
        catalogue: where the account is.
        account_id: whose number it is.
        number: the number.
        price_micros: of a period; None for the price that the account's plan has for numbers.
        plan: the account's, None where it has none.
        label: what it is for.
        at: when.
        fact_id: the fact's id.

    Raises:
        CallmeterError: no price is given, and the plan has none.
    """
    agency = catalogue.account(account_id).agency
    found = catalogue.plan_of_old(plan, agency) if plan else None
    if price_micros is None:
        if found is None or found.number_price is None:
            raise CallmeterError(f"plan {plan} has no number_price; say what the number costs with --price")
        price_micros = micros(found.number_price)
    currency = currency_of(found, catalogue.agency(agency)) if found else catalogue.agency(agency).currency
    head = _head("number.rented", catalogue, account_id, at, fact_id)
    return {**head, "number": number, "price_micros": price_micros, "currency": currency, "label": label}


def number_released(catalogue: Catalogue, account_id: str, number: str, at: datetime, fact_id: str) -> Fact:
    """An account gives a number back."""
    return {**_head("number.released", catalogue, account_id, at, fact_id), "number": number}


def pack_applied(catalogue: Catalogue, account_id: str, pack: str, at: datetime, fact_id: str) -> Fact:
    """A pack is sold to an account.

    Raises:
        CallmeterError: the account or pack is not in the catalogue.
        Refused: it is retired, of another agency, or not assigned to the account.
    """
    return {**_head("pack.applied", catalogue, account_id, at, fact_id), **_pack(catalogue, account_id, pack)}


def top_up_set(
    catalogue: Catalogue,
    account_id: str,
    pack: str,
    level: dict[str, int],
    most_per_month: int,
    at: datetime,
    fact_id: str,
) -> Fact:
    """An account buys a pack by itself, from now on.

    Args:
        catalogue: where the pack is.
        account_id: whose top-up it is.
        pack: its name or address.
        level: ``below_s`` or ``below_micros``.
        most_per_month: how often at most, in a calendar month.
        at: when.
        fact_id: the fact's id.

    Raises:
        CallmeterError: the account or pack is not in the catalogue, or the pack does not fill what is low.
        Refused: it is retired, of another agency, or not assigned to the account.
    """
    sold = _pack(catalogue, account_id, pack)
    if not sold["minutes" if "below_s" in level else "credit_micros"]:
        what = "minutes" if "below_s" in level else "credit"
        raise CallmeterError(f"pack {sold['pack']} has no {what}, so it would not fill what is low")
    head = _head("top_up.set", catalogue, account_id, at, fact_id)
    return {**head, "top_up": {**sold, **level, "most_per_month": most_per_month}}


def top_up_cleared(catalogue: Catalogue, account_id: str, at: datetime, fact_id: str) -> Fact:
    """An account buys nothing by itself any more."""
    return {**_head("top_up.set", catalogue, account_id, at, fact_id), "top_up": None}


def _pack(catalogue: Catalogue, account_id: str, pack: str) -> Fact:
    """A pack as facts have it, if the account may buy it."""
    agency = catalogue.account(account_id).agency
    name, found = catalogue.pack(pack, agency)
    if not catalogue.sells_pack(name, account_id):
        raise Refused(f"packs_not_allowed: pack {name} is not assigned to {account_id}")
    return {
        "pack": name,
        "minutes": found.minutes,
        "credit_micros": micros(found.credit),
        "price_micros": micros(found.price),
        "currency": currency_of(found, catalogue.agency(agency)),
    }


def wallet_adjusted(
    catalogue: Catalogue, account_id: str, minutes: int, credit_micros: int, reason: str, at: datetime, fact_id: str
) -> Fact:
    """Wallet and credit are corrected by a difference of either sign."""
    head = _head("wallet.adjusted", catalogue, account_id, at, fact_id)
    return {**head, "minutes": minutes, "credit_micros": credit_micros, "reason": reason}


def cap_set(catalogue: Catalogue, account_id: str, cap: dict[str, Any] | None, at: datetime, fact_id: str) -> Fact:
    """The account's cap from now on (`catalogue.terms.cap_of`); None clears it."""
    return {**_head("cap.set", catalogue, account_id, at, fact_id), "cap": cap}


def caps_set(catalogue: Catalogue, account_id: str, caps: list[dict[str, Any]], at: datetime, fact_id: str) -> Fact:
    """The account's caps that have a name (`catalogue.terms.named_caps`), in place of those it has."""
    agency = catalogue.account(account_id, even_retired=True).agency
    return account_caps_set(account_id, agency, caps, at, fact_id)


def account_caps_set(account_id: str, agency_id: str, caps: list[dict[str, Any]], at: datetime, fact_id: str) -> Fact:
    """The same of an account that is not in the catalogue yet."""
    own = {"account_id": account_id, "agency_id": agency_id, "at": time_text(at)}
    return {"type": "caps.set", "fact_id": fact_id, **own, "caps": caps}


def caps_of_account(catalogue: Catalogue, account_id: str) -> list[dict[str, Any]]:
    """The caps that the catalogue gives an account, as facts have them; none where it says nothing of caps."""
    return named_caps(catalogue.account(account_id, even_retired=True).caps or {})


def agency_caps_set(agency_id: str, caps: list[dict[str, Any]], at: datetime, fact_id: str) -> Fact:
    """The agency's caps, in place of those it has; those of money name its currency."""
    head = {"type": "agency.caps_set", "fact_id": fact_id, "agency_id": agency_id, "at": time_text(at)}
    return {**head, "caps": caps}


def call_corrected(rated: Fact, call: Fact, at: datetime, fact_id: str) -> Fact:
    """A rated call was another one.

    Args:
        rated: the rated call that is wrong.
        call: the fields of the call, without ids; what is left out is as by default.
        at: when that was found.
        fact_id: the fact's id.
    """
    return {**_of_call("call.corrected", rated, at, fact_id), "corrects": rated["call_id"], **call}


def call_voided(rated: Fact, reason: str, at: datetime, fact_id: str) -> Fact:
    """A rated call was none."""
    return {**_of_call("call.voided", rated, at, fact_id), "call_id": rated["call_id"], "reason": reason}


def _of_call(kind: str, rated: Fact, at: datetime, fact_id: str) -> Fact:
    own = {"account_id": rated["account_id"], "agency_id": rated["agency_id"], "at": time_text(at)}
    return {"type": kind, "fact_id": fact_id, **own}


def _head(kind: str, catalogue: Catalogue, account_id: str, at: datetime, fact_id: str) -> Fact:
    agency = catalogue.account(account_id, even_retired=True).agency
    return {"type": kind, "fact_id": fact_id, "account_id": account_id, "agency_id": agency, "at": time_text(at)}
