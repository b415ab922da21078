"""The second fold as part of the meter's process: whatever is killed, agencies' totals are the sums of rated calls."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict

from rating.agencies import TOTALS, totals_row
from streams.topics import AGENCY_EVENTS, AGENCY_LEDGER
from tests.broker import process, produce, read_topic, read_values, wait_until
from tests.rating.builders import call, subscription, tick
from tests.streams.meters import rated, ready

ACCOUNTS = 30
AGENCIES = 5


def agency_of(number):
    return f"ag_{number % ACCOUNTS % AGENCIES}"


def subscribed(**terms):
    return [
        subscription(account=f"acct_{n}", agency=agency_of(n), fact=f"start_{n}", sub=f"sub_{n}", **terms)
        for n in range(ACCOUNTS)
    ]


def calls(first, count):
    return [
        call(n, account=f"acct_{n % ACCOUNTS}", agency_id=agency_of(n), cost_micros=n % 7 * 1_000 or None)
        for n in range(first, first + count)
    ]


async def totals(settings):
    """Totals of agencies by the ledger: the last record of each period."""
    rows = {
        record.key: totals_row(record.key, record.value)
        for record in await read_topic(settings, AGENCY_LEDGER)
        if record.key.startswith(TOTALS)
    }
    found = defaultdict(Counter)
    for row in rows.values():
        names = ("calls", "billed_s", "amount_micros", "cost_micros", "margin_micros")
        found[row["agency_id"]].update({name: row[name] for name in names})
    return found


async def expected(settings):
    """The same from the rated calls."""
    found = defaultdict(Counter)
    for one in await read_values(settings, "rated-calls"):
        sums = found[one["agency_id"]]
        sums.update(calls=1, billed_s=one["billed_s"], amount_micros=one["amount_micros"])
        if one["margin_micros"] is not None:
            sums.update(cost_micros=one["cost_micros"], margin_micros=one["margin_micros"])
    return found


async def test_kill_9_under_load_leaves_totals_exact(make_settings):
    settings = make_settings(partitions=3, batch_records=300, flight_records=600)
    await produce(settings, [*subscribed(), tick("2026-11-03T10:00:00Z")])
    total = 9_000

    async def load():
        for first in range(0, total, 300):
            minute = first // 300
            await produce(settings, [*calls(first, 300), tick(f"2026-11-03T11:{minute:02}:00Z")])

    loading = asyncio.create_task(load())
    for goal in (600, 2_000, 4_000, 6_000):
        with process(settings, "meter") as meter:
            await rated(settings, goal)
            meter.kill()
    with process(settings, "meter") as meter:
        await loading
        await ready(meter)
        await rated(settings, total)

        async def added_up():
            assert await totals(settings) == await expected(settings)
            return True

        await wait_until(added_up, 60, "totals to be the sums of rated calls")
        assert meter.stop() == 0, meter.output
    found = await totals(settings)
    assert sum(one["calls"] for one in found.values()) == total
    assert await read_topic(settings, "dead-letters") == []


async def test_a_hard_cap_of_an_agency_turns_its_accounts_off_and_on_in_all_partitions(make_settings):
    settings = make_settings(partitions=3)
    caps = {"name": "minutes", "on": "minutes", "limit": 100, "alerts_percent": [100]}
    fact = {
        "type": "agency.caps_set",
        "fact_id": "f1",
        "agency_id": "ag_0",
        "at": "2026-11-02T00:00:00Z",
        "caps": [caps],
    }
    await produce(settings, [*subscribed(), tick("2026-11-03T10:00:00Z")])
    await produce(settings, [fact], AGENCY_EVENTS)

    async def access():
        found = {}
        for one in await read_values(settings, "access-events"):
            found[one["account_id"]] = one["reasons"]
        return found

    off = {f"acct_{n}" for n in range(ACCOUNTS) if agency_of(n) == "ag_0"}
    with process(settings, "meter") as meter:
        await produce(settings, calls(0, 60))

        async def all_off():
            return {name for name, reasons in (await access()).items() if reasons == ["agency_cap_reached"]} == off

        await wait_until(all_off, what="the accounts of the agency to be off")
        # Calls in progress are still rated.
        await produce(settings, calls(60, 30))
        await rated(settings, 90)
        alerts = [one for one in await read_values(settings, "alerts") if one["type"] == "agency_cap"]
        assert [(one["agency_id"], one["level"]) for one in alerts] == [("ag_0", 100)]
        await produce(settings, [{**fact, "fact_id": "f2", "caps": [{**caps, "limit": 100_000}]}], AGENCY_EVENTS)

        async def all_on():
            return all(reasons == [] for reasons in (await access()).values())

        await wait_until(all_on, what="the accounts to be on again")
        assert meter.stop() == 0, meter.output
