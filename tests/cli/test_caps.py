"""`callmeter cap` on the real broker: what it writes for accounts and for agencies, what it shows, what it refuses."""

from datetime import UTC, datetime

import pytest

from cli.alerts import _cells
from streams.topics import ACCOUNT_EVENTS, AGENCY_EVENTS
from tests.broker import produce, read_values
from tests.cli.commands import facts
from tests.rating.builders import call, subscription, tick

SHOP = """\
agencies:
  acme: {name: Acme Voice, timezone: America/New_York, currency: USD}
accounts:
  acct_1: {agency: acme, name: Jane Dental}
  acct_2: {agency: acme, name: Joe}
"""


async def test_the_cap_of_the_plan_is_set_otherwise_and_cleared(shop, callmeter):
    await produce(shop, [subscription(agency="acme")])
    ran = await callmeter(
        *["cap", "set", "acct_1", "--minutes", "500", "--spend", "100", "--mode", "soft", "--id", "f1"]
    )
    assert ran.out == "acct_1: soft cap at 500 minutes or a usage of 100 a period\nfact f1\n"
    listed = (await callmeter("cap", "list", "acct_1", "--json")).json
    assert [(cap["name"], cap["on"], cap["limit"], cap["used"]) for cap in listed] == [
        (None, "minutes", 30_000, 0), (None, "spend", 100_000_000, 0),
    ]  # fmt: skip
    await callmeter("cap", "clear", "acct_1")
    _, one, none = await facts(shop)
    assert (one["type"], one["cap"]) == (
        "cap.set", {"minutes": 500, "spend_micros": 100_000_000, "mode": "soft", "alerts_percent": [80, 100]},
    )  # fmt: skip
    assert none["cap"] is None


async def test_caps_with_a_name_stand_beside_each_other_and_are_replaced_one_by_one(shop, callmeter):
    await produce(shop, [subscription(agency="acme"), tick("2026-11-03T12:00:00Z")])
    for arguments, out in [
        ("set acct_1 --name daily --minutes 120 --per day --mode soft --alerts 50,100", "soft cap daily at 120 minutes "
            "a day"),
        ("set acct_1 --name loss --margin -5.5", "hard cap loss at a margin of -5.5 a period"),
        ("set acct_1 --name daily --minutes 9 --per day", "hard cap daily at 9 minutes a day"),
    ]:  # fmt: skip
        ran = await callmeter("cap", *arguments.split(), "--id", arguments.replace(" ", "_"))
        assert ran.out.splitlines()[0] == f"acct_1: {out}"
    written = (await facts(shop))[-1]
    assert (written["type"], written["agency_id"]) == ("caps.set", "acme")
    assert written["caps"] == [
        {"name": "daily", "on": "minutes", "limit": 9, "per": "day", "mode": "hard", "alerts_percent": [80, 100]},
        {"name": "loss", "on": "margin", "limit": -5_500_000, "per": "period", "mode": "hard",
         "alerts_percent": [80, 100]},
    ]  # fmt: skip
    await produce(shop, [{**call(1), "agency_id": "acme"}])
    daily, loss = (await callmeter("cap", "list", "acct_1", "--json")).json
    assert (daily["used"], daily["limit"], daily["reached"]) == (600, 540, True)
    assert (loss["used"], loss["limit"], loss["reached"], loss["currency"]) == (None, -5_500_000, False, "USD")
    shown = (await callmeter("cap", "list", "acct_1")).out
    assert "10:00" in shown
    assert "-5.50 USD" in shown
    await callmeter("cap clear acct_1 --name daily")
    assert [cap["name"] for cap in (await facts(shop))[-1]["caps"]] == ["loss"]
    await callmeter("cap clear acct_1 --all --id c1")
    assert (await facts(shop))[-1]["caps"] == []
    again = await callmeter("cap clear acct_1 --all --id c1")
    assert again.out == "nothing to do: this fact was applied before\nfact c1\n"


async def test_caps_of_an_agency_go_to_its_own_topic_in_its_currency(shop, callmeter):
    first = "cap set --agency acme --name all --minutes 9000 --id f1"
    assert (await callmeter(first)).out == "acme: hard cap all at 9000 minutes a period\nfact f1\n"
    assert (await callmeter(first)).out == "nothing to do: this fact was applied before\nfact f1\n"
    await callmeter(
        *["cap", "set", "--agency", "acme", "--name", "spend", "--spend", "100", "--per", "day", "--id", "f2"]
    )
    await callmeter(
        *["cap", "set", "--agency", "acme", "--name", "euros", "--cost", "50", "--currency", "eur", "--id", "f3"]
    )
    *_, fact = await read_values(shop, AGENCY_EVENTS)
    assert (fact["type"], fact["agency_id"], fact["fact_id"]) == ("agency.caps_set", "acme", "f3")
    assert [(cap["name"], cap.get("currency")) for cap in fact["caps"]] == [
        ("all", None), ("spend", "USD"), ("euros", "EUR"),
    ]  # fmt: skip
    listed = (await callmeter("cap list --agency acme --json")).json
    assert [(cap["name"], cap["on"], cap["limit"], cap["used"]) for cap in listed] == [
        ("all", "minutes", 540_000, 0), ("spend", "spend", 100_000_000, None), ("euros", "cost", 50_000_000, 0),
    ]  # fmt: skip
    await callmeter("cap clear --agency acme --name all")
    *_, fact = await read_values(shop, AGENCY_EVENTS)
    assert [cap["name"] for cap in fact["caps"]] == ["spend", "euros"]


NO_CAPS = [
    ("set --minutes 5", "say whose cap: ACCOUNT or --agency, one of them"),
    ("set acct_1 --agency acme --minutes 5", "say whose cap: ACCOUNT or --agency, one of them"),
    ("set acct_1", "a cap must have minutes or spend (or both)"),
    ("set acct_1 --minutes 5 --mode firm", "--mode must be hard or soft"),
    ("set acct_1 --minutes 5 --alerts many", "--alerts must be a list of whole percents from 1 to 1000 such as "),
    ("set acct_1 --spend 1,5", "--spend must be an amount such as 49.00"),
    ("set acct_1 --minutes 5 --per day", "--per is for a cap with a name: say --name"),
    ("set acct_1 --margin 5", "--margin is for a cap with a name: say --name"),
    ("set --agency acme --minutes 5", "--agency is for a cap with a name: say --name"),
    ("set acct_1 --minutes 5", "no_subscription: account acct_1 was never subscribed"),
    ("set acct_9 --minutes 5", "there is no account 'acct_9' in the catalogue"),
    ("set acct_1 --name daily", "a cap must have minutes, spend, cost, margin or wallet, one of them"),
    (
        "set acct_1 --name daily --minutes 5 --spend 3",
        "a cap must have minutes, spend, cost, margin or wallet, one",
    ),
    ("set acct_1 --name daily --minutes 5 --per week", "--per must be period or day"),
    ("set acct_1 --name daily --spend -5", "--spend must not be negative"),
    ("set acct_1 --name daily --spend 5 --currency EUR", "--currency is for --agency; an account's caps are in"),
    ("set --agency acme --name a --minutes 5 --currency EUR", "a cap must have no currency: that is for spend"),
    ("set acct_1 --name daily --minutes 5", "no_subscription: account acct_1 was never subscribed"),
    ("set --agency nobody --name a --minutes 5", "there is no agency 'nobody'"),
    ("clear acct_1 --name daily --all", "--name or --all: say one of them"),
    ("clear acct_1 --name daily", "acct_1 has no cap 'daily'; see callmeter cap list"),
    ("clear --agency acme", "say which cap of the agency: --name, or --all"),
    ("clear --agency acme --name a", "acme has no cap 'a'; see callmeter cap list"),
    ("list acct_1", "account 'acct_1' was never subscribed, so no cap is in force"),
    ("list --agency nobody", "there is no agency 'nobody'"),
]


async def test_what_is_no_cap_is_refused_before_it_is_sent(shop, callmeter):
    for arguments, error in NO_CAPS:
        ran = await callmeter("cap", *arguments.split())
        assert (ran.code, ran.error[: len(error)]) == (1, error), arguments
    assert await read_values(shop, ACCOUNT_EVENTS) == await read_values(shop, AGENCY_EVENTS) == []


async def test_a_name_has_no_white_space(shop, callmeter):
    ran = await callmeter("cap", "set", "acct_1", "--name", "a b", "--minutes", "5")
    assert ran.error == "--name 'a b': an id has 1 to 128 bytes and no white space"


async def test_no_more_caps_than_the_meter_takes(shop, callmeter):
    caps = [{"name": f"c{number}", "on": "minutes", "limit": 5} for number in range(32)]
    head = {"fact_id": "f1", "account_id": "acct_1", "agency_id": "acme", "at": "2026-11-02T00:00:00Z"}
    await produce(shop, [subscription(agency="acme"), {"type": "caps.set", **head, "caps": caps}])
    ran = await callmeter("cap set acct_1 --name more --minutes 5")
    assert ran.error.startswith("malformed: at most 32 caps")


@pytest.mark.parametrize(
    ("on", "used", "shown"), [("minutes", 7_200, "120:00"), ("wallet", 60, "1:00"), ("margin", -5_500_000, "-5.50")]
)
def test_an_alert_of_a_named_cap_shows_its_name_and_its_unit(on, used, shown):
    row = {
        "at": datetime(2026, 11, 3, tzinfo=UTC), "agency_id": "acme", "account_id": "", "type": "agency_cap",
        "level": 80, "used": used, "limit_value": used, "period_start": datetime(2026, 11, 1, tzinfo=UTC),
        "cap": "all", "cap_on": on, "cap_per": "day", "currency": "USD", "cap_minutes": None, "cap_spend_micros": None,
    }  # fmt: skip
    cells = _cells(row)
    assert cells[3] == f"agency_cap all ({on} per day) 80 %"
    assert shown in cells[4]
