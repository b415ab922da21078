"""The life of a subscription: what is asked for, what waits, and what is refused, to the second and the micro."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rating.request import request_for
from tests.rating.builders import call, fact, outputs, pack, refused, subscription, tick

DAY = {"interval": "day", "price_micros": 86_400, "included_minutes": 1_440}
SUB = {"subscription_id": "sub_1"}


def terms(**other):
    rate = {"overage": "billed", "overage_micros_per_minute": 120_000}
    return {"plan": "other", "currency": "USD", **rate, **DAY, **other}


def changed(at, when="now", number=1, **other):
    return fact("subscription.changed", f"change {number} {at}", at, when=when, terms=terms(**other), **SUB)


def paused(at):
    return fact("subscription.paused", f"pause {at}", at, **SUB)


def resumed(at):
    return fact("subscription.resumed", f"resume {at}", at, **SUB)


def canceled(at, when="now"):
    return fact("subscription.canceled", f"cancel {at}", at, when=when, **SUB)


def opened(found):
    """Of each period that opened: its start, included seconds, lines."""
    return [
        (
            event["period_start"][5:19],
            event["included_s"],
            [(one["kind"], one["amount_micros"]) for one in event["lines"]],
        )
        for event in found["billing-events"]
        if event["type"] == "cycle.opened"
    ]


def closed(found, *fields):
    return [
        tuple(event[name] for name in fields) for event in found["billing-events"] if event["type"] == "cycle.closed"
    ]


# A day of 86,400 s at a micro a second, with as many seconds included.
@pytest.mark.parametrize(
    ("at", "price", "included", "lines"),
    [
        ("2026-11-01T12:00:00Z", 172_800, 86_400, [("charge", 86_400), ("credit", -43_200)]),
        ("2026-11-01T00:00:01Z", 172_800, 172_798, [("charge", 172_798), ("credit", -86_399)]),
        # Seconds are whole: of the last one nothing is left.
        ("2026-11-01T23:59:59.5Z", 172_800, 0, []),
        ("2026-11-01T23:59:58.5Z", 172_800, 2, [("charge", 2), ("credit", -1)]),
        # Rounded down, each for itself.
        ("2026-11-01T12:00:00Z", 86_401, 86_400, [("charge", 43_200), ("credit", -43_200)]),
        # Less than before: the rest waits.
        ("2026-11-01T12:00:00Z", 1, 86_400, [("credit", -43_200), ("carried_forward", 43_200)]),
    ],
)
def test_a_change_at_once_credits_and_charges_by_whole_seconds(at, price, included, lines):
    found = outputs(subscription(**DAY), changed(at, price_micros=price, included_minutes=2_880))
    assert opened(found)[1] == (at[5:19], included, lines)
    assert not found["dead-letters"]


def test_requests_of_periods_that_begin_in_one_second_have_ids_of_their_own():
    found = outputs(
        subscription("2026-11-01T00:00:00.9Z", **{**DAY, "included_minutes": 0}),
        changed("2026-11-02T00:00:00.4Z", number=1, included_minutes=0),
        changed("2026-11-02T00:00:00.5Z", number=2, included_minutes=0),
        call(1, "2026-11-02T00:00:00.6Z", "2026-11-01T23:59:00Z"),
        call(2, "2026-11-02T00:00:01Z", "2026-11-02T00:00:00Z"),
        tick("2026-11-04T00:00:00Z"),
    )
    asked = [request_for(event, lambda currency: 6) for event in found["billing-events"]]
    ids = [request["payment_request_id"] for request in asked if request]
    assert len(ids) == len(set(ids))
    assert [each.removeprefix("sub_1:") for each in ids if each.endswith("usage")] == [
        "20261102T000000.500000Z:usage",
        "20261102T000000.900000Z:usage",
    ]


def test_the_old_allowance_lapses_and_calls_before_the_change_still_draw_on_it():
    found = outputs(
        subscription(**{**DAY, "included_minutes": 2}, late_window_s=3_600),
        changed("2026-11-01T12:00:00Z", included_minutes=2),
        call(1, "2026-11-01T11:59:59Z", "2026-11-01T11:58:59Z"),
        call(2, "2026-11-01T12:01:30Z", "2026-11-01T12:00:00Z", ),
        tick("2026-11-01T13:00:00Z"),
        call(3, "2026-11-01T11:50:00Z", "2026-11-01T11:49:30Z"),
    )  # fmt: skip
    drawn = [(each["period_start"][11:13], each["allowance_s"], each["overage_s"], each["late"]) for each in
             found["rated-calls"]]  # fmt: skip
    assert drawn == [("00", 60, 0, False), ("12", 60, 30, False), ("12", 0, 30, True)]


def test_credits_wait_as_long_as_it_takes():
    found = outputs(
        subscription(**{**DAY, "price_micros": 864_000}),
        changed("2026-11-01T12:00:00Z", price_micros=86_400),
        *(tick(f"2026-11-{day:02}T00:00:00Z") for day in range(2, 9)),
    )
    # 432,000 - 43,200 are carried on; a day costs 86,400.
    amounts = [sum(amount for _, amount in lines) for *_, lines in opened(found)]
    assert amounts == [864_000, 0, 0, 0, 0, 0, 5 * 86_400 - (432_000 - 43_200), 86_400, 86_400]


def test_a_change_from_the_next_period_on_takes_the_cap_with_it_unless_another_was_set():
    cap = {"minutes": 5, "spend_micros": None, "mode": "hard", "alerts_percent": [100]}
    own = {"cap": {**cap, "minutes": 1}}
    calls = (call(n, f"2026-11-02T10:0{n}:00Z", f"2026-11-02T10:0{n - 1}:00Z") for n in range(1, 6))
    story = (changed("2026-11-01T10:00:00Z", "next_period", cap=cap), tick("2026-11-02T00:00:00Z"), *calls)
    assert [each["reasons"] for each in outputs(subscription(**DAY), *story)["access-events"]] == [["cap_reached"]]
    kept = outputs(subscription(**DAY), fact("cap.set", 9, **own), *story)
    assert kept["alerts"][0]["limit"] == 60


def test_a_plan_may_be_changed_twice_in_a_period():
    found = outputs(
        subscription(**DAY),
        changed("2026-11-01T06:00:00Z", price_micros=2 * 86_400),
        changed("2026-11-01T18:00:00Z", price_micros=4 * 86_400),
        tick("2026-11-02T00:00:00Z"),
    )
    # Six hours at 1, twelve at 2, six at 4, then a day at 4 a second.
    assert [sum(amount for _, amount in lines) for *_, lines in opened(found)] == [
        86_400, 2 * 64_800 - 64_800, 4 * 21_600 - 2 * 21_600, 4 * 86_400,
    ]  # fmt: skip
    assert closed(found, "period_start", "period_end") == [
        ("2026-11-01T00:00:00Z", "2026-11-01T06:00:00Z"),
        ("2026-11-01T06:00:00Z", "2026-11-01T18:00:00Z"),
        ("2026-11-01T18:00:00Z", "2026-11-02T00:00:00Z"),
    ]


def test_what_opens_while_paused_costs_nothing_and_a_resume_pays_the_rest():
    found = outputs(
        subscription(**DAY),
        paused("2026-11-01T06:00:00Z"),
        tick("2026-11-02T00:00:00Z"),
        call(1, "2026-11-02T01:01:00Z", "2026-11-02T01:00:00Z"),
        resumed("2026-11-02T18:00:00Z"),
        tick("2026-11-03T00:00:00Z"),
    )
    assert opened(found) == [
        ("11-01T00:00:00", 86_400, [("recurring", 86_400)]),
        ("11-02T00:00:00", 0, []),
        ("11-02T18:00:00", 21_600, [("charge", 21_600)]),
        ("11-03T00:00:00", 86_400, [("recurring", 86_400)]),
    ]
    assert [each["overage_s"] for each in found["rated-calls"]] == [60]
    assert [each["reasons"] for each in found["access-events"]] == [["paused"], []]


def test_a_pause_within_a_period_changes_no_money():
    found = outputs(
        subscription(**DAY), paused("2026-11-01T06:00:00Z"), resumed("2026-11-01T18:00:00Z"),
        tick("2026-11-02T00:00:00Z"),
    )  # fmt: skip
    assert [lines for *_, lines in opened(found)] == [[("recurring", 86_400)]] * 2


def test_a_pause_and_a_resume_at_a_boundary_are_before_what_opens_there():
    found = outputs(
        subscription(**DAY), paused("2026-11-02T00:00:00Z"), resumed("2026-11-04T00:00:00Z"),
        tick("2026-11-04T00:00:00Z"),
    )  # fmt: skip
    assert [(start, bool(lines)) for start, _, lines in opened(found)] == [
        ("11-01T00:00:00", True), ("11-02T00:00:00", False), ("11-03T00:00:00", False), ("11-04T00:00:00", True),
    ]  # fmt: skip


def test_a_trial_is_followed_by_periods_that_count_from_its_end():
    found = outputs(
        subscription("2026-01-17T00:00:00Z", interval="month", price_micros=5, trial_days=14),
        tick("2026-01-31T00:00:00Z"),
        tick("2026-02-28T00:00:00Z"),
        tick("2026-03-31T00:00:00Z"),
    )
    assert [(start[:5], included, lines) for start, included, lines in opened(found)] == [
        ("01-17", 600, []),
        ("01-31", 600, [("recurring", 5)]),
        ("02-28", 600, [("recurring", 5)]),
        ("03-31", 600, [("recurring", 5)]),
    ]


def test_a_late_call_of_a_trial_is_rated_by_its_terms():
    trial = {"trial_days": 1, "trial_included_minutes": 1, "late_calls": "adjust"}
    late = call(1, "2026-11-01T10:02:00Z", "2026-11-01T10:00:00Z")
    found = outputs(subscription(**DAY, **trial), tick("2026-11-02T00:00:00Z"), late)
    assert [(each["allowance_s"], each["written_off_s"], each["overage_s"]) for each in found["rated-calls"]] == [
        (60, 60, 0)
    ]


@pytest.mark.parametrize(("credit", "amounts"), [("unused", [86_400, 43_200]), ("none", [86_400, 86_400])])
def test_who_cancels_now_gets_the_rest_back_where_the_terms_say_so_and_keeps_the_wallet(credit, amounts):
    found = outputs(
        subscription(**DAY, cancel_credit=credit), pack(1),
        canceled("2026-11-01T12:00:00Z"), tick("2026-11-03T00:00:00Z"),
        subscription("2026-11-03T00:00:00Z", fact="again", sub="sub_2", **{**DAY, "included_minutes": 0}),
        call(1, "2026-11-03T01:01:00Z", "2026-11-03T01:00:00Z"),
    )  # fmt: skip
    assert [sum(amount for _, amount in lines) for *_, lines in opened(found)] == amounts
    assert [(each["wallet_s"], each["wallet_left_s"]) for each in found["rated-calls"]] == [(60, 3_540)]


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ([changed("2026-11-01T12:00:00Z", interval="week")], "illegal_change"),
        ([changed("2026-11-01T12:00:00Z", interval_count=2)], "illegal_change"),
        ([changed("2026-11-01T12:00:00Z", timezone="Europe/Berlin")], "illegal_change"),
        ([changed("2026-11-01T12:00:00Z", currency="EUR")], "wrong_currency"),
        ([changed("2026-11-01T12:00:00Z", "next_period", currency="EUR")], "wrong_currency"),
        ([changed("2026-11-01T00:00:00Z")], "illegal_change"),
        ([changed("2026-10-31T12:00:00Z")], "illegal_change"),
        ([changed("2026-11-02T00:00:00Z")], "illegal_change"),
        ([changed("2026-11-01T12:00:00Z", "whenever")], "malformed"),
        ([changed("2026-11-01T12:00:00Z") | {"subscription_id": "sub_2"}], "illegal_change"),
        ([canceled("2026-11-01T12:00:00Z"), changed("2026-11-01T13:00:00Z")], "illegal_change"),
        ([canceled("2026-11-01T12:00:00Z", "period_end"), changed("2026-11-01T13:00:00Z", "next_period")],
         "illegal_change"),
        ([resumed("2026-11-01T12:00:00Z")], "illegal_change"),
        ([paused("2026-11-01T12:00:00Z"), paused("2026-11-01T13:00:00Z")], "illegal_change"),
        ([paused("2026-10-31T12:00:00Z")], "illegal_change"),
        ([canceled("2026-11-01T12:00:00Z"), paused("2026-11-01T13:00:00Z")], "illegal_change"),
        ([paused("2026-11-01T12:00:00Z"), tick("2026-11-02T00:00:00Z"), resumed("2026-11-02T00:00:00Z")],
         "illegal_change"),
        ([canceled("2026-11-01T12:00:00Z", "period_end"), paused("2026-11-02T00:00:01Z")], "illegal_change"),
        ([subscription(fact="again", sub="sub_2")], "already_subscribed"),
        ([paused("2026-11-01T12:00:00Z"), subscription("2026-12-01T00:00:00Z", fact="again", sub="sub_2")],
         "already_subscribed"),
    ],
)  # fmt: skip
def test_what_is_refused_leaves_no_trace(facts, reason):
    before, bad = facts[:-1], facts[-1]
    found = outputs(subscription(**DAY), *before, bad)
    assert [letter["reason"] for letter in found["dead-letters"]] == [reason]
    assert found["billing-events"] == outputs(subscription(**DAY), *before)["billing-events"]


def test_a_trial_changes_at_its_end_only():
    started = subscription(**DAY, trial_days=2)
    assert refused(started, changed("2026-11-01T12:00:00Z")) == ["illegal_change"]
    assert refused(started, changed("2026-11-01T12:00:00Z", "next_period")) == []


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 40 * 3_600), st.integers(0, 10**9), st.booleans()), min_size=1, max_size=8),
)
def test_all_that_is_ever_asked_for_is_what_the_time_on_each_plan_costs(changes):
    """Within a micro for each change: no event is negative, and what waits in the end makes up for it."""
    from datetime import datetime, timedelta

    at = datetime.fromisoformat("2026-11-01T00:00:00+00:00")
    price, owed, facts, rounding = 86_400, 86_400, [subscription(**DAY)], 0
    for number, (seconds, new, _) in enumerate(changes):
        later = at + timedelta(seconds=seconds)
        for day in range((later.date() - at.date()).days):
            owed += price
            facts.append(tick((at.date() + timedelta(days=day + 1)).isoformat() + "T00:00:00Z"))
        at = later
        if at.hour == at.minute == at.second == 0:
            continue
        left = 86_400 - (at.hour * 3_600 + at.minute * 60 + at.second)
        owed += new * left // 86_400 - price * left // 86_400
        price = new
        rounding += 2
        facts.append(changed(at.isoformat(), number=number, price_micros=new))
    found = outputs(*facts)
    assert not found["dead-letters"]
    events = [event for event in found["billing-events"] if "lines" in event]
    amounts = [sum(one["amount_micros"] for one in event["lines"]) for event in events]
    assert min(amounts) >= 0
    waits = 0
    for event in events:
        carried = [one["amount_micros"] for one in event["lines"] if one["kind"] == "carried_forward"]
        if carried:
            waits = max(carried[-1], 0)
        if carried and carried[-1] < 0:
            waits = 0
    assert sum(amounts) - waits == owed
