"""The rare facts: packs and adjustments fill the pools, amounts are asked for once, caps are set.

The life of a subscription is in `life`.
"""

from __future__ import annotations

from datetime import UTC

from rating.access import applied
from rating.account import Account
from rating.books import Books, Refusal, within_bounds
from rating.caps import replace_caps
from rating.cycle import due_dates
from rating.facts import CapSet, CapsSet, OneTimeCharged, PackApplied, WalletAdjusted


def apply_pack(books: Books, account: Account, fact: PackApplied) -> None:
    """Credit the wallet with a pack at once.

    Raises:
        Refusal: ``no_subscription``, ``packs_not_allowed``, ``wrong_currency``, ``out_of_range``.
    """
    if fact.currency != account.currency:
        raise Refusal("wrong_currency", f"the account is in {account.currency}, the pack in {fact.currency}")
    if not account.subscription.runs:
        raise Refusal("no_subscription", "the account has no active subscription")
    tariff = books.tariffs[account.subscription.terms_id]
    if not tariff.allows_pack(fact.pack):
        raise Refusal("packs_not_allowed", f"the terms do not allow pack {fact.pack!r}")
    wallet_s = within_bounds("the wallet", account.wallet_s + fact.minutes * 60)
    credit_micros = within_bounds("the credit", account.credit_micros + fact.credit_micros)
    account.wallet_s, account.credit_micros = wallet_s, credit_micros
    content = {
        "fact_id": fact.fact_id,
        "pack": fact.pack,
        "minutes": fact.minutes,
        "credit_micros": fact.credit_micros,
        "price_micros": fact.price_micros,
        "currency": fact.currency,
        "wallet_left_s": wallet_s,
        "credit_left_micros": credit_micros,
        **due_dates(tariff.terms, fact.at),
    }
    books.emit_billing("pack.credited", account, fact.at.astimezone(UTC), content)
    applied(books, account, fact)


def adjust_wallet(books: Books, account: Account, fact: WalletAdjusted) -> None:
    """Correct wallet and credit by a difference.

    Raises:
        Refusal: ``illegal_change`` where either would become negative; ``out_of_range``.
    """
    wallet_s = within_bounds("the wallet", account.wallet_s + fact.minutes * 60)
    credit_micros = within_bounds("the credit", account.credit_micros + fact.credit_micros)
    if wallet_s < 0 or credit_micros < 0:
        raise Refusal("illegal_change", f"wallet ({wallet_s} s) or credit ({credit_micros} micros) would be negative")
    account.wallet_s, account.credit_micros = wallet_s, credit_micros
    content = {
        "fact_id": fact.fact_id,
        "minutes": fact.minutes,
        "credit_micros": fact.credit_micros,
        "reason": fact.reason,
        "wallet_left_s": wallet_s,
        "credit_left_micros": credit_micros,
    }
    books.emit_billing("wallet.adjusted", account, fact.at.astimezone(UTC), content)
    applied(books, account, fact)


def charge_one_time(books: Books, account: Account, fact: OneTimeCharged) -> None:
    """Have an amount asked for once.

    Raises:
        Refusal: ``wrong_currency``.
    """
    if fact.currency != account.currency:
        raise Refusal("wrong_currency", f"the account is in {account.currency}, the amount in {fact.currency}")
    content = {
        "fact_id": fact.fact_id,
        "amount_micros": fact.amount_micros,
        "currency": fact.currency,
        "description": fact.description,
        **due_dates(books.tariffs[account.subscription.terms_id].terms, fact.at),
    }
    books.emit_billing("one_time.charged", account, fact.at.astimezone(UTC), content)
    applied(books, account, fact)


def set_cap(books: Books, account: Account, fact: CapSet) -> None:
    """Replace the account's cap, until its next subscription starts."""
    account.cap = fact.cap
    applied(books, account, fact)


def set_caps(books: Books, account: Account, fact: CapsSet) -> None:
    """Replace the account's caps that have a name; they stay through all its subscriptions."""
    replace_caps(books, account, fact.caps, fact.at)
    applied(books, account, fact)
