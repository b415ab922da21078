"""Payment requests live from pending to paid or canceled, and what is not paid pauses and blocks an account."""

import json

import msgspec
import pytest

from rating import ledger
from rating.dunning import OPEN
from rating.fold import Fold
from rating.request import request_for
from rating.seen import SeenInMemory
from tests.rating.builders import encode, fact, outputs, pack, refused, subscription, tick

START = "2026-11-01T00:00:00Z"
DUE, GRACE = "2026-11-08T00:00:00Z", "2026-11-15T00:00:00Z"
START_OF_ALL = subscription()
TOTAL = 49_000_000


def asked(name="r", due=DUE, grace=GRACE, kind="cycle", amount=TOTAL, account="acct_1", **fields):
    line = {
        "line_id": "recurring", "kind": "recurring", "description": "Plan", "quantity": 1, "unit": "period",
        "unit_price_micros": amount, "amount_micros": amount,
    }  # fmt: skip
    return {
        **fact("payment_request.created", f"created_{name}", START, account), "payment_request_id": name, "kind": kind,
        "currency": "USD", "lines": [line], "subtotal_micros": amount, "rounding_micros": 0, "total_micros": amount,
        "due_at": due, "grace_ends_at": grace, **fields,
    }  # fmt: skip


def settled(status, name="r", at="2026-11-20T00:00:00Z", **fields):
    own = fact("payment_request.settled", f"{name}_{status}_{at}", at, payment_request_id=name, status=status)
    return {**own, **fields}


def corrected(kind, amount, about="r", name=None, at="2026-11-20T00:00:00Z", **fields):
    name = name or f"{kind}_{amount}"
    given = {"payment_request_id": name, "corrects": about, "kind": kind, "amount_micros": amount, "currency": "USD"}
    return {**fact("payment_request.corrected", f"{name}_{about}", at), **given, **fields}


def numbered(number, name="r", at=START):
    return {**fact("payment_request.numbered", f"number:{number}", at), "payment_request_id": name, "number": number}


def sent(external_id="in_1", name="r", number=1, **fields):
    given = {"payment_request_id": name, "gateway": "stripe", "external_id": external_id}
    return fact("payment_request.sent", f"sent_{number}", START, **given, **fields)


def latest(*facts, name="r"):
    return [one for one in outputs(*facts)["payment-requests"] if one["payment_request_id"] == name][-1]


def statuses(*facts):
    told = outputs(*facts)["billing-events"]
    return [(one["previous"], one["status"]) for one in told if one["type"] == "subscription.status_changed"]


def access(*facts):
    return [event["reasons"] for event in outputs(*facts)["access-events"]]


# -- the life of a request

TO = {
    "pending": [],
    "overdue": [tick(DUE)],
    "failed": [settled("failed", at=START)],
    "paid": [settled("paid", at=START)],
    "canceled": [settled("canceled", at=START)],
}
ALLOWED = {
    "pending": ("paid", "failed", "canceled"),
    "overdue": ("paid", "failed", "canceled"),
    "failed": ("paid", "canceled"),
}


@pytest.mark.parametrize("status", TO)
@pytest.mark.parametrize("becomes", ["paid", "failed", "canceled"])
def test_each_change_of_each_status(status, becomes):
    facts = START_OF_ALL, asked(), *TO[status]
    assert latest(*facts)["status"] == status
    change = settled(becomes, actor="jane", reference="wire 4711", note="by phone")
    found = outputs(*facts, change)
    if becomes not in ALLOWED.get(status, ()):
        (letter,) = found["dead-letters"]
        assert (letter["reason"], letter["detail"]) == ("illegal_change", f"payment request r is {status}")
        return
    request = found["payment-requests"][-1]
    told = {"status": becomes, "actor": "jane", "reference": "wire 4711", "note": "by phone"}
    assert {name: request[name] for name in told} == told
    assert request["changes"][-1] == {**told, "at": "2026-11-20T00:00:00Z"}
    assert request["paid_at"] == ("2026-11-20T00:00:00Z" if becomes == "paid" else None)
    assert (request["left_micros"], request["paid_micros"]) == (
        TOTAL if becomes == "failed" else 0,
        TOTAL if becomes == "paid" else 0,
    )


def test_a_request_is_overdue_from_the_first_tick_at_its_due_date():
    before = START_OF_ALL, asked(), tick("2026-11-07T23:59:59.999999Z")
    assert latest(*before)["status"] == "pending"
    request = latest(*before, tick(DUE))
    assert (request["status"], request["overdue_at"], request["actor"]) == ("overdue", DUE, "clock")
    assert request["changes"] == [{"status": "overdue", "at": DUE, "actor": "clock", "reference": None, "note": None}]


def test_one_that_is_created_when_it_is_due_already_is_overdue_with_the_next_tick():
    facts = START_OF_ALL, tick("2026-11-20T00:00:00Z"), asked()
    assert latest(*facts)["status"] == "pending"
    later = *facts, tick("2026-11-20T00:01:00Z")
    assert latest(*later)["status"] == "overdue"
    # Its grace is over, too: it never was just past due.
    assert statuses(*later)[1:] == [("active", "blocked")]


def test_what_is_not_known_cannot_be_settled():
    for about in (settled("paid"), sent(), numbered("2026-000001"), corrected("refund", 1)):
        assert refused(START_OF_ALL, about) == refused(about) == ["unknown_request"]


def test_an_id_that_is_taken_is_refused_whatever_became_of_the_first():
    again = {**asked(), "fact_id": "again"}
    for status in TO:
        assert refused(START_OF_ALL, asked(), numbered("2026-000001"), *TO[status], again) == ["illegal_change"]


# -- what a gateway says


def test_a_gateway_says_once_by_which_id_it_has_a_request_and_what_tax_it_reckoned():
    facts = START_OF_ALL, asked(), sent(tax_micros=4_900_000, actor="billing")
    request = latest(*facts)
    assert (request["gateway"], request["external_id"]) == ("stripe", "in_1")
    assert (request["tax_micros"], request["total_micros"], request["left_micros"]) == (
        4_900_000,
        53_900_000,
        53_900_000,
    )
    assert refused(*facts, sent("in_2", number=2)) == ["illegal_change"]
    included = latest(START_OF_ALL, asked(), sent(tax_micros=4_900_000, tax_included=True))
    assert (included["total_micros"], included["tax_included"]) == (TOTAL, True)


def test_what_was_paid_before_the_gateways_id_is_known_takes_it_up_later():
    facts = (
        START_OF_ALL,
        asked(gateway="stripe"),
        numbered("2026-000001"),
        settled("paid", at=START),
        sent(tax_micros=1),
    )
    request = latest(*facts)
    assert (request["status"], request["external_id"], request["paid_micros"]) == ("paid", "in_1", TOTAL + 1)


# -- credit notes and refunds


def test_a_credit_note_is_a_document_of_its_own_and_less_is_left_to_pay():
    facts = START_OF_ALL, asked(), corrected("credit_note", 9_000_000, tax_micros=1_000_000, actor="jane")
    note, request = latest(*facts, name="credit_note_9000000"), latest(*facts)
    assert (note["kind"], note["corrects"], note["status"]) == ("credit_note", "r", "paid")
    assert (note["subtotal_micros"], note["tax_micros"], note["total_micros"]) == (-8_000_000, -1_000_000, -9_000_000)
    assert (note["paid_micros"], note["left_micros"]) == (0, 0)
    assert sum(line["amount_micros"] for line in note["lines"]) == note["subtotal_micros"]
    assert (request["credited_micros"], request["left_micros"], request["total_micros"]) == (
        9_000_000,
        40_000_000,
        TOTAL,
    )
    paid = latest(*facts, settled("paid"))
    assert (paid["paid_micros"], paid["total_micros"]) == (40_000_000, TOTAL)


def test_a_credit_note_for_all_that_is_left_cancels_the_request_and_the_account_goes_on():
    facts = START_OF_ALL, asked(), tick(DUE), corrected("credit_note", TOTAL, at=DUE)
    request = latest(*facts)
    assert (request["status"], request["reference"]) == ("canceled", f"credit_note_{TOTAL}")
    assert statuses(*facts)[1:] == [("active", "past_due"), ("past_due", "active")]


def test_refunds_give_back_what_was_paid_and_no_more():
    facts = START_OF_ALL, asked(), settled("paid", at=START), numbered("2026-000001")
    facts = *facts, corrected("refund", 24_000_000), corrected("refund", 25_000_000)
    found = outputs(*facts)["payment-requests"]
    assert [(one["kind"], one["paid_micros"], one["corrects"]) for one in found[-2:]] == [
        ("refund", -24_000_000, "r"),
        ("refund", -25_000_000, "r"),
    ]
    assert latest(*facts)["status"] == "paid"
    (letter,) = outputs(*facts, corrected("refund", 1))["dead-letters"]
    assert letter["detail"] == "0.000001 USD is more than the 0 of r that was paid and not refunded yet"


@pytest.mark.parametrize(
    ("status", "correction"),
    [
        ("paid", corrected("credit_note", 1)),
        ("canceled", corrected("credit_note", 1)),
        ("pending", corrected("credit_note", TOTAL + 1)),
        ("pending", corrected("refund", 1)),
        ("overdue", corrected("refund", 1)),
        ("failed", corrected("refund", 1)),
        ("canceled", corrected("refund", 1)),
        ("paid", corrected("refund", TOTAL + 1)),
        ("paid", corrected("refund", 1, name="r")),
    ],
)
def test_corrections_that_do_not_fit_are_refused(status, correction):
    assert refused(START_OF_ALL, asked(), *TO[status], correction) == ["illegal_change"]


def test_a_correction_is_not_corrected_and_has_the_accounts_currency():
    facts = START_OF_ALL, asked(), corrected("credit_note", 1)
    assert refused(*facts, corrected("credit_note", 1, about="credit_note_1", name="other")) == ["illegal_change"]
    assert refused(*facts, corrected("credit_note", 2, currency="EUR")) == ["wrong_currency"]


def test_what_came_in_and_what_is_outstanding_are_sums_of_all_documents():
    facts = (
        START_OF_ALL, asked("a"), asked("b"), asked("c"), corrected("credit_note", 9_000_000, "a"),
        settled("paid", "a"), settled("paid", "b"), corrected("refund", 5_000_000, "b"),
        corrected("credit_note", 4_000_000, "c"),
    )  # fmt: skip
    current = {one["payment_request_id"]: one for one in outputs(*facts)["payment-requests"]}
    # 49 - 9 and 49 - 5 came in; 49 - 4 are outstanding.
    assert sum(one["paid_micros"] for one in current.values()) == 84_000_000
    assert sum(one["left_micros"] for one in current.values()) == 45_000_000


# -- the account


def test_past_due_at_the_due_date_blocked_after_grace_and_active_when_it_is_paid():
    facts = START_OF_ALL, asked(), tick(DUE), tick(GRACE), settled("paid")
    found = outputs(*facts)
    assert statuses(*facts)[1:] == [("active", "past_due"), ("past_due", "blocked"), ("blocked", "active")]
    assert [event["reason"] for event in found["access-events"]] == ["past_due", "blocked", "ok"]
    banners = [one["banner"] for one in found["billing-events"] if one["type"] == "subscription.status_changed"]
    assert banners == [
        None,
        "49 USD is past due since 2026-11-08. Campaigns are paused until it is paid. "
        "From 2026-11-15 on the account is blocked.",
        "49 USD is past due since 2026-11-08. The account is blocked until it is paid.",
        None,
    ]


def test_a_jump_tells_the_same_as_many_ticks_but_for_access_between():
    jump = START_OF_ALL, asked(), tick("2026-11-30T00:00:00Z")
    assert statuses(*jump) == statuses(START_OF_ALL, asked(), tick(DUE), tick(GRACE))
    assert access(*jump) == [["blocked"]]


def test_without_grace_it_is_blocked_at_once():
    assert statuses(START_OF_ALL, asked(grace=DUE), tick(DUE))[1:] == [("active", "blocked")]


def test_only_when_no_cycle_is_left_overdue_it_is_active_again():
    facts = START_OF_ALL, asked("a"), asked("b"), tick(DUE), settled("paid", "a", at=DUE)
    assert statuses(*facts)[1:] == [("active", "past_due")]
    assert access(*facts) == [["past_due"]]
    assert statuses(*facts, settled("paid", "b", at=DUE))[-1] == ("past_due", "active")
    # One that is not due yet is no matter.
    later = START_OF_ALL, asked("a"), asked("b", due="2026-11-20T00:00:00Z"), tick(DUE), settled("paid", "a", at=DUE)
    assert statuses(*later)[-1] == ("past_due", "active")


@pytest.mark.parametrize("kind", ["usage", "pack", "one_time"])
def test_requests_of_other_kinds_become_overdue_and_pause_nothing(kind):
    facts = START_OF_ALL, asked(kind=kind), tick(DUE), tick(GRACE)
    assert latest(*facts)["status"] == "overdue"
    assert (len(statuses(*facts)), access(*facts)) == (1, [])


def test_what_failed_is_not_paid_and_what_is_canceled_is_not_owed():
    failed = START_OF_ALL, asked(), settled("failed", at=START), tick(DUE)
    assert (latest(*failed)["status"], latest(*failed)["overdue_at"]) == ("failed", DUE)
    assert statuses(*failed)[-1] == ("active", "past_due")
    assert statuses(START_OF_ALL, asked(), tick(DUE), settled("failed"))[-1] == ("active", "past_due")
    assert statuses(*failed, settled("canceled"))[-1] == ("past_due", "active")


def test_a_debt_stays_with_the_account_when_another_subscription_starts():
    end = fact("subscription.canceled", "end", "2026-11-10T00:00:00Z", subscription_id="sub_1", when="now")
    again = subscription(at="2026-11-11T00:00:00Z", fact="again", sub="sub_2")
    facts = START_OF_ALL, asked(), tick(DUE), end, again
    assert statuses(*facts)[1:] == [("active", "past_due"), ("past_due", "canceled"), ("canceled", "past_due")]
    assert access(*facts) == [["past_due"], ["canceled", "past_due"], ["past_due"]]
    assert access(*facts, settled("paid"))[-1] == []


def test_a_pause_goes_on_underneath():
    pause = fact("subscription.paused", 1, "2026-11-09T00:00:00Z", subscription_id="sub_1")
    facts = START_OF_ALL, asked(), tick(DUE), pause
    assert statuses(*facts)[1:] == [("active", "past_due")]
    assert statuses(*facts, settled("paid"))[-1] == ("past_due", "paused")
    assert access(*facts, settled("paid"))[-1] == ["paused"]


def test_a_tick_with_nothing_due_touches_no_account_however_many_wait_to_be_paid():
    fold = Fold(0, None, SeenInMemory())
    names = [f"acct_{number}" for number in range(200)]
    facts = [one for name in names for one in (subscription(account=name), asked(account=name))]
    for offset, line in enumerate(encode([*facts, tick("2026-11-02T00:00:00Z")])):
        fold.fold(line, offset)
    fold.drain_ledger()
    fold.outputs.clear()
    fold.fold(encode([tick("2026-11-07T00:00:00Z")])[0], 1_000)
    assert (fold.books.touched, fold.outputs) == ({}, [])
    fold.fold(encode([tick(DUE)])[0], 1_001)
    assert len(fold.books.touched) == len(names)


def test_an_account_that_is_paid_keeps_nothing_of_it_at_hand():
    fold = Fold(0, None, SeenInMemory())
    facts = START_OF_ALL, asked(), numbered("2026-000001"), settled("paid", at=START)
    for offset, line in enumerate(encode(facts)):
        fold.fold(line, offset)
    account, history = fold.books.account("acct_1"), fold.books.history("acct_1")
    assert account.dunning is None
    assert (history.requests, list(history.settled)) == ({}, ["r"])


def test_every_open_status_is_one_of_the_life():
    assert set(OPEN) == set(ALLOWED)


# -- one-time charges


def test_a_one_time_charge_is_asked_for_once():
    charge = fact("one_time.charged", 1, amount_micros=25_005_000, currency="USD", description="Set-up")
    (event,) = [
        one for one in outputs(subscription(due_days=3), charge)["billing-events"] if one["type"] == "one_time.charged"
    ]
    request = request_for(event, lambda _: 2)
    assert (request["payment_request_id"], request["kind"]) == ("one_time:fact_1", "one_time")
    assert (request["subtotal_micros"], request["total_micros"]) == (25_005_000, 25_010_000)
    assert request["due_at"] == "2026-11-05T00:00:00Z"
    assert [line["description"] for line in request["lines"]] == ["Set-up"]
    assert refused(charge) == ["no_subscription"]
    assert refused(START_OF_ALL, {**charge, "currency": "EUR"}) == ["wrong_currency"]
    assert refused(START_OF_ALL, {**charge, "amount_micros": 0}) == ["malformed"]


def test_requests_of_an_older_callmeter_live_on():
    """They were kept as maps without the fields of today, and as a status once they were settled."""
    fold = Fold(0, None, SeenInMemory())
    for offset, line in enumerate(encode([START_OF_ALL, asked()])):
        fold.fold(line, offset)
    request = json.loads(fold.outputs[-1][2])
    older = {name: value for name, value in request.items() if not name.startswith("source_")}
    for name in (
        "number", "actor", "overdue_at", "tax_included", "credited_micros", "left_micros", "paid_micros", "corrects",
        "changes",
    ):  # fmt: skip
        del older[name]
    records = dict(fold.drain_ledger())
    key = ledger.HISTORY + b"acct_1"
    history = msgspec.msgpack.decode(records[key][1:])
    history[1] = {"r": older, "old": "paid"}
    records[key] = b"\x02" + msgspec.msgpack.encode(history[:5])
    again = Fold(0, None, SeenInMemory())
    for one in records.items():
        again.restore(*one)
    again.restored()
    for offset, line in enumerate(encode([settled("paid"), corrected("refund", 1, "old")]), again.position):
        again.fold(line, offset)
    assert json.loads(again.outputs[0][2])["paid_micros"] == TOTAL
    assert again.outputs[-1][2].reason == "illegal_change"


def test_packs_wait_for_nothing():
    """An account that is past due buys minutes all the same: they are there when it is on again."""
    assert access(START_OF_ALL, asked(), tick(DUE), pack(1))[-1] == ["past_due"]
