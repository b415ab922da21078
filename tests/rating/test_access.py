"""Access is a set of reasons to be off: with two of them, one that goes does not turn it on."""

import pytest

from tests.rating.builders import call, fact, outputs, pack, subscription, tick
from tests.rating.test_payments import DUE, GRACE, asked, settled

CAP = {"minutes": 5, "spend_micros": None, "mode": "hard", "alerts_percent": [80, 100]}
RAISED = {**CAP, "minutes": 500}


def access(*facts):
    return [(event["allowed"], event["reasons"], event["reason"]) for event in outputs(*facts)["access-events"]]


def cap_set(number, cap):
    return fact("cap.set", number, cap=cap)


def canceled(number, at="2026-11-10T00:00:00Z", when="now"):
    return fact("subscription.canceled", number, at=at, subscription_id="sub_1", when=when)


BLOCKED = subscription(overage="blocked", cap=CAP)  # ten minutes, all used by one call


def test_cap_and_pools_a_raised_cap_leaves_the_pools_empty():
    assert access(BLOCKED, call(1), cap_set(1, RAISED)) == [
        (False, ["cap_reached", "pools_empty"], "cap_reached"),
        (False, ["pools_empty"], "pools_empty"),
    ]


def test_cap_and_pools_a_pack_leaves_the_cap_reached():
    assert access(BLOCKED, call(1), pack(1)) == [
        (False, ["cap_reached", "pools_empty"], "cap_reached"),
        (False, ["cap_reached"], "cap_reached"),
    ]


def test_cap_and_pools_both_gone_is_on_again():
    events = access(BLOCKED, call(1), pack(1), cap_set(2, None))
    assert events[-1] == (True, [], "ok")


def test_cap_and_canceled_a_raised_cap_leaves_it_canceled():
    events = access(subscription(cap=CAP), call(1), canceled(1), cap_set(2, RAISED))
    assert events == [
        (False, ["cap_reached"], "cap_reached"),
        (False, ["canceled", "cap_reached"], "canceled"),
        (False, ["canceled"], "canceled"),
    ]


def test_cap_and_canceled_a_new_subscription_under_a_reached_cap_of_its_own_stays_off():
    none = {**CAP, "minutes": 0}
    again = subscription(at="2026-11-11T00:00:00Z", fact="again", sub="sub_2", cap=none)
    events = access(subscription(cap=CAP), call(1), canceled(1), again)
    assert events[-1] == (False, ["cap_reached"], "cap_reached")


def test_pools_and_canceled_a_top_up_leaves_it_canceled():
    topped_up = fact("wallet.adjusted", 2, minutes=5, credit_micros=0, reason="goodwill")
    events = access(subscription(overage="blocked"), call(1), canceled(1), topped_up)
    assert events == [
        (False, ["pools_empty"], "pools_empty"),
        (False, ["canceled", "pools_empty"], "canceled"),
        (False, ["canceled"], "canceled"),
    ]


def test_pools_and_canceled_a_new_subscription_without_allowance_stays_off():
    again = subscription(at="2026-11-11T00:00:00Z", fact="again", sub="sub_2", overage="blocked", included_minutes=0)
    events = access(subscription(overage="blocked"), call(1), canceled(1), again)
    assert events[-1] == (False, ["pools_empty"], "pools_empty")


def test_all_three_reasons_stand_together():
    events = access(BLOCKED, call(1), canceled(1))
    assert events[-1] == (False, ["canceled", "cap_reached", "pools_empty"], "canceled")


def test_a_new_period_turns_a_capped_and_empty_account_on():
    assert access(BLOCKED, call(1), tick("2026-12-01T00:00:00Z"))[-1] == (True, [], "ok")


def test_nothing_is_said_while_the_set_stays_the_same():
    assert len(access(BLOCKED, call(1), call(2), call(3), tick("2026-11-20T00:00:00Z"))) == 1


def test_a_soft_cap_never_turns_access_off():
    assert access(subscription(cap={**CAP, "mode": "soft"}), call(1)) == []


# -- what is not paid, beside each other reason


PAUSED = fact("subscription.paused", "pause", at="2026-11-07T00:00:00Z", subscription_id="sub_1")
RESUMED = fact("subscription.resumed", "resume", at="2026-11-17T00:00:00Z", subscription_id="sub_1")
NEVER_ENDS = subscription(overage="blocked")
AGENCY_OFF, AGENCY_ON = (
    {"type": "agency.access", "fact_id": f"a{n}", "agency_id": "ag_1", "at": DUE, "sequence": n, "allowed": n == 2}
    for n in (1, 2)
)
# Of each other reason: how it begins, and how it goes.
OTHERS = {
    "cap_reached": ([subscription(cap=CAP), call(1)], [cap_set("raised", RAISED)]),
    "pools_empty": ([NEVER_ENDS, call(1)], [pack("bought")]),
    "paused": ([subscription(), PAUSED], [RESUMED]),
    "agency_cap_reached": ([subscription(), AGENCY_OFF], [AGENCY_ON]),
    "canceled": (
        [subscription(), canceled("end", at="2026-11-07T00:00:00Z")],
        [subscription(at="2026-11-17T00:00:00Z", fact="again", sub="sub_2")],
    ),
}
PAID = settled("paid", at="2026-11-16T00:00:00Z")


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize(("unpaid", "ticks"), [("past_due", [tick(DUE)]), ("blocked", [tick(DUE), tick(GRACE)])])
def test_what_is_paid_takes_away_only_that_it_was_not(other, unpaid, ticks):
    begins, goes = OTHERS[other]
    first, *rest = begins
    both = [first, asked(), *rest, *ticks]
    assert access(*both)[-1][1] == sorted([other, unpaid])
    assert access(*both, PAID)[-1] == (False, [other], other)
    assert access(*both, PAID, *goes)[-1] == (True, [], "ok")


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize(("unpaid", "ticks"), [("past_due", [tick(DUE)]), ("blocked", [tick(DUE), tick(GRACE)])])
def test_another_reason_that_goes_leaves_it_unpaid(other, unpaid, ticks):
    begins, goes = OTHERS[other]
    first, *rest = begins
    both = [first, asked(), *rest, *ticks, *goes]
    assert access(*both)[-1] == (False, [unpaid], unpaid)
    assert access(*both, PAID)[-1] == (True, [], "ok")


def test_each_change_is_told_once():
    repeated = [asked(), tick(DUE), tick("2026-11-09T00:00:00Z"), tick(GRACE), tick("2026-11-16T00:00:00Z"), PAID, PAID]
    assert [reasons for _, reasons, _ in access(subscription(), *repeated)] == [["past_due"], ["blocked"], []]
