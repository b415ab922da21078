"""The facts with a `fact_id`: packs, adjustments and caps; the rest is in `lives` and `payments`.

Each function changes one account or raises `Refused` before anything is changed.
"""

from typing import Any

from tests.oracle import cycles, lives, payments
from tests.oracle.book import Account
from tests.oracle.checks import MAX_INTEGER, Fact
from tests.oracle.corrections import corrected
from tests.oracle.journal import Journal
from tests.oracle.pricing import is_allowed
from tests.oracle.reading import Refused


def currency_named(fact: Fact) -> str | None:
    named: dict[str, Any] = fact.get("terms", fact)
    return named.get("currency")


def pack_applied(journal: Journal, account: Account, fact: Fact) -> None:
    subscription = account.subscription
    if subscription.status == "canceled":
        raise Refused("no_subscription", account.account_id)
    if not is_allowed(fact["pack"], subscription.terms):
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


def top_up_set(journal: Journal, account: Account, fact: Fact) -> None:
    top_up = fact["top_up"]
    if top_up is not None:
        if top_up["currency"] != account.currency:
            raise Refused("wrong_currency", account.account_id)
        if account.subscription.status == "canceled":
            raise Refused("no_subscription", account.account_id)
        if not is_allowed(top_up["pack"], account.subscription.terms):
            raise Refused("packs_not_allowed", account.account_id)
    account.top_up = top_up


HANDLERS = {
    **lives.HANDLERS,
    **payments.HANDLERS,
    "pack.applied": pack_applied,
    "wallet.adjusted": wallet_adjusted,
    "cap.set": cap_set,
    "caps.set": caps_set,
    "top_up.set": top_up_set,
    "call.corrected": corrected,
    "call.voided": corrected,
}
