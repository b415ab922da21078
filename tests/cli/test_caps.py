"""`callmeter caps` on the real broker: what it writes for accounts and for agencies, and what it refuses."""

from datetime import UTC, datetime

import pytest

from cli.alerts import _cells
from streams.topics import ACCOUNT_EVENTS, AGENCY_EVENTS
from tests.broker import produce, read_values
from tests.cli.test_daily_commands import callmeter, shop  # noqa: F401
from tests.rating.builders import subscription


async def test_caps_of_an_account_replace_each_other(shop, callmeter):  # noqa: F811
    await produce(shop, [subscription(agency="acme")])
    ran = await callmeter(
        "caps", "set", "acct_1", "daily:minutes:120:day:soft:50,100", "loss:margin:-5.5", "--id", "f1"
    )
    assert ran.out == "acct_1: caps daily, loss\nfact f1\n"
    await callmeter("caps", "clear", "acct_1")
    _, one, none = await read_values(shop, ACCOUNT_EVENTS)
    assert (one["type"], one["agency_id"]) == ("caps.set", "acme")
    assert one["caps"] == [
        {"name": "daily", "on": "minutes", "limit": 120, "per": "day", "mode": "soft", "alerts_percent": [50, 100]},
        {"name": "loss", "on": "margin", "limit": -5_500_000, "per": "period", "mode": "hard",
         "alerts_percent": [80, 100]},
    ]  # fmt: skip
    assert none["caps"] == []


async def test_caps_of_an_agency_go_to_its_own_topic_in_its_currency(shop, callmeter):  # noqa: F811
    ran = await callmeter("caps", "set", "acme", "all:minutes:9000", "spend:spend:100:day", "--agency", "--id", "f1")
    assert ran.out == "acme: caps all, spend\nfact f1\n"
    [fact] = await read_values(shop, AGENCY_EVENTS)
    assert (fact["type"], fact["agency_id"], fact["fact_id"]) == ("agency.caps_set", "acme", "f1")
    assert [cap.get("currency") for cap in fact["caps"]] == [None, "USD"]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ("acct_1 daily:minutes", "'daily:minutes' is no cap; write NAME:ON:LIMIT"),
        ("acct_1 daily:length:5", "'daily:length:5' is no cap; write NAME:ON:LIMIT"),
        ("acct_1 daily:minutes:5:week", "'daily:minutes:5:week' is no cap: PER must be period or day"),
        ("acct_1 daily:minutes:x", "'daily:minutes:x' is no cap: invalid literal"),
        ("acct_9 daily:minutes:5", "there is no account 'acct_9' in the catalogue"),
        ("acct_1 daily:minutes:5", "no_subscription: account acct_1 was never subscribed"),
        ("acme a:minutes:5 a:minutes:6 --agency", "malformed: two caps have the same name"),
        ("nobody a:minutes:5 --agency", "there is no agency 'nobody'"),
    ],
)
async def test_what_is_no_cap_is_refused_before_it_is_sent(shop, callmeter, arguments, error):  # noqa: F811
    ran = await callmeter("caps", "set", *arguments.split())
    assert ran.error.startswith(error)
    assert await read_values(shop, ACCOUNT_EVENTS) == await read_values(shop, AGENCY_EVENTS) == []


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
