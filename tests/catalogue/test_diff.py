"""What applying a file would change, and what it leaves alone."""

import pytest

from catalogue.collection import Catalogue, Entry
from catalogue.diff import accounts_with_new_caps, changes, count_subscriptions, find_waiting
from catalogue.load import loads
from catalogue.model import Assignment
from catalogue.terms import terms_of
from streams.errors import Refused
from tests.catalogue.test_load import GOOD

OTHER = """\
agencies: {beta: {name: Beta, currency: EUR}}
plans: {basic: {agency: beta, every: week}}
accounts: {acct_2: {agency: beta, name: Bob}}
"""


def applied(current, wanted):
    """The catalogue after the changes."""
    found = changes(current, wanted)
    return Catalogue.of([*current.entries.values(), *(change.entry for change in found)])


def summary(found):
    return [(change.action, change.entry.key, change.fields) for change in found]


def test_into_an_empty_catalogue_everything_is_added():
    found = changes(Catalogue(), loads(GOOD))
    assert [(change.action, change.address) for change in found] == [
        ("add", "acme"), ("add", "acme/starter"), ("add", "acme/boost-60"), ("add", "acct_1"),
    ]  # fmt: skip
    assert found[0].fields == {
        "name": (None, "Acme Voice"), "currency": (None, "USD"), "timezone": (None, "America/New_York"),
    }  # fmt: skip


def test_the_same_file_again_changes_nothing():
    assert changes(loads(GOOD), loads(GOOD.replace("49.00", "49"))) == []


def test_a_changed_field_shows_old_and_new():
    found = changes(loads(GOOD), loads(GOOD.replace("49.00", "59.00")))
    assert summary(found) == [("change", "acme/plan/starter", {"price": ("49.00", "59.00")})]


def test_what_is_absent_is_retired_and_stays_retired():
    without = loads("\n".join(GOOD.splitlines()[:2]))
    found = changes(loads(GOOD), without)
    assert [(change.action, change.entry.key, change.entry.retired) for change in found] == [
        ("retire", "acme/plan/starter", True),
        ("retire", "acme/pack/boost-60", True),
        ("retire", "acme/account/acct_1", True),
    ]
    after = applied(loads(GOOD), without)
    assert changes(after, without) == []
    with pytest.raises(Refused, match="retired: plan acme/starter is no longer sold"):
        after.plan("starter", "acme")
    with pytest.raises(Refused, match="retired: account acct_1 is no longer in acme's catalogue"):
        after.account("acct_1")


def test_what_is_retired_and_written_again_is_restored():
    after = applied(loads(GOOD), loads("\n".join(GOOD.splitlines()[:2])))
    found = changes(after, loads(GOOD))
    assert {change.action for change in found} == {"restore"}
    assert applied(after, loads(GOOD)).entries == loads(GOOD).entries


def test_other_agencies_and_assignments_are_left_alone():
    current = Catalogue.of([*loads(GOOD).entries.values(), *loads(OTHER).entries.values()])
    offered = Entry("acme", "assignment", "acct_1", Assignment(agency="acme", plan="starter"))
    current = Catalogue.of([*current.entries.values(), offered])
    assert changes(current, loads(GOOD)) == []
    assert changes(current, loads(OTHER)) == []


def test_an_account_cannot_move_to_another_agency():
    current = Catalogue.of([*loads(GOOD).entries.values()])
    with pytest.raises(Refused, match="wrong_agency: account acct_1 belongs to acme for ever; give beta's another id"):
        changes(current, loads(OTHER.replace("acct_2", "acct_1")))


def test_subscriptions_on_other_terms_than_the_new_ones_are_counted():
    wanted = loads(GOOD.replace("49.00", "59.00"))
    new = terms_of(*wanted.plan("starter", "acme"), wanted.agency("acme"))["plan_version"]
    running = {("acme", "starter"): {"v1": 3, "v2": 2, new: 7}, ("beta", "starter"): {"v1": 100}}
    found = count_subscriptions(changes(loads(GOOD), wanted), running)
    assert [(change.address, change.subscriptions) for change in found] == [("acme/starter", 5)]


def test_all_subscriptions_of_a_retired_plan_go_on():
    wanted = loads("\n".join(GOOD.splitlines()[:2]))
    found = count_subscriptions(changes(loads(GOOD), wanted), {("acme", "starter"): {"v1": 3}})
    assert [change.subscriptions for change in found] == [3, 0, 0]


def test_a_description_changes_no_terms():
    found = changes(loads(GOOD), loads(GOOD.replace("price: 49.00", "price: 49.00, description: New")))
    assert [(change.fields, change.new_terms) for change in found] == [({"description": (None, "New")}, None)]


def test_an_agencys_new_time_zone_changes_the_terms_of_its_plans():
    found = changes(loads(GOOD), loads(GOOD.replace("America/New_York", "Asia/Tokyo")))
    assert [(change.address, bool(change.new_terms)) for change in found] == [("acme", False), ("acme/starter", True)]


def test_a_change_is_shown_as_json():
    found = changes(loads(GOOD), loads(GOOD.replace("49.00", "59.00")))
    assert found[0].as_dict() == {
        "action": "change", "kind": "plan", "agency": "acme", "id": "starter",
        "fields": {"price": {"old": "49.00", "new": "59.00"}}, "subscriptions_on_old_terms": 0,
    }  # fmt: skip


def with_caps(agency="", account=""):
    """The good file with caps of its agency and of its account."""
    text = GOOD.replace("currency: USD", f"currency: USD{agency}")
    return loads(text.replace('"10001"', f'"10001"{account}'))


DAILY = ", caps: {daily: {minutes: 120, per: day}}"


def test_caps_are_set_where_the_file_says_others_than_before():
    daily = {"name": "daily", "on": "minutes", "limit": 120, "per": "day", "mode": "hard", "alerts_percent": [80, 100]}
    first = changes(loads(GOOD), with_caps(account=DAILY))
    assert [(one.address, one.caps) for one in first] == [("acct_1", [daily])]
    assert changes(with_caps(account=DAILY), with_caps(account=DAILY)) == []
    gone = changes(with_caps(account=DAILY), loads(GOOD))
    assert [(one.address, one.caps) for one in gone] == [("acct_1", [])]
    reordered = with_caps(account=", caps: {b: {minutes: 1}, a: {wallet: 5}}, packs: false")
    renamed = changes(with_caps(account=", caps: {a: {wallet: 5}, b: {minutes: 1}}"), reordered)
    assert [(one.fields, one.caps) for one in renamed] == [({"packs": (None, False)}, None)]
    assert [one.caps for one in changes(Catalogue(), loads(GOOD))] == [None] * 4


def test_an_agencys_caps_of_money_are_in_its_currency():
    loss = ", caps: {loss: {margin: -50}, eu: {spend: 1, currency: EUR}, all: {minutes: 5}}"
    [change] = changes(loads(GOOD), with_caps(agency=loss))
    assert [(cap["name"], cap["limit"], cap.get("currency")) for cap in change.caps] == [
        ("all", 5, None), ("eu", 1_000_000, "EUR"), ("loss", -50_000_000, "USD"),
    ]  # fmt: skip


def test_the_caps_of_an_account_wait_until_it_is_subscribed():
    found = changes(Catalogue(), with_caps(DAILY, DAILY))
    assert accounts_with_new_caps(found) == {"acct_1"}
    assert [one.caps_wait for one in find_waiting(found, set())] == [False, False, False, True]
    assert [one.caps_wait for one in find_waiting(found, {"acct_1"})] == [False] * 4
    told = [one.as_dict().get("caps") for one in find_waiting(found, set())]
    assert told == ["at_once", None, None, "when_subscribed"]
