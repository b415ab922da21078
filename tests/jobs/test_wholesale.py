"""What the platform asks an agency for, all the way: meter, second fold, billing job, sink, commands; killed, too."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from streams.settings import Settings
from tests.broker import command, process, produce, read_values, wait_until
from tests.golden.bills import agency_period as bill

SHOP = """
agencies:
  ag_1:
    name: Acme Voice
    currency: USD
    wholesale: {rate: 0.05 per minute, increments: 6/6, cost: reported, timezone: Europe/Berlin, price: 30.00,
      included_minutes: 10, number_price: 1.00, due_days: 14}
"""
USAGE = "wholesale:ag_1:20261109T230000Z:usage"
LATE = ("wholesale:ag_1:20261109T230000Z:cycle", "wholesale:ag_1:20261209T230000Z:cycle", USAGE)
# By hand, in tests/golden/bills/agency_period.py.
TOTALS = {
    "wholesale:ag_1:20261109T230000Z:cycle": 30_000_000,
    "wholesale:ag_1:20261209T230000Z:cycle": 60_000_000,
    USAGE: 2_080_000,
    "wholesale:ag_1:20270109T230000Z:cycle": 60_000_000,
    "wholesale:ag_1:20261209T230000Z:usage": 1_650_000,
}


async def ran(settings: Settings, *arguments: str) -> Any:
    done = await asyncio.to_thread(command, settings, *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if "--json" in arguments else done.stdout


async def asked(settings: Settings) -> dict[str, int]:
    requests = await ran(settings, "requests", "list", "--wholesale", "--agency", "ag_1", "--json")
    return {one["payment_request_id"]: one["total_micros"] for one in requests}


async def test_the_platform_asks_an_agency_for_what_its_calls_cost(make_settings, tmp_path) -> None:
    settings = make_settings(partitions=3)
    shop = tmp_path / "shop.yaml"
    shop.write_text(SHOP)
    first = next(n for n, one in enumerate(bill.FACTS) if one["type"] == "wholesale.set")
    closing = next(n for n, one in enumerate(bill.FACTS) if one.get("at") == "2026-12-10T00:00:00Z")
    assert bill.FACTS[closing + 2]["type"] == "call.voided"

    await produce(settings, bill.FACTS[:first])
    await ran(settings, "catalogue", "apply", str(shop), "--yes")
    told = ("wholesale", "set", "ag_1", "--at", "2026-11-09T23:00:00Z", "--id", "w1")
    fact = (await ran(settings, *told, "--json"))["fact"]
    assert {**fact, "terms": None} == {**bill.FACTS[first], "terms": None}
    assert fact["terms"].items() >= bill.FACTS[first]["terms"].items()
    # A second one with its id changes nothing.
    await ran(settings, *told)
    await produce(settings, bill.FACTS[first + 1 : closing])
    with process(settings, "billing"):
        with process(settings, "meter") as meter:
            await wait_until(lambda: some_cost(settings), 60, "a call that costs")
            meter.kill()
        with process(settings, "meter"):
            report = await ran(settings, "close", "--until", "2026-12-10T00:00:00Z", "--json")
            of_agency = report["agencies"]["ag_1"]
            assert of_agency["wholesale_periods_closed"] == 1
            assert of_agency["wholesale_amounts_micros"]["USD"] >= TOTALS[USAGE]
            shown = await ran(settings, "wholesale", "show", "ag_1", "--json")
            assert [one["price_micros"] for one in shown["terms"]] == [30_000_000, 60_000_000]
            assert [one["period_end"] for one in shown["periods"]] == ["2027-01-09T23:00:00Z"]
            assert shown["numbers"] == 2
            assert "Wholesale terms of ag_1" in await ran(settings, "wholesale", "show", "ag_1")
    # Whoever comes next goes on from the ledgers.
    await produce(settings, bill.FACTS[closing + 1 : -1])
    with process(settings, "up", "--no-clock"):
        await wait_until(settings.clickhouse_run_file.exists, 60, "up is ready")
        await ran(settings, "close", "--until", "2027-01-10T00:00:00Z", "--json")
        assert await asked(settings) == TOTALS
        await settled_and_corrected(settings)
        rows = await wait_until(lambda: profit(settings), 60, "profit")
    assert sum(row["known_cost_micros"] for row in rows) == 405_000 + 777 * 2
    usage = [event for event in await read_values(settings, "billing-events") if event["type"] == "agency.cycle_closed"]
    calls = [call for call in await read_values(settings, "rated-calls") if call.get("cost_source")]
    assert sum(event["usage_micros"] for event in usage) == sum(call["cost_micros"] for call in calls) == 405_000
    assert await read_values(settings, "dead-letters") == []


async def some_cost(settings: Settings) -> bool:
    return any(call.get("cost_source") for call in await read_values(settings, "rated-calls"))


async def settled_and_corrected(settings: Settings) -> None:
    """By commands: what the agency paid, and what is less of it."""
    # The clock has passed some of the due dates: 14 days.
    listed = await ran(settings, "requests", "list", "--wholesale", "--agency", "ag_1", "--json")
    assert {one["payment_request_id"]: one["status"] for one in listed} == {
        name: "overdue" if name in LATE else "pending" for name in TOTALS
    }
    assert sorted(one["number"] for one in listed) == [
        *(f"2026-{number:06d}" for number in (1, 2, 3)),
        *(f"2027-{number:06d}" for number in (1, 2)),
    ]
    credit = ("requests", "credit", USAGE, "--amount", "0.08", "--id", "goodwill", "--actor", "jane")
    assert (await ran(settings, *credit, "--json"))["sent"] is True
    await wait_until(lambda: stands(settings, left_micros=2_000_000), 60, "less to be left")
    assert (await ran(settings, *credit, "--json"))["sent"] is False
    await ran(settings, "requests", "mark-paid", USAGE, "--reference", "wire 1")
    await wait_until(lambda: stands(settings, status="paid", reference="wire 1"), 60, "the request to be paid")
    # Said before: nothing to do.
    await ran(settings, "requests", "mark-paid", USAGE)
    await ran(settings, "requests", "refund", USAGE, "--amount", "0.50")
    more = await asyncio.to_thread(command, settings, "requests", "refund", USAGE, "--amount", "1.51")
    assert (more.returncode, "more than the 1.5 of" in more.stderr) == (1, True)
    shown = await ran(settings, "requests", "show", USAGE)
    assert "credit note 0.08 (2" in shown and "refund 0.50" in shown, shown


async def stands(settings: Settings, **fields: Any) -> bool:
    shown = await ran(settings, "requests", "show", USAGE, "--json")
    return all(shown[name] == value for name, value in fields.items())


async def profit(settings: Settings) -> list[dict[str, Any]] | None:
    rows = list(await ran(settings, "profit", "--by", "account", "--json"))
    # All calls, the one that was taken back among them.
    return rows if sum(row["calls"] for row in rows) == 8 else None
