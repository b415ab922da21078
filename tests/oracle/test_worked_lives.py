"""The oracle against whole lives of an account, worked out by hand from domain.md."""

from typing import Any

import pytest

from tests.oracle.story import Told, call, canceled, pack, started, tick

OPENED, CLOSED = "cycle.opened", "cycle.closed"


def test_calls_draw_on_their_own_period_until_it_is_closed() -> None:
    told = Told(
        [
            started("2026-11-01T00:00:00Z", included_minutes=1, late_window_s=900),
            call("new", "2026-12-01T00:00:00Z", 10),
            call("old", "2026-11-30T23:59:59.999999Z", 20),
            tick("2026-12-01T00:14:59.999999Z"),
            call("old too", "2026-11-30T20:00:00Z", 30),
            tick("2026-12-01T00:15:00Z"),
            call("late", "2026-11-30T20:00:00Z", 40),
        ]
    )
    assert told.billing(OPENED, "at") == ["2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"]
    assert told.calls("call_id", "allowance_left_s", "late") == [
        ("new", 50, False),
        ("old", 40, False),
        ("old too", 10, False),
        ("late", 10, True),
    ]
    assert told.billing(CLOSED, "at", "calls", "billed_s") == [("2026-12-01T00:15:00Z", 2, 50)]


LATE = [
    tick("2026-12-01T00:00:00Z"),
    call("c", "2026-11-30T20:00:00Z", 90),
    tick("2026-12-31T00:00:00Z"),
    tick("2027-01-01T00:00:00Z"),
]


@pytest.mark.parametrize(
    ("policy", "call_drawn", "period", "closed"),
    [
        # included 60 s: 60 from the new allowance, 30 s of overage at 2,000
        ("next_period", (60, 30, 0, 60_000, 0), "2026-12-01T00:00:00Z", (1, 90, 0, 60_000, 1, 0)),
        # 20 s of the closed period's 60 were used: 40 left, 50 s of overage, in no period's usage
        ("adjust", (40, 50, 0, 100_000, 0), "2026-11-01T00:00:00Z", (0, 0, 0, 0, 0, 100_000)),
        ("write_off", (0, 0, 90, 0, 60), "2026-12-01T00:00:00Z", (1, 90, 90, 0, 1, 0)),
    ],
)
def test_late_call(policy: str, call_drawn: Any, period: str, closed: Any) -> None:
    facts = [started("2026-11-01T00:00:00Z", included_minutes=1, late_calls=policy)]
    told = Told([*facts, call("first", "2026-11-02T00:00:00Z", 20), *LATE])
    fields = ("allowance_s", "overage_s", "written_off_s", "amount_micros", "allowance_left_s")
    assert told.calls(*fields)[1] == call_drawn
    assert told.calls("period_start", "late")[1] == (period, True)
    of_closed = ("calls", "billed_s", "written_off_s", "usage_micros", "late_calls", "adjustments_micros")
    assert told.billing(CLOSED, *of_closed)[1] == closed


def test_an_adjustment_draws_on_the_last_closed_period_only() -> None:
    told = Told(
        [
            started("2026-11-01T00:00:00Z", included_minutes=1, late_calls="adjust", connection_fee_micros=7),
            tick("2026-12-01T00:00:00Z"),
            tick("2027-01-01T00:00:00Z"),
            call("older", "2026-11-10T00:00:00Z", 10),
            call("last", "2026-12-10T00:00:00Z", 10),
            call("last too", "2026-12-10T00:00:00Z", 55),
            tick("2027-02-01T00:00:00Z"),
        ]
    )
    assert told.calls("allowance_s", "overage_s", "amount_micros") == [(0, 10, 20_007), (10, 0, 7), (50, 5, 10_007)]
    assert told.billing("usage.adjusted", "call_id", "at_once") == [
        ("older", False),
        ("last", False),
        ("last too", False),
    ]
    assert told.billing(CLOSED, "adjustments")[-1] == [
        {"period_start": "2026-11-01T00:00:00Z", "calls": 1, "billed_s": 10, "amount_micros": 20_007},
        {"period_start": "2026-12-01T00:00:00Z", "calls": 2, "billed_s": 65, "amount_micros": 10_014},
    ]


def test_an_adjustment_never_draws_on_another_subscription_that_started_at_the_same_time() -> None:
    start, end = "2026-11-01T00:00:00Z", "2026-11-01T06:00:00Z"
    told = Told(
        [
            started(start, "empty", included_minutes=1, late_window_s=86_400),
            canceled(start, "now", "empty"),
            started(start, included_minutes=1),
            canceled(end, "now"),
            tick("2026-11-03T00:00:00Z"),
            call("c", "2026-11-01T01:00:00Z", 60),
        ]
    )
    assert told.billing(CLOSED, "subscription_id") == ["sub", "empty"]
    assert told.calls("subscription_id", "allowance_s", "amount_micros") == [("sub", 0, 120_000)]


def test_a_jump_opens_and_closes_every_period_in_order() -> None:
    told = Told([started("2026-01-31T00:00:00Z", late_window_s=60), tick("2026-04-30T00:00:59Z")])
    said = [(value["type"], value.get("period_start")) for value in told.on("billing-events")[1:]]
    starts = ["2026-01-31T00:00:00Z", "2026-02-28T00:00:00Z", "2026-03-31T00:00:00Z", "2026-04-30T00:00:00Z"]
    assert said == [
        (OPENED, starts[0]),
        (OPENED, starts[1]),
        (CLOSED, starts[0]),
        (OPENED, starts[2]),
        (CLOSED, starts[1]),
        (OPENED, starts[3]),
    ]


def test_a_recurring_line_only_where_there_is_a_price() -> None:
    told = Told([started("2026-11-01T00:00:00Z", price_micros=49_000_000)])
    assert [line["amount_micros"] for line in told.billing(OPENED, "lines")[0]] == [49_000_000]
    assert Told([started("2026-11-01T00:00:00Z")]).billing(OPENED, "lines") == [[]]


def test_ticks_never_go_back_nor_too_far_ahead() -> None:
    told = Told(
        [
            started("2026-11-01T00:00:00Z", interval="day"),
            tick("2026-11-01T00:00:00Z"),
            tick("2026-12-06T00:00:00.000001Z"),
            tick("2026-12-06T00:00:00Z"),
            tick("2026-11-03T00:00:00Z"),
            tick("2027-11-03T00:00:00Z", jump=True),
        ]
    )
    assert told.refusals == ["impossible_times"]
    assert len(told.billing(CLOSED, "at")) == 367
    assert set(told.billing(CLOSED, "at")) == {"2026-12-06T00:00:00Z", "2027-11-03T00:00:00Z"}


def test_a_call_is_rated_once() -> None:
    other = {"account_id": "acct 2"}
    told = Told(
        [
            started("2026-11-01T00:00:00Z"),
            started("2026-11-01T00:00:00Z") | other,
            call("c", "2026-10-31T00:00:00Z"),
            call("c", "2026-11-02T00:00:00Z"),
            call("c", "2026-11-02T00:00:00Z") | other,
            tick("2026-11-02T00:00:00Z"),
            call("c", "2026-11-02T00:00:01Z"),
            call("d", "2026-11-03T00:00:00.000001Z"),
            tick("2026-11-02T00:00:01Z"),
            call("d", "2026-11-03T00:00:00.000001Z"),
            call("d", "2026-11-03T00:00:00.000001Z"),
        ]
    )
    assert told.refusals == ["no_subscription", "impossible_times"]
    assert told.calls("account_id", "call_id") == [("acct", "c"), ("acct 2", "c"), ("acct", "d")]
    assert [value["call_id"] for value in told.on("duplicates")] == ["c", "d"]


def test_duplicates_are_known_for_the_retention() -> None:
    rules = {"type": "rules.set", "at": "2026-11-01T00:00:00Z", "max_future_s": 60, "max_call_s": 60}
    late = call("c", "2026-11-01T00:00:00Z", 60)
    facts = [rules | {"duplicate_retention_days": 1}, started("2026-11-01T00:00:00Z"), tick("2026-11-01T00:00:00Z")]
    told = Told([*facts, late, tick("2026-11-02T00:00:00Z"), late, tick("2026-11-02T00:00:01Z"), late])
    assert len(told.calls("call_id")) == 2
    assert len(told.on("duplicates")) == 1
    assert Told([*facts, call("c", "2026-11-01T00:00:00Z", 60.000001)]).refusals == ["impossible_times"]


def test_times_in_the_wrong_order() -> None:
    at = "2026-11-02T00:00:00Z"
    wrong = [
        call("a", at, answered_at="2026-11-02T00:00:00.000001Z"),
        call("b", at, started_at="2026-11-01T23:59:30Z"),
        call("c", at, answered_at=None, started_at="2026-11-02T00:00:00.000001Z"),
        call("d", at, 86_400.000001),
    ]
    assert Told([started("2026-11-01T00:00:00Z"), *wrong]).refusals == ["impossible_times"] * 4


def test_cancel_now_ends_the_period_at_that_moment() -> None:
    told = Told(
        [
            started("2026-11-01T00:00:00Z", included_minutes=1, late_window_s=60, late_calls="next_period"),
            call("first", "2026-11-10T00:00:00Z", 50),
            canceled("2026-11-20T00:00:00Z", "now"),
            call("before", "2026-11-19T23:59:59.999999Z", 20),
            call("after", "2026-11-20T00:00:00Z", 20),
            pack("2026-11-20T00:00:00Z", 1),
            tick("2026-11-20T00:01:00Z"),
            call("at once", "2026-11-19T00:00:00Z", 5),
            started("2026-11-19T23:59:59.999999Z", "early"),
            started("2026-11-20T00:00:00Z", "sub 2"),
        ]
    )
    assert told.refusals == ["no_subscription", "no_subscription", "already_subscribed"]
    assert told.calls("call_id", "allowance_s", "overage_s") == [
        ("first", 50, 0),
        ("before", 10, 10),
        ("at once", 0, 5),
    ]
    assert told.billing(CLOSED, "period_end", "usage_micros", "due_at") == [
        ("2026-11-20T00:00:00Z", 20_000, "2026-11-20T00:00:00Z")
    ]
    adjusted = told.billing("usage.adjusted", "call_id", "at_once", "amount_micros", "period_start")
    assert adjusted == [("at once", True, 10_000, "2026-11-01T00:00:00Z")]
    assert told.access == [["canceled"], []]
    assert told.billing("subscription.status_changed", "status", "previous") == [
        ("active", None),
        ("canceled", "active"),
        ("active", "canceled"),
    ]


def test_cancel_now_beyond_the_open_period_opens_those_between() -> None:
    told = Told([started("2026-11-01T00:00:00Z", interval="day"), canceled("2026-11-03T12:00:00Z", "now")])
    assert told.billing(OPENED, "period_start") == [f"2026-11-0{day}T00:00:00Z" for day in (1, 2, 3)]
    told = Told([started("2026-11-01T00:00:00Z", interval="day"), canceled("2026-10-31T12:00:00Z", "now")])
    assert told.refusals == ["illegal_change"]


def test_cancel_at_period_end() -> None:
    told = Told(
        [
            started("2026-11-01T00:00:00Z", late_window_s=60),
            canceled("2026-11-20T00:00:00Z", "period_end"),
            canceled("2026-11-21T00:00:00Z", "period_end") | {"fact_id": "again"},
            started("2026-12-01T00:00:00Z", "sub 2"),
            pack("2026-11-22T00:00:00Z", 1),
            call("within", "2026-11-30T23:59:59Z"),
            call("beyond", "2026-12-01T00:00:00Z"),
            tick("2026-11-30T23:59:59Z"),
            tick("2026-12-01T00:00:30Z"),
            tick("2026-12-01T00:01:00Z"),
        ]
    )
    assert told.refusals == ["illegal_change", "already_subscribed", "no_subscription"]
    assert [value["at"] for value in told.on("access-events")] == ["2026-12-01T00:00:30Z"]
    assert [value["type"] for value in told.on("billing-events")] == [
        "subscription.status_changed",
        OPENED,
        "pack.credited",
        "subscription.status_changed",
        CLOSED,
    ]
