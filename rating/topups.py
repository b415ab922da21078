"""Automatic top-ups: a pack is bought when a call has brought the wallet, or the credit, below a level.

Looked at after each call that the allowance did not cover alone, so that an account that still has its allowance buys
nothing. Never more often than the account said, in a calendar month of the terms' zone.
"""

from __future__ import annotations

from datetime import UTC, datetime

from rating.account import Account, TopUps
from rating.books import Books, Refusal
from rating.cycle import due_dates
from rating.facts import TopUpSet
from rating.period import wall_clock
from rating.terms import LARGEST


def set_top_up(books: Books, account: Account, fact: TopUpSet) -> None:
    """Replace the account's top-up, or clear it. How often it was topped up this month goes on.

    Raises:
        Refusal: ``no_subscription``, ``packs_not_allowed``, ``wrong_currency``.
    """
    top_up = fact.top_up
    if top_up is not None:
        if top_up.currency != account.currency:
            raise Refusal("wrong_currency", f"the account is in {account.currency}, the top-up in {top_up.currency}")
        if account.subscription.status == "canceled":
            raise Refusal("no_subscription", "the account has no active subscription")
        if not books.tariffs[account.subscription.terms_id].allows_pack(top_up.pack):
            raise Refusal("packs_not_allowed", f"the terms do not allow pack {top_up.pack!r}")
    if account.top_ups is None:
        account.top_ups = TopUps(top_up)
    else:
        account.top_ups.top_up = top_up


def top_up_if_low(books: Books, account: Account, ended_at: datetime) -> None:
    """Buy the pack of the account's top-up, if its pool is below the level and the month's limit is not reached."""
    tops, subscription = account.top_ups, account.subscription
    if tops is None or tops.top_up is None or subscription.status == "canceled":
        return
    top_up, tariff = tops.top_up, books.tariffs[subscription.terms_id]
    if top_up.below_s is not None:
        low = account.wallet_s < top_up.below_s
    else:
        low = top_up.below_micros is not None and account.credit_micros < top_up.below_micros
    if not low or not tariff.allows_pack(top_up.pack):
        return
    at = (ended_at if books.clock is None else max(ended_at, books.clock)).astimezone(UTC)
    local = wall_clock(at, tariff.terms.timezone)
    month = 12 * local.year + local.month
    if month > tops.month:
        tops.month, tops.bought = month, 0
    wallet_s = account.wallet_s + top_up.minutes * 60
    credit_micros = account.credit_micros + top_up.credit_micros
    # A call is not refused for the pack that would follow it.
    if tops.bought >= top_up.most_per_month or max(wallet_s, credit_micros) > LARGEST:
        return
    tops.bought += 1
    account.wallet_s, account.credit_micros = wallet_s, credit_micros
    fact_id = f"topup:{books.partition}:{books.offset}"
    books.changed_history(account.account_id).fact_ids.add(fact_id)
    content = {
        "fact_id": fact_id,
        "pack": top_up.pack,
        "minutes": top_up.minutes,
        "credit_micros": top_up.credit_micros,
        "price_micros": top_up.price_micros,
        "currency": top_up.currency,
        "automatic": True,
        "wallet_left_s": wallet_s,
        "credit_left_micros": credit_micros,
        **due_dates(tariff.terms, at),
    }
    books.emit_billing("pack.credited", account, at, content)
