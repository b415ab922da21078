"""`callmeter usage` and `calls`: where accounts stand, and how calls were rated, on the real broker and engine."""

from __future__ import annotations

import asyncio
import csv
import io
from datetime import UTC, datetime, timedelta

import pytest

from tests.broker import process, produce, wait_until
from tests.cli.commands import as_settings, run
from tests.rating.builders import call, encode, fact, subscription, tick

NOW = datetime.now(UTC).replace(microsecond=0)
NUMBER = {"number": "+14155550100", "price_micros": 2_000_000, "label": "desk"}
# Ten minutes are included, the rest is 0.12 a minute.
TWENTY_DAYS = {"interval": "day", "interval_count": 20, "included_minutes": 10}


def ago(**span):
    return (NOW - timedelta(**span)).isoformat()


async def test_where_accounts_stand_and_how_their_calls_were_rated(make_settings):
    settings = make_settings(partitions=2)
    calls = [
        call(n, ago(days=2, hours=n), ago(days=2, hours=n, minutes=2), campaign_id=f"camp_{n % 2}", cost_micros=10_000)
        for n in range(3)
    ]
    facts = [
        subscription(ago(days=10), **TWENTY_DAYS),
        subscription(ago(days=10), "acct_2", sub="sub_2", fact="start_2", **TWENTY_DAYS),
        subscription(ago(hours=10), "acct_3", sub="sub_3", fact="start_3"),
        {**fact("number.rented", 1, ago(days=9)), **NUMBER},
        *calls,
        call("void", ago(days=1), ago(days=1, minutes=9)),
        fact("call.voided", 2, ago(hours=1), call_id="call_void"),
        call("long", ago(days=2), ago(days=2, minutes=20), account="acct_2"),
        tick(ago(minutes=1)),
    ]
    await produce(settings, encode(facts))
    with process(settings, "up", "--no-clock"), as_settings(settings):
        await wait_until(settings.clickhouse_run_file.exists, 60, "up is ready")
        await wait_until(lambda: stored(), 60, "all of it in ClickHouse")
        shown = (await callmeter("usage", "acct_1", "--json")).json
        assert (shown["calls"], shown["billed_s"], shown["allowance_left_s"]) == (3, 360, 240)
        # 10 of 20 days are over.
        assert 715 <= shown["forecast_s"] <= 720
        assert shown["forecast_micros"] == ((shown["forecast_s"] - 600) * 120_000 + 30) // 60
        assert shown["runs_out_at"] is not None
        assert [one["campaign_id"] for one in shown["campaigns"]] == ["camp_0", "camp_1"]
        assert [one["number"] for one in shown["numbers"]] == ["+14155550100"]
        assert shown["margin_micros"] == -30_000
        text = (await callmeter("usage", "acct_1")).out
        assert "allowance left" in text
        assert "camp_0" in text
        await check_agency(shown)
        await check_calls()
        nobody = await callmeter("usage", "nobody")
        assert (nobody.code, nobody.error.startswith("ClickHouse knows no account 'nobody'; see")) == (1, True)
        none = await callmeter("usage", "--agency", "nobody")
        assert none.error.startswith("ClickHouse knows no account of agency 'nobody'; see")


async def check_agency(first):
    """The sums of an agency are those of its accounts; of one in its first day there is no forecast."""
    told = (await callmeter("usage", "--agency", "ag_1", "--json")).json
    accounts = {one["account_id"]: one for one in told["accounts"]}
    assert list(accounts) == ["acct_1", "acct_2", "acct_3"]
    assert accounts["acct_3"]["forecast_s"] is None
    # Minutes go on by the second.
    assert abs(accounts["acct_1"]["forecast_micros"] - first["forecast_micros"]) <= 20_000
    [total] = told["totals"]
    assert (total["currency"], total["accounts"], total["forecasts"]) == ("USD", 3, 2)
    for name in ("forecast_s", "forecast_micros"):
        assert total[name] == accounts["acct_1"][name] + accounts["acct_2"][name] > 0
    assert (total["calls"], total["billed_s"], total["usage_micros"]) == (4, 1_560, 1_200_000)
    table = (await callmeter("usage", "--agency", "ag_1")).out
    assert "all 3 in USD" in table
    assert "2 with a forecast" in table
    listed = list(csv.DictReader(io.StringIO((await callmeter("usage", "--agency", "ag_1", "--csv")).out)))
    assert [(one["account_id"], one["calls"], one["campaigns"]) for one in listed] == [
        ("acct_1", "3", "2"), ("acct_2", "1", "0"), ("acct_3", "0", "0"),
    ]  # fmt: skip


async def check_calls():
    """Each rating of a call is a row of its own."""
    void = (await callmeter("calls", "show", "acct_1", "call_void", "--json")).json
    assert (void["voided"], [one["correction"] for one in void["ratings"]]) == (True, ["", "refund"])
    assert [one["billed_s"] for one in void["ratings"]] == [540, -540]
    shown = (await callmeter("calls", "show", "acct_1", "call_void")).out
    for text in ("voided", "refund fact_2", "9:00", "-9:00"):
        assert text in shown, text
    assert "rated" in (await callmeter("calls", "show", "acct_2", "call_long")).out
    listed = (await callmeter("calls", "list", "--account", "acct_1", "--json")).json
    assert [one["call_id"] for one in listed] == ["call_2", "call_1", "call_0", "call_void", "call_void"]
    some = (await callmeter("calls", "list", "--campaign", "camp_0", "--from", ago(days=2, hours=1), "--json")).json
    assert [one["call_id"] for one in some] == ["call_0"]
    assert "call_long" in (await callmeter("calls", "list", "--agency", "ag_1", "--limit", "4")).out
    unknown = await callmeter("calls", "show", "acct_1", "call_9")
    assert (unknown.code, unknown.error.startswith("ClickHouse knows no call 'call_9' of account 'acct_1'; see")) == (
        1, True,
    )  # fmt: skip
    assert (await callmeter("profit", "--csv")).out.startswith("agency_id,account_id,currency,calls,")
    by_account = (await callmeter("profit", "--account", "acct_1", "--json")).json
    assert [(one["calls"], one["calls_with_cost"], one["profit_micros"]) for one in by_account] == [(3, 3, -30_000)]


async def callmeter(*arguments):
    return await asyncio.to_thread(run, *arguments)


async def stored():
    """The sink has everything: calls, the voided one, and the accounts."""
    ran = await callmeter("usage", "--agency", "ag_1", "--json")
    if ran.code:
        return False
    accounts = {one["account_id"]: one for one in ran.json["accounts"]}
    calls = (await callmeter("calls", "list", "--json")).json
    return accounts.keys() == {"acct_1", "acct_2", "acct_3"} and accounts["acct_1"]["numbers"] and len(calls) == 6


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("usage", "acct_1", "--by", "day"), "ACCOUNT goes with no option but --json and --csv"),
        (("usage", "--by", "week"), "--by 'week' is none of hour, day, account, campaign, number, agent, agency"),
        (("usage", "--by", "day", "--from", "noon"), "'noon' is no time; write a date such as 2026-11-01"),
        (("profit", "--by", "number"), "--by 'number' is none of call, day, agency, account, campaign, agent"),
        (("profit", "--to", "noon"), "'noon' is no time; write a date such as 2026-11-01"),
        (("calls", "list", "--from", "noon"), "'noon' is no time; write a date such as 2026-11-01"),
        (("accounts", "list", "--status", "activ"), "--status must be trialing or active or paused or"),
    ],
)
async def test_what_cannot_be_asked_is_one_line(arguments, error):
    ran = await callmeter(*arguments)
    assert (ran.code, ran.out) == (1, "")
    assert ran.error.startswith(error), ran.error
