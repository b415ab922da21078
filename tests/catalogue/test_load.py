"""A catalogue file with a mistake says where it is, what is allowed there, and what was probably meant."""

# ruff: noqa: E501 - the texts are the specification, and are easier to read whole.

from decimal import Decimal

import pytest

from catalogue.load import CatalogueError, load, loads
from streams.errors import CallmeterError

GOOD = """\
agencies:
  acme: {name: Acme Voice, timezone: America/New_York, currency: USD}
plans:
  starter: {agency: acme, price: 49.00, every: 1 month, included_minutes: 100, overage: 0.12 per minute, \
increments: 60/6, due_days: 0, grace_days: 7, packs: [boost-60]}
packs:
  boost-60: {agency: acme, minutes: 60, price: 9.00}
accounts:
  acct_1: {agency: acme, name: Jane Dental, email: billing@example.com, country: US, postal_code: "10001"}
"""
AGENCY = "agencies: {acme: {name: Acme, currency: USD}}\n"
PLAN_KEYS = (
    "agency, description, currency, timezone, price, every, included_minutes, overage, increments, minimum_s, "
    "connection_fee, free_below_s, outcomes, packs, due_days, grace_days, late_calls, late_window_s, "
    "allowance_alerts_percent, cap, trial_days, trial_included_minutes, cancel_credit, number_price, "
    "max_call_s, unusual_usage, forecast_alert, rate_card, tax_code"
)
AMOUNT = "an amount such as 49.00, with at most six decimal places"
MINUTES = "a whole number from 0 to 150119987579016"
TEXT = "text on one line, at most 500 characters"


def plan(fields):
    """A file with one plan; its line is 3."""
    return f"{AGENCY}plans:\n  starter: {{agency: acme, every: month, {fields}}}\n"


def account(fields):
    """A file with one account; its line is 3."""
    return f"{AGENCY}accounts:\n  acct_1: {{agency: acme, name: Jane, {fields}}}\n"


def mistakes(text):
    with pytest.raises(CatalogueError) as error:
        loads(text, "shop.yaml")
    return str(error.value).splitlines()


def test_the_example_of_the_issue_is_read_exactly():
    catalogue = loads(GOOD)
    name, found = catalogue.plan("starter", "acme")
    assert (name, found.price, found.overage, found.every) == ("starter", Decimal("49.00"), Decimal("0.12"), "1 month")
    assert str(found.price) == "49.00"
    assert found.packs == ("boost-60",)
    assert catalogue.account("acct_1").postal_code == "10001"
    assert catalogue.agency("acme").timezone == "America/New_York"


def test_text_that_looks_like_something_else_stays_text():
    catalogue = loads(AGENCY + "accounts:\n  007: {agency: acme, name: 1e3, country: NO, postal_code: 02134}\n")
    found = catalogue.account("007")
    assert (found.name, found.country, found.postal_code) == ("1e3", "NO", "02134")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        # one field of a plan each
        (plan("price: 49,00"), None),
        (plan("price: 1.1234567"), f'price: must be {AMOUNT} (got "1.1234567")'),
        (plan("price: -1"), 'price: must not be negative (got "-1")'),
        (plan("price: 1e3"), f'price: must be {AMOUNT} (got "1e3")'),
        (plan("price: true"), f"price: must be {AMOUNT} (got true)"),
        (plan("price: [1]"), f"price: must be {AMOUNT} (got a list)"),
        (plan("price: "), f"price: is empty; must be {AMOUNT}"),
        (plan("price: 9007199254.740993"), 'price: must be at most 9007199254.740992 (got "9007199254.740993")'),
        (plan("pirce: 49.00"), f"pirce: not a key of a plan; did you mean price?; allowed: {PLAN_KEYS}"),
        (plan("zebra: 1"), f"zebra: not a key of a plan; allowed: {PLAN_KEYS}"),
        (plan("included_minutes: 1.5"), f'included_minutes: must be {MINUTES} (got "1.5")'),
        (plan("included_minutes: -1"), f'included_minutes: must be {MINUTES} (got "-1")'),
        (plan("overage: 0.12"), 'overage: must be a rate such as 0.12 per minute, or blocked (got "0.12")'),
        (plan("increments: 60"), "increments: must be seconds of the first and of each next increment such as 60/6, or "
            'per-second or per-minute (got "60")'),
        (plan("minimum_s: soon"), "minimum_s: must be seconds such as 900, or a duration such as 15 minutes "
            '(got "soon")'),
        (plan("late_window_s: 200 years"), "late_window_s: must be seconds such as 900, or a duration such as 15 minutes "
            '(got "200 years")'),
        (plan("late_window_s: 99999999999"), 'late_window_s: must be at most 3162240000 seconds (got "99999999999")'),
        (plan("outcomes: {voicemial: true}"), "outcomes.voicemial: not a key of outcomes; did you mean voicemail?; "
            "allowed: answered, voicemail, no_answer, busy, failed, canceled, test"),
        (plan("outcomes: {test: maybe}"), 'outcomes.test: must be true or false (got "maybe")'),
        (plan("outcomes: all"), "outcomes: must be a mapping with answered, voicemail, no_answer, busy, failed, "
            'canceled, test (got "all")'),
        (plan("packs: boost"), 'packs: must be true, false or a list of packs such as [boost-60] (got "boost")'),
        (plan("packs: [boost]"), 'packs[0]: agency acme has no pack "boost" in this file'),
        (plan("due_days: 36501"), 'due_days: must be a whole number from 0 to 36500 (got "36501")'),
        (plan("late_calls: ajust"), 'late_calls: must be next_period or adjust or write_off; did you mean adjust? '
            '(got "ajust")'),
        (plan("allowance_alerts_percent: 80"), "allowance_alerts_percent: must be a list of whole percents from 1 to 1000 "
            'such as [80, 100] (got "80")'),
        (plan("allowance_alerts_percent: [0]"), "allowance_alerts_percent: must be a list of whole percents from 1 to 1000 "
            "such as [80, 100] (got a list)"),
        (plan("cap: {mode: hard}"), "cap: must have minutes or spend (or both)"),
        (plan("cap: {minutes: 5, mode: firm}"), 'cap.mode: must be hard or soft (got "firm")'),
        (plan("cap: {minute: 5}"), "cap.minute: not a key of cap; did you mean minutes?; allowed: minutes, spend, mode, "
            "alerts_percent"),
        (plan("cap: 500"), 'cap: must be a mapping with minutes, spend, mode, alerts_percent (got "500")'),
        (plan("timezone: New York"), "timezone: must be a time zone such as America/New_York; did you mean "
            'America/New_York? (got "New York")'),
        (plan("timezone: Europe/Berln"), "timezone: must be a time zone such as America/New_York; did you mean "
            'Europe/Berlin? (got "Europe/Berln")'),
        (plan("currency: US"), "currency: must be a currency's ISO 4217 code such as USD, or a unit named in CALLMETER_UNITS; did you mean USD? (got \"US\")"),
        (plan("price: 1, price: 2"), "price: this key is there twice; first in line 3"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_plan_is_named(text, line):
    if line is None:
        # In a flow mapping the comma ends the amount: `49` is fine, `00` is a key without a value.
        line = f"00: not a key of a plan; allowed: {PLAN_KEYS}"
    assert mistakes(text) == [f"shop.yaml:3: plans.starter.{line}"]


CAP_KEYS = "minutes, spend, cost, margin, wallet, per, mode, alerts_percent"


@pytest.mark.parametrize(
    ("caps", "line"),
    [
        ("[daily]", ": must be a mapping of names, such as daily: {minutes: 120, per: day} (got a list)"),
        ("{a b: {minutes: 5}}", '.a b: an id has 1 to 128 bytes and no white space (got "a b")'),
        ("{a: 5}", f'.a: must be a mapping with {CAP_KEYS} (got "5")'),
        ("{a: {minuts: 5, cost: 1}}", f".a.minuts: not a key of a cap; did you mean minutes?; allowed: {CAP_KEYS}"),
        ("{a: {}}", ".a: must have minutes, spend, cost, margin or wallet, one of them"),
        ("{a: {minutes: 5, spend: 3}}", ".a: must have minutes, spend, cost, margin or wallet, one of them"),
        ("{a: {minutes: -1}}", f'.a.minutes: must be {MINUTES} (got "-1")'),
        ("{a: {spend: -1}}", '.a.spend: must not be negative (got "-1")'),
        ("{a: {margin: x}}", f'.a.margin: must be {AMOUNT} (got "x")'),
        ("{a: {minutes: 5, per: week}}", '.a.per: must be period or day (got "week")'),
        ("{a: {spend: 5, currency: EUR}}", f".a.currency: not a key of a cap; allowed: {CAP_KEYS}"),
        (f"{{{', '.join(f'c{n}: {{minutes: 1}}' for n in range(33))}}}", ": must be at most 32 caps"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_cap_is_named(caps, line):
    assert mistakes(account(f"caps: {caps}")) == [f"shop.yaml:3: accounts.acct_1.caps{line}"]


def test_the_currency_of_an_agencys_cap_is_for_money():
    text = "agencies: {acme: {name: A, currency: USD, caps: {a: {minutes: 5, currency: EUR}}}}\n"
    assert mistakes(text) == [
        "shop.yaml:1: agencies.acme.caps.a: must have no currency: that is for spend, cost, margin"
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (account("email: jane"), '3: accounts.acct_1.email: must be an email address such as billing@example.com (got '
            '"jane")'),
        (account("country: USA"), "3: accounts.acct_1.country: must be a country's ISO 3166 code of two letters such as US "
            '(got "USA")'),
        (account("nam: x"), "3: accounts.acct_1.nam: not a key of an account; did you mean name?; allowed: agency, name, "
            "email, country, postal_code, province, tax_id, packs, caps"),
        (AGENCY + "accounts:\n  acct_1: {agency: acme}\n", f"3: accounts.acct_1.name: is missing; must be {TEXT}"),
        (AGENCY + "accounts:\n  a b: {agency: acme, name: x}\n", "3: accounts.a b: an id has 1 to 128 bytes and no white "
            "space"),
        (AGENCY + f"accounts:\n  {'é' * 65}: {{agency: acme, name: x}}\n", f"3: accounts.{'é' * 65}: an id has 1 to 128 "
            "bytes and no white space"),
        (AGENCY + "accounts:\n  acct_1: {agency: acne, name: x}\n", "3: accounts.acct_1.agency: must be one of the "
            'agencies of this file: acme; did you mean acme? (got "acne")'),
        (AGENCY + "accounts:\n  acct_1: {name: x}\n", "3: accounts.acct_1.agency: is missing; must be one of the agencies "
            "of this file: acme"),
        (AGENCY + "accounts:\n  acct_1:\n", "3: accounts.acct_1: is empty; must be a mapping with agency, name, email, "
            "country, postal_code, province, tax_id, packs, caps"),
        (AGENCY + "packs:\n  p: {agency: acme, price: 9.00}\n", "3: packs.p: must have minutes or credit (or both)"),
        (AGENCY + "packs:\n  p: {agency: acme, minutes: 9}\n", f"3: packs.p.price: is missing; must be {AMOUNT}"),
        (AGENCY + "packs:\n  a/b/p: {agency: acme, minutes: 9, price: 1}\n", "3: packs.a/b/p.agency: must be a/b, as in "
            'a/b/p (got "acme")'),
        (AGENCY + "packs:\n  p q: {agency: acme, minutes: 9, price: 1}\n", "3: packs.p q: a name has letters, digits and "
            "_ . : - only, and at most 128 bytes"),
        (AGENCY + "plans:\n  starter: {agency: acme}\n", "3: plans.starter.every: is missing; must be a period such as 1 "
            "month, 2 weeks, day or year"),
        (AGENCY + "plans:\n  other/starter: {agency: acme, every: day}\n", "3: plans.other/starter.agency: must be other, "
            'as in other/starter (got "acme")'),
        (AGENCY + "plans:\n  starter: {agency: acme, every: day}\n  acme/starter: {every: week}\n",
            "4: plans.acme/starter: plan starter of acme is there twice; first in line 3"),
        (AGENCY + "plan: {}\n", "2: plan: not a section; did you mean plans?; allowed: agencies, plans, packs, accounts"),
        (AGENCY + "plans: [starter]\n", "2: plans: must be a mapping of names (got a list)"),
        ("agencies: {acme: {name: Acme}}\n", "1: agencies.acme.currency: is missing; must be a currency's ISO 4217 code "
            "such as USD, or a unit named in CALLMETER_UNITS"),
        ("plans: {}\n", "1: agencies: there must be at least one agency, such as acme: {currency: USD, ...}"),
        ("", "1: agencies: there must be at least one agency, such as acme: {currency: USD, ...}"),
        ("- 1\n", "1: must be a mapping with agencies, plans, packs, accounts"),
        (AGENCY + "plans: {a: [\n", "3: not YAML: expected the node content, but found '<stream end>'"),
        (AGENCY + "---\nplans: {}\n", "2: not YAML: but found another document"),
        (AGENCY + "plans: {a: *b}\n", "2: not YAML: found undefined alias 'b'"),
        (AGENCY + "plans:\n\tstarter: 1\n", "3: not YAML: found character '\\t' that cannot start any token"),
        (AGENCY + "packs: {? [1] : 2}\n", "2: packs: a key must be plain text"),
        ("agencies: &a {acme: {name: &n [*n], currency: USD}}\n", None),
    ],
)  # fmt: skip
def test_a_mistake_elsewhere_is_named(text, line):
    if line is None:
        assert mistakes(text)
        return
    assert mistakes(text) == [f"shop.yaml:{line}"]


def test_all_mistakes_are_found_at_once_and_come_in_the_order_of_the_file():
    text = (
        "agencies:\n  acme: {name: Acme, currency: XYZ}\nplans:\n  a: {agency: acme, price: x}\n  b: {agency: acme}\n"
    )
    lines = mistakes(text)
    assert lines[0] == "4 mistakes in shop.yaml"
    assert [line.split(": ")[:2] for line in lines[1:]] == [
        ["shop.yaml:2", "agencies.acme.currency"],
        ["shop.yaml:4", "plans.a.every"],
        ["shop.yaml:4", "plans.a.price"],
        ["shop.yaml:5", "plans.b.every"],
    ]


def test_a_duplicate_key_and_another_mistake_are_both_found():
    assert len(mistakes(AGENCY + "plans:\n  a: {agency: acme, every: day}\n  a: {}\npacks:\n  p: 3\n")) == 3


def test_a_pack_of_another_currency_than_the_plan_that_names_it_is_a_mistake():
    text = GOOD.replace("minutes: 60, price", "minutes: 60, currency: EUR, price")
    assert mistakes(text) == ["shop.yaml:4: plans.starter.packs[0]: pack boost-60 is sold in EUR, but the plan in USD"]


def test_a_plan_can_be_based_on_another():
    text = AGENCY + "plans:\n  a: &a {agency: acme, every: month, price: 5}\n  b:\n    <<: *a\n    price: 7.50\n"
    catalogue = loads(text)
    assert catalogue.plan("b", "acme")[1].price == Decimal("7.50")
    assert catalogue.plan("b", "acme")[1].every == "1 month"


def test_a_mapping_that_contains_itself_is_a_mistake_and_no_endless_loop():
    assert mistakes("agencies:\n  acme: &a {<<: *a, name: x}\n")
    assert mistakes("agencies:\n  acme: &a {name: *a, currency: USD}\n")


def test_two_agencies_may_sell_a_plan_of_the_same_name():
    text = (
        "agencies: {acme: {name: A, currency: USD}, beta: {name: B, currency: EUR}}\n"
        "plans:\n  acme/starter: {every: month, price: 1}\n  beta/starter: {every: month, price: 2}\n"
    )
    catalogue = loads(text)
    assert catalogue.plan("starter", "acme")[1].price == 1
    assert catalogue.plan("starter", "beta")[1].price == 2
    assert catalogue.plan("beta/starter", "beta")[0] == "starter"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("strater", "agency acme has no plan 'strater'; did you mean starter?"),
        ("zebra", "agency acme has no plan 'zebra'"),
        ("acme/zebra", "agency acme has no plan 'zebra'"),
        ("acne/starter", "there is no agency 'acne' in the catalogue; did you mean acme?"),
        ("beta/starter", "wrong_agency: beta/starter is a plan of beta, but the account belongs to acme"),
    ],
)
def test_a_plan_that_is_not_there_names_the_nearest(address, message):
    catalogue = loads(GOOD.replace("plans:", "  beta: {name: Beta, currency: USD}\nplans:"))
    with pytest.raises(CallmeterError) as error:
        catalogue.plan(address, "acme")
    assert str(error.value) == message


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(CallmeterError, match=r"there is no file .*nope\.yaml; `callmeter catalogue init"):
        load(tmp_path / "nope.yaml")
    bad = tmp_path / "bad.yaml"
    bad.write_bytes(b"agencies:\n  a: \xff\n")
    with pytest.raises(CatalogueError, match=r"bad\.yaml:2: not UTF-8 text"):
        load(bad)
    with pytest.raises(CallmeterError, match="cannot read"):
        load(tmp_path)
