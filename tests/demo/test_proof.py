"""The demo's proof: it holds for any month, and notices whatever is wrong."""

from __future__ import annotations

import copy
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from demo.expected import due_at
from demo.market import HERO, NEVER_PAYS, PAYS_LATE, RETAIL_CARD, book, destinations
from demo.observed import Observed
from demo.orders import cards
from demo.pace import may_begin
from demo.platform import HOUR, Platform
from tests.demo.month import proof_of, rated


def broken(platform, observed):
    """The claims that do not hold."""
    return [check.claim for check in proof_of(platform, observed).checks if not check.holds]


@pytest.fixture(scope="module")
def month():
    platform = Platform(30, 10_000, 7)
    return platform, rated(platform)


@pytest.mark.parametrize("accounts", [4, 12, 30])
@pytest.mark.parametrize("seed", range(4))
def test_the_proof_holds_for_any_seed_and_size(accounts, seed):
    platform = Platform(accounts, 50 * accounts, seed)
    assert broken(platform, rated(platform)) == []


def test_the_month_has_all_that_the_demo_shows(month):
    platform, observed = month
    planted = platform.planted
    assert planted.voided and planted.corrected and planted.rentals and planted.agency_cap and planted.plan_change
    assert any(rental.released_at for rental in planted.rentals)
    assert [status for _, _, status in sorted(observed.status_changes)] == ["past_due", "active", "past_due", "blocked"]
    assert observed.top_ups
    assert observed.destinations.keys() == destinations(RETAIL_CARD).keys()


def test_an_hour_begins_once_there_is_what_happens_in_it(month):
    platform, observed = month
    late, never = platform.planted.debts
    assert (late.paid_at, never.paid_at is None) == (datetime(2026, 11, 14, 15, tzinfo=UTC), True)
    for at in (due_at(late), late.paid_at, platform.planted.agency_cap.raised_at):
        assert not may_begin(platform.planted, Observed(), at - HOUR, at)
        assert may_begin(platform.planted, observed, at - HOUR, at)
        assert may_begin(platform.planted, Observed(), at, at + HOUR)


def test_the_plan_names_the_card_of_the_file():
    plan = book().plan("world", "acme")[1]
    assert plan.rate_card == cards()[0].card_id


def a_destination_at_another_price(observed):
    observed.destinations["447"]["amount_micros"] += 1


def a_call_billed_a_second_more(observed):
    observed.billed[next(iter(observed.billed))] += 1


def a_cost_that_is_too_low(observed):
    observed.agencies["acme"]["cost_micros"] -= 1


def a_number_that_nobody_was_asked_to_pay(observed):
    for request in observed.requests.values():
        request["lines"] = [line for line in request["lines"] if line["kind"] != "number"]


def no_credit_for_the_old_plan(observed):
    for (account, _), request in observed.requests.items():
        if account == HERO:
            request["lines"] = [line for line in request["lines"] if line["kind"] != "credit"]


def a_pack_too_many(observed):
    observed.top_ups += 1


def an_account_that_stays_off(observed):
    next(told for told in observed.capped.values() if told == [True, False]).pop()


def an_alert_told_twice(observed):
    observed.agency_alerts["ceiling", 100] += 1


def a_status_told_twice(observed):
    observed.status_changes[next(iter(observed.status_changes))] += 1


def a_debtor_who_pays_and_stays_past_due(observed):
    observed.status_changes = +Counter(
        {change: count for change, count in observed.status_changes.items() if change[2] != "active"}
    )


def campaigns_that_are_paused_a_second_late(observed):
    account, at, reason = next(change for change in observed.access_changes if change[2] == "past_due")
    del observed.access_changes[account, at, reason]
    observed.access_changes[account, at + timedelta(seconds=1), reason] = 1


def somebody_else_who_is_blocked(observed):
    observed.access_changes["acme-001", datetime(2026, 11, 11, 5, tzinfo=UTC), "blocked"] = 1


def a_payment_that_came_in_short(observed):
    for (account, _), request in observed.requests.items():
        if account == PAYS_LATE:
            request["paid_micros"] -= 1


def a_debt_that_is_forgotten(observed):
    for (account, _), request in observed.requests.items():
        if account == NEVER_PAYS:
            request["left_micros"] = 0


def a_voided_call_that_stands(observed):
    observed.corrections.popitem()


BREAKS = {
    a_destination_at_another_price: "a price for each destination",
    a_call_billed_a_second_more: "billed seconds of every call",
    a_cost_that_is_too_low: "wholesale cost of all calls",
    a_number_that_nobody_was_asked_to_pay: "rented numbers, by the day",
    no_credit_for_the_old_plan: "credit for the old plan",
    a_pack_too_many: "automatic top-ups",
    an_account_that_stays_off: "accounts off, and on again",
    an_alert_told_twice: "alerts of an agency's caps",
    a_status_told_twice: "past due, active, blocked: once",
    a_debtor_who_pays_and_stays_past_due: "past due, active, blocked: once",
    campaigns_that_are_paused_a_second_late: "campaigns off, and on again: once",
    somebody_else_who_is_blocked: "campaigns off, and on again: once",
    a_payment_that_came_in_short: "paid late",
    a_debt_that_is_forgotten: "never paid",
    a_voided_call_that_stands: "calls voided or corrected",
}


@pytest.mark.parametrize("change", BREAKS, ids=lambda change: change.__name__)
def test_the_proof_notices(month, change):
    platform, observed = month
    observed = copy.copy(observed)
    observed.__dict__.update(
        (name, copy.deepcopy(value)) for name, value in vars(observed).items() if name not in ("_take", "stories")
    )
    change(observed)
    assert BREAKS[change] in broken(platform, observed)
