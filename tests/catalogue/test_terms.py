"""The terms that a plan freezes are what the meter reads, whole."""

import re

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

from catalogue.load import CatalogueError, loads
from catalogue.terms import terms_of, wholesale_terms_of
from rating.terms import Terms, WholesaleTerms
from tests.catalogue.strategies import catalogues
from tests.catalogue.test_load import AGENCY, GOOD


def terms(fields, agency="name: Acme, currency: USD"):
    catalogue = loads(
        f"agencies: {{acme: {{{agency}}}}}\nplans:\n  starter: {{agency: acme, every: month, {fields}}}\n"
    )
    return terms_of(*catalogue.plan("starter", "acme"), catalogue.agency("acme"))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(catalogues())
def test_the_meter_reads_the_terms_of_every_plan_and_nothing_is_left_to_its_defaults(catalogue):
    for entry in catalogue.of_kind("plan"):
        made = terms_of(entry.id, entry.body, catalogue.agency(entry.agency))
        read = msgspec.json.decode(msgspec.json.encode(made), type=Terms)
        assert set(made) == set(Terms.__struct_fields__)
        assert msgspec.json.decode(msgspec.json.encode(read)) == made


def test_the_terms_of_the_example():
    catalogue = loads(GOOD)
    made = terms_of(*catalogue.plan("starter", "acme"), catalogue.agency("acme"))
    version = made.pop("plan_version")
    assert len(version) == 16
    assert made == {
        "plan": "starter", "currency": "USD", "interval": "month", "interval_count": 1,
        "timezone": "America/New_York", "price_micros": 49_000_000, "included_minutes": 100, "overage": "billed",
        "overage_micros_per_minute": 120_000, "increments": "60/6", "minimum_s": 0, "connection_fee_micros": 0,
        "free_below_s": 0, "outcomes": {}, "packs": ["boost-60"], "due_days": 0, "grace_days": 7,
        "late_calls": "next_period", "late_window_s": 0, "allowance_alerts_percent": [80, 90, 100], "cap": None,
        "trial_days": 0, "trial_included_minutes": None, "cancel_credit": "none",
        "max_call_s": None, "unusual_usage": False, "forecast_alert": False, "rate_card": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("price: 49", "price: 49.00"),
        ("price: 0", ""),
        ("overage: 0.12 per minute", "overage: 0.120/min"),
        ("increments: per-minute", "increments: 60/60"),
        ("late_window_s: 15 minutes", "late_window_s: 900"),
        ("description: Old words", "description: New words"),
        ("packs: []", "packs: no"),
        ("allowance_alerts_percent: [100, 80, 90, 80]", "late_calls: next period"),
        ("currency: USD", "timezone: UTC"),
        ("number_price: 2", "cancel_credit: none"),
    ],
)
def test_plans_that_bill_alike_have_the_same_version(one, other):
    assert terms(one)["plan_version"] == terms(other)["plan_version"]


@pytest.mark.parametrize(
    "fields",
    ["price: 1", "overage: 0 per minute", "increments: 60/6", "outcomes: {test: true}", "packs: false", "due_days: 1",
     "cap: {minutes: 1}", "timezone: Asia/Tokyo", "currency: EUR", "allowance_alerts_percent: []",
     "trial_days: 14", "trial_included_minutes: 0", "cancel_credit: unused"],
)  # fmt: skip
def test_plans_that_bill_differently_have_other_versions(fields):
    assert terms(fields)["plan_version"] != terms("")["plan_version"]


def test_time_zone_and_currency_are_the_agencys_unless_the_plan_says_otherwise():
    agency = "name: Acme, currency: EUR, timezone: Europe/Berlin"
    assert (terms("", agency)["currency"], terms("", agency)["timezone"]) == ("EUR", "Europe/Berlin")
    own = terms("currency: usd, timezone: Asia/Tokyo", agency)
    assert (own["currency"], own["timezone"]) == ("USD", "Asia/Tokyo")


def test_a_cap_is_in_micros():
    assert terms("cap: {spend: 100.50, mode: soft, alerts_percent: [50]}")["cap"] == {
        "minutes": None, "spend_micros": 100_500_000, "mode": "soft", "alerts_percent": [50],
    }  # fmt: skip


def test_a_file_without_plans_has_none():
    assert list(loads(AGENCY).of_kind("plan")) == []


def test_a_plan_names_its_rate_card_and_may_have_no_rate_beside_it():
    card = "63e645921d125087262d88b533799e75"
    plain, both, only = (
        terms(fields)
        for fields in (
            "overage: 0.12 per minute",
            f"overage: 0.12 per minute, rate_card: {card}",
            f"overage: by card, rate_card: {card}",
        )
    )
    assert (plain["rate_card"], both["rate_card"]) == (None, card)
    assert (both["overage"], both["overage_micros_per_minute"]) == ("billed", 120_000)
    assert (only["overage"], only["overage_micros_per_minute"]) == ("billed", None)
    assert len({one["plan_version"] for one in (plain, both, only)}) == 3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("overage: by card", "overage: by card needs a rate_card"),
        ("rate_card: retail", "must be a rate card's id of 32 digits, as callmeter rates import prints it"),
    ],
)
def test_a_card_is_named_by_its_id(fields, message):
    with pytest.raises(CatalogueError, match=message):
        terms(fields)


def test_wholesale_of_an_agency_is_what_the_meter_takes():
    written = loads(
        "agencies:\n  acme: {name: Acme, currency: USD, timezone: Europe/Berlin, wholesale: {rate: 0.03 per minute, "
        "cost: reported, every: 2 weeks, price: 30.00, included_minutes: 10, number_price: 1.5}}\n"
    )
    agency = written.agency("acme")
    found = wholesale_terms_of(agency.wholesale, agency)
    terms = msgspec.convert(found, WholesaleTerms)
    assert found == {name: getattr(terms, name) for name in found} | {"outcomes": {}}
    assert (terms.rate_micros_per_minute, terms.price_micros, terms.number_price_micros) == (
        30_000, 30_000_000, 1_500_000,
    )  # fmt: skip
    assert (terms.interval, terms.interval_count, terms.timezone, terms.cost_policy) == (
        "week", 2, "Europe/Berlin", "reported",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("wholesale", "why"),
    [
        ("{price: 1}", "must have rate or rate_card (or both)"),
        ("{rate: 0.03}", "must be a rate such as 0.03 per minute"),
        ("{rate: blocked}", "must be a rate such as 0.03 per minute"),
        ("{rate: 1/min, costs: card}", "not a key of wholesale"),
    ],
)
def test_wholesale_that_is_wrong_says_why(wholesale, why):
    with pytest.raises(CatalogueError, match=re.escape(why)):
        loads(f"agencies:\n  acme: {{name: Acme, currency: USD, wholesale: {wholesale}}}\n")
