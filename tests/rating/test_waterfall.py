"""The drawdown: fixed order, exact amounts, nothing lost between the pools."""

from collections import namedtuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rating.terms import Tariff, Terms
from rating.waterfall import draw, pools_are_empty

Drawn = namedtuple("Drawn", "allowance_s wallet_s credit_s credit_micros overage_s written_off_s overage_micros")


def tariff(rate=120_000, overage="billed"):
    terms = Terms(plan="p", currency="USD", interval="month", overage=overage, overage_micros_per_minute=rate)
    return Tariff(terms)


def test_one_call_straddles_allowance_wallet_and_overage():
    drawn = draw(tariff(), 246, 130, 60, 0)
    assert drawn == (130, 60, 0, 0, 56, 0, 112_000)


def test_credit_pays_whole_seconds_before_overage():
    drawn = draw(tariff(), 100, 10, 20, 20_000)  # 2,000 micros a second
    assert drawn == (10, 20, 10, 20_000, 60, 0, 120_000)


def test_credit_that_cannot_pay_one_second_is_kept():
    assert draw(tariff(), 10, 0, 0, 1_999) == (0, 0, 0, 0, 10, 0, 20_000)
    assert draw(tariff(), 10, 0, 0, 2_000) == (0, 0, 1, 2_000, 9, 0, 18_000)


def test_blocked_overage_is_written_off_at_no_amount():
    assert draw(tariff(overage="blocked"), 100, 30, 20, 0) == (30, 20, 0, 0, 0, 50, 0)


@given(
    st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**10), st.integers(0, 10**7),
    st.booleans(),
)  # fmt: skip
def test_every_billed_second_has_one_source_and_no_pool_goes_below_zero(
    billed, allowance, wallet, credit, rate, blocked
):
    drawn = Drawn(*draw(tariff(rate, "blocked" if blocked else "billed"), billed, allowance, wallet, credit))
    assert drawn.allowance_s + drawn.wallet_s + drawn.credit_s + drawn.overage_s + drawn.written_off_s == billed
    assert drawn.allowance_s <= allowance
    assert drawn.wallet_s <= wallet
    assert drawn.credit_micros <= credit
    assert drawn.overage_micros == (drawn.overage_s * rate + 30) // 60
    assert not (drawn.overage_s if blocked else drawn.written_off_s)
    if drawn.overage_s or drawn.written_off_s:
        assert drawn.allowance_s == allowance
        assert drawn.wallet_s == wallet
        one_more = (drawn.credit_s + 1) * rate
        assert rate == 0 or credit == 0 or (one_more + 30) // 60 > credit


@pytest.mark.parametrize(
    ("allowance", "wallet", "credit", "empty"),
    [(0, 0, 0, True), (1, 0, 0, False), (0, 1, 0, False), (0, 0, 1_999, True), (0, 0, 2_000, False)],
)
def test_blocked_pools_are_empty_when_not_one_more_second_is_paid_for(allowance, wallet, credit, empty):
    assert pools_are_empty(tariff(overage="blocked"), allowance, wallet, credit) is empty


def test_pools_are_never_empty_where_overage_is_billed():
    assert not pools_are_empty(tariff(), 0, 0, 0)
