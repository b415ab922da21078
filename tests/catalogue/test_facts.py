"""Facts from the catalogue: the same command gives the same bytes, and the meter reads them."""

from datetime import UTC, datetime

import pytest

from catalogue import facts
from catalogue.load import CatalogueError, loads
from rating.facts import decode
from streams.errors import CallmeterError, Refused
from tests.catalogue.test_load import GOOD

AT = datetime(2026, 11, 1, 4, tzinfo=UTC)


@pytest.fixture
def catalogue():
    return loads(GOOD)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-01", "2026-11-01T04:00:00Z"),
        ("2026-11-02", "2026-11-02T05:00:00Z"),
        ("2026-11-01T00:00:00-05:00", "2026-11-01T05:00:00Z"),
        ("2026-11-01T00:00:00.25Z", "2026-11-01T00:00:00.250000Z"),
    ],
)
def test_a_date_is_midnight_in_the_agencys_time_zone_and_a_time_brings_its_own(text, expected):
    assert facts.time_text(facts.parse_time(text, "America/New_York")) == expected


@pytest.mark.parametrize("text", ["2026-11-01T00:00:00", "yesterday", "", "2026-13-01", "2026-11-01T00:00:00.1234567Z"])
def test_a_time_without_a_zone_or_sense_is_refused(text):
    with pytest.raises(CallmeterError) as error:
        facts.parse_time(text, "UTC")
    assert str(error.value) == (
        f"{text!r} is no time; write a date such as 2026-11-01 (midnight in UTC) or a time with its zone such as "
        "2026-11-01T00:00:00-05:00"
    )


@pytest.mark.parametrize("text", ["1999-12-31", "2100-01-01"])
def test_a_time_beyond_the_bounds_is_refused(text):
    with pytest.raises(CallmeterError, match="is not between 2000 and 2100"):
        facts.parse_time(text, "UTC")


def test_the_same_id_gives_the_same_bytes_and_another_account_another_subscription(catalogue):
    one, again = (facts.subscription_started(catalogue, "acct_1", "starter", AT, "f1") for _ in range(2))
    assert facts.encode(one) == facts.encode(again)
    assert facts.subscription_id_of("acct_1", "f1") == one["subscription_id"]
    assert len({facts.subscription_id_of(account, fact) for account in "ab" for fact in ("f1", "f2")}) == 4


def test_the_meter_reads_every_fact(catalogue):
    cap = {"minutes": 5, "spend_micros": None, "mode": "hard", "alerts_percent": [100]}
    made = [
        facts.subscription_started(catalogue, "acct_1", "acme/starter", AT, "f1"),
        facts.pack_applied(catalogue, "acct_1", "boost-60", AT, "f2"),
        facts.wallet_adjusted(catalogue, "acct_1", -5, 2_500_000, "goodwill", AT, "f3"),
        facts.cap_set(catalogue, "acct_1", cap, AT, "f4"),
        facts.cap_set(catalogue, "acct_1", None, AT, "f5"),
        facts.subscription_canceled(catalogue, "acct_1", "sub_1", "now", AT, "f6"),
    ]
    for number, fact in enumerate(made, 1):
        read = decode(facts.encode(fact))
        assert (read.fact_id, read.account_id, read.agency_id, read.at) == (f"f{number}", "acct_1", "acme", AT)
    assert made[1]["price_micros"] == 9_000_000


def test_a_fact_about_what_is_not_in_the_catalogue_is_refused(catalogue):
    with pytest.raises(CallmeterError, match=r"there is no account 'acct_9' in the catalogue; did you mean acct_1\?"):
        facts.subscription_started(catalogue, "acct_9", "starter", AT, "f1")
    with pytest.raises(CallmeterError, match="there is no account 'x' in the catalogue; add it with `callmeter"):
        facts.cap_set(catalogue, "x", None, AT, "f1")
    with pytest.raises(CallmeterError, match=r"agency acme has no pack 'boost'; did you mean boost-60\?"):
        facts.pack_applied(catalogue, "acct_1", "boost", AT, "f1")


def test_a_pack_of_another_agency_is_refused(catalogue):
    both = loads(GOOD.replace("plans:", "  beta: {name: Beta, currency: USD}\nplans:"))
    with pytest.raises(Refused, match="wrong_agency: beta/boost-60 is a pack of beta, but the account belongs to acme"):
        facts.pack_applied(both, "acct_1", "beta/boost-60", AT, "f1")
    assert catalogue.agencies() == {"acme"}


@pytest.mark.parametrize("fact_id", ["", "two words", "x" * 129])
def test_an_id_that_is_no_id_is_refused(fact_id):
    with pytest.raises(CallmeterError, match="an id has 1 to 128 bytes and no white space"):
        facts.check_fact_id(fact_id)


PACKS = """\
agencies:
  acme: {name: Acme, currency: USD, packs: [small]}
packs:
  small: {agency: acme, minutes: 60, price: 9.00}
  large: {agency: acme, minutes: 600, price: 80.00}
  money: {agency: acme, credit: 20.00, price: 20.00}
accounts:
  acct_1: {agency: acme, name: As its agency}
  acct_2: {agency: acme, name: Of its own, packs: [large, money]}
  acct_3: {agency: acme, name: None, packs: false}
"""


@pytest.mark.parametrize(("account", "packs"), [("acct_1", ["small"]), ("acct_2", ["large", "money"]), ("acct_3", [])])
def test_packs_are_assigned_per_agency_and_per_account(account, packs):
    catalogue = loads(PACKS)
    assert [name for name, _ in catalogue.packs_of(account)] == packs
    for name in ("small", "large", "money"):
        if name in packs:
            assert facts.pack_applied(catalogue, account, name, AT, "f")["pack"] == name
        else:
            with pytest.raises(Refused, match=f"packs_not_allowed: pack {name} is not assigned to {account}"):
                facts.pack_applied(catalogue, account, name, AT, "f")


def test_a_top_up_buys_what_fills_the_pool_that_is_low():
    catalogue = loads(PACKS)
    made = facts.top_up_set(catalogue, "acct_2", "money", {"below_micros": 5_000_000}, 3, AT, "f")["top_up"]
    assert made == {
        "pack": "money", "minutes": 0, "credit_micros": 20_000_000, "price_micros": 20_000_000, "currency": "USD",
        "below_micros": 5_000_000, "most_per_month": 3,
    }  # fmt: skip
    with pytest.raises(CallmeterError, match="pack large has no credit"):
        facts.top_up_set(catalogue, "acct_2", "large", {"below_micros": 5_000_000}, 3, AT, "f")
    with pytest.raises(Refused, match="packs_not_allowed"):
        facts.top_up_set(catalogue, "acct_1", "money", {"below_micros": 5_000_000}, 3, AT, "f")


def test_a_pack_that_is_assigned_must_be_there():
    with pytest.raises(CatalogueError, match=r'has no pack "smal" in this file; did you mean small\?'):
        loads(PACKS.replace("packs: [small]", "packs: [smal]"))
