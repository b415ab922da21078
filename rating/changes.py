"""The rare facts: subscriptions start and end, packs and adjustments fill the pools, caps are set."""

from __future__ import annotations

from datetime import UTC

from rating.access import review_access
from rating.account import Account, Subscription
from rating.books import Books, Refusal, within_bounds
from rating.caps import begin_day, replace_caps
from rating.cycle import due_dates, end_subscription, open_next_period
from rating.facts import (
    AccountFact,
    CapSet,
    CapsSet,
    PackApplied,
    SubscriptionCanceled,
    SubscriptionStarted,
    WalletAdjusted,
)


def start_subscription(books: Books, account: Account | None, fact: SubscriptionStarted) -> None:
    """Put an account on terms; the first subscription makes the account.

    Raises:
        Refusal: ``already_subscribed``, ``wrong_currency``.
    """
    terms = fact.terms
    anchor = fact.at.astimezone(UTC)
    if account is not None:
        if account.currency != terms.currency:
            raise Refusal("wrong_currency", f"the account is in {account.currency}, the terms are in {terms.currency}")
        old = account.subscription
        if old.status == "active" or old.ends_at is None or anchor < old.ends_at:
            raise Refusal("already_subscribed", f"subscription {old.subscription_id} is active at {anchor.isoformat()}")
    tariff = books.tariff_of(terms)
    subscription = Subscription(
        subscription_id=fact.subscription_id, plan=terms.plan, anchor=anchor, terms_id=tariff.terms_id
    )
    previous = None
    if account is None:
        account = Account(
            account_id=fact.account_id, agency_id=fact.agency_id, currency=terms.currency, subscription=subscription
        )
        books.accounts[fact.account_id] = account
    else:
        previous = account.subscription.status
        books.changed_history(account.account_id).subscriptions.append(account.subscription)
        account.subscription = subscription
    account.cap = terms.cap
    books.emit_billing("subscription.status_changed", account, anchor, {"status": "active", "previous": previous})
    open_next_period(books, account, anchor)
    if books.clock is not None:
        begin_day(books, account, books.clock)
    _applied(books, account, fact)


def cancel_subscription(books: Books, account: Account, fact: SubscriptionCanceled) -> None:
    """End a subscription, now or with its newest open period.

    Raises:
        Refusal: ``illegal_change``.
    """
    subscription = account.subscription
    at = fact.at.astimezone(UTC)
    if subscription.status != "active" or fact.subscription_id != subscription.subscription_id:
        raise Refusal("illegal_change", f"{fact.subscription_id} is not the active subscription")
    newest = account.periods[-1]
    if fact.when == "period_end":
        if subscription.ends_at is not None:
            raise Refusal("illegal_change", f"{fact.subscription_id} already ends at its period's end")
        subscription.ends_at = newest.end
    else:
        if at < newest.start:
            raise Refusal("illegal_change", "at is before the start of the newest open period")
        if subscription.ends_at is not None and at > subscription.ends_at:
            raise Refusal("illegal_change", f"{fact.subscription_id} already ends at {subscription.ends_at}")
        while subscription.ends_at is None and at >= newest.end:
            newest = open_next_period(books, account, at)
        newest.end = subscription.ends_at = at
        end_subscription(books, account, at)
    _applied(books, account, fact)


def apply_pack(books: Books, account: Account, fact: PackApplied) -> None:
    """Credit the wallet with a pack at once.

    Raises:
        Refusal: ``no_subscription``, ``packs_not_allowed``, ``wrong_currency``, ``out_of_range``.
    """
    if fact.currency != account.currency:
        raise Refusal("wrong_currency", f"the account is in {account.currency}, the pack in {fact.currency}")
    if account.subscription.status != "active":
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
    _applied(books, account, fact)


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
    _applied(books, account, fact)


def set_cap(books: Books, account: Account, fact: CapSet) -> None:
    """Replace the account's cap, until its next subscription starts."""
    account.cap = fact.cap
    _applied(books, account, fact)


def set_caps(books: Books, account: Account, fact: CapsSet) -> None:
    """Replace the account's caps that have a name; they stay through all its subscriptions."""
    replace_caps(books, account, fact.caps, fact.at)
    _applied(books, account, fact)


def _applied(books: Books, account: Account, fact: AccountFact) -> None:
    books.schedule(account)
    review_access(books, account, fact.at)
