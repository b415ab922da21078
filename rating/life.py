"""The life of a subscription: it starts, perhaps with a trial, changes its terms, pauses, resumes, and is canceled.

A change at once, and a resume, split the newest open period: it ends there, and the rest of it is a period of its own
that is charged, and has its allowance, by whole seconds.
"""

from __future__ import annotations

from datetime import UTC, datetime

from rating.access import applied
from rating.account import Account, Subscription
from rating.books import Books, Refusal
from rating.caps import begin_day
from rating.cycle import bring_forward, change_status, look_ahead, open_next_period, split_period
from rating.dunning import tell_status
from rating.facts import (
    SubscriptionCanceled,
    SubscriptionChanged,
    SubscriptionPaused,
    SubscriptionResumed,
    SubscriptionStarted,
)
from rating.lines import credit_rest
from rating.numbers import settle_numbers
from rating.period import days_later


def start_subscription(books: Books, account: Account | None, fact: SubscriptionStarted) -> None:
    """Put an account on terms; the first subscription makes the account.

    Raises:
        Refusal: ``already_subscribed``, ``wrong_currency``, ``unknown_rate_card``.
    """
    terms = fact.terms
    at = fact.at.astimezone(UTC)
    if account is not None:
        if account.currency != terms.currency:
            raise Refusal("wrong_currency", f"the account is in {account.currency}, the terms are in {terms.currency}")
        old = account.subscription
        if old.runs or old.ends_at is None or at < old.ends_at:
            raise Refusal("already_subscribed", f"subscription {old.subscription_id} is active at {at.isoformat()}")
    tariff = books.tariff_of(terms)
    subscription = Subscription(
        subscription_id=fact.subscription_id, plan=terms.plan, anchor=at, terms_id=tariff.terms_id
    )
    if terms.trial_days:
        subscription.anchor = days_later(at, terms.trial_days, terms.timezone)
        subscription.starts_at, subscription.opened, subscription.status = at, -1, "trialing"
    previous = None
    if account is None:
        account = Account(
            account_id=fact.account_id, agency_id=fact.agency_id, currency=terms.currency, subscription=subscription
        )
        books.accounts[fact.account_id] = account
        books.accounts_of.setdefault(fact.agency_id, []).append(fact.account_id)
    else:
        previous = account.status
        books.changed_history(account.account_id).subscriptions.append(account.subscription)
        account.subscription = subscription
    account.cap = terms.cap
    tell_status(books, account, at, previous)
    open_next_period(books, account, at)
    if books.clock is not None:
        begin_day(books, account, books.clock)
    applied(books, account, fact)


def change_subscription(books: Books, account: Account, fact: SubscriptionChanged) -> None:
    """Put a subscription on other terms, now or from its next period on.

    Raises:
        Refusal: ``wrong_currency``, ``illegal_change``, ``unknown_rate_card``.
    """
    terms = fact.terms
    if account.currency != terms.currency:
        raise Refusal("wrong_currency", f"the account is in {account.currency}, the terms are in {terms.currency}")
    _check_running(account, fact.subscription_id)
    if account.subscription.ends_at is not None:
        raise Refusal("illegal_change", f"{fact.subscription_id} already ends at {account.subscription.ends_at}")
    if fact.when == "next_period":
        account.subscription.next_terms_id = books.tariff_of(terms).terms_id
    else:
        _change_now(books, account, fact)
    applied(books, account, fact)


def _change_now(books: Books, account: Account, fact: SubscriptionChanged) -> None:
    at = fact.at.astimezone(UTC)
    ahead = look_ahead(books, account, at)
    if not fact.terms.keeps_time_of(books.tariffs[ahead.subscription.terms_id].terms):
        raise Refusal("illegal_change", "interval, count and time zone must stay; use when next_period")
    if ahead.subscription.opened == 0:
        raise Refusal("illegal_change", "a trial changes at its end; use when next_period")
    _check_split(ahead.start, at)
    tariff = books.tariff_of(fact.terms)
    period = bring_forward(books, account, at)
    credit_rest(account, period, books.tariffs[period.terms_id].terms.price_micros, at)
    account.subscription.next_terms_id = None
    split_period(books, account, at, tariff.terms_id)


def pause_subscription(books: Books, account: Account, fact: SubscriptionPaused) -> None:
    """Pause a subscription.

    Raises:
        Refusal: ``illegal_change``.
    """
    at = fact.at.astimezone(UTC)
    _check_running(account, fact.subscription_id)
    if account.subscription.status == "paused":
        raise Refusal("illegal_change", f"{fact.subscription_id} is paused already")
    _check_within(account, at)
    bring_forward(books, account, at, at_end=False)
    change_status(books, account, at, "paused")
    applied(books, account, fact)


def resume_subscription(books: Books, account: Account, fact: SubscriptionResumed) -> None:
    """Have a paused subscription go on; a period that opened while it was paused is charged for the rest of it.

    Raises:
        Refusal: ``illegal_change``.
    """
    at = fact.at.astimezone(UTC)
    _check_running(account, fact.subscription_id)
    if account.subscription.status != "paused":
        raise Refusal("illegal_change", f"{fact.subscription_id} is not paused")
    _check_within(account, at)
    # A period that would open at this very instant opens after it, and is not paused.
    ahead = look_ahead(books, account, at, at_end=False)
    splits = ahead.paused and at < ahead.end
    if splits:
        _check_split(ahead.start, at)
    bring_forward(books, account, at, at_end=False)
    in_trial = account.subscription.opened == 0
    change_status(books, account, at, "trialing" if in_trial else "active")
    if splits:
        split_period(books, account, at)
    applied(books, account, fact)


def cancel_subscription(books: Books, account: Account, fact: SubscriptionCanceled) -> None:
    """End a subscription, now or with its newest open period.

    Raises:
        Refusal: ``illegal_change``.
    """
    at = fact.at.astimezone(UTC)
    _check_running(account, fact.subscription_id)
    if fact.when == "period_end":
        subscription = account.subscription
        if subscription.ends_at is not None:
            raise Refusal("illegal_change", f"{fact.subscription_id} already ends at its period's end")
        subscription.ends_at = account.periods[-1].end
        subscription.next_terms_id = None
    else:
        _check_within(account, at)
        period = bring_forward(books, account, at)
        terms = books.tariffs[period.terms_id].terms
        unused = terms.cancel_credit == "unused"
        account.lines += settle_numbers(books, account, period, terms.timezone, at, unused)
        if unused:
            credit_rest(account, period, terms.price_micros, at)
        period.end = account.subscription.ends_at = at
        account.subscription.next_terms_id = None
        change_status(books, account, at, "canceled")
    applied(books, account, fact)


def _check_running(account: Account, subscription_id: str) -> None:
    if not account.subscription.runs or subscription_id != account.subscription.subscription_id:
        raise Refusal("illegal_change", f"{subscription_id} is not the active subscription")


def _check_within(account: Account, at: datetime) -> None:
    if at < account.periods[-1].start:
        raise Refusal("illegal_change", "at is before the start of the newest open period")
    ends_at = account.subscription.ends_at
    if ends_at is not None and at > ends_at:
        raise Refusal("illegal_change", f"{account.subscription.subscription_id} already ends at {ends_at}")


def _check_split(start: datetime, at: datetime) -> None:
    """Ids are made of starts: no two periods may begin at the same instant."""
    if at <= start:
        raise Refusal("illegal_change", f"at must be after the period's start, {start.isoformat()}")
