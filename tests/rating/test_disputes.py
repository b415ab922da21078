"""Disputes: documents of their own, opened, won or lost; what is lost is a refund; each is alerted once."""

import pytest

from tests.rating.builders import fact, outputs, refused, tick
from tests.rating.test_payments import DUE, START, START_OF_ALL, TOTAL, asked, corrected, numbered, settled

PAID = (START_OF_ALL, asked(), numbered("2026-000001"), settled("paid", at=START))


def disputed(status, amount=TOTAL, dispute="dp_1", name="r", **fields):
    given = {"payment_request_id": name, "dispute_id": dispute, "status": status, "amount_micros": amount}
    own = fact("payment_request.disputed", f"{dispute}_{status}", "2026-11-20T00:00:00Z", **given, currency="USD")
    return {**own, **fields}


def documents(*facts):
    return {one["payment_request_id"]: one for one in outputs(*facts)["payment-requests"] if one["corrects"]}


def test_what_is_disputed_was_still_paid_until_the_dispute_is_lost():
    opened = (*PAID, disputed("opened", note="Disputed: fraudulent", actor="stripe", reference="in_1"))
    (document,) = documents(*opened).values()
    assert (document["kind"], document["status"], document["corrects"]) == ("dispute", "opened", "r")
    assert (document["disputed_micros"], document["external_id"], document["number"]) == (TOTAL, "dp_1", None)
    amounts = "total_micros", "left_micros", "paid_micros"
    assert [document[name] for name in amounts] == [0, 0, 0]
    won = documents(*opened, disputed("won"))
    assert [(one["status"], [change["status"] for change in one["changes"]]) for one in won.values()] == [
        ("won", ["opened", "won"])
    ]
    lost = documents(*opened, disputed("lost", note="Dispute lost: fraudulent"))
    assert lost["dispute:dp_1"]["status"] == "lost"
    refund = lost["refund:dp_1"]
    assert (refund["kind"], refund["paid_micros"], refund["corrects"]) == ("refund", -TOTAL, "r")
    assert (refund["external_id"], refund["note"]) == ("dp_1", "Dispute lost: fraudulent")


def test_it_is_alerted_once_whatever_is_told_first():
    for told in (("opened",), ("opened", "won"), ("lost",), ("won",)):
        (alert,) = outputs(*PAID, *(disputed(status, 1_000_000) for status in told))["alerts"]
        assert (alert["type"], alert["alert_id"]) == ("dispute", "acct_1:dispute:dp_1")
        assert (alert["used"], alert["limit"], alert["payment_request_id"]) == (1_000_000, TOTAL, "r")


@pytest.mark.parametrize("first", ["opened", "won", "lost"])
@pytest.mark.parametrize("then", ["opened", "won", "lost"])
def test_only_what_is_opened_is_decided_and_only_once(first, then):
    facts = (*PAID, disputed(first), disputed(then, fact_id="again"))
    assert refused(*facts) == ([] if first == "opened" or then == "opened" else ["illegal_change"])
    # That it was opened may be told late.
    assert documents(*facts)["dispute:dp_1"]["status"] == (then if first == "opened" else first)


def test_a_refund_that_was_told_before_is_not_made_again():
    refund = corrected("refund", TOTAL, name="refund:dp_1")
    found = documents(*PAID, refund, disputed("lost"))
    assert sum(one["paid_micros"] for one in found.values()) == -TOTAL
    assert found["dispute:dp_1"]["status"] == "lost"
    assert refused(*PAID, refund, disputed("lost")) == []


def test_more_than_is_left_cannot_be_lost_and_leaves_no_trace():
    facts = (*PAID, corrected("refund", 1_000_000), disputed("opened"))
    assert refused(*facts, disputed("lost")) == ["illegal_change"]
    assert documents(*facts, disputed("lost"))["dispute:dp_1"]["status"] == "opened"


def test_a_dispute_of_what_is_not_known_to_be_paid_is_noted_and_cannot_be_lost():
    facts = START_OF_ALL, asked(), tick(DUE), disputed("opened")
    assert documents(*facts)["dispute:dp_1"]["status"] == "opened"
    assert refused(*facts, disputed("lost")) == ["illegal_change"]


@pytest.mark.parametrize(
    "wrong",
    [
        disputed("opened", name="dispute:dp_1", dispute="dp_2"),
        disputed("won", name="s"),
        settled("paid", name="dispute:dp_1"),
        numbered("2026-000002", name="dispute:dp_1"),
        corrected("refund", 1, about="dispute:dp_1"),
    ],
)
def test_nothing_is_about_a_dispute_and_it_is_one_requests(wrong):
    assert refused(*PAID, asked("s"), disputed("opened"), wrong) == ["illegal_change"]


def test_it_is_of_a_known_request_in_the_accounts_currency():
    assert refused(*PAID, disputed("opened", name="nothing")) == ["unknown_request"]
    assert refused(*PAID, disputed("opened", currency="EUR")) == ["wrong_currency"]
    assert refused(disputed("opened")) == ["unknown_request"]
