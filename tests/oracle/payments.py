"""Payment requests: their life, what corrects them, and what they do to an account. By docs/facts.md."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from tests.oracle import cycles
from tests.oracle.book import Account, is_owed
from tests.oracle.checks import Fact
from tests.oracle.journal import Journal
from tests.oracle.reading import Refused

COPIED = [
    "payment_request_id", "kind", "agency_id", "account_id", "subscription_id", "period_start", "period_end",
    "currency", "lines", "subtotal_micros", "rounding_micros", "tax_micros", "tax_included", "total_micros", "due_at",
    "grace_ends_at", "gateway", "external_id",
]  # fmt: skip
# Kept by the oracle alone.
OWN = "refunded"


def say(journal: Journal, request: Fact) -> None:
    told = {name: item for name, item in request.items() if name != OWN}
    journal.write("payment-requests", request["payment_request_id"], told)


def sum_up(request: Fact) -> None:
    owed = request["total_micros"] - request["credited_micros"]
    request["left_micros"] = owed if is_owed(request) else 0
    request["paid_micros"] = owed if request["status"] == "paid" else 0


def turn(request: Fact, status: str, at: datetime, actor: Any, reference: Any, note: Any) -> None:
    said = {"status": status, "actor": actor, "reference": reference, "note": note}
    request |= said | {"updated_at": at}
    request["changes"] = [*request["changes"], said | {"at": at}]
    if status == "paid":
        request["paid_at"] = at
    sum_up(request)


def blank(at: datetime) -> Fact:
    return {
        "status": "pending", "number": None, "actor": None, "reference": None, "note": None, "paid_at": None,
        "overdue_at": None, "created_at": at, "updated_at": at, "credited_micros": 0, "changes": [], "corrects": None,
        "disputed_micros": 0,
        OWN: 0,
    }  # fmt: skip


def created(journal: Journal, account: Account, fact: Fact) -> None:
    name = fact["payment_request_id"]
    if name in account.requests:
        raise Refused("illegal_change", account.account_id)
    request = {field: fact[field] for field in COPIED} | blank(fact["at"])
    sum_up(request)
    account.requests[name] = request
    say(journal, request)
    cycles.tell_status(journal, account, fact["at"])


def one_of_them(account: Account, name: str) -> Fact:
    if name not in account.requests:
        raise Refused("unknown_request", account.account_id)
    return account.requests[name]


def is_closed(request: Fact) -> bool:
    """Nothing about it can be told any more: it is over, has its number, and its gateway is known to have it."""
    at_gateway = request["gateway"] == "manual" or request["external_id"] is not None
    return not is_owed(request) and request["number"] is not None and at_gateway


def settled(journal: Journal, account: Account, fact: Fact) -> None:
    request = one_of_them(account, fact["payment_request_id"])
    if request["kind"] == "dispute" or request["status"] in ("paid", "canceled", fact["status"]):
        raise Refused("illegal_change", account.account_id)
    turn(request, fact["status"], fact["at"], fact["actor"], fact["reference"], fact["note"])
    say(journal, request)
    cycles.tell_status(journal, account, fact["at"])


def sent(journal: Journal, account: Account, fact: Fact) -> None:
    request = one_of_them(account, fact["payment_request_id"])
    if request["external_id"] is not None or is_closed(request):
        raise Refused("illegal_change", account.account_id)
    before_tax = request["subtotal_micros"] + request["rounding_micros"]
    on_top = 0 if fact["tax_included"] else fact["tax_micros"]
    if before_tax + on_top > 2**62:
        raise Refused("out_of_range", account.account_id)
    request |= {name: fact[name] for name in ("gateway", "external_id", "tax_micros", "tax_included")}
    request |= {"total_micros": before_tax + on_top, "updated_at": fact["at"]}
    sum_up(request)
    say(journal, request)
    cycles.tell_status(journal, account, fact["at"])


def numbered(journal: Journal, account: Account, fact: Fact) -> None:
    request = one_of_them(account, fact["payment_request_id"])
    if request["kind"] == "dispute" or request["number"] is not None:
        raise Refused("illegal_change", account.account_id)
    request["number"] = fact["number"]
    say(journal, request)


def corrected(journal: Journal, account: Account, fact: Fact) -> None:
    about, amount, at = one_of_them(account, fact["corrects"]), fact["amount_micros"], fact["at"]
    is_refund = fact["kind"] == "refund"
    possible = about["paid_micros"] - about[OWN] if is_refund else about["left_micros"]
    in_time = about["status"] == "paid" if is_refund else is_owed(about)
    is_taken = fact["payment_request_id"] in account.requests
    if not in_time or is_taken or about["corrects"] is not None or amount > possible:
        raise Refused("illegal_change", account.account_id)
    net = fact["tax_micros"] - amount
    text = fact["description"] or {"credit_note": "Credit note", "refund": "Refund"}[fact["kind"]]
    line = {"line_id": fact["kind"], "kind": fact["kind"], "description": text, "quantity": 1, "unit": "document"}
    line |= {"unit_price_micros": net, "amount_micros": net, "period_start": None, "period_end": None}
    document = {name: fact[name] for name in ("payment_request_id", "kind", "currency", "external_id")} | blank(at)
    document |= {name: fact[name] for name in ("corrects", "actor", "reference", "note")}
    document |= {name: about[name] for name in ("agency_id", "account_id", "subscription_id", "gateway")}
    document |= {"period_start": None, "period_end": None, "due_at": at, "grace_ends_at": at, "paid_at": at}
    document |= {"status": "paid", "left_micros": 0, "paid_micros": -amount if is_refund else 0}
    document |= {"subtotal_micros": net, "rounding_micros": 0, "tax_micros": -fact["tax_micros"], "tax_included": False}
    document |= {"total_micros": -amount, "lines": [line]}
    account.requests[fact["payment_request_id"]] = document
    say(journal, document)
    if is_refund:
        about[OWN] += amount
        return
    about["credited_micros"] += amount
    about["updated_at"] = at
    sum_up(about)
    if about["left_micros"] == 0:
        turn(about, "canceled", at, fact["actor"], fact["payment_request_id"], fact["note"])
    say(journal, about)
    cycles.tell_status(journal, account, at)


def disputed(journal: Journal, account: Account, fact: Fact) -> None:
    about, status, at = one_of_them(account, fact["payment_request_id"]), fact["status"], fact["at"]
    name, refund = f"dispute:{fact['dispute_id']}", f"refund:{fact['dispute_id']}"
    known = account.requests.get(name)
    if about["corrects"] is not None:
        raise Refused("illegal_change", account.account_id)
    if known is not None:
        is_it = known["kind"] == "dispute" and known["corrects"] == fact["payment_request_id"]
        if not is_it or (status != "opened" and known["status"] != "opened"):
            raise Refused("illegal_change", account.account_id)
        if status == "opened":
            return
    said = {field: fact[field] for field in ("at", "actor", "reference", "note", "currency", "amount_micros")}
    if status == "lost" and refund not in account.requests:
        own = {"payment_request_id": refund, "corrects": fact["payment_request_id"], "kind": "refund", "tax_micros": 0}
        corrected(journal, account, own | said | {"description": "Dispute lost", "external_id": fact["dispute_id"]})
    if known is None:
        document = blank(at) | {"payment_request_id": name, "kind": "dispute", "currency": fact["currency"]}
        document |= {each: about[each] for each in ("agency_id", "account_id", "subscription_id", "gateway")}
        document |= {"period_start": None, "period_end": None, "due_at": at, "grace_ends_at": at, "lines": []}
        document |= dict.fromkeys(("subtotal_micros", "rounding_micros", "tax_micros", "total_micros"), 0)
        document |= {"tax_included": False, "external_id": fact["dispute_id"], "corrects": fact["payment_request_id"]}
        account.requests[name] = document
    document = account.requests[name]
    document["disputed_micros"] = fact["amount_micros"]
    turn(document, status, at, fact["actor"], fact["reference"], fact["note"])
    say(journal, document)
    if known is None:
        value = {
            "type": "dispute", "alert_id": f"{account.account_id}:{name}", "level": 100,
            "account_id": account.account_id, "agency_id": account.agency_id,
            "subscription_id": about["subscription_id"] or "", "period_start": at, "at": at,
            "used": fact["amount_micros"], "limit": about["paid_micros"], "currency": fact["currency"],
            "payment_request_id": about["payment_request_id"], "dispute_id": fact["dispute_id"],
        }  # fmt: skip
        journal.write("alerts", account.account_id, value)


def one_time(journal: Journal, account: Account, fact: Fact) -> None:
    own = {name: fact[name] for name in ("fact_id", "amount_micros", "currency", "description")}
    subscription = account.subscription
    dates = cycles.dates(subscription.terms, fact["at"])
    journal.billing(account, subscription, "one_time.charged", fact["at"], **own, **dates)


HANDLERS: dict[str, Callable[[Journal, Account, Fact], None]] = {
    "payment_request.created": created,
    "payment_request.sent": sent,
    "payment_request.settled": settled,
    "payment_request.corrected": corrected,
    "payment_request.disputed": disputed,
    "payment_request.numbered": numbered,
    "one_time.charged": one_time,
}
