"""Payment requests: what billing events call for, and sums that hold whatever the numbers are."""

from __future__ import annotations

from datetime import date

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rating.facts import PaymentRequestCreated, decode
from rating.money import minor_unit_micros
from rating.request import line
from rating.request import request_for as request_by
from streams.units import minor_digits
from tests.rating.builders import call, outputs, pack, subscription, tick

MICROS = st.integers(0, 10**12)
MIDNIGHTS = st.dates(date(2000, 1, 1), date(2099, 12, 31)).map(lambda day: f"{day.isoformat()}T00:00:00Z")
SECONDS = st.integers(0, 10**7)
CURRENCY = st.sampled_from(("USD", "EUR", "JPY", "KWD"))
EVENT = {
    "account_id": "acct_1", "agency_id": "ag_1", "subscription_id": "sub_1", "at": "2026-12-01T00:00:05Z",
    "period_start": "2026-11-01T00:00:00Z", "period_end": "2026-12-01T00:00:00Z",
    "due_at": "2026-12-01T00:00:00Z", "grace_ends_at": "2026-12-08T00:00:00Z",
}  # fmt: skip


def request_for(event):
    """What is asked for an event where no units are named."""
    return request_by(event, lambda currency: minor_digits(currency, {}))


def closed(**fields):
    """A `cycle.closed` event without usage, but for what is given."""
    usage = {
        "allowance_s": 0, "wallet_s": 0, "overage_s": 0, "overage_micros": 0, "overage_micros_per_minute": 120_000,
        "fee_micros": 0, "connection_fee_micros": 0, "adjustments": [], "currency": "USD",
    }  # fmt: skip
    return {"type": "cycle.closed", **EVENT, **usage, **fields}


@st.composite
def closings(draw):
    """`cycle.closed` events as any sequence of calls may lead to."""
    rate = draw(st.integers(0, 10**9))
    seconds = draw(st.lists(st.integers(1, 10_000), max_size=30))
    price, calls = draw(st.integers(1, 10**9)), draw(st.integers(0, 1_000))
    adjustments = st.fixed_dictionaries(
        {
            "period_start": MIDNIGHTS,
            "calls": st.integers(1, 9),
            "billed_s": SECONDS,
            "amount_micros": MICROS,
        }
    )
    return closed(
        allowance_s=draw(SECONDS),
        wallet_s=draw(SECONDS),
        overage_s=sum(seconds),
        overage_micros=sum((s * rate + 30) // 60 for s in seconds),
        overage_micros_per_minute=rate,
        fee_micros=price * calls,
        connection_fee_micros=price,
        adjustments=draw(st.lists(adjustments, max_size=5, unique_by=lambda one: one["period_start"])),
        currency=draw(CURRENCY),
    )


@st.composite
def openings(draw):
    price = draw(MICROS)
    lines = [line("recurring", "recurring", "Plan starter", 1, "period", price)] if price else []
    return {"type": "cycle.opened", **EVENT, "price_micros": price, "currency": draw(CURRENCY), "lines": lines}


@st.composite
def packs(draw):
    return {
        "type": "pack.credited", **EVENT, "fact_id": "f1", "pack": "boost", "minutes": 60, "credit_micros": 0,
        "price_micros": draw(MICROS), "currency": draw(CURRENCY),
    }  # fmt: skip


@st.composite
def late_calls(draw):
    return {
        "type": "usage.adjusted", **EVENT, "call_id": "c1", "billed_s": 60, "amount_micros": draw(MICROS),
        "currency": draw(CURRENCY), "at_once": True,
    }  # fmt: skip


@given(st.one_of(closings(), openings(), packs(), late_calls()))
def test_sums_hold_and_every_line_is_quantity_times_price(event):
    request = request_for(event)
    if request is None:
        return
    unit = minor_unit_micros(minor_digits(event["currency"], {}))
    assert sum(one["amount_micros"] for one in request["lines"]) == request["subtotal_micros"]
    assert request["subtotal_micros"] + request["rounding_micros"] + request["tax_micros"] == request["total_micros"]
    assert request["total_micros"] % unit == 0
    assert request["total_micros"] != 0
    assert -unit < 2 * request["rounding_micros"] <= unit
    for one in request["lines"]:
        if one["kind"] != "call_rounding":
            assert one["amount_micros"] == one["quantity"] * one["unit_price_micros"]
    assert len({one["line_id"] for one in request["lines"]}) == len(request["lines"])


@given(closings())
def test_the_subtotal_of_a_usage_request_is_the_plain_sum_of_its_calls(event):
    request = request_for(event)
    adjusted = sum(one["amount_micros"] for one in event["adjustments"])
    subtotal = 0 if request is None else request["subtotal_micros"]
    usage = event["overage_micros"] + event["fee_micros"] + adjusted
    if request is None:
        assert 2 * usage < minor_unit_micros(minor_digits(event["currency"], {}))
    else:
        assert subtotal == usage


@given(st.one_of(closings(), openings(), packs(), late_calls()))
def test_every_request_is_a_fact_that_the_log_takes(event):
    request = request_for(event)
    if request is not None:
        fact = decode(msgspec.json.encode({"type": "payment_request.created", **request}))
        assert isinstance(fact, PaymentRequestCreated)


@pytest.mark.parametrize(
    ("currency", "subtotal", "total", "rounding"),
    [
        ("USD", 112_000, 110_000, -2_000),
        ("USD", 115_000, 120_000, 5_000),
        ("USD", 110_000, 110_000, 0),
        ("JPY", 1_499_999, 1_000_000, -499_999),
        ("JPY", 1_500_000, 2_000_000, 500_000),
        ("KWD", 112_400, 112_000, -400),
        ("KWD", 112_500, 113_000, 500),
    ],
)
def test_the_total_is_rounded_half_up_to_the_minor_unit_and_the_rounding_is_shown(currency, subtotal, total, rounding):
    request = request_for(closed(fee_micros=subtotal, connection_fee_micros=subtotal, currency=currency))
    assert (request["subtotal_micros"], request["total_micros"], request["rounding_micros"]) == (
        subtotal,
        total,
        rounding,
    )


@pytest.mark.parametrize(
    "event",
    [
        closed(allowance_s=600, wallet_s=60),
        closed(fee_micros=4_999, connection_fee_micros=4_999),
        {"type": "cycle.opened", **EVENT, "price_micros": 0, "currency": "USD", "lines": []},
        {"type": "subscription.status_changed", **EVENT, "status": "canceled", "previous": "active"},
        {"type": "wallet.adjusted", **EVENT, "fact_id": "f1", "minutes": 5, "credit_micros": 0},
        {"type": "usage.adjusted", **EVENT, "call_id": "c", "amount_micros": 5_000_000, "currency": "USD",
         "at_once": False},
    ],
    ids=["pools only", "less than half a cent", "no price", "status", "wallet", "next usage request"],
)  # fmt: skip
def test_nothing_is_asked_for_amount_0_or_by_events_without_money(event):
    assert request_for(event) is None


def test_the_lines_of_a_usage_request_tell_pools_overage_rounding_fees_and_late_calls():
    late = {"period_start": "2026-10-01T00:00:00Z", "calls": 2, "billed_s": 90, "amount_micros": 180_000}
    request = request_for(
        closed(
            allowance_s=6_000,
            wallet_s=60,
            overage_s=56,
            overage_micros=112_000,
            overage_micros_per_minute=120_001,
            fee_micros=30_000,
            connection_fee_micros=10_000,
            adjustments=[late],
        )
    )
    assert [(one["kind"], one["quantity"], one["unit"], one["amount_micros"]) for one in request["lines"]] == [
        ("allowance", 6_000, "second", 0),
        ("wallet", 60, "second", 0),
        ("overage", 56, "second", 112_000),
        ("connection_fee", 3, "call", 30_000),
        ("adjustment", 1, "period", 180_000),
    ]


def test_what_calls_round_to_beyond_the_price_of_their_seconds_is_a_line_of_its_own():
    request = request_for(closed(overage_s=90, overage_micros=90_002, overage_micros_per_minute=60_001))
    assert [(one["kind"], one["amount_micros"]) for one in request["lines"]] == [
        ("overage", 90_000),
        ("call_rounding", 2),
    ]


def test_ids_name_subscription_period_and_kind_and_never_change():
    facts = [
        subscription(price_micros=49_000_000, due_days=3, grace_days=7),
        pack("one", minutes=1),
        call(1, ended="2026-11-03T10:20:00Z"),
        tick("2026-12-01T00:00:05Z"),
    ]
    requests = [request_for(event) for event in outputs(*facts)["billing-events"]]
    asked = {request["payment_request_id"]: request for request in requests if request}
    assert {name: request["kind"] for name, request in asked.items()} == {
        "sub_1:20261101T000000Z:cycle": "cycle",
        "pack:fact_one": "pack",
        "sub_1:20261201T000000Z:cycle": "cycle",
        "sub_1:20261101T000000Z:usage": "usage",
    }
    assert all(name == request["fact_id"] for name, request in asked.items())
    usage = asked["sub_1:20261101T000000Z:usage"]
    assert (usage["due_at"], usage["grace_ends_at"]) == ("2026-12-04T00:00:00Z", "2026-12-11T00:00:00Z")
    assert usage["total_micros"] == 9 * 120_000


def test_a_late_call_after_the_last_period_is_asked_for_at_once_by_an_id_of_its_own():
    facts = [
        subscription(included_minutes=0),
        {"type": "subscription.canceled", "fact_id": "end", "account_id": "acct_1", "agency_id": "ag_1",
         "subscription_id": "sub_1", "at": "2026-11-20T00:00:00Z", "when": "now"},
        tick("2026-12-01T00:00:00Z"),
        call(1, answered="2026-11-03T10:00:00Z", ended="2026-11-03T10:01:00Z"),
    ]  # fmt: skip
    requests = [request for request in map(request_for, outputs(*facts)["billing-events"]) if request]
    assert [(one["payment_request_id"], one["kind"], one["total_micros"]) for one in requests] == [
        ("sub_1:20261101T000000Z:adjustment:call_1", "usage", 120_000)
    ]
