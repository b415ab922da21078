"""The facts with a `fact_id`: subscriptions, packs, adjustments, caps and payment requests.

Each function changes one account or raises `Refused` before anything is changed.
"""

from typing import Any

from tests.oracle import cycles
from tests.oracle.book import Account, Subscription
from tests.oracle.checks import MAX_INTEGER, Fact
from tests.oracle.journal import Journal
from tests.oracle.rate_cards import BY_ID, RateCard
from tests.oracle.reading import Refused

REQUEST_FIELDS = [
    "payment_request_id",
    "kind",
    "agency_id",
    "account_id",
    "subscription_id",
    "period_start",
    "period_end",
    "currency",
    "lines",
    "subtotal_micros",
    "rounding_micros",
    "tax_micros",
    "total_micros",
    "due_at",
    "grace_ends_at",
]


def currency_named(fact: Fact) -> str | None:
    named: dict[str, Any] = fact.get("terms", fact)
    return named.get("currency")


def card_named(terms: dict[str, Any], account: str | None) -> RateCard | None:
    if terms["rate_card"] is None:
        return None
    card = BY_ID.get(terms["rate_card"])
    if card is None:
        raise Refused("unknown_rate_card", account)
    if card.currency != terms["currency"]:
        raise Refused("wrong_currency", account)
    return card


def started(journal: Journal, account: Account, fact: Fact) -> None:
    previous = None
    if account.subscriptions:
        last = account.subscription
        previous = last.status
        if last.status == "active" or (last.end is not None and fact["at"] < last.end):
            raise Refused("already_subscribed", account.account_id)
    card = card_named(fact["terms"], account.account_id)
    subscription = Subscription(fact["subscription_id"], fact["at"], fact["terms"], card)
    account.subscriptions.append(subscription)
    account.cap = fact["terms"]["cap"]
    journal.billing(
        account, subscription, "subscription.status_changed", fact["at"], status="active", previous=previous
    )
    cycles.open_next(journal, account, subscription, fact["at"])
    cycles.new_day(account, fact["clock"])


def canceled(journal: Journal, account: Account, fact: Fact) -> None:
    subscription, at = account.subscription, fact["at"]
    newest = subscription.periods[-1]
    pending = subscription.end is not None
    now_and_never = at < newest.start or (subscription.end is not None and subscription.end < at)
    illegal = now_and_never if fact["when"] == "now" else pending
    if illegal or subscription.status != "active" or subscription.subscription_id != fact["subscription_id"]:
        raise Refused("illegal_change", account.account_id)
    if fact["when"] == "period_end":
        subscription.end = newest.end
        return
    while not pending and newest.end <= at:
        newest = cycles.open_next(journal, account, subscription, at)
    newest.end = subscription.end = at
    cycles.end(journal, account, subscription, at)


def pack_applied(journal: Journal, account: Account, fact: Fact) -> None:
    subscription = account.subscription
    if subscription.status != "active":
        raise Refused("no_subscription", account.account_id)
    allowed = subscription.terms["packs"]
    if not (allowed if isinstance(allowed, bool) else fact["pack"] in allowed):
        raise Refused("packs_not_allowed", account.account_id)
    _fill(account, fact)
    own = {name: fact[name] for name in ("fact_id", "pack", "minutes", "credit_micros", "price_micros", "currency")}
    dates = cycles.dates(subscription.terms, fact["at"])
    journal.billing(account, subscription, "pack.credited", fact["at"], **own, **_pools(account), **dates)


def wallet_adjusted(journal: Journal, account: Account, fact: Fact) -> None:
    _fill(account, fact)
    own = {name: fact[name] for name in ("fact_id", "minutes", "credit_micros", "reason")}
    journal.billing(account, account.subscription, "wallet.adjusted", fact["at"], **own, **_pools(account))


def _fill(account: Account, fact: Fact) -> None:
    wallet = account.wallet_s + fact["minutes"] * 60
    credit = account.credit_micros + fact["credit_micros"]
    if max(wallet, credit) > MAX_INTEGER:
        raise Refused("out_of_range", account.account_id)
    if min(wallet, credit) < 0:
        raise Refused("illegal_change", account.account_id)
    account.wallet_s, account.credit_micros = wallet, credit


def _pools(account: Account) -> dict[str, int]:
    return {"wallet_left_s": account.wallet_s, "credit_left_micros": account.credit_micros}


def cap_set(journal: Journal, account: Account, fact: Fact) -> None:
    account.cap = fact["cap"]


def caps_set(journal: Journal, account: Account, fact: Fact) -> None:
    account.caps = fact["caps"]
    if not any(each["per"] == "day" for each in account.caps):
        account.today = None
    elif account.today is None:
        account.today = cycles.day_now(account, fact["clock"] or fact["at"])
    if not account.caps and not account.rearmed:
        account.rearmed = 0


def request_created(journal: Journal, account: Account, fact: Fact) -> None:
    name = fact["payment_request_id"]
    if name in account.requests:
        raise Refused("illegal_change", account.account_id)
    request = {field: fact[field] for field in REQUEST_FIELDS}
    request |= {"status": "pending", "reference": None, "note": None, "paid_at": None, "updated_at": fact["at"]}
    account.requests[name] = request
    journal.write("payment-requests", name, request)


def request_settled(journal: Journal, account: Account, fact: Fact) -> None:
    name, status = fact["payment_request_id"], fact["status"]
    request = account.requests.get(name)
    if request is None:
        raise Refused("unknown_request", account.account_id)
    if request["status"] in ("paid", "canceled", status):
        raise Refused("illegal_change", account.account_id)
    request |= {"status": status, "reference": fact["reference"], "note": fact["note"], "updated_at": fact["at"]}
    request["paid_at"] = fact["at"] if status == "paid" else None
    journal.write("payment-requests", name, request)


HANDLERS = {
    "subscription.started": started,
    "subscription.canceled": canceled,
    "pack.applied": pack_applied,
    "wallet.adjusted": wallet_adjusted,
    "cap.set": cap_set,
    "caps.set": caps_set,
    "payment_request.created": request_created,
    "payment_request.settled": request_settled,
}
