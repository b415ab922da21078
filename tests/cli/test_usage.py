"""`callmeter usage`: where accounts stand, on the real broker and engine."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from datetime import UTC, datetime, timedelta

from streams.topics import LEDGER, RATED_CALLS
from tests.broker import command, process, produce, read_topic, wait_until
from tests.rating.builders import call, encode, fact, subscription, tick

NOW = datetime.now(UTC).replace(microsecond=0)


NUMBER = {"number": "+14155550100", "price_micros": 2_000_000, "label": "desk"}


def ago(**span):
    return (NOW - timedelta(**span)).isoformat()


async def test_where_an_account_and_an_agency_stand(make_settings):
    settings = make_settings(partitions=1)
    calls = [
        call(n, ago(days=2, hours=n), ago(days=2, hours=n, minutes=2), campaign_id=f"camp_{n % 2}", cost_micros=10_000)
        for n in range(3)
    ]
    facts = [
        subscription(ago(days=10), interval="day", interval_count=20, included_minutes=10),
        subscription(ago(days=10), "acct_2", sub="sub_2", fact="start_2"),
        {**fact("number.rented", 1, ago(days=9)), **NUMBER},
        *calls,
        call("void", ago(days=1), ago(days=1, minutes=9)),
        fact("call.voided", 2, ago(hours=1), call_id="call_void"),
        tick(ago(minutes=1)),
    ]
    assert (await ran(settings, "migrate"))[0] == 0
    await produce(settings, encode(facts))
    with process(settings, "meter"):
        await wait_until(lambda: rated(settings, 5), 60, "rated calls")
    with process(settings, "sink"):
        await wait_until(lambda: sunk(settings), 60, "a sink that has begun")
    shown = json.loads(await told(settings, "acct_1", "--json"))
    assert (shown["calls"], shown["billed_s"], shown["allowance_left_s"]) == (3, 360, 240)
    # 10 of 20 days are over.
    assert 715 <= shown["forecast_s"] <= 720
    assert shown["forecast_micros"] == ((shown["forecast_s"] - 600) * 120_000 + 30) // 60
    assert shown["runs_out_at"] is not None
    assert [one["campaign_id"] for one in shown["campaigns"]] == ["camp_0", "camp_1"]
    assert [one["number"] for one in shown["numbers"]] == ["+14155550100"]
    assert shown["margin_micros"] == -30_000
    text = await told(settings, "acct_1")
    assert "allowance left" in text
    assert "camp_0" in text
    listed = list(csv.DictReader(io.StringIO(await told(settings, "--agency", "ag_1", "--csv"))))
    assert [(one["account_id"], one["calls"], one["campaigns"]) for one in listed] == [
        ("acct_1", "3", "2"), ("acct_2", "0", "0"),
    ]  # fmt: skip
    assert "acct_2" in await told(settings, "--agency", "ag_1")
    assert (await ran(settings, "usage", "nobody"))[0] == 1


async def ran(settings, *arguments):
    done = await asyncio.to_thread(command, settings, *arguments)
    return done.returncode, done.stdout


async def told(settings, *arguments):
    code, out = await ran(settings, "usage", *arguments)
    assert code == 0
    return out


async def rated(settings, count):
    return len(await read_topic(settings, RATED_CALLS)) >= count and await read_topic(settings, LEDGER)


async def sunk(settings):
    await asyncio.sleep(8)
    return True
