"""The life of a subscription, and the numbers of an account: each fact changes it, or is refused before anything is."""

from datetime import datetime
from typing import Any

from tests.oracle import cycles, numbers
from tests.oracle.anchored import days_later
from tests.oracle.book import Account, Period, Rental, Subscription
from tests.oracle.checks import MAX_INTEGER, Fact
from tests.oracle.journal import Journal
from tests.oracle.rate_cards import BY_ID
from tests.oracle.reading import Refused


def started(journal: Journal, account: Account, fact: Fact) -> None:
    terms, at = fact["terms"], fact["at"]
    if account.subscriptions:
        last = account.subscription
        if last.status != "canceled" or (last.end is not None and at < last.end):
            raise Refused("already_subscribed", account.account_id)
    check_card(account, terms)
    subscription = Subscription(fact["subscription_id"], at, terms, at)
    if terms["trial_days"] > 0:
        subscription.anchor = days_later(at, terms["trial_days"], terms["timezone"])
        subscription.status = "trialing"
    account.subscriptions.append(subscription)
    account.cap = terms["cap"]
    cycles.tell_status(journal, account, at)
    cycles.open_next(journal, account, at)
    cycles.new_day(account, fact["clock"])


def check_card(account: Account, terms: dict[str, Any]) -> None:
    """The last thing that is looked at: is there such a card, in this currency?"""
    if terms["rate_card"] is None:
        return
    card = BY_ID.get(terms["rate_card"])
    if card is None:
        raise Refused("unknown_rate_card", account.account_id)
    if card.currency != terms["currency"]:
        raise Refused("wrong_currency", account.account_id)


def changed(journal: Journal, account: Account, fact: Fact) -> None:
    subscription, at = _running(account, fact), fact["at"]
    if subscription.end is not None:
        raise Refused("illegal_change", account.account_id)
    if fact["when"] == "next_period":
        check_card(account, fact["terms"])
        subscription.pending = fact["terms"]
        return
    steps = _steps(subscription, at, beyond=False)
    start, _, terms = steps[-1]
    trial = len(steps) == 1 and subscription.in_trial
    if trial or not cycles.same_rhythm(terms, fact["terms"]) or at <= start:
        raise Refused("illegal_change", account.account_id)
    check_card(account, fact["terms"])
    newest = _open_until(journal, account, at, beyond=False)
    _credit(account, newest, at)
    account.subscription.pending = None
    cycles.split(journal, account, at, fact["terms"])


def paused(journal: Journal, account: Account, fact: Fact) -> None:
    subscription, at = _running(account, fact), fact["at"]
    if subscription.status == "paused" or not _within(subscription, at):
        raise Refused("illegal_change", account.account_id)
    _open_until(journal, account, at, beyond=True)
    cycles.status(journal, account, at, "paused")


def resumed(journal: Journal, account: Account, fact: Fact) -> None:
    subscription, at = _running(account, fact), fact["at"]
    if subscription.status != "paused" or not _within(subscription, at):
        raise Refused("illegal_change", account.account_id)
    steps = _steps(subscription, at, beyond=True)
    start, end, _ = steps[-1]
    unpaid = len(steps) > 1 or subscription.periods[-1].paused
    splits = unpaid and at < end
    if splits and at <= start:
        raise Refused("illegal_change", account.account_id)
    _open_until(journal, account, at, beyond=True)
    cycles.status(journal, account, at, "trialing" if account.subscription.in_trial else "active")
    if splits:
        cycles.split(journal, account, at)


def canceled(journal: Journal, account: Account, fact: Fact) -> None:
    subscription, at = _running(account, fact), fact["at"]
    if fact["when"] == "period_end":
        if subscription.end is not None:
            raise Refused("illegal_change", account.account_id)
        subscription.end, subscription.pending = subscription.periods[-1].end, None
        return
    if not _within(subscription, at):
        raise Refused("illegal_change", account.account_id)
    newest = _open_until(journal, account, at, beyond=False)
    terms = newest.terms
    unused = terms["cancel_credit"] == "unused"
    account.lines += numbers.settled(account, newest.whole, terms["timezone"], at, refund=unused)
    if unused:
        _credit(account, newest, at)
    newest.end = account.subscription.end = at
    account.subscription.pending = None
    cycles.status(journal, account, at, "canceled")


def number_rented(journal: Journal, account: Account, fact: Fact) -> None:
    if account.subscription.status == "canceled":
        raise Refused("no_subscription", account.account_id)
    _not_too_early(account, fact["at"])
    known = [each for each in account.rentals if each.number == fact["number"]]
    if any(each.until is None or fact["at"] < each.until for each in known):
        raise Refused("illegal_change", account.account_id)
    if fact["price_micros"] + sum(each.price for each in account.rentals if each.until is None) > MAX_INTEGER:
        raise Refused("out_of_range", account.account_id)
    rental = Rental(fact["number"], fact["price_micros"], fact["at"], fact["label"])
    account.rentals.append(rental)
    _say(journal, account, fact, rental)


def number_released(journal: Journal, account: Account, fact: Fact) -> None:
    rental = next((each for each in account.rentals if each.number == fact["number"] and each.until is None), None)
    if rental is None or fact["at"] < rental.since:
        raise Refused("illegal_change", account.account_id)
    _not_too_early(account, fact["at"])
    rental.until = fact["at"]
    _say(journal, account, fact, rental)


def _say(journal: Journal, account: Account, fact: Fact, rental: Rental) -> None:
    said: dict[str, Any] = {
        "fact_id": fact["fact_id"],
        "number": rental.number,
        "price_micros": rental.price,
        "currency": account.currency,
        "label": rental.label,
        "rented_at": rental.since,
        "numbers": sum(each.until is None for each in account.rentals),
    }
    journal.billing(account, account.subscription, fact["type"], fact["at"], **said)


def _not_too_early(account: Account, at: datetime) -> None:
    starts = [period.whole.start for period in account.open_periods()]
    if starts and at < min(starts):
        raise Refused("illegal_change", account.account_id)


def _running(account: Account, fact: Fact) -> Subscription:
    subscription = account.subscription
    if subscription.status == "canceled" or subscription.subscription_id != fact["subscription_id"]:
        raise Refused("illegal_change", account.account_id)
    return subscription


def _within(subscription: Subscription, at: datetime) -> bool:
    return subscription.periods[-1].start <= at and (subscription.end is None or at <= subscription.end)


def _credit(account: Account, period: Period, at: datetime) -> None:
    unused = 0 if period.paused else period.whole.share(period.terms["price_micros"], at)
    if unused:
        account.lines.append(cycles.line("credit", -unused, (at, period.whole.end)))


def _is_over(end: datetime, at: datetime, beyond: bool) -> bool:
    """A fact is `beyond` a period that it is later than the end of; at its very end, it is only over."""
    return end < at or (end == at and not beyond)


def _steps(subscription: Subscription, at: datetime, *, beyond: bool) -> list[tuple[datetime, datetime, Any]]:
    """The newest period, then each that would open until `at`: its span and the terms it would be on."""
    newest = subscription.periods[-1]
    steps = [(newest.start, newest.end, subscription.terms)]
    counted, n, terms = subscription, subscription.next_number(), subscription.terms
    if subscription.pending is not None:
        terms = subscription.pending
        if not cycles.same_rhythm(terms, subscription.terms):
            counted, n = Subscription("", newest.end, terms, newest.end), 0
    while subscription.end is None and _is_over(steps[-1][1], at, beyond):
        steps.append((counted.boundary(n), counted.boundary(n + 1), terms))
        n += 1
    return steps


def _open_until(journal: Journal, account: Account, at: datetime, *, beyond: bool) -> Period:
    while account.subscription.end is None and _is_over(account.subscription.periods[-1].end, at, beyond):
        cycles.open_next(journal, account, at)
    return account.subscription.periods[-1]


HANDLERS = {
    "subscription.started": started,
    "subscription.changed": changed,
    "subscription.paused": paused,
    "subscription.resumed": resumed,
    "subscription.canceled": canceled,
    "number.rented": number_rented,
    "number.released": number_released,
}
